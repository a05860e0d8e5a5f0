"""What the pages are given by the server that serves them, and nothing else they may reach for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from saytics_server.saved_cohorts import frame_of
from saytics_server.store.turns import Asker

if TYPE_CHECKING:
    from starlette.requests import Request

    from saytics_server.accounts import Accounts, Workspace
    from saytics_server.clock import Clock
    from saytics_server.dashboard.visitor import Visitor
    from saytics_server.query.model import Frame
    from saytics_server.questions import Questions
    from saytics_server.store import Store


class Live(Protocol):
    """The newest accepted events, from memory."""

    def recent(self, workspace_id: int, after_position: int, limit: int) -> list[dict[str, Any]]:
        """Return events past a position, newest first, each in the public API's shape."""
        ...

    def last_position(self, workspace_id: int) -> int:
        """Return the position of the newest event; 0 if none ever arrived."""
        ...


Found = TypeVar("Found")


async def _no_log(_workspace_id: int, _anonymous_id: str, _user_id: str) -> None:
    raise AssertionError("the server that serves the pages gives its own")


def _peer(request: Request) -> str:
    return request.client.host if request.client else ""


class DashboardContext(msgspec.Struct):
    """The parts the pages stand on.

    `public_url` answers the address users reach this server at; `client_address` the one a request
    came from, for which failed logins are counted.
    `unlink` undoes the links of an anonymous id and a user id of a workspace, durable on return.
    The package paths are where this server serves its own SDKs; pip takes a wheel only under its
    full file name, so that path carries the version.
    """

    accounts: Accounts
    store: Store
    live: Live
    clock: Clock
    public_url: Callable[[Request], str]
    questions: Questions
    secure_cookies: bool
    client_address: Callable[[Request], str] = _peer
    unlink: Callable[[int, str, str], Awaitable[None]] = _no_log
    node_package_path: str = "/sdk/node.tgz"
    python_package_path: str = "/sdk/saytics-0.1.0-py3-none-any.whl"

    def frame(self, workspace: Workspace) -> Frame:
        """Return the frame that the API would ask in for this workspace."""
        return frame_of(self.accounts, workspace, self.clock.now_ms())

    async def found(
        self,
        request: Request,
        member: Visitor,
        workspace: Workspace,
        work: Callable[..., Found],
        *arguments: Any,
    ) -> Found:
        """Return what blocking `work` finds in the store about a workspace, as Questions.ask.

        Of those who ask for one address one has it worked out.
        """
        asker = Asker(workspace.id, f"account {member.account.id}")
        found = await self.questions.ask(request, asker, work, *arguments, same=str(request.url))
        return found.answer
