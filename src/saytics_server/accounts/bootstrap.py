"""The first workspace, from settings an operator may give for unattended starts."""

from __future__ import annotations

import msgspec

from saytics_server.accounts import keys, rules
from saytics_server.accounts.accounts import Accounts
from saytics_server.accounts.model import Workspace
from saytics_server.errors import Failure


class Bootstrap(msgspec.Struct, frozen=True, kw_only=True):
    """What a first start made. The only time the secret key is seen in full."""

    workspace: Workspace
    secret_key: str
    write_key: str


def bootstrap(  # noqa: PLR0913 - one parameter per setting of the contract
    accounts: Accounts,
    *,
    secret_key: str | None = None,
    write_key: str | None = None,
    email: str | None = None,
    password: str | None = None,
    timezone: str | None = None,
    week_start: str | None = None,
) -> Bootstrap:
    """Make the first workspace, its keys and, given `email` and `password`, its admin.

    The values are the settings' texts; None is a setting not given: keys by chance, UTC, Monday,
    no account. Raises Failure naming the setting that is wrong, never its value if that is
    secret; nothing is stored then, nor if a crash comes in between.
    """
    for key_class, key in (("secret", secret_key), ("write", write_key)):
        if key is not None:
            _check(f"{key_class}_key", keys.chosen_key_problem(key, key_class))
    if timezone is not None:
        _check("timezone", rules.timezone_problem(timezone))
    login = _login(email, password)
    first_weekday = 0 if week_start is None else _weekday(week_start)
    secret_key = secret_key or keys.new_key("secret")
    write_key = write_key or keys.new_key("write")
    workspace = accounts.create_first_workspace(
        timezone=timezone or "UTC",
        week_start=first_weekday,
        secret_key=secret_key,
        write_key=write_key,
        login=login,
    )
    return Bootstrap(workspace=workspace, secret_key=secret_key, write_key=write_key)


def _login(email: str | None, password: str | None) -> tuple[str, str] | None:
    if email is None and password is None:
        return None
    if email is None:
        raise _wrong("email", "is missing, but a password was given")
    if password is None:
        raise _wrong("password", "is missing, but an e-mail was given")
    _check("email", rules.email_problem(rules.compared_email(email)))
    _check("password", rules.password_problem(password))
    return email, password


def _weekday(week_start: str) -> int:
    weekday = rules.parse_week_start(week_start)
    if weekday is None:
        raise _wrong("week_start", f"must be one of {', '.join(rules.WEEKDAYS)}, or 0 to 6")
    return weekday


def _check(setting: str, problem: str | None) -> None:
    if problem is not None:
        raise _wrong(setting, problem)


def _wrong(setting: str, problem: str) -> Failure:
    return Failure(
        "reading the bootstrap settings",
        f"SAYTICS_BOOTSTRAP_{setting.upper()} {problem}",
        "Correct it, or leave it out for the default.",
    )
