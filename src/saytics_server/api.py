"""The /v1 routes that read, and the few that tell about the server: parse, call, render.

Blocking work runs in threads; every answer is JSON; a `Refused` raised anywhere below becomes the
one error shape. Nothing here computes a number.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from saytics_server.accounts import Accounts, Key, Workspace
from saytics_server.clock import Clock
from saytics_server.collect import PATHS
from saytics_server.errors import Refused, Rejection, error_body
from saytics_server.openapi import document
from saytics_server.query import active_users, event_list, profile, trends
from saytics_server.query.model import Frame
from saytics_server.store import Store

logger = logging.getLogger("saytics.api")

_encode = msgspec.json.Encoder(decimal_format="number").encode

Report = Callable[[Store, Any], dict[str, Any]]
Parse = Callable[[Sequence[tuple[str, str]], Frame], Any]


class Api:
    """The routes, over the parts they read from."""

    def __init__(
        self, accounts: Accounts, store: Store, clock: Clock, is_ready: Callable[[], str | None]
    ) -> None:
        self._accounts = accounts
        self._store = store
        self._clock = clock
        self._is_ready = is_ready

    def routes(self) -> list[BaseRoute]:
        """Return every route of this module."""
        return [
            Route("/healthz", self._healthz, methods=["GET"]),
            Route("/readyz", self._readyz, methods=["GET"]),
            Route("/v1/openapi.json", self._openapi, methods=["GET"]),
            # The collector stands before these; here they only say which methods there are.
            *(Route(path, _collected, methods=["POST"]) for path in sorted(PATHS)),
            Route("/v1/events", self._report(event_list.parse, event_list.run), methods=["GET"]),
            Route("/v1/users/{user_id:path}", self._user, methods=["GET"]),
            Route("/v1/reports/events", self._report(trends.parse, trends.run), methods=["GET"]),
            Route(
                "/v1/reports/users",
                self._report(active_users.parse, active_users.run),
                methods=["GET"],
            ),
        ]

    async def _healthz(self, _: Request) -> Response:
        return answer({"status": "ok"})

    async def _readyz(self, _: Request) -> Response:
        if code := self._is_ready():
            raise Refused(code)
        return answer({"status": "ok"})

    async def _openapi(self, request: Request) -> Response:
        return answer(document(str(request.base_url).rstrip("/")))

    async def _user(self, request: Request) -> Response:
        _, workspace = self._authorise(request)
        user_id = request.path_params["user_id"]
        found = await run_in_threadpool(profile.run, self._store, self._frame(workspace), user_id)
        return answer(found)

    def _report(self, parse: Parse, run: Report) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            _, workspace = self._authorise(request)
            query = parse(request.query_params.multi_items(), self._frame(workspace))
            return answer(await run_in_threadpool(run, self._store, query))

        return endpoint

    def _authorise(self, request: Request) -> tuple[Key, Workspace]:
        """Return the secret key and its workspace, or refuse."""
        authorization = request.headers.get("authorization")
        if authorization is None:
            raise Refused("missing_key")
        scheme, _, key = authorization.partition(" ")
        found = self._accounts.authenticate(key.strip()) if scheme.lower() == "bearer" else None
        if found is None:
            raise Refused("invalid_key")
        if found[0].key_class != "secret":
            raise Refused(
                "insufficient_scope", "A write key may only send events; use a secret key."
            )
        if "origin" in request.headers:
            raise Refused("secret_key_exposed")
        if found[0].scope != "all":
            raise Refused("insufficient_scope", "This secret key was made for sending only.")
        return found

    def _frame(self, workspace: Workspace) -> Frame:
        return Frame(workspace.id, workspace.timezone, workspace.week_start, self._clock.now_ms())


async def _collected(_: Request) -> Response:
    raise AssertionError("the collector answers this")


def answer(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a JSON response."""
    return Response(_encode(content), status, headers, media_type="application/json")


async def refused(_: Request, error: Exception) -> Response:
    """Answer a Refused in the one error shape."""
    assert isinstance(error, Refused)
    return Response(
        error_body(error.rejection),
        error.kind.status,
        error.headers,
        media_type="application/json",
    )


async def http_error(_: Request, error: Exception) -> Response:
    """Answer what the router refuses, in the one error shape."""
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_http")
    kind = Refused(code)
    return Response(
        error_body(Rejection(code, kind.kind.meaning)),
        error.status_code,
        dict(error.headers or {}),
        media_type="application/json",
    )


async def bug(request: Request, error: Exception) -> Response:
    """Answer a bug: say so, log where, and never what was asked."""
    route = request.scope.get("route")
    logger.error("bug in %s", getattr(route, "path", "no route"), exc_info=error)
    return Response(
        error_body(Refused("internal_error").rejection), 500, media_type="application/json"
    )
