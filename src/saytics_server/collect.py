"""The hot path: what happens to a request that sends events, step by step.

    authorise   whose key, and may it send
    admit       rate, quota, clock, room in memory; cheap refusals before the body is read
    read        the body, within its size and time
    unpack      its content encoding
    decode      JSON to items
    check       each item to a row, or to a rejection that is kept too
    append      rows to the log; returns when they are on disk
    answer      what became of them

A plain ASGI callable, in front of the framework. In: requests to the three sending endpoints.
Out: rows in the log. Durable when the answer is sent: `append` waits for the fsync. A step either
goes on or raises `Refused`; nothing of a refused request was accepted.
"""

from __future__ import annotations

import asyncio
import calendar
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from time import perf_counter
from typing import Any
from urllib.parse import parse_qs

import msgspec

from saytics_server import event as events
from saytics_server.accounts import Key, Workspace
from saytics_server.clock import Clock
from saytics_server.encodings import unpack
from saytics_server.errors import Refused, Rejection, error_body
from saytics_server.log import AppendResult, Dropped, Log, LogBusyError, LogFullError
from saytics_server.protocol import WHOLE_ANSWER

logger = logging.getLogger("saytics.collect")

BODY_BYTES_MAX = 16 * 1024 * 1024
# A body on its way: 16 MiB over a slow line takes this long at 280 kB/s.
BODY_TIMEOUT_S = 60.0
# All bodies in memory together; beyond it a sender is told to come back.
BODIES_BYTES_MAX = 256 * 1024 * 1024
# A small step back is the clock being disciplined: receipts then stand still instead.
CLOCK_STEP_BACK_MS_MAX = 5_000
# After this many items of a batch other requests get their turn: 2 ms at 10 us each.
ITEMS_PER_TURN = 200
# One request of so many is timed step by step; the clock costs more than the shorter steps.
TIMED_REQUESTS = 16
# The public key may join this many anonymous ids to one user per hour: a person has a few devices.
LINKS_PER_USER_HOUR_MAX = 20
_LINK_USERS_REMEMBERED = 100_000
_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000
# The name of a sender's library, as it is kept beside what it has lost.
LIBRARY_CHARACTERS_MAX = 64

TRACK, BATCH, IDENTIFY = "/v1/events", "/v1/events/batch", "/v1/users/identify"
PATHS = frozenset({TRACK, BATCH, IDENTIFY})

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

_CORS: list[Header] = [
    (b"access-control-allow-origin", b"*"),
    (
        b"access-control-expose-headers",
        b"Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset",
    ),
]
_PREFLIGHT: list[Header] = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, OPTIONS"),
    (
        b"access-control-allow-headers",
        b"Authorization, Content-Type, Content-Encoding, Idempotency-Key",
    ),
    (b"access-control-max-age", b"86400"),
    (b"content-length", b"0"),
]
_JSON: Header = (b"content-type", b"application/json")
_NO_EXTENSIONS: dict[str, Any] = {}
_ACCEPTED_ONE = b'{"status":"ok","received":1}'
_IDENTIFIED = b'{"status":"ok"}'


class Disconnected(Exception):  # noqa: N818 - nobody is left to answer
    """The client went away before its request was complete."""


class _Request:
    """One request on its way through the steps; each fills in what the next ones need."""

    __slots__ = (
        "answer", "body", "dropped", "edge", "headers", "is_overdue", "items", "key", "path",
        "query", "rate_headers", "receive", "rejections", "reserved_bytes", "result", "row_indexes",
        "rows", "scope", "started_s", "warnings", "workspace",
    )  # fmt: skip

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.receive = receive
        self.path: str = scope["path"]
        self.query: bytes = scope.get("query_string", b"")
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.rate_headers: list[Header] = []
        self.reserved_bytes = 0
        self.started_s: float | None = None
        self.is_overdue = False
        self.body = b""
        self.items: Sequence[tuple[events.WireItem | None, Any, Any]] = ()
        self.dropped = 0
        self.rows: list[events.Row] = []
        self.row_indexes: list[int] = []
        self.rejections: list[Rejection] = []
        self.warnings: list[events.Warned] = []
        self.result: AppendResult | None = None
        self.answer = _ACCEPTED_ONE
        self.key: Key
        self.workspace: Workspace
        self.edge: events.Edge


class Collector:
    """Takes events in. One per process, on its event loop."""

    def __init__(
        self,
        log: Log,
        authenticate: Callable[[str], tuple[Key, Workspace] | None],
        clock: Clock,
    ) -> None:
        self._log = log
        self._authenticate = authenticate
        self._clock = clock
        self._last_received_ms = log.last_received_ms
        self._bodies_bytes = 0
        self._rates = _Rates(clock)
        self._links = _LinkLimit()
        self._claims: dict[tuple[int, int], events.Claims] = {}
        self.is_stopping = False
        self.in_flight = 0
        # For operators: how often each code was answered, and seconds spent per step.
        self.refusals: Counter[str] = Counter()
        self.requests = 0
        # Items of answered requests: accepted, duplicate, rejected.
        self.outcomes: Counter[str] = Counter(accepted=0, duplicate=0, rejected=0)
        # The path itself. A step that has to wait returns what to wait for.
        self._steps: tuple[Callable[[_Request], Awaitable[None] | None], ...] = (
            self._authorise,
            self._admit,
            self._read,
            self._unpack,
            self._decode,
            self._check,
            self._append,
            self._answer,
        )
        self._step_seconds = [0.0] * len(self._steps)
        self._sweep: asyncio.TimerHandle | None = None
        self._reading: dict[_Request, asyncio.Task[Any]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request to a sending endpoint."""
        if scope["method"] == "OPTIONS":
            await _send(send, 204, b"", _PREFLIGHT)
            return
        request = _Request(scope, receive)
        self.in_flight += 1
        self.requests += 1
        try:
            await self._run(request)
        except Refused as refused:
            self.refusals[refused.rejection.code] += 1
            await _send_refusal(send, request, refused)
        except Disconnected:
            self.refusals["disconnected"] += 1
        except Exception:
            # A bug. The sender is told in the one error shape, and may send again: whatever was
            # appended is recognised by its messageId.
            logger.exception("bug while collecting")
            await _send_refusal(send, request, Refused("internal_error"))
        else:
            await _send_answer(send, request)
        finally:
            self.in_flight -= 1
            self._bodies_bytes -= request.reserved_bytes

    async def _run(self, request: _Request) -> None:
        if self.requests % TIMED_REQUESTS:
            for step in self._steps:
                waiting = step(request)
                if waiting is not None:
                    await waiting
            return
        seconds = self._step_seconds
        started = perf_counter()
        for number, step in enumerate(self._steps):
            waiting = step(request)
            if waiting is not None:
                await waiting
            ended = perf_counter()
            seconds[number] += ended - started
            started = ended

    @property
    def step_seconds(self) -> dict[str, float]:
        """Return the seconds the timed requests spent in each step, waiting included."""
        names = (step.__name__.lstrip("_") for step in self._steps)
        return dict(zip(names, self._step_seconds, strict=True))

    # --- the steps ---

    def _authorise(self, request: _Request) -> None:
        authorization = request.headers.get(b"authorization")
        in_url = False
        if authorization is not None:
            scheme, _, key = authorization.decode("latin-1").partition(" ")
            if scheme.lower() != "bearer":
                raise Refused("invalid_key", "Use `Authorization: Bearer KEY`.")
        else:
            key = _key_in_query(request.query)
            in_url = True
            if not key:
                raise Refused("missing_key")
        found = self._authenticate(key.strip())
        if found is None:
            raise Refused("invalid_key")
        request.key, request.workspace = found
        if request.key.key_class == "secret" and (in_url or b"origin" in request.headers):
            raise Refused(
                "secret_key_exposed",
                "This is a secret key and it came "
                + ("in a URL" if in_url else "from a browser")
                + ". Revoke it, and send from browsers with the write key.",
            )

    def _admit(self, request: _Request) -> None:
        if self.is_stopping:
            raise Refused("shutting_down")
        limits = request.workspace.limits
        if limits.requests_per_minute is not None:
            request.rate_headers = self._rates.take(request.key.id, limits.requests_per_minute)
        received_ms = self._receive_time()
        self._check_quota(request, received_ms)
        length = _content_length(request)
        if length > BODY_BYTES_MAX:
            raise Refused(
                "body_too_large",
                f"The body has {length} bytes; at most {BODY_BYTES_MAX}. Send smaller batches.",
                headers={"Connection": "close"},
            )
        self._reserve(request, length)
        is_write = request.key.key_class == "write"
        key_class = events.WRITE if is_write else events.SECRET
        request.edge = events.Edge(
            request.workspace.id,
            key_class,
            received_ms,
            request.workspace.timezone,
            self._claims_of(request.workspace.id, key_class),
            request.workspace.secret_only_events,
            *(_client(request) if is_write else (None, None)),
        )

    async def _read(self, request: _Request) -> None:
        # A timer per request costs more than reading it; one sweep looks after all of them.
        task = asyncio.current_task()
        assert task is not None
        self._reading[request] = task
        if self._sweep is None:
            self._sweep_later()
        try:
            message = await request.receive()
            if message.get("more_body", False):
                request.body = await self._read_rest(request, message)
            else:
                _refuse_disconnect(message)
                request.body = message.get("body", b"")
        except asyncio.CancelledError:
            if request.is_overdue:
                task.uncancel()
                raise Refused("request_timeout", headers={"Connection": "close"}) from None
            raise
        finally:
            del self._reading[request]

    def _unpack(self, request: _Request) -> Awaitable[None] | None:
        headers = request.headers
        if headers.get(b"content-type") != b"application/json":
            _refuse_charset(headers.get(b"content-type", b""))
        encoding = headers.get(b"content-encoding")
        if encoding is None:
            return None
        name = encoding.decode("latin-1").strip().lower()
        if name in ("", "identity"):
            return None
        if len(request.body) > _LARGE_BODY_BYTES:
            return self._unpack_beside(request, name)
        request.body = unpack(request.body, name, BODY_BYTES_MAX)
        self._reserve(request, len(request.body))
        return None

    def _decode(self, request: _Request) -> Awaitable[None] | None:
        if len(request.body) > _LARGE_BODY_BYTES:
            return asyncio.to_thread(_decode_items, request)
        _decode_items(request)
        return None

    def _check(self, request: _Request) -> Awaitable[None] | None:
        key = request.headers.get(b"idempotency-key")
        idempotency_key = key.decode("latin-1") if key is not None else None
        if len(request.body) > _LARGE_BODY_BYTES:
            return asyncio.to_thread(
                self._check_items, request, 0, len(request.items), idempotency_key
            )
        if len(request.items) > ITEMS_PER_TURN:
            return self._check_in_turns(request)
        self._check_items(request, 0, len(request.items), idempotency_key)
        return None

    async def _check_in_turns(self, request: _Request) -> None:
        for start in range(0, len(request.items), ITEMS_PER_TURN):
            self._check_items(request, start, start + ITEMS_PER_TURN, None)
            await asyncio.sleep(0)

    async def _append(self, request: _Request) -> None:
        if not request.rows:
            return
        try:
            request.result = await self._log.append(
                request.rows, len(request.body), _dropped_of(request)
            )
        except (LogFullError, LogBusyError) as error:
            if len(request.rejections) == len(request.items):
                return  # nothing was to be accepted; its sender still learns what to fix
            raise _not_appended(error) from None

    async def unlink(self, workspace_id: int, anonymous_id: str, user_id: str) -> int:
        """Undo every link between two ids received up to now; return its position, once on disk.

        Raises Refused("storage_full" | "overloaded" | "clock_invalid").
        """
        received_ms = self._receive_time()
        row = events.UnlinkRow(workspace_id, events.SECRET, received_ms, anonymous_id, user_id)
        try:
            await self._log.append([row], len(anonymous_id) + len(user_id))
        except (LogFullError, LogBusyError) as error:
            raise _not_appended(error) from None
        return self._log.last_position

    def _answer(self, request: _Request) -> None:
        result = request.result
        duplicates = result.duplicates if result else ()
        outcomes = self.outcomes
        outcomes["accepted"] += len(request.items) - len(request.rejections) - len(duplicates)
        if not (duplicates or request.rejections or request.warnings):
            if request.path != BATCH:
                request.answer = _ACCEPTED_ONE if request.path == TRACK else _IDENTIFIED
            else:
                request.answer = b'{"status":"ok","received":%d}' % len(request.items)
            return
        outcomes["duplicate"] += len(duplicates)
        outcomes["rejected"] += len(request.rejections)
        is_batch = request.path == BATCH
        accepted = len(request.items) - len(request.rejections)
        if accepted == 0:
            raise _AllRejected(request)
        warnings = list(request.warnings)
        for duplicate in result.different if result else ():
            place = request.row_indexes[duplicate] if is_batch else None
            warnings.append(events.Warned("duplicate_differs", "messageId", place))
        answer: dict[str, Any] = {"status": "ok"}
        if request.path != IDENTIFY:
            answer["received"] = accepted
        if duplicates:
            answer["duplicates"] = len(duplicates)
        if request.rejections:
            answer["rejected"] = request.rejections
        if warnings:
            answer["warnings"] = warnings
        request.answer = msgspec.json.encode(answer)

    # --- what the steps use ---

    def trouble(self) -> str | None:
        """Return the code with which a good event would be refused now, None if accepted."""
        if self._clock.now_ms() < self._last_received_ms - CLOCK_STEP_BACK_MS_MAX:
            return "clock_invalid"
        return self._log.trouble()

    def _receive_time(self) -> int:
        """Return the time of receipt, which never goes back: partitions and `as_of` stand on it."""
        now_ms = self._clock.now_ms()
        if now_ms < self._last_received_ms:
            if now_ms < self._last_received_ms - CLOCK_STEP_BACK_MS_MAX:
                raise Refused("clock_invalid", headers={"Retry-After": "10"})
            now_ms = self._last_received_ms
        self._last_received_ms = now_ms
        return now_ms

    def _claims_of(self, workspace_id: int, key_class: int) -> events.Claims:
        scope = (workspace_id, key_class)
        claims = self._claims.get(scope)
        if claims is None:
            claims = events.claims_of(self._log.claim_key, workspace_id, key_class)
            self._claims[scope] = claims
        return claims

    def _check_quota(self, request: _Request, received_ms: int) -> None:
        limits = request.workspace.limits
        if limits.events_per_month is None:
            return
        if self._log.usage(request.workspace.id, received_ms) < limits.events_per_month:
            return
        if limits.enforce_quota:
            wait_s = _seconds_to_next_month(received_ms)
            raise Refused("quota_exceeded", headers={"Retry-After": str(wait_s)})
        request.warnings.append(events.Warned("quota_exceeded", "events"))

    def _reserve(self, request: _Request, size: int) -> None:
        """Count a request's bytes against what all bodies together may hold."""
        more = size - request.reserved_bytes
        if more <= 0:
            return
        if self._bodies_bytes and self._bodies_bytes + more > BODIES_BYTES_MAX:
            raise Refused("overloaded")
        request.reserved_bytes = size
        self._bodies_bytes += more

    async def _read_rest(self, request: _Request, message: MutableMapping[str, Any]) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            _refuse_disconnect(message)
            part = message.get("body", b"")
            size += len(part)
            if size > BODY_BYTES_MAX:
                raise Refused(
                    "body_too_large",
                    f"The body has more than {BODY_BYTES_MAX} bytes. Send smaller batches.",
                    headers={"Connection": "close"},
                )
            self._reserve(request, size)
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)
            message = await request.receive()

    async def _unpack_beside(self, request: _Request, encoding: str) -> None:
        request.body = await asyncio.to_thread(unpack, request.body, encoding, BODY_BYTES_MAX)
        self._reserve(request, len(request.body))

    def _check_items(
        self, request: _Request, start: int, end: int, idempotency_key: str | None
    ) -> None:
        edge, is_batch = request.edge, request.path == BATCH
        normalise = events.normalise
        for index, (item, sent, found) in enumerate(request.items[start:end], start):
            place = index if is_batch else None
            if item is None:
                self._keep_rejected(request, sent, found, place)
                continue
            accepted = normalise(item, edge, idempotency_key)
            if isinstance(accepted, Rejection):
                self._keep_rejected(request, events.sent_again(item), accepted, place)
                continue
            row = accepted.row
            request.rows.append(row)
            request.row_indexes.append(index)
            if edge.key_class == events.WRITE and row.user_id and row.anonymous_id:
                self._limit_links(accepted, edge)
            if found or accepted.warnings:
                request.warnings += [
                    events.Warned(warned.code, warned.field, place)
                    for warned in (*found, *accepted.warnings)
                ]

    def _sweep_later(self) -> None:
        self._sweep = asyncio.get_running_loop().call_later(_SWEEP_INTERVAL_S, self._sweep_overdue)

    def _sweep_overdue(self) -> None:
        """End the reading of bodies that take too long; sleep again when none is being read."""
        self._sweep = None
        started_before = self._clock.monotonic_s() - BODY_TIMEOUT_S
        for request, task in self._reading.items():
            if request.started_s is None:
                request.started_s = self._clock.monotonic_s()
            elif request.started_s < started_before and not request.is_overdue:
                request.is_overdue = True
                task.cancel()
        if self._reading:
            self._sweep_later()

    def _keep_rejected(
        self, request: _Request, sent: Any, rejection: Rejection, index: int | None
    ) -> None:
        if index is not None:
            rejection = Rejection(rejection.code, rejection.message, rejection.field, index)
        request.rejections.append(rejection)
        if sent is None:  # the body was no JSON, so there is no event to keep
            return
        edge = request.edge
        request.rows.append(
            events.RejectedRow(
                edge.workspace_id,
                edge.key_class,
                edge.received_ms,
                rejection.code,
                rejection.message,
                rejection.field or "",
                events.sent_text(sent),
            )
        )
        request.row_indexes.append(index or 0)

    def _limit_links(self, accepted: events.Accepted, edge: events.Edge) -> None:
        if not self._links.allow(edge, accepted.row):
            accepted.row.links = False
            accepted.warnings = [*accepted.warnings, events.Warned("link_limited", "anonymousId")]


# Above this, unpacking, decoding and checking would hold up everybody else for milliseconds, and a
# body made to be slow for seconds; it is done in a thread, which shares the interpreter fairly.
_LARGE_BODY_BYTES = 128 * 1024
_SWEEP_INTERVAL_S = 1.0
_CHARSETS = frozenset({"", "utf-8", "utf8", "us-ascii"})


class _AllRejected(Refused):
    """No event of the request was accepted; the answer is a 400 that lists why."""

    def __init__(self, request: _Request) -> None:
        first = request.rejections[0]
        if request.path == BATCH:
            super().__init__("batch_rejected")
        else:
            super().__init__(first.code, first.message, field=first.field)


class _Rates:
    """Requests per minute and key: a window of a minute that starts with its first request."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._windows: dict[int, tuple[float, int]] = {}

    def take(self, key_id: int, limit: int) -> list[Header]:
        """Count one request; return the headers that say what is left. Raises rate_limited."""
        now_s = self._clock.monotonic_s()
        started, used = self._windows.get(key_id, (now_s, 0))
        if now_s - started >= 60:
            started, used = now_s, 0
        self._windows[key_id] = (started, min(used + 1, limit))
        reset_s = max(1, round(started + 60 - now_s))
        left = max(0, limit - used - 1)
        headers = {
            "RateLimit-Limit": str(limit),
            "RateLimit-Remaining": str(left),
            "RateLimit-Reset": str(reset_s),
        }
        if used >= limit:
            raise Refused("rate_limited", headers={**headers, "Retry-After": str(reset_s)})
        return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


class _LinkLimit:
    """How many anonymous ids the public key may join to one user within an hour."""

    def __init__(self) -> None:
        self._users: OrderedDict[tuple[int, str], tuple[int, set[str]]] = OrderedDict()

    def allow(self, edge: events.Edge, row: events.TrackRow | events.IdentifyRow) -> bool:
        """Count a link; False if the user already has its share this hour."""
        user = (edge.workspace_id, row.user_id)
        started, joined = self._users.pop(user, (edge.received_ms, set()))
        if edge.received_ms - started >= _HOUR_MS:
            started, joined = edge.received_ms, set()
        allowed = row.anonymous_id in joined or len(joined) < LINKS_PER_USER_HOUR_MAX
        if allowed:
            joined.add(row.anonymous_id)
        self._users[user] = (started, joined)
        if len(self._users) > _LINK_USERS_REMEMBERED:
            self._users.popitem(last=False)
        return allowed


def _decode_items(request: _Request) -> None:
    if request.path != BATCH:
        request.items = (events.decode_item(request.body),)
        if request.path == IDENTIFY and request.items[0][0] is not None:
            _check_identify(request.items[0][0])
        return
    if b"idempotency-key" in request.headers:
        raise Refused(
            "invalid_parameter",
            "A batch has no Idempotency-Key; give each event its own messageId.",
            field="Idempotency-Key",
        )
    decoded = events.decode_batch(request.body)
    if isinstance(decoded, Rejection):
        raise Refused(decoded.code, decoded.message, field=decoded.field)
    if not decoded.items:
        raise Refused("batch_empty", field="events")
    if len(decoded.items) > request.workspace.limits.batch_max:
        raise Refused(
            "batch_too_large",
            f"The batch holds {len(decoded.items)} events; at most"
            f" {request.workspace.limits.batch_max}. Nothing was stored.",
            field="events",
        )
    request.items = decoded.items
    request.dropped = decoded.dropped


def _dropped_of(request: _Request) -> Dropped | None:
    """Return what the batch says its sender has lost, and whose it is; None for nothing."""
    if not request.dropped:
        return None
    edge = request.edge
    day = edge.received_ms // _DAY_MS
    return Dropped(edge.workspace_id, day, request.key.id, _library_of(request), request.dropped)


def _library_of(request: _Request) -> str:
    """Return what the first event that says so names as its library."""
    for item, _, _ in request.items:
        match item and item.context:
            case {"library": {"name": str(name)}}:
                return name[:LIBRARY_CHARACTERS_MAX]
    return ""


def _check_identify(item: events.WireItem) -> None:
    item.type = "identify"


def _key_in_query(query: bytes) -> str:
    if b"key=" not in query:
        return ""
    return parse_qs(query.decode("latin-1")).get("key", [""])[0]


def _content_length(request: _Request) -> int:
    text = request.headers.get(b"content-length", b"0")
    return int(text) if text.isdigit() else 0


def _refuse_charset(content_type: bytes) -> None:
    charset = _charset(content_type)
    if charset not in _CHARSETS:
        raise Refused("unsupported_encoding", f"Charset {charset[:40]!r} is not UTF-8.")


def _charset(content_type: bytes) -> str:
    if b"charset" not in content_type.lower():
        return ""
    for part in content_type.decode("latin-1").lower().split(";")[1:]:
        name, _, value = part.partition("=")
        if name.strip() == "charset":
            return value.strip().strip("\"'")
    return ""


def _client(request: _Request) -> tuple[str | None, str | None]:
    client = request.scope.get("client")
    agent = request.headers.get(b"user-agent")
    return (client[0] if client else None, agent.decode("latin-1") if agent else None)


def _not_appended(error: LogFullError | LogBusyError) -> Refused:
    if isinstance(error, LogFullError):
        return Refused("storage_full", headers={"Retry-After": "30"})
    return Refused("overloaded")


def _refuse_disconnect(message: MutableMapping[str, Any]) -> None:
    if message["type"] == "http.disconnect":
        raise Disconnected


def _seconds_to_next_month(now_ms: int) -> int:
    year, month = time.gmtime(now_ms / 1000)[:2]
    following = (year + month // 12, month % 12 + 1, 1, 0, 0, 0)
    return max(1, calendar.timegm(following) - now_ms // 1000)


def _headers_of(request: _Request, body: bytes) -> list[Header]:
    headers = [_JSON, (b"content-length", b"%d" % len(body))]
    # Only browsers read these, and every header costs the HTTP layer a check of its characters.
    return headers + _CORS if b"origin" in request.headers else headers


async def _send_answer(send: Send, request: _Request) -> None:
    body = request.answer
    whole = request.scope.get("extensions", _NO_EXTENSIONS).get(WHOLE_ANSWER)
    if whole is not None and not request.rate_headers and b"origin" not in request.headers:
        head = b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body)
        if whole(head, body):
            return
    await _send(send, 200, body, _headers_of(request, body) + request.rate_headers)


async def _send_refusal(send: Send, request: _Request, refused: Refused) -> None:
    if isinstance(refused, _AllRejected) and request.path == BATCH:
        body = msgspec.json.encode(
            {"error": refused.rejection, "received": 0, "rejected": request.rejections}
        )
    else:
        body = error_body(refused.rejection)
    headers = _headers_of(request, body)
    headers += [(name.lower().encode(), value.encode()) for name, value in refused.headers.items()]
    await _send(send, refused.kind.status, body, headers)


async def _send(send: Send, status: int, body: bytes, headers: list[Header]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
