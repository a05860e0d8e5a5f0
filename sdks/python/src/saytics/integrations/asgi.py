"""FastAPI and Starlette: one middleware.

    app.add_middleware(SayticsMiddleware, client=Saytics("YOUR_SECRET_KEY"))

    @app.post("/orders")
    async def order(request: Request):
        request.state.saytics.track("Order Completed", {"total": 49.99}, user_id="user_456")

When the application shuts down, what is queued is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from saytics.client import Saytics
from saytics.default import default_client
from saytics.integrations.visit import Visit

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class SayticsMiddleware:
    """Puts a `Visit` into the state of each request; flushes at the end of the application."""

    def __init__(self, app: Application, client: Saytics | None = None) -> None:
        self._app = app
        self._client = client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or the application's life."""
        client = self._client or default_client()
        if scope["type"] == "lifespan":
            await self._app(scope, receive, _flushing(send, client))
            return
        if scope["type"] in ("http", "websocket"):
            scope.setdefault("state", {})["saytics"] = _visit(scope, client)
        await self._app(scope, receive, send)


def _visit(scope: Scope, client: Saytics) -> Visit:
    user_agent = next((value for name, value in scope["headers"] if name == b"user-agent"), b"")
    address = scope.get("client")
    return Visit(
        client,
        ip=address[0] if address else None,
        user_agent=user_agent.decode("latin-1"),
    )


def _flushing(send: Send, client: Saytics) -> Send:
    async def send_after_flush(message: Message) -> None:
        if message["type"].startswith("lifespan.shutdown."):
            # Not a shutdown: an application may be started more than once in a process.
            await asyncio.to_thread(client.flush)
        await send(message)

    return send_after_flush
