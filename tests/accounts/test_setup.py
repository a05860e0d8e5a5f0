import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from saytics_server.accounts import Accounts, bootstrap
from saytics_server.errors import Failure, Refused

PASSWORD = "correct horse battery"


def outcome(accounts: Accounts, token: str, email: str = "zoë@example.com") -> str | None:
    """Return the field that first set-up is refused for, or None if it succeeds."""
    try:
        accounts.create_first_account(token, email, PASSWORD)
    except Refused as refused:
        return refused.rejection.field
    return None


def test_the_setup_token_makes_one_admin_of_everything(accounts, tmp_path):
    """The token works once; its bearer becomes admin of every workspace."""
    workspaces = [accounts.create_workspace("Shop"), accounts.create_workspace("Demo")]
    token = accounts.setup_token()
    assert not accounts.has_accounts()
    account = accounts.create_first_account(token, "Zoë@example.com", PASSWORD)
    assert accounts.has_accounts()
    assert accounts.workspaces_of(account.id) == [(found, "admin") for found in workspaces]
    assert accounts.login("zoë@example.com", PASSWORD).account_id == account.id
    assert outcome(accounts, token, "ann@example.com") == "token"
    assert not (tmp_path / "setup-token").exists()
    with pytest.raises(Failure):
        accounts.setup_token()


@pytest.mark.parametrize("wrong", ["", "x", "\ud800", "A" * 32, "A" * 1_000_000])
def test_without_the_token_there_is_no_account(accounts, wrong):
    """Whoever asks without the right token is refused, before and after one was made."""
    assert outcome(accounts, wrong) == "token"
    accounts.setup_token()
    assert outcome(accounts, wrong) == "token"
    assert outcome(accounts, wrong, "not an e-mail") == "token"
    assert not accounts.has_accounts()


def test_a_refused_form_does_not_use_up_the_token(accounts):
    """A bad e-mail can be corrected on the same page."""
    token = accounts.setup_token()
    assert outcome(accounts, token, "not an e-mail") == "email"
    assert outcome(accounts, token) is None


def test_the_token_survives_a_restart(accounts, tmp_path, clock):
    """A second start prints the same link, from a file only the owner reads."""
    token = accounts.setup_token()
    assert accounts.setup_token() == token
    assert stat.S_IMODE((tmp_path / "setup-token").stat().st_mode) == 0o600
    accounts.close()
    assert token.encode() not in (tmp_path / "meta.db").read_bytes()
    reopened = Accounts.open(tmp_path, clock)
    assert reopened.setup_token() == token
    assert outcome(reopened, token) is None
    reopened.close()


@pytest.mark.parametrize("content", [None, b"", b"another-token", b"\xff\xfe"])
def test_a_lost_or_changed_file_means_a_new_token(accounts, tmp_path, content):
    """What the database does not know is no token, and the old one ends with its file."""
    old = accounts.setup_token()
    path = tmp_path / "setup-token"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    new = accounts.setup_token()
    assert new != old
    assert path.read_text() == new + "\n"
    assert outcome(accounts, old) == "token"
    assert outcome(accounts, new) is None


def test_two_at_once_make_one_account(accounts):
    """Of five requests with the token at once, one succeeds."""
    token = accounts.setup_token()
    with ThreadPoolExecutor(5) as pool:
        fields = list(pool.map(lambda n: outcome(accounts, token, f"{n}@example.com"), range(5)))
    assert sorted(fields, key=str) == [None] + ["token"] * 4


def test_any_first_account_ends_setup(accounts, tmp_path):
    """The token is worth nothing once an account was made in another way."""
    token = accounts.setup_token()
    accounts.create_account("zoë@example.com", PASSWORD)
    assert outcome(accounts, token, "ann@example.com") == "token"
    assert not (tmp_path / "setup-token").exists()


def test_bootstrap_needs_no_values(accounts):
    """Without settings the first workspace is UTC, starts on Monday and has two working keys."""
    made = bootstrap(accounts)
    assert (made.workspace.timezone, made.workspace.week_start) == ("UTC", 0)
    for text, key_class in ((made.secret_key, "secret"), (made.write_key, "write")):
        key, workspace = accounts.authenticate(text)
        assert (key.key_class, workspace) == (key_class, made.workspace)
    assert not accounts.has_accounts()


def test_bootstrap_takes_every_value(accounts):
    """Given settings are used as they are, and the account is admin."""
    made = bootstrap(
        accounts,
        secret_key="sk_live_chosen_by_operator",
        write_key="sk_write_chosen_by_operator",
        email="Zoë@example.com",
        password=PASSWORD,
        timezone="Asia/Kathmandu",
        week_start="Sunday",
    )
    assert made.secret_key == "sk_live_chosen_by_operator"
    assert accounts.authenticate("sk_live_chosen_by_operator")
    assert accounts.authenticate("sk_write_chosen_by_operator")
    assert (made.workspace.timezone, made.workspace.week_start) == ("Asia/Kathmandu", 6)
    session = accounts.login("zoë@example.com", PASSWORD)
    assert accounts.workspaces_of(session.account_id) == [(made.workspace, "admin")]


@pytest.mark.parametrize(
    ("values", "setting"),
    [
        ({"secret_key": "sk_write_aaaaaaaaaaaaaaaa"}, "SECRET_KEY"),
        ({"secret_key": "sk_live_aaaaaaaaaaa"}, "SECRET_KEY"),
        ({"secret_key": ""}, "SECRET_KEY"),
        ({"write_key": "sk_live_aaaaaaaaaaaaaaaa"}, "WRITE_KEY"),
        ({"email": "ann@example.com"}, "PASSWORD"),
        ({"password": PASSWORD}, "EMAIL"),
        ({"email": "ann", "password": PASSWORD}, "EMAIL"),
        ({"email": "ann@example.com", "password": "nine char"}, "PASSWORD"),
        ({"timezone": "Berlin"}, "TIMEZONE"),
        ({"week_start": "mon"}, "WEEK_START"),
        ({"week_start": "7"}, "WEEK_START"),
        ({"week_start": ""}, "WEEK_START"),
    ],
)
def test_bootstrap_names_the_wrong_setting(accounts, values, setting):
    """A wrong setting fails the start in one line, never shows a secret, and stores nothing."""
    with pytest.raises(Failure) as failure:
        bootstrap(accounts, **values)
    assert f"SAYTICS_BOOTSTRAP_{setting} " in str(failure.value)
    assert "\n" not in str(failure.value)
    for name in ("secret_key", "write_key", "password"):
        assert not values.get(name) or values[name] not in str(failure.value)
    assert accounts.workspaces() == []
    assert not accounts.has_accounts()


@pytest.mark.parametrize(("text", "weekday"), [("0", 0), ("6", 6), (" TUESDAY ", 1)])
def test_week_start_is_a_name_or_a_digit(accounts, text, weekday):
    """English weekday names in any case and 0 to 6 are understood."""
    assert bootstrap(accounts, week_start=text).workspace.week_start == weekday


def test_bootstrap_happens_once(accounts):
    """A second bootstrap is refused and changes nothing."""
    first = bootstrap(accounts)
    with pytest.raises(Failure):
        bootstrap(accounts, secret_key="sk_live_second_bootstrap")
    assert accounts.workspaces() == [first.workspace]
    assert accounts.authenticate("sk_live_second_bootstrap") is None
