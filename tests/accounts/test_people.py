import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from saytics_server.accounts import PLANS, Accounts
from saytics_server.accounts.passwords import _HASHER, _NOBODYS_HASH, is_outdated
from saytics_server.accounts.sessions import SESSION_EXTEND_AFTER_MS, SESSION_LIFE_MS
from saytics_server.errors import Refused

EMAIL, PASSWORD = "zoë@example.com", "correct horse battery"


@pytest.fixture
def account(accounts: Accounts):
    return accounts.create_account(EMAIL, PASSWORD)


def refusal(call, *arguments, **named) -> tuple[str, str, str | None]:
    with pytest.raises(Refused) as refused:
        call(*arguments, **named)
    rejection = refused.value.rejection
    return rejection.code, rejection.message, rejection.field


def test_the_right_password_begins_a_session(accounts, account, clock):
    """A log-in answers the token once; the token then names session and account."""
    begun = accounts.login(" Zoë@Example.com ", PASSWORD)
    session, owner = accounts.session(begun.token)
    assert owner == account
    assert session.token is None
    assert session.csrf_token == begun.csrf_token != begun.token
    assert session.expires_at_ms == begun.expires_at_ms == clock.now_ms() + SESSION_LIFE_MS
    assert accounts.session("no such token") is accounts.session("\ud800") is None


def test_a_wrong_login_tells_nothing(accounts, account):
    """A wrong password and an unknown, malformed or huge e-mail get the same answer."""
    answers = {
        refusal(accounts.login, email, password, client_address=email[:9])
        for email, password in [
            (EMAIL, "wrong password"),
            (EMAIL, "x" * 1_000_000),
            (EMAIL, "\ud800"),
            ("nobody@example.com", PASSWORD),
            ("\ud800@example.com", PASSWORD),
            ("x" * 1_000_000, PASSWORD),
            ("", ""),
        ]
    }
    assert len(answers) == 1


def test_an_unknown_email_costs_the_same_hash(accounts, account, monkeypatch):
    """One hash is checked for a known and for an unknown e-mail, each as slow as a new one."""
    checked = []

    class Watched:
        def verify(self, stored_hash, password):
            checked.append(stored_hash)
            return _HASHER.verify(stored_hash, password)

    monkeypatch.setattr("saytics_server.accounts.passwords._HASHER", Watched())
    for email in (EMAIL, "nobody@example.com"):
        refusal(accounts.login, email, "wrong password", client_address=email)
    assert len(checked) == 2
    assert checked[1] == _NOBODYS_HASH
    assert not any(map(_HASHER.check_needs_rehash, checked))


def test_nobodys_hash_has_todays_parameters():
    """The hash that unknown e-mails are checked against is as slow as a new one."""
    assert not is_outdated(_NOBODYS_HASH)


def test_a_session_ends_two_weeks_after_the_last_visit(accounts, account, clock):
    """A visit moves the end, at most once an hour; without one it ends, and stays ended."""
    token = accounts.login(EMAIL, PASSWORD).token
    clock.advance(SESSION_EXTEND_AFTER_MS - 1)
    assert accounts.session(token)[0].expires_at_ms < clock.now_ms() + SESSION_LIFE_MS
    clock.advance(SESSION_LIFE_MS - SESSION_EXTEND_AFTER_MS)
    assert accounts.session(token)[0].expires_at_ms == clock.now_ms() + SESSION_LIFE_MS
    clock.advance(SESSION_LIFE_MS - 1)
    assert accounts.session(token)
    clock.advance(SESSION_LIFE_MS)
    assert accounts.session(token) is None


def test_logging_out_ends_that_session_alone(accounts, account):
    """A logged-out token is worth nothing on the next call; other browsers stay."""
    first, second = (accounts.login(EMAIL, PASSWORD).token for _ in range(2))
    accounts.logout(first)
    accounts.logout("unknown")
    assert accounts.session(first) is None
    assert accounts.session(second)


def test_ended_sessions_leave_the_database(accounts, account, clock, tmp_path):
    """The next log-in removes what has expired."""
    accounts.login(EMAIL, PASSWORD)
    clock.advance(SESSION_LIFE_MS)
    accounts.login(EMAIL, PASSWORD)
    with sqlite3.connect(tmp_path / "meta.db") as connection:
        assert connection.execute("SELECT count(*) FROM sessions").fetchone() == (1,)


def test_guessing_is_throttled_whether_or_not_the_account_exists(accounts, account, clock):
    """After five failures an e-mail waits, and the answer says how long; waiting helps."""
    for email in (EMAIL, "nobody@example.com"):
        for number in range(5):
            refusal(accounts.login, email, "wrong guess", client_address=f"::{number}")
        with pytest.raises(Refused) as refused:
            accounts.login(email, PASSWORD, client_address="192.0.2.1")
        assert refused.value.kind.code == "login_throttled"
        assert refused.value.headers == {"Retry-After": "1"}
    clock.advance(1_000)
    assert accounts.login(EMAIL, PASSWORD, client_address="192.0.2.1")


def test_parallel_guesses_are_not_free(accounts, account):
    """Of twenty guesses at once no more are tried than of twenty in turn."""

    def guess(_: int) -> str:
        return refusal(accounts.login, EMAIL, "wrong guess", client_address="::1")[0]

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(guess, range(20)))
    assert answers.count("invalid_login") == 5
    assert answers.count("login_throttled") == 15


@pytest.mark.parametrize(
    ("email", "password", "field"),
    [
        ("no at sign", PASSWORD, "email"),
        ("a@b@c", PASSWORD, "email"),
        ("a b@c", PASSWORD, "email"),
        ("@", PASSWORD, "email"),
        ("a\0@b", PASSWORD, "email"),
        ("x" * 250 + "@b.de", PASSWORD, "email"),
        ("ann@example.com", "nine char", "password"),
        ("ann@example.com", "x" * 1_001, "password"),
        ("ZOË@example.com", PASSWORD, "email"),
    ],
)
def test_accounts_need_a_new_email_and_a_long_password(accounts, account, email, password, field):
    """A bad or taken e-mail and a short or giant password are refused by field."""
    assert refusal(accounts.create_account, email, password)[0::2] == (
        "invalid_parameter",
        field,
    )


def test_members_have_one_role_per_workspace(accounts, account):
    """Adding again changes the role; workspaces come oldest first."""
    other = accounts.create_account("ann@example.com", PASSWORD)
    shop, demo = accounts.create_workspace("Shop"), accounts.create_workspace("Demo", demo=True)
    accounts.add_member(demo.id, account.id, "viewer")
    accounts.add_member(shop.id, account.id, "admin")
    accounts.add_member(demo.id, account.id, "editor")
    assert accounts.workspaces_of(account.id) == [(shop, "admin"), (demo, "editor")]
    assert accounts.workspaces_of(other.id) == []


def test_an_admin_always_remains(accounts, account):
    """The only admin keeps that role until there is another."""
    other = accounts.create_account("ann@example.com", PASSWORD)
    shop = accounts.create_workspace("Shop")
    accounts.add_member(shop.id, account.id, "admin")
    accounts.add_member(shop.id, other.id, "editor")
    assert refusal(accounts.add_member, shop.id, account.id, "viewer")[2] == "role"
    accounts.add_member(shop.id, other.id, "admin")
    accounts.add_member(shop.id, account.id, "viewer")
    assert accounts.workspaces_of(account.id) == [(shop, "viewer")]


def test_a_plan_limits_the_members(accounts, account):
    """A full workspace takes nobody new, and its members may still change roles."""
    other = accounts.create_account("ann@example.com", PASSWORD)
    shop = accounts.create_workspace("Shop")
    accounts.update_workspace(shop.id, limits=PLANS["free"])
    accounts.add_member(shop.id, account.id, "editor")
    assert refusal(accounts.add_member, shop.id, other.id, "viewer")[2] == "account"
    accounts.add_member(shop.id, account.id, "admin")
    for workspace_id, account_id in ((99, account.id), (shop.id, 99)):
        code, _, _ = refusal(accounts.add_member, workspace_id, account_id, "viewer")
        assert code == "not_found"


def test_workspaces_made_by_command_belong_to_every_admin(accounts, account):
    """Admins of another workspace become admins of it; viewers do not become members."""
    viewer = accounts.create_account("ann@example.com", PASSWORD)
    shop, demo = accounts.create_workspace("Shop"), accounts.create_workspace("Demo", demo=True)
    accounts.add_member(shop.id, account.id, "admin")
    accounts.add_member(shop.id, viewer.id, "viewer")
    accounts.add_every_admin(demo.id)
    assert (demo.id, "admin") in [(w.id, role) for w, role in accounts.workspaces_of(account.id)]
    assert demo.id not in [w.id for w, _ in accounts.workspaces_of(viewer.id)]
