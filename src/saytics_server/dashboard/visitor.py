"""Who is asking, and may this request change anything.

In: cookies and forms. Out: a `Visitor`, or a refusal. A session lives in a cookie that scripts
cannot read; every form carries a token that other sites cannot know: the session's own, or before
there is a session the one of a cookie set with the form.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from saytics_server.accounts import Account, Session, Workspace
from saytics_server.errors import Refused

if TYPE_CHECKING:
    from saytics_server.dashboard.context import DashboardContext

# Forms of strangers hold an e-mail, a password or a name.
FORM_BYTES_MAX = 16_384
# A member's may hold a cohort's list of 10,000 ids.
MEMBER_FORM_BYTES_MAX = 1_000_000
# Long enough for a page left open over lunch; a new form renews it.
FORM_COOKIE_AGE_S = 86_400
_FORM_TOKEN = re.compile(r"[A-Za-z0-9_-]{32,64}\Z")
# Where a login may lead: a page of this server, whatever its query. One slash and then no second
# one, no backslash, no control character: nothing that a browser reads as another host. What
# pages load piece by piece is no page.
_NEXT = re.compile(
    r"/(?!/|login|logout|setup|home/|[a-z/]*/older)[a-z0-9/-]*(\?[A-Za-z0-9_=&.%+*~-]*)?\Z"
)


class SignedOut(Exception):  # noqa: N818 - it leads to the login page
    """There is no session, or it has ended."""


class Membership(msgspec.Struct, frozen=True):
    """A workspace the visitor may see, and as what."""

    workspace: Workspace
    role: str


class Visitor(msgspec.Struct, frozen=True):
    """Somebody logged in."""

    account: Account
    session: Session
    memberships: list[Membership]

    def membership(self, slug: str | None) -> Membership:
        """Return that of the workspace named in the address, or of the first, real before demo.

        Raises Refused("not_found") for one that does not exist or is somebody else's: a visitor
        cannot tell which.
        """
        if not self.memberships:
            raise Refused("not_found", "Your account is a member of no workspace yet.")
        if slug is None:
            return min(self.memberships, key=lambda membership: membership.workspace.demo)
        for membership in self.memberships:
            if membership.workspace.slug == slug:
                return membership
        raise Refused("not_found", "You are a member of no workspace of that name.")

    def workspace(self, slug: str | None) -> Workspace:
        """Return the workspace of `membership`."""
        return self.membership(slug).workspace


def _cookie_name(purpose: str, context: DashboardContext) -> str:
    # Browsers take the prefix only over HTTPS, and then let no sibling host overwrite the cookie.
    return f"__Host-saytics_{purpose}" if context.secure_cookies else f"saytics_{purpose}"


def _set_cookie(
    response: Response, purpose: str, value: str, age_s: int, context: DashboardContext
) -> None:
    response.set_cookie(
        _cookie_name(purpose, context),
        value,
        max_age=age_s,
        path="/",
        httponly=True,
        samesite="lax",
        secure=context.secure_cookies,
    )


async def visitor(request: Request, context: DashboardContext) -> Visitor:
    """Return who is asking. Raises SignedOut."""
    token = request.cookies.get(_cookie_name("session", context))
    if token is None:
        raise SignedOut
    found = await run_in_threadpool(context.accounts.session, token)
    if found is None:
        raise SignedOut
    session, account = found
    memberships = await run_in_threadpool(context.accounts.workspaces_of, account.id)
    return Visitor(
        account, session, [Membership(workspace, role) for workspace, role in memberships]
    )


def session_token(request: Request, context: DashboardContext) -> str:
    """Return the token of the session that a request came with; '' without one."""
    return request.cookies.get(_cookie_name("session", context), "")


def browser_name(request: Request) -> str:
    """Return what a browser calls itself, for the list of sessions."""
    return request.headers.get("user-agent", "")


def begin_session(response: Response, session: Session, context: DashboardContext) -> None:
    """Give the browser its new session."""
    assert session.token is not None, "only a session just made can be handed out"
    age_s = max(0, session.expires_at_ms - context.clock.now_ms()) // 1000
    _set_cookie(response, "session", session.token, age_s, context)
    _set_cookie(response, "form", "", 0, context)


async def end_session(request: Request, response: Response, context: DashboardContext) -> None:
    """End the session on the server, and take its cookie away."""
    token = request.cookies.get(_cookie_name("session", context))
    if token is not None:
        await run_in_threadpool(context.accounts.logout, token)
    _set_cookie(response, "session", "", 0, context)


def form_token(request: Request, context: DashboardContext) -> str:
    """Return the token for a form shown to somebody without a session: theirs or a new one."""
    token = request.cookies.get(_cookie_name("form", context), "")
    return token if _FORM_TOKEN.match(token) else secrets.token_urlsafe(32)


def keep_form_token(response: Response, token: str, context: DashboardContext) -> None:
    """Give the browser the token that its next form must carry."""
    _set_cookie(response, "form", token, FORM_COOKIE_AGE_S, context)


async def read_form(request: Request, bytes_max: int = FORM_BYTES_MAX) -> dict[str, str]:
    """Return the fields of a posted form; of repeated ones the last. Raises Refused.

    The body can be read once, so what it held is kept with the request.
    """
    known: dict[str, str] | None = getattr(request.state, "form", None)
    if known is not None:
        return known
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > bytes_max:
            raise Refused("body_too_large")
    try:
        request.state.form = dict(parse_qsl(body.decode(), keep_blank_values=True))
    except (UnicodeDecodeError, ValueError):
        raise Refused("invalid_csrf_token") from None
    form: dict[str, str] = request.state.form
    return form


def workspace_asked(request: Request, form: Mapping[str, str]) -> str | None:
    """Return the slug a request names, in its form or else in its address."""
    return form.get("workspace") or request.query_params.get("workspace")


def check_form_token(request: Request, form: dict[str, str], expected: str) -> None:
    """Raise Refused("invalid_csrf_token") unless this form came from a page of ours."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Refused("invalid_csrf_token")
    given = form.get("csrf_token", "")
    if not expected or not hmac.compare_digest(given.encode(), expected.encode()):
        raise Refused("invalid_csrf_token", "This form is too old. Load the page again.")


def check_cookie_form(request: Request, form: dict[str, str], context: DashboardContext) -> None:
    """Check a form that was shown before there was a session."""
    check_form_token(request, form, request.cookies.get(_cookie_name("form", context), ""))


def safe_next(target: str) -> str:
    """Return where to go after the login: `target` if it is a page of ours, else home."""
    return target if _NEXT.match(target) else "/"


def login_address(request: Request) -> str:
    """Return the login page's address that leads back to the page asked for."""
    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if request.method != "GET" or target == "/" or safe_next(target) == "/":
        return "/login"
    return "/login?next=" + quote(target, safe="")
