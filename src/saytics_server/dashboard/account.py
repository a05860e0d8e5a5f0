"""Somebody's own account: their sessions and their password."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from saytics_server.accounts.rules import PASSWORD_MIN_CHARACTERS
from saytics_server.accounts.sessions import handle_of
from saytics_server.dashboard.render import render
from saytics_server.dashboard.settings import (
    SECTION,
    AuditRow,
    Frame,
    act_words,
    frame_of,
    status_of,
    time_of,
)
from saytics_server.dashboard.shell import Shell
from saytics_server.dashboard.visit import Visit
from saytics_server.dashboard.visitor import session_token
from saytics_server.errors import Refused

PATH = f"{SECTION}/account"
_ACTS_SHOWN = 10

# As browsers name themselves; the first that fits is taken, for most claim to be others too.
_BROWSERS = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"),
             ("Safari/", "Safari"))  # fmt: skip
_SYSTEMS = (("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows"),
            ("Mac OS", "macOS"), ("Linux", "Linux"))  # fmt: skip


class SessionRow(msgspec.Struct, frozen=True):
    """One log-in of a browser."""

    handle: str
    browser: str
    user_agent: str
    begun: str
    seen: str
    is_this: bool


class AccountPage(msgspec.Struct, frozen=True):
    """The account's page."""

    frame: Frame
    shell: Shell
    email: str
    sessions: list[SessionRow]
    acts: list[AuditRow]
    password_characters_min: int


def show_account(visit: Visit) -> Response:
    """GET /settings/account."""
    return _account_page(visit)


def change_password(visit: Visit) -> Response:
    """POST /settings/account/password: it ends every other session."""
    context, form = visit.context, visit.form
    try:
        context.accounts.change_password(
            visit.member.account,
            form.get("current", ""),
            form.get("password", ""),
            token=session_token(visit.request, context),
            client_address=context.client_address(visit.request),
        )
    except Refused as refused:
        if refused.kind.status not in (400, 429):
            raise
        return _account_page(visit, refused)
    return visit.to(PATH, done="password")


def end_session(visit: Visit) -> Response:
    """POST /settings/account/end."""
    visit.context.accounts.sessions.end_one(visit.member.account, visit.sent("session"))
    return visit.to(PATH, done="ended")


def end_other_sessions(visit: Visit) -> Response:
    """POST /settings/account/end-others."""
    token = session_token(visit.request, visit.context)
    visit.context.accounts.sessions.end_others(visit.member.account, token)
    return visit.to(PATH, done="others")


def _account_page(visit: Visit, refused: Refused | None = None) -> Response:
    accounts, account = visit.context.accounts, visit.member.account
    this = handle_of(session_token(visit.request, visit.context))
    frame = frame_of(visit, PATH, refused)
    page = AccountPage(
        frame=frame,
        shell=frame.shell,
        email=account.email,
        sessions=[
            SessionRow(
                each.handle,
                _browser(each.user_agent),
                each.user_agent,
                time_of(visit, each.created_at_ms),
                time_of(visit, each.seen_at_ms),
                each.handle == this,
            )
            for each in accounts.sessions.of_account(account.id)
        ],
        acts=[
            AuditRow(time_of(visit, each.at_ms), each.actor, act_words(each.act), each.about)
            for each in accounts.audit.of_account(account.id, limit=_ACTS_SHOWN)
        ],
        password_characters_min=PASSWORD_MIN_CHARACTERS,
    )
    headers = refused.headers if refused else None
    return render("settings_account.html", page, status=status_of(refused), headers=headers)


def _browser(user_agent: str) -> str:
    """Word what a browser calls itself: `Firefox on Linux`."""
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), "")
    return " on ".join(part for part in (browser, system) if part) or "Unknown browser"
