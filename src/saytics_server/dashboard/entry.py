"""The way in and out: login, logout, and the first account at the set-up address.

Every form here works without a script. A refusal shows the form again with what was typed, the
password excepted.
"""

from __future__ import annotations

from functools import partial

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from saytics_server.accounts import Session
from saytics_server.accounts.rules import PASSWORD_MIN_CHARACTERS
from saytics_server.dashboard.context import DashboardContext
from saytics_server.dashboard.render import redirect, render
from saytics_server.dashboard.visitor import (
    SignedOut,
    Visitor,
    begin_session,
    browser_name,
    check_cookie_form,
    end_session,
    form_token,
    keep_form_token,
    read_form,
    safe_next,
    visitor,
)
from saytics_server.errors import Refused


class LoginPage(msgspec.Struct, frozen=True):
    """The login form. Without any account yet it says where the first one is made."""

    csrf_token: str
    next: str
    email: str
    refusal: str | None
    has_accounts: bool


class SetUpPage(msgspec.Struct, frozen=True):
    """The form of the first account. `token` is the one of the set-up address."""

    csrf_token: str
    token: str
    email: str
    refusal: str | None
    password_characters_min: int


async def show_login(request: Request, context: DashboardContext) -> Response:
    """GET /login."""
    try:
        await visitor(request, context)
    except SignedOut:
        target = safe_next(request.query_params.get("next", "/"))
        return await _login_form(request, context, target=target)
    return redirect("/")


async def log_in(request: Request, context: DashboardContext) -> Response:
    """POST /login: a session and the page asked for, or the form again with the reason."""
    form = await read_form(request)
    check_cookie_form(request, form, context)
    email, target = form.get("email", "").strip(), safe_next(form.get("next", "/"))
    login = partial(
        context.accounts.login,
        client_address=context.client_address(request),
        user_agent=browser_name(request),
    )
    try:
        session = await run_in_threadpool(login, email, form.get("password", ""))
    except Refused as refused:
        return await _login_form(request, context, target=target, email=email, refused=refused)
    return _signed_in(session, target, context)


async def log_out(request: Request, context: DashboardContext, member: Visitor) -> Response:
    """POST /logout."""
    response = redirect("/login")
    await end_session(request, response, context)
    return response


async def show_set_up(request: Request, context: DashboardContext) -> Response:
    """GET /setup?token=…: the form, as long as there is no account."""
    if await run_in_threadpool(context.accounts.has_accounts):
        return redirect("/login")
    return _set_up_form(request, context, token=request.query_params.get("token", ""))


async def make_first_account(request: Request, context: DashboardContext) -> Response:
    """POST /setup: the first account, logged in at once, or the form again with the reason."""
    form = await read_form(request)
    check_cookie_form(request, form, context)
    token, email, password = (form.get(name, "") for name in ("token", "email", "password"))
    email = email.strip()
    try:
        await run_in_threadpool(context.accounts.create_first_account, token, email, password)
        login = partial(context.accounts.login, user_agent=browser_name(request))
        session = await run_in_threadpool(login, email, password)
    except Refused as refused:
        return _set_up_form(request, context, token=token, email=email, refused=refused)
    return _signed_in(session, "/", context)


def _signed_in(session: Session, target: str, context: DashboardContext) -> Response:
    response = redirect(target)
    begin_session(response, session, context)
    return response


async def _login_form(
    request: Request,
    context: DashboardContext,
    *,
    target: str,
    email: str = "",
    refused: Refused | None = None,
) -> Response:
    page = LoginPage(
        csrf_token=form_token(request, context),
        next=target,
        email=email,
        refusal=refused.rejection.message if refused else None,
        has_accounts=await run_in_threadpool(context.accounts.has_accounts),
    )
    return _form("login.html", page, page.csrf_token, refused, context)


def _set_up_form(
    request: Request,
    context: DashboardContext,
    *,
    token: str,
    email: str = "",
    refused: Refused | None = None,
) -> Response:
    page = SetUpPage(
        csrf_token=form_token(request, context),
        token=token,
        email=email,
        refusal=refused.rejection.message if refused else None,
        password_characters_min=PASSWORD_MIN_CHARACTERS,
    )
    return _form("first_account.html", page, page.csrf_token, refused, context)


def _form(
    template: str,
    page: msgspec.Struct,
    csrf_token: str,
    refused: Refused | None,
    context: DashboardContext,
) -> Response:
    status = refused.kind.status if refused else 200
    response = render(template, page, status=status, headers=refused.headers if refused else None)
    keep_form_token(response, csrf_token, context)
    return response
