"""Finished contexts to HTML, with the headers every page carries.

Templates escape everything and compute nothing: a name that a context lacks is an error, not an
empty string. `answering` turns what a handler raises into a page a person can act on.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import jinja2
import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from saytics_server.accounts.permissions import Act, require
from saytics_server.dashboard import assets
from saytics_server.dashboard.context import DashboardContext
from saytics_server.dashboard.visitor import (
    MEMBER_FORM_BYTES_MAX,
    SignedOut,
    Visitor,
    check_form_token,
    login_address,
    read_form,
    visitor,
    workspace_asked,
)
from saytics_server.errors import Refused

_log = logging.getLogger(__name__)

# Nothing but this server's own files. ECharts' SVG renderer writes style attributes, hence
# 'unsafe-inline' for styles; no script but our own files ever runs.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    # `same-origin`, not `no-referrer`: with that, browsers send our own forms with `Origin: null`.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# Tells `dashboard.js` that the body of an error answer is meant to be shown in the page.
ERROR_FRAGMENT_HEADER = "Saytics-Fragment"

_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals["asset"] = assets.address

Handler = Callable[[Request, DashboardContext], Awaitable[Response]]
MemberHandler = Callable[[Request, DashboardContext, Visitor], Awaitable[Response]]


class ErrorPage(msgspec.Struct, frozen=True):
    """What happened, what is safe, what to do; and a code to quote."""

    title: str
    happened: str
    safe: str
    next_step: str
    code: str


def render(
    template: str,
    page: msgspec.Struct,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> HTMLResponse:
    """Return `template` filled with `page`."""
    body = _templates.get_template(template).render(page=page)
    return HTMLResponse(body, status, {**_HEADERS, **(headers or {})})


def no_news() -> Response:
    """Answer a poll that has nothing to show; the page stays as it is."""
    return Response(status_code=204, headers={"Cache-Control": "no-store"})


def redirect(address: str) -> Response:
    """Send the browser to another page of ours, as a GET."""
    return RedirectResponse(address, 303, {"Cache-Control": "no-store"})


def for_anyone(
    handler: Handler, context: DashboardContext
) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of a page that needs no session."""

    async def endpoint(request: Request) -> Response:
        return await _answering(request, handler(request, context))

    return endpoint


def for_members(
    handler: MemberHandler, context: DashboardContext, act: Act
) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of a page that needs a session; without one the login page answers.

    Nothing reaches the handler but what the visitor's role in the workspace may do, and no form
    but one of our own pages.
    """

    async def handle(request: Request) -> Response:
        member = await visitor(request, context)
        form: dict[str, str] = {}
        if request.method not in ("GET", "HEAD"):
            form = await read_form(request, MEMBER_FORM_BYTES_MAX)
            check_form_token(request, form, member.session.csrf_token)
        if act is not Act.OWN_ACCOUNT:
            require(member.membership(workspace_asked(request, form)).role, act)
        return await handler(request, context, member)

    async def endpoint(request: Request) -> Response:
        return await _answering(request, handle(request))

    return endpoint


async def _answering(request: Request, answer: Awaitable[Response]) -> Response:
    try:
        return await answer
    except SignedOut:
        return _to_login(request)
    except Refused as refused:
        return _error(request, refused)
    except Exception:
        # The top of every page: whatever went wrong, the reader gets a page that says so, and the
        # log the cause.
        _log.exception("page_failed", extra={"route": request.url.path})
        return _error(request, Refused("internal_error"))


def _is_fragment(request: Request) -> bool:
    return request.headers.get("hx-request") == "true"


def _to_login(request: Request) -> Response:
    if _is_fragment(request):
        return Response(status_code=401, headers={"HX-Redirect": "/login", **_HEADERS})
    return redirect(login_address(request))


# code: what a title says of it, and what to do; the rest share one wording
_WORDS = {
    "not_found": ("There is nothing here", "Go to the start page and choose from there."),
    "invalid_csrf_token": ("This was not done", "Go back, load the page again, send it once more."),
    "insufficient_scope": ("This was not done", "Ask an administrator of the workspace."),
    "query_timeout": ("This took too long", "Choose a shorter range, or try again later."),
    "query_too_large": ("This is too much at once", "Choose a shorter range."),
    "queries_busy": ("Others are asking", "Wait a few seconds and try again."),
    "internal_error": ("This page failed", "Try again. If it stays, the server's log says more."),
}
_OTHERWISE = ("That did not work", "Check the address, or go to the start page.")


def _error(request: Request, refused: Refused) -> Response:
    title, next_step = _WORDS.get(refused.kind.code, _OTHERWISE)
    page = ErrorPage(
        title=title,
        happened=refused.rejection.message,
        safe="No event was lost; receiving goes on whatever happens to a page.",
        next_step=next_step,
        code=refused.kind.code,
    )
    headers = {**refused.headers, ERROR_FRAGMENT_HEADER: "error"}
    template = "error_fragment.html" if _is_fragment(request) else "error.html"
    return render(template, page, status=refused.kind.status, headers=headers)
