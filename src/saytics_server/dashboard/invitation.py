"""An invitation's link: join with a new account, with one's own, or as who is logged in."""

from __future__ import annotations

from functools import partial
from urllib.parse import urlencode

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from saytics_server.accounts import Session, Workspace
from saytics_server.accounts.invitations import Invitation
from saytics_server.accounts.rules import PASSWORD_MIN_CHARACTERS
from saytics_server.dashboard.context import DashboardContext
from saytics_server.dashboard.render import redirect, render
from saytics_server.dashboard.visitor import (
    SignedOut,
    Visitor,
    begin_session,
    browser_name,
    check_cookie_form,
    check_form_token,
    form_token,
    keep_form_token,
    read_form,
    visitor,
)
from saytics_server.errors import Refused


class InvitationPage(msgspec.Struct, frozen=True):
    """The way in. `account` is the e-mail of who is logged in, '' for nobody."""

    token: str
    csrf_token: str
    workspace: str
    role: str
    account: str
    email: str
    refusal: str
    password_characters_min: int


async def show_invitation(request: Request, context: DashboardContext) -> Response:
    """GET /invitation?token=…"""
    return await _page(request, context, request.query_params.get("token", ""))


async def accept_invitation(request: Request, context: DashboardContext) -> Response:
    """POST /invitation: a member, logged in; or the form again with the reason."""
    form = await read_form(request)
    token = form.get("token", "")
    member = await _member(request, context)
    if member is not None:
        check_form_token(request, form, member.session.csrf_token)
    else:
        check_cookie_form(request, form, context)
    try:
        if member is not None:
            accept = context.accounts.invitations.accept
            workspace_id = await run_in_threadpool(accept, token, member.account)
            session = None
        else:
            workspace_id, session = await run_in_threadpool(_join, request, context, form)
    except Refused as refused:
        if refused.kind.code == "not_found":
            raise
        return await _page(request, context, token, form.get("email", ""), refused)
    joined = context.accounts.workspace(workspace_id)
    assert joined is not None, "workspaces stay"
    response = redirect("/?" + urlencode({"workspace": joined.slug}))
    if session is not None:
        begin_session(response, session, context)
    return response


def _join(request: Request, context: DashboardContext, form: dict[str, str]) -> tuple[int, Session]:
    """Make the account or log it in, and make it a member of the workspace that is returned."""
    accounts, token = context.accounts, form.get("token", "")
    email, password = form.get("email", "").strip(), form.get("password", "")
    login = partial(
        accounts.login,
        email,
        password,
        client_address=context.client_address(request),
        user_agent=browser_name(request),
    )
    if form.get("account") == "new":
        return accounts.invitations.accept_as_new(token, email, password), login()
    # Nobody without a link tries passwords here.
    accounts.invitations.find(token)
    session = login()
    assert session.token is not None
    found = accounts.session(session.token)
    assert found is not None, "it was just begun"
    try:
        return accounts.invitations.accept(token, found[1]), session
    except Refused:
        accounts.logout(session.token)
        raise


async def _member(request: Request, context: DashboardContext) -> Visitor | None:
    try:
        return await visitor(request, context)
    except SignedOut:
        return None


async def _page(
    request: Request,
    context: DashboardContext,
    token: str,
    email: str = "",
    refused: Refused | None = None,
) -> Response:
    invitation, workspace = await run_in_threadpool(_invited_to, context, token)
    member = await _member(request, context)
    page = InvitationPage(
        token=token,
        csrf_token=member.session.csrf_token if member else form_token(request, context),
        workspace=workspace.name,
        role=invitation.role,
        account=member.account.email if member else "",
        email=email,
        refusal=refused.rejection.message if refused else "",
        password_characters_min=PASSWORD_MIN_CHARACTERS,
    )
    status = refused.kind.status if refused else 200
    headers = refused.headers if refused else None
    response = render("invitation.html", page, status=status, headers=headers)
    if member is None:
        keep_form_token(response, page.csrf_token, context)
    return response


def _invited_to(context: DashboardContext, token: str) -> tuple[Invitation, Workspace]:
    invitation = context.accounts.invitations.find(token)
    workspace = context.accounts.workspace(invitation.workspace_id)
    assert workspace is not None, "workspaces stay"
    return invitation, workspace
