"""One request of a member, with all that a page's function needs; and how pages are declared.

A page is a plain function from `Visit` to a response; it may block, for it runs in a worker thread,
and one that only shows something waits its turn at the store.
What its visitor may do there has been checked before (render.for_members).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from saytics_server.accounts import Actor, Workspace
from saytics_server.accounts.permissions import Act, allows
from saytics_server.dashboard.context import DashboardContext
from saytics_server.dashboard.render import MemberHandler, redirect
from saytics_server.dashboard.shell import Shell, shell_of
from saytics_server.dashboard.visitor import Visitor, read_form, workspace_asked
from saytics_server.query.model import Frame
from saytics_server.query.reading import Reader


class Visit:
    """Who asks, of which workspace, and what was sent."""

    def __init__(
        self,
        request: Request,
        context: DashboardContext,
        member: Visitor,
        form: dict[str, str],
    ) -> None:
        """Take a request whose form has been checked. Raises Refused("not_found")."""
        self.request = request
        self.context = context
        self.member = member
        self.form = form
        self._membership = member.membership(workspace_asked(request, form))

    @property
    def workspace(self) -> Workspace:
        """Return the workspace that is looked at."""
        return self._membership.workspace

    @property
    def by(self) -> Actor:
        """Return who asks, as the audit log names them."""
        return Actor(self.member.account.id, self.member.account.email)

    def may(self, act: Act) -> bool:
        """Tell whether the visitor's role here allows it."""
        return allows(self._membership.role, act)

    def asked(self, name: str) -> str:
        """Return a parameter of the address, trimmed; '' where there is none."""
        return self.request.query_params.get(name, "").strip()

    def sent(self, name: str) -> str:
        """Return a field of the form, trimmed; '' where there is none."""
        return self.form.get(name, "").strip()

    def shell(self, section: str) -> Shell:
        """Return the frame of the page."""
        return shell_of(self.member, self.workspace, section)

    def address(self, path: str, **query: Any) -> str:
        """Return the address of a page of this workspace; what is empty is left out."""
        asked = {"workspace": self.workspace.slug, **query}
        given = {name: value for name, value in asked.items() if value not in ("", None)}
        return f"{path}?{urlencode(given)}"

    def to(self, path: str, **query: Any) -> Response:
        """Send the browser to a page of this workspace."""
        return redirect(self.address(path, **query))

    @cached_property
    def frame(self) -> Frame:
        """Return whose events are asked for, in which calendar, and when."""
        return self.context.frame(self.workspace)

    @cached_property
    def reader(self) -> Reader:
        """Return this request's view of the events."""
        return Reader(self.context.store, self.frame)


async def visit_of(request: Request, context: DashboardContext, member: Visitor) -> Visit:
    """Return the visit of a request that `for_members` let through."""
    form = {} if request.method in ("GET", "HEAD") else await read_form(request)
    return Visit(request, context, member, form)


def page(answer: Callable[[Visit], Response]) -> MemberHandler:
    """Return the handler of a page."""

    async def handler(request: Request, context: DashboardContext, member: Visitor) -> Response:
        visit = await visit_of(request, context, member)
        if request.method in ("GET", "HEAD"):
            return await context.found(request, member, visit.workspace, _read, visit, answer)
        return await run_in_threadpool(answer, visit)

    return handler


def _read(visit: Visit, answer: Callable[[Visit], Response]) -> Response:
    # It may be begun twice (Questions.ask): a reader that was broken off is not gone on with.
    visit.__dict__.pop("reader", None)
    return answer(visit)
