"""The /v1 routes that read, and the few that tell about the server: parse, call, render.

Blocking work runs in threads; every answer is JSON; a `Refused` raised anywhere below becomes the
one error shape. Nothing here computes a number.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Hashable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from saytics_server.accounts import Accounts, Key, Workspace
from saytics_server.api_cohorts import Rim, Unlink
from saytics_server.api_cohorts import routes as cohort_routes
from saytics_server.clock import Clock
from saytics_server.collect import PATHS
from saytics_server.errors import Refused, Rejection, error_body
from saytics_server.openapi import document
from saytics_server.query import event_list, profile, reports
from saytics_server.query.catalogue import (
    events,
    parse_events,
    parse_properties,
    parse_values,
    properties,
    values,
)
from saytics_server.query.document import read_document
from saytics_server.query.model import Frame
from saytics_server.query.reading import Reader
from saytics_server.query.reports import REPORTS, Asked, ExplainDocument, PersonsDocument
from saytics_server.questions import Questions
from saytics_server.saved_cohorts import frame_of
from saytics_server.store.turns import Asker

logger = logging.getLogger("saytics.api")

_encode = msgspec.json.Encoder(decimal_format="number").encode

# A list cohort of 10,000 ids of 256 characters does not fit; a question by hand is 1 kB.
QUERY_BYTES_MAX = 1_000_000


# What senders say they have lost is shown for so many days: a quarter, as the longest preset of
# most pages; older days stay on disk.
DROPPED_DAYS_SHOWN = 90
_DAY_MS = 86_400_000


class Counted(Protocol):
    """What the log counts beside its rows."""

    def usage(self, workspace_id: int, received_ms: int) -> int:
        """Return the events of a month."""

    def dropped(self, workspace_id: int, first_day: int) -> Sequence[Any]:
        """Return `(day, key_id, library, events)`: what senders have lost, by UTC days of 1970."""


class Api:
    """The routes, over the parts they read from."""

    def __init__(  # noqa: PLR0913 - wired once, in server.py
        self,
        accounts: Accounts,
        questions: Questions,
        clock: Clock,
        is_ready: Callable[[], str | None],
        unlink: Unlink | None = None,
        *,
        counted: Counted | None = None,
    ) -> None:
        self._accounts = accounts
        self._store = questions.store
        self._questions = questions
        self._clock = clock
        self._is_ready = is_ready
        self._unlink = unlink
        self._counted = counted

    def routes(self) -> list[BaseRoute]:
        """Return every route of this module."""
        return [
            Route("/healthz", self._healthz, methods=["GET"]),
            Route("/readyz", self._readyz, methods=["GET"]),
            Route("/v1/openapi.json", self._openapi, methods=["GET"]),
            # The collector stands before these; here they only say which methods there are.
            *(Route(path, _collected, methods=["POST"]) for path in sorted(PATHS)),
            Route("/v1/events", self._list(event_list.parse, event_list.run), methods=["GET"]),
            *cohort_routes(
                self._accounts,
                self._store,
                Rim(self._asking, _json, answer, self._found),
                self._unlink,
            ),
            Route("/v1/usage", self._usage, methods=["GET"]),
            Route("/v1/users/{user_id:path}", self._user, methods=["GET"]),
            *(
                Route(f"/v1/reports/{name}", self._report(name), methods=["GET"])
                for name in REPORTS
            ),
            Route("/v1/catalogue/events", self._list(parse_events, events), methods=["GET"]),
            Route(
                "/v1/catalogue/properties",
                self._list(parse_properties, properties),
                methods=["GET"],
            ),
            Route("/v1/catalogue/values", self._list(parse_values, values), methods=["GET"]),
            Route("/v1/reports/query", self._query, methods=["POST"]),
            Route("/v1/reports/persons", self._persons, methods=["POST"]),
            Route("/v1/reports/explain", self._explain, methods=["POST"]),
        ]

    async def _healthz(self, _: Request) -> Response:
        return answer({"status": "ok"})

    async def _readyz(self, _: Request) -> Response:
        if code := self._is_ready():
            raise Refused(code)
        return answer({"status": "ok"})

    async def _openapi(self, request: Request) -> Response:
        return answer(document(str(request.base_url).rstrip("/")))

    async def _usage(self, request: Request) -> Response:
        _, workspace = self._authorise(request)
        counted = self._counted
        assert counted is not None
        now_ms = self._clock.now_ms()
        day = now_ms // _DAY_MS - DROPPED_DAYS_SHOWN + 1
        lost = await run_in_threadpool(counted.dropped, workspace.id, day)
        keys = await run_in_threadpool(self._accounts.keys, workspace.id)
        return answer(
            {
                "status": "ok",
                "month": _date(now_ms // _DAY_MS)[:7],
                "events": counted.usage(workspace.id, now_ms),
                "dropped": _losses(lost, keys),
            }
        )

    async def _user(self, request: Request) -> Response:
        frame, user_id = self._asking(request), request.path_params["user_id"]
        return await self._found(request, profile.run, self._store, frame, user_id)

    def _list(
        self, parse: Callable[..., Any], find: Callable[..., dict[str, Any]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            query = parse(request.query_params.multi_items(), self._asking(request))
            return await self._found(request, find, self._store, query)

        return endpoint

    def _report(self, name: str) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            frame = self._asking(request)
            asked = reports.asked_by_parameters(name, request.query_params.multi_items(), frame)
            same = request.scope["path"], request.scope["query_string"]
            return await self._answered(request, reports.answer, asked, same=same)

        return endpoint

    async def _query(self, request: Request) -> Response:
        frame, content = self._asking(request), await _json(request)
        asked = reports.asked_by_document(content, frame)
        same = request.scope["path"], msgspec.json.encode(content)
        return await self._answered(request, reports.answer, asked, same=same)

    async def _persons(self, request: Request) -> Response:
        frame = self._asking(request)
        document = read_document(await _json(request), PersonsDocument)
        asked = reports.asked_by_document(document.query, frame, "query.")
        return await self._answered(request, reports.persons, asked, document)

    async def _explain(self, request: Request) -> Response:
        frame = self._asking(request)
        document = read_document(await _json(request), ExplainDocument)
        asked = reports.asked_by_document(document.query, frame, "query.")
        return await self._answered(request, reports.explain, asked, document)

    async def _answered(
        self,
        request: Request,
        work: Callable[..., dict[str, Any]],
        asked: Asked,
        *more: Any,
        same: Hashable = None,
    ) -> Response:
        def read() -> dict[str, Any]:
            # A reader for each beginning: it remembers what it has found out.
            return work(Reader(self._store, asked.frame), asked, *more)

        return await self._found(request, read, same=same)

    async def _found(
        self,
        request: Request,
        work: Callable[..., dict[str, Any]],
        *arguments: Any,
        same: Hashable = None,
    ) -> Response:
        """Answer what `work` finds in the store, in its turn. The body must have been read."""
        key = request.state.key
        asker = Asker(key.workspace_id, f"key {key.id}")
        found = await self._questions.ask(request, asker, work, *arguments, same=same)
        kept = "hit" if found.is_kept else "miss"
        return answer(found.answer, headers={"X-Saytics-Cache": kept})

    def _asking(self, request: Request) -> Frame:
        """Return the frame of a request's workspace, or refuse."""
        request.state.key, workspace = self._authorise(request)
        return self._frame(workspace)

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
        return frame_of(self._accounts, workspace, self._clock.now_ms())


def _losses(lost: Sequence[Any], keys: Sequence[Key]) -> list[dict[str, Any]]:
    known = {key.id: key for key in keys}
    return [
        {
            "date": _date(each.day),
            "key": {
                "name": known[each.key_id].name,
                "prefix": known[each.key_id].prefix,
                "class": known[each.key_id].key_class,
            },
            "library": each.library,
            "events": each.events,
        }
        for each in lost
        if each.key_id in known
    ]


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%d")


async def _json(request: Request) -> Any:
    """Return the decoded body. Raises Refused("invalid_json" | "body_too_large")."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > QUERY_BYTES_MAX:
            raise Refused("body_too_large", f"A query is at most {QUERY_BYTES_MAX:,} bytes.")
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused("invalid_json", f"The body is not JSON: {error}.") from None


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
