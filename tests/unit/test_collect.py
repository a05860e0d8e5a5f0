"""The hot path as a plain ASGI callable: bounds on memory, rates, quotas, links and the clock."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from factories import CLAIM_KEY, RECEIVED_MS, wire_event
from saytics_server import collect
from saytics_server.clock import ManualClock
from saytics_server.collect import Collector
from saytics_server.event import Row
from saytics_server.log import AppendResult, Dropped, LogBusyError, LogFullError

HOUR_MS = 3_600_000


class Limits(msgspec.Struct):
    requests_per_minute: int | None = None
    events_per_month: int | None = None
    batch_max: int = 1_000
    enforce_quota: bool = False


class Key(msgspec.Struct):
    id: int = 1
    key_class: str = "secret"


class Workspace(msgspec.Struct):
    id: int = 1
    timezone: str = "UTC"
    limits: Any = None
    secret_only_events: frozenset[str] = frozenset()


class FakeLog:
    """Keeps rows in memory, or raises what it was told to."""

    claim_key = CLAIM_KEY
    last_received_ms = 0

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.dropped: list[Dropped | None] = []
        self.error: Exception | None = None
        self.used = 0

    async def append(
        self, rows: Sequence[Row], size: int, dropped: Dropped | None = None
    ) -> AppendResult:
        assert size >= 0
        self.dropped.append(dropped)
        if self.error is not None:
            raise self.error
        self.rows += rows
        return AppendResult(1, [], [])

    def usage(self, workspace_id: int, received_ms: int) -> int:
        assert workspace_id
        assert received_ms
        return self.used


class Caller:
    """A collector on fakes, and requests to it."""

    def __init__(self) -> None:
        self.clock = ManualClock(RECEIVED_MS)
        self.log = FakeLog()
        self.limits = Limits()
        self.keys = {"sk_live_a": Key(1), "sk_live_b": Key(2), "sk_write_a": Key(3, "write")}
        self.collector = Collector(self.log, self._authenticate, self.clock)

    def _authenticate(self, key: str) -> tuple[Key, Workspace] | None:
        found = self.keys.get(key)
        return (found, Workspace(limits=self.limits)) if found else None

    def call(
        self, sent: Any = None, key: str = "sk_live_a", path: str = "/v1/events"
    ) -> tuple[int, Any, dict[str, str]]:
        """Send one request whose body comes in one piece."""
        body = json.dumps(wire_event() if sent is None else sent).encode()
        return self.answer([{"type": "http.request", "body": body, "more_body": False}], key, path)

    def answer(
        self, messages: list[dict[str, Any]], key: str = "sk_live_a", path: str = "/v1/events"
    ) -> tuple[int, Any, dict[str, str]]:
        """Send one request message by message; return status, JSON and headers."""
        return asyncio.run(self.answered(messages, key, path))

    async def answered(
        self, messages: list[dict[str, Any]], key: str = "sk_live_a", path: str = "/v1/events"
    ) -> tuple[int, Any, dict[str, str]]:
        """Send one request message by message on the running loop."""
        said: list[Any] = []
        waiting = iter(messages)

        async def receive() -> Any:
            message = next(waiting)
            if callable(message):
                return await message()
            return message

        async def send(message: Any) -> None:
            said.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "query_string": b"",
            "headers": [(b"authorization", f"Bearer {key}".encode())],
            "client": ("203.0.113.7", 1),
        }
        await self.collector(scope, receive, send)
        if not said:
            return 0, None, {}
        headers = {name.decode().lower(): value.decode() for name, value in said[0]["headers"]}
        return said[0]["status"], json.loads(said[1]["body"]), headers


@pytest.fixture
def caller() -> Caller:
    return Caller()


def code(answer: tuple[int, Any, dict[str, str]]) -> tuple[int, str]:
    """Return status and code of a refusal."""
    return answer[0], answer[1]["error"]["code"]


def test_a_rate_is_a_window_of_a_minute_from_its_first_request(caller: Caller):
    """Refused requests do not lengthen it; after it the key starts anew."""
    caller.limits = Limits(requests_per_minute=2)
    assert [caller.call()[0] for _ in range(2)] == [200, 200]
    caller.clock.advance(45_000)
    status, _, headers = caller.call()
    assert (status, headers["retry-after"], headers["ratelimit-reset"]) == (429, "15", "15")
    assert caller.call(key="sk_live_b")[0] == 200
    caller.clock.advance(14_999)
    assert caller.call()[0] == 429
    caller.clock.advance(2)
    status, _, headers = caller.call()
    assert (status, headers["ratelimit-remaining"], headers["ratelimit-reset"]) == (200, "1", "60")


def test_a_quota_tells_how_long_the_month_lasts(caller: Caller):
    """Seven days and seventeen hours, for 23 November at seven."""
    caller.limits = Limits(events_per_month=5, enforce_quota=True)
    caller.log.used = 4
    assert caller.call()[0] == 200
    caller.log.used = 5
    answer = caller.call()
    assert code(answer) == (429, "quota_exceeded")
    assert int(answer[2]["retry-after"]) == (7 * 24 + 17) * 3600
    assert len(caller.log.rows) == 1


@pytest.mark.parametrize(
    ("error", "refused", "retry_after"),
    [
        (LogBusyError("x"), (503, "overloaded"), "1"),
        (LogFullError("x"), (503, "storage_full"), "30"),
    ],
)
def test_what_the_log_cannot_take_is_said_and_bad_events_are_still_judged(
    caller: Caller, error: Exception, refused: tuple[int, str], retry_after: str
):
    """A retry is safe; for a bad event it would be useless, so its sender learns why."""
    caller.log.error = error
    answer = caller.call()
    assert code(answer) == refused
    assert answer[2]["retry-after"] == retry_after
    assert code(caller.call({"event": "X"})) == (400, "missing_id")
    mixed = {"events": [wire_event(), {"event": "X"}]}
    assert code(caller.call(mixed, path="/v1/events/batch")) == refused


def test_a_client_that_leaves_in_the_middle_is_nobodys_event(caller: Caller):
    """No answer, no row, and no memory kept."""
    part = {"type": "http.request", "body": b'{"event":"X",', "more_body": True}
    assert caller.answer([part, {"type": "http.disconnect"}]) == (0, None, {})
    assert caller.answer([{"type": "http.disconnect"}]) == (0, None, {})
    assert caller.log.rows == []
    assert caller.collector._bodies_bytes == 0
    assert caller.collector.in_flight == 0


def test_all_bodies_together_are_bounded(caller: Caller, monkeypatch: pytest.MonkeyPatch):
    """While one large body is on its way another is told to come back; then it passes."""
    monkeypatch.setattr(collect, "BODIES_BYTES_MAX", 1_000)
    part = {"type": "http.request", "body": b" " * 700, "more_body": True}
    end = {"type": "http.request", "body": json.dumps(wire_event()).encode(), "more_body": False}
    release = asyncio.Event()

    async def held() -> dict[str, Any]:
        await release.wait()
        return end

    async def both() -> tuple[Any, Any, Any]:
        first = asyncio.create_task(caller.answered([part, held]))  # type: ignore[list-item]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        second = await caller.answered([part, end])
        release.set()
        return await first, second, await caller.answered([part, end])

    first, second, later = asyncio.run(both())
    assert first[0] == 200
    assert code(second) == (503, "overloaded")
    assert later[0] == 200
    assert caller.collector._bodies_bytes == 0


def test_a_body_in_pieces_over_the_limit_is_refused(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
):
    """It said no length, so its pieces are counted; the rest is not read."""
    monkeypatch.setattr(collect, "BODY_BYTES_MAX", 1_000)
    part = {"type": "http.request", "body": b" " * 400, "more_body": True}
    answer = caller.answer([part, part, part, part])
    assert code(answer) == (413, "body_too_large")
    assert answer[2]["connection"] == "close"


def test_a_stopping_server_takes_nothing_more(caller: Caller):
    """With the words that a retry elsewhere or later is safe."""
    caller.collector.is_stopping = True
    answer = caller.call()
    assert code(answer) == (503, "shutting_down")
    assert answer[2]["retry-after"]


def test_receipt_never_goes_back(caller: Caller):
    """Up to five seconds it stands still; further back is refused; forward it goes on."""
    caller.call()
    caller.clock.wall_ms -= 5_000
    assert caller.call()[0] == 200
    caller.clock.wall_ms -= 1
    assert code(caller.call()) == (503, "clock_invalid")
    caller.clock.wall_ms = RECEIVED_MS + 1
    assert caller.call()[0] == 200
    assert [row.received_ms for row in caller.log.rows] == [
        RECEIVED_MS, RECEIVED_MS, RECEIVED_MS + 1,
    ]  # fmt: skip


def test_receipt_starts_where_the_log_ended():
    """A clock set back while the server was down is noticed by the first request."""
    caller = Caller()
    caller.log.last_received_ms = RECEIVED_MS + HOUR_MS
    caller.collector = Collector(caller.log, caller._authenticate, caller.clock)
    assert code(caller.call()) == (503, "clock_invalid")


def test_the_links_of_the_public_key_are_counted_by_user_and_hour(caller: Caller):
    """Known devices always pass; the next hour has its own share; other users have theirs."""

    def link(device: int, user: str = "u", key: str = "sk_write_a") -> bool:
        caller.call(wire_event(userId=user, anonymousId=f"d{device}"), key)
        return caller.log.rows[-1].links  # type: ignore[union-attr]

    most = collect.LINKS_PER_USER_HOUR_MAX
    assert all(link(device) for device in range(most))
    assert not link(most)
    assert link(0)
    assert link(most, user="other")
    assert link(most, key="sk_live_a")
    caller.clock.advance(HOUR_MS)
    assert link(most)


def test_rejected_items_are_kept_with_their_reason_and_what_was_sent(caller: Caller):
    """In the order of the batch, beside the rows of the good ones; a body of no JSON is no item."""
    batch = {"events": [wire_event(), {"event": "Größe"}, wire_event(userId="b")]}
    assert caller.call(batch, path="/v1/events/batch")[0] == 200
    rejected = caller.log.rows[1]
    assert (rejected.code, rejected.field) == ("missing_id", "userId")  # type: ignore[union-attr]
    assert json.loads(rejected.body) == {"event": "Größe"}  # type: ignore[union-attr]
    assert len(caller.log.rows) == 3
    broken = {"type": "http.request", "body": b"{", "more_body": False}
    assert code(caller.answer([broken])) == (400, "invalid_json")
    assert len(caller.log.rows) == 3


def test_each_step_is_timed_and_each_refusal_counted(caller: Caller):
    """For operators: where the time goes and what is refused."""
    caller.call()
    caller.call({"event": "X"})
    assert caller.collector.requests == 2
    assert caller.collector.refusals == {"missing_id": 1}
    assert set(caller.collector.step_seconds) == {
        "authorise", "admit", "read", "unpack", "decode", "check", "append", "answer",
    }  # fmt: skip
