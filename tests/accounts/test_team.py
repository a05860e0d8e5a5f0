"""Members, invitations, the audit log and sessions, as the database keeps them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from saytics_server.accounts import PLANS, Account, Accounts, Actor
from saytics_server.accounts.invitations import INVITATION_LIFE_MS, PENDING_MAX
from saytics_server.accounts.sessions import handle_of
from saytics_server.errors import Refused

PASSWORD = "correct horse battery"
BY = Actor(7, "zoë@example.com")


@pytest.fixture
def shop(accounts: Accounts) -> int:
    return accounts.create_workspace("Shop").id


@pytest.fixture
def account(accounts: Accounts, shop: int) -> Account:
    made = accounts.create_account("zoë@example.com", PASSWORD)
    accounts.add_member(shop, made.id, "admin")
    return made


def refusal(call, *arguments, **named) -> tuple[str, str | None]:
    with pytest.raises(Refused) as refused:
        call(*arguments, **named)
    return refused.value.kind.code, refused.value.rejection.field


def acts(accounts: Accounts, workspace_id: int) -> list[tuple[str, str, str]]:
    entries = accounts.audit.entries(workspace_id, limit=100)
    return [(each.actor, each.act, each.about) for each in reversed(entries)]


def test_an_invitation_makes_a_new_account_a_member_once(accounts, account, shop):
    """The link makes account and membership together, and opens nothing a second time."""
    made, token = accounts.invitations.create(shop, "editor", "Bob", BY)
    assert accounts.invitations.find(token) == made
    assert accounts.invitations.accept_as_new(token, " Bob@Example.com", PASSWORD) == shop
    members = [(each.email, each.role) for each in accounts.members.all(shop)]
    assert members == [("zoë@example.com", "admin"), ("bob@example.com", "editor")]
    assert accounts.invitations.pending(shop) == []
    for again in (
        lambda: accounts.invitations.find(token),
        lambda: accounts.invitations.accept(token, account),
        lambda: accounts.invitations.accept_as_new(token, "eve@example.com", PASSWORD),
    ):
        assert refusal(again)[0] == "not_found"


def test_an_invitation_takes_an_account_that_exists(accounts, account, shop):
    """Whoever is logged in joins; a member keeps their role and the link."""
    bob = accounts.create_account("bob@example.com", PASSWORD)
    _, token = accounts.invitations.create(shop, "viewer", "Bob", BY)
    assert refusal(accounts.invitations.accept, token, account) == ("invalid_parameter", "account")
    accounts.invitations.accept(token, bob)
    assert [(w.id, role) for w, role in accounts.workspaces_of(bob.id)] == [(shop, "viewer")]
    assert [role for _, role in accounts.workspaces_of(account.id)] == ["admin"]


def test_an_invitation_ends_by_time_and_by_hand(accounts, clock, shop):
    """After seven days, or once cancelled, its token is nobody's; another workspace cannot."""
    _, old = accounts.invitations.create(shop, "viewer", "Bob", BY)
    clock.advance(INVITATION_LIFE_MS - 1)
    assert accounts.invitations.find(old)
    clock.advance(1)
    assert refusal(accounts.invitations.find, old)[0] == "not_found"
    made, token = accounts.invitations.create(shop, "viewer", "Bob", BY)
    other = accounts.create_workspace("Other").id
    assert refusal(accounts.invitations.cancel, other, made.id, BY)[0] == "not_found"
    accounts.invitations.cancel(shop, made.id, BY)
    assert refusal(accounts.invitations.find, token)[0] == "not_found"


def test_a_refused_invitation_leaves_nothing(accounts, account, shop):
    """A bad role, name, e-mail or password, and a full workspace, make no account and no member."""
    invitations = accounts.invitations
    assert refusal(invitations.create, shop, "owner", "Bob", BY)[1] == "role"
    assert refusal(invitations.create, shop, "viewer", " ", BY)[1] == "invited"
    assert refusal(invitations.create, 99, "viewer", "Bob", BY)[0] == "not_found"
    _, token = invitations.create(shop, "viewer", "Bob", BY)
    assert refusal(invitations.accept_as_new, token, "no mail", PASSWORD)[1] == "email"
    assert refusal(invitations.accept_as_new, token, "b@example.com", "short")[1] == "password"
    assert refusal(invitations.accept_as_new, token, account.email, PASSWORD)[1] == "email"
    accounts.update_workspace(shop, limits=PLANS["free"])
    assert refusal(invitations.accept_as_new, token, "b@example.com", PASSWORD)[1] == "account"
    assert [member.email for member in accounts.members.all(shop)] == [account.email]
    assert refusal(accounts.login, "b@example.com", PASSWORD)[0] == "invalid_login"
    assert invitations.find(token)


def test_open_invitations_are_limited(accounts, shop):
    """A workspace has at most a hundred at once."""
    for number in range(PENDING_MAX):
        accounts.invitations.create(shop, "viewer", f"Bob {number}", BY)
    assert refusal(accounts.invitations.create, shop, "viewer", "Bob", BY)[1] == "invited"


def test_an_admin_always_remains_in_the_team(accounts, account, shop):
    """The last admin is neither removed nor made less; others are, at once."""
    bob = accounts.create_account("bob@example.com", PASSWORD)
    accounts.add_member(shop, bob.id, "viewer")
    members = accounts.members
    assert refusal(members.change_role, shop, account.id, "viewer", BY)[1] == "role"
    assert refusal(members.remove, shop, account.id, BY)[1] == "role"
    assert refusal(members.change_role, shop, 99, "viewer", BY)[0] == "not_found"
    assert refusal(members.change_role, shop, bob.id, "owner", BY)[1] == "role"
    members.change_role(shop, bob.id, "admin", BY)
    members.remove(shop, account.id, BY)
    assert accounts.workspaces_of(account.id) == []
    assert refusal(members.remove, shop, bob.id, BY)[1] == "role"


def test_every_administrative_act_is_written_down(accounts, account, shop, tmp_path: Path):
    """Who did what with what, in order, without a secret; another workspace's log has none."""
    other = accounts.create_workspace("Other").id
    key, full = accounts.create_key(shop, "secret", "Server", by=BY)
    accounts.revoke_key(key.id, by=BY)
    accounts.revoke_key(key.id, by=BY)
    accounts.update_workspace(shop, by=BY, name="Store", timezone="Asia/Kathmandu")
    accounts.update_workspace(shop, by=BY, name="Store")
    made, cancelled = accounts.invitations.create(shop, "viewer", "Eve", BY)
    accounts.invitations.cancel(shop, made.id, BY)
    _, token = accounts.invitations.create(shop, "viewer", "Bob", BY)
    accounts.invitations.accept_as_new(token, "bob@example.com", PASSWORD)
    bob = accounts.members.all(shop)[-1].account_id
    accounts.members.change_role(shop, bob, "editor", BY)
    accounts.members.remove(shop, bob, BY)
    named = f"secret key “Server” ({full[:12]}…)"
    assert acts(accounts, shop) == [
        (BY.name, "key.created", named),
        (BY.name, "key.revoked", named),
        (BY.name, "workspace.changed", "name: Shop → Store; timezone: UTC → Asia/Kathmandu"),
        (BY.name, "member.invited", "Eve as viewer"),
        (BY.name, "invitation.cancelled", "Eve"),
        (BY.name, "member.invited", "Bob as viewer"),
        ("bob@example.com", "member.joined", "as viewer, invited as Bob"),
        (BY.name, "member.role_changed", "bob@example.com: viewer → editor"),
        (BY.name, "member.removed", "bob@example.com"),
    ]
    assert acts(accounts, other) == []
    accounts.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("meta.db*"))
    assert not [secret for secret in (full, token, cancelled) if secret.encode() in stored]


def test_the_audit_log_is_read_page_by_page(accounts, shop):
    """The latest first; a page goes on before the last entry of the one before."""
    for number in range(5):
        accounts.audit.add(BY, shop, "link.undone", str(number))
    first = accounts.audit.entries(shop, limit=3)
    rest = accounts.audit.entries(shop, limit=3, before_id=first[-1].id)
    assert [each.about for each in (*first, *rest)] == ["4", "3", "2", "1", "0"]


def test_sessions_are_listed_and_ended(accounts, account):
    """One's own sessions, each by its browser; ending one ends it on the next request."""
    first = accounts.login(account.email, PASSWORD, user_agent="Firefox").token
    second = accounts.login(account.email, PASSWORD, user_agent="C" * 1_000).token
    listed = accounts.sessions.of_account(account.id)
    assert {(each.handle, each.user_agent) for each in listed} == {
        (handle_of(first), "Firefox"),
        (handle_of(second), "C" * 300),
    }
    stranger = accounts.create_account("bob@example.com", PASSWORD)
    assert refusal(accounts.sessions.end_one, stranger, handle_of(first))[0] == "not_found"
    accounts.sessions.end_one(account, handle_of(first))
    assert accounts.session(first) is None
    third = accounts.login(account.email, PASSWORD).token
    accounts.sessions.end_others(account, third)
    assert accounts.session(second) is None
    assert accounts.session(third)


def test_a_new_password_ends_the_other_sessions(accounts, account):
    """The present password is needed; the new one works, the old one no more."""
    kept, other = (accounts.login(account.email, PASSWORD).token for _ in range(2))
    change = accounts.change_password
    assert refusal(change, account, "wrong password", "a new password", token=kept)[1] == "current"
    assert refusal(change, account, PASSWORD, "short", token=kept)[1] == "password"
    change(account, PASSWORD, "a new password", token=kept)
    assert accounts.session(kept)
    assert accounts.session(other) is None
    assert refusal(accounts.login, account.email, PASSWORD)[0] == "invalid_login"
    assert accounts.login(account.email, "a new password")
    told = [each.act for each in accounts.audit.of_account(account.id, limit=9)]
    assert told == ["account.password_changed"]


def test_guessing_the_present_password_is_throttled(accounts, account):
    """A stolen session does not make guessing free."""
    for _ in range(5):
        refusal(accounts.change_password, account, "a wrong guess", "a new password", token="x")
    code, _ = refusal(accounts.change_password, account, PASSWORD, "a new password", token="x")
    assert code == "login_throttled"


def test_sessions_of_the_version_before_stay(tmp_path: Path, clock):
    """A database without browsers, invitations and audit log keeps its open sessions."""
    accounts = Accounts.open(tmp_path, clock)
    account = accounts.create_account("zoë@example.com", PASSWORD)
    token = accounts.login(account.email, PASSWORD, user_agent="Firefox").token
    accounts.close()
    with sqlite3.connect(tmp_path / "meta.db") as connection:
        connection.executescript(
            "DROP TABLE invitations; DROP TABLE audit_log;"
            "ALTER TABLE sessions DROP COLUMN user_agent;"
            "UPDATE alembic_version SET version_num = '0002'"
        )
    connection.close()
    migrated = Accounts.open(tmp_path, clock)
    assert migrated.session(token)[1] == account
    assert [each.user_agent for each in migrated.sessions.of_account(account.id)] == [""]
    migrated.close()
