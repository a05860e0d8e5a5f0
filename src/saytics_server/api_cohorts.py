"""The /v1 routes of saved cohorts and of links: parse, call, render. Part of api.py.

    GET  POST          /v1/cohorts                 GET   /v1/links
    GET  PUT  DELETE   /v1/cohorts/{id}            GET   /v1/users/{id}/links
    GET                /v1/cohorts/{id}/persons    POST  /v1/links/undo

What the module needs of api.py comes in as a `Rim`, so that neither imports the other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from saytics_server.accounts import Accounts
from saytics_server.accounts.cohorts import Cohort
from saytics_server.errors import Refused
from saytics_server.query import links
from saytics_server.query.document import read_document
from saytics_server.query.model import Frame, Parameters
from saytics_server.query.periods import utc_text
from saytics_server.query.reading import Reader
from saytics_server.query.reports import PERSONS_DEFAULT, PERSONS_MAX, PersonsDocument
from saytics_server.saved_cohorts import deleting, persons_of, saving
from saytics_server.store import Store

_ID_DIGITS_MAX = 18
_USERS, _LINKS = b"/v1/users/", b"/links"

# Undoes every link between an anonymous id and a user id of a workspace; durable on return.
Unlink = Callable[[int, str, str], Awaitable[None]]


class Rim(msgspec.Struct, frozen=True):
    """How requests are read and answered: who asks, the JSON of a body, a JSON answer, and the
    answer of work that asks the store."""

    asking: Callable[[Request], Frame]
    body: Callable[[Request], Awaitable[Any]]
    answer: Callable[[Any], Response]
    found: Callable[..., Awaitable[Response]]


class SavedDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of a cohort is chosen by who saves it."""

    name: str
    definition: dict[str, Any]


def routes(accounts: Accounts, store: Store, rim: Rim, unlink: Unlink | None) -> list[BaseRoute]:
    """Return every route of this module; before that of /v1/users/{id}."""
    saved = _SavedCohorts(accounts, store, rim)
    linked = _Linked(store, rim, unlink)
    return [
        Route("/v1/cohorts", saved.list, methods=["GET"]),
        Route("/v1/cohorts", saved.create, methods=["POST"]),
        Route("/v1/cohorts/{cohort_id}", saved.one, methods=["GET"]),
        Route("/v1/cohorts/{cohort_id}", saved.replace, methods=["PUT"]),
        Route("/v1/cohorts/{cohort_id}", saved.delete, methods=["DELETE"]),
        Route("/v1/cohorts/{cohort_id}/persons", saved.persons, methods=["GET"]),
        Route("/v1/links", linked.list, methods=["GET"]),
        _UserLinks("/v1/users/{user_id:path}/links", linked.of_user, methods=["GET"]),
        Route("/v1/links/undo", linked.undo, methods=["POST"]),
    ]


# --- cohorts --------------------------------------------------------------------------------------


class _SavedCohorts:
    def __init__(self, accounts: Accounts, store: Store, rim: Rim) -> None:
        self._accounts = accounts
        self._store = store
        self._rim = rim

    async def list(self, request: Request) -> Response:
        frame = self._rim.asking(request)
        found = await run_in_threadpool(self._accounts.cohorts.all, frame.workspace_id)
        data = [_shown(cohort, whole=False) for cohort in found.values()]
        return self._rim.answer({"status": "ok", "data": data})

    async def create(self, request: Request) -> Response:
        frame = self._rim.asking(request)
        sent = read_document(await self._rim.body(request), SavedDocument)
        made = await run_in_threadpool(
            self._accounts.cohorts.create,
            frame.workspace_id,
            sent.name,
            sent.definition,
            saving(frame),
        )
        return self._answered(made)

    async def one(self, request: Request) -> Response:
        frame = self._rim.asking(request)
        return self._answered(
            await run_in_threadpool(self._accounts.cohorts.get, frame.workspace_id, _id_in(request))
        )

    async def replace(self, request: Request) -> Response:
        frame = self._rim.asking(request)
        cohort_id = _id_in(request)
        sent = read_document(await self._rim.body(request), SavedDocument)
        changed = await run_in_threadpool(
            self._accounts.cohorts.update,
            frame.workspace_id,
            cohort_id,
            sent.name,
            sent.definition,
            saving(frame),
        )
        return self._answered(changed)

    async def delete(self, request: Request) -> Response:
        frame = self._rim.asking(request)
        await run_in_threadpool(
            self._accounts.cohorts.delete, frame.workspace_id, _id_in(request), deleting(frame)
        )
        return self._rim.answer({"status": "ok"})

    async def persons(self, request: Request) -> Response:
        frame = self._rim.asking(request)
        given = Parameters(request.query_params.multi_items(), ("limit", "cursor"))
        page = PersonsDocument(
            query={},
            limit=given.whole_number("limit", PERSONS_DEFAULT, most=PERSONS_MAX),
            cursor=given.one("cursor"),
        )
        cohort_id = _id_in(request)
        await run_in_threadpool(self._accounts.cohorts.get, frame.workspace_id, cohort_id)

        def read() -> dict[str, Any]:
            return persons_of(Reader(self._store, frame), cohort_id, page)

        return await self._rim.found(request, read)

    def _answered(self, cohort: Cohort) -> Response:
        return self._rim.answer({"status": "ok", "cohort": _shown(cohort, whole=True)})


def _shown(cohort: Cohort, *, whole: bool) -> dict[str, Any]:
    return {
        "id": str(cohort.id),
        "name": cohort.name,
        **({"definition": cohort.definition} if whole else {}),
        "created_at": utc_text(cohort.created_at_ms),
        "updated_at": utc_text(cohort.updated_at_ms),
    }


def _id_in(request: Request) -> int:
    text = request.path_params["cohort_id"]
    if not (text.isascii() and text.isdigit() and len(text) <= _ID_DIGITS_MAX):
        raise Refused("not_found", "There is no cohort of this id.")
    return int(text)


# --- links ----------------------------------------------------------------------------------------


class _UserLinks(Route):
    """The links of a user, whose id may end in `/links` itself: told apart before decoding."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if not scope.get("raw_path", b"").endswith(_LINKS):
            return Match.NONE, {}
        return super().matches(scope)


class _Linked:
    def __init__(self, store: Store, rim: Rim, unlink: Unlink | None) -> None:
        self._store = store
        self._rim = rim
        self._unlink = unlink

    async def list(self, request: Request) -> Response:
        frame = self._rim.asking(request)
        query = links.parse(request.query_params.multi_items())
        return await self._answered(request, frame, query)

    async def of_user(self, request: Request) -> Response:
        frame = self._rim.asking(request)
        raw: bytes = request.scope["raw_path"]
        user_id = unquote(raw[len(_USERS) : -len(_LINKS)].decode("ascii", "replace"))
        query = links.parse_of_user(user_id, request.query_params.multi_items())
        return await self._answered(request, frame, query)

    async def undo(self, request: Request) -> Response:
        frame = self._rim.asking(request)
        sent = links.parse_undo(await self._rim.body(request))
        assert self._unlink is not None, "the server gives it"
        await self._unlink(frame.workspace_id, sent.anonymousId, sent.userId)
        return self._rim.answer({"status": "ok"})

    async def _answered(self, request: Request, frame: Frame, query: links.LinksQuery) -> Response:
        def read() -> dict[str, Any]:
            return links.run(Reader(self._store, frame), query)

        return await self._rim.found(request, read)
