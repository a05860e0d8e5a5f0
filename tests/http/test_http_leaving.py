"""Many questions at once: fair turns, clients that leave, and events that never wait for either.

The engine's own queries are made slow by sleeping in it, which costs the machine nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from plain import Connection
from tenant import Tenant

import waiting
from factories import unique, wire_event
from serving import Serving

# A profile of `NAME~TENTHS` takes so many tenths of a second in the engine.
_SLOW = """
from saytics_server.query import profile, trends
begun, profile_run, trends_run = [], profile.run, trends.run
def sleep(store, name, tenths):
    store.query(
        "SELECT sleepEachRow(0.1), {name:String} FROM numbers({tenths:UInt64})"
        " SETTINGS max_block_size = 1",
        {"name": name, "tenths": tenths},
    )
def slow_profile(store, frame, user_id):
    name, _, tenths = user_id.partition("~")
    if store._asking.turn is not None:
        begun.append(name)
    sleep(store, name, int(tenths))
    return {"slept": tenths}
def slow_trend(reader, query):
    sleep(reader.store, "trend", 5)
    return trends_run(reader, query)
profile.run, trends.run = slow_profile, slow_trend
"""
_ASLEEP = (
    "result = store.query(\"SELECT count() FROM system.processes WHERE query LIKE '%sleepEach%'"
    " AND query NOT LIKE '%processes%'\")[0][0]"
)


@pytest.fixture
def slow(operated: Serving) -> Iterator[Serving]:
    """The operated server with slow questions."""
    operated.operate(_SLOW)
    yield operated
    operated.operate("profile.run, trends.run = profile_run, trends_run")


def _ask(serving: Serving, key: str, name: str, tenths: int) -> Connection:
    """Ask a question, and do not wait for its answer."""
    head = (
        f"GET /v1/users/{name}~{tenths} HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {key}\r\n\r\n"
    )
    return Connection(serving.address).send(head.encode())


def _begun(serving: Serving) -> list[str]:
    names: list[str] = serving.operate("result = begun")
    return names


def _waiting(serving: Serving) -> int:
    count: int = serving.operate("result = store.turns.waiting_count()")
    return count


def _free(serving: Serving) -> bool:
    is_free: bool = serving.operate("result = not store.turns.running()")
    return is_free


def test_a_question_whose_client_leaves_is_stopped_in_the_engine(slow: Serving):
    """Twenty seconds of work end at once, and the turn is free again."""
    name = unique("leaves")
    with _ask(slow, slow.secret_key, name, 200):
        waiting.until(lambda: slow.operate(_ASLEEP) == 1, what="the query to begin")
    left_at = time.monotonic()
    waiting.until(lambda: slow.operate(_ASLEEP) == 0, limit_s=5, what="the query to be stopped")
    waiting.until(lambda: _free(slow), limit_s=5, what="the turn to be over")
    assert time.monotonic() - left_at < 5
    assert _begun(slow) == [name]


def test_a_client_that_leaves_the_queue_is_never_asked_for(slow: Serving):
    """With both turns taken, one that goes away while it waits does not begin when they end."""
    first, second, gone, last = (unique(name) for name in ("first", "second", "gone", "last"))
    key = slow.secret_key
    with _ask(slow, key, first, 20) as one, _ask(slow, key, second, 20) as two:
        waiting.until(lambda: len(_begun(slow)) == 2, what="both turns to be taken")
        with _ask(slow, key, gone, 1):
            waiting.until(lambda: _waiting(slow) == 1, what="the third to wait")
        waiting.until(lambda: _waiting(slow) == 0, limit_s=1.8, what="the third to be gone")
        with _ask(slow, key, last, 1) as three:
            assert [connection.read().status for connection in (one, two, three)] == [200] * 3
    assert sorted(_begun(slow)) == sorted([first, second, last])


def test_a_workspace_that_floods_holds_up_itself_alone(slow: Serving):
    """Another's question is answered among the flooder's first, and events go in as ever."""
    flooding, other = Tenant(slow), Tenant(slow)
    flood = [_ask(slow, flooding.secret, f"flood{number}", 4) for number in range(20)]
    waiting.until(lambda: _waiting(slow) >= 15, what="the flood")
    with _ask(slow, other.secret, "other", 2) as asked:
        sent_at = time.monotonic()
        assert other.track().status_code == 200
        assert time.monotonic() - sent_at < 2
        assert asked.read().status == 200
    still_waiting = _waiting(slow)
    for connection in flood:
        connection.__exit__()
    waiting.until(lambda: _free(slow), limit_s=5, what="the flood to be over")
    assert still_waiting > 8


def test_a_full_queue_refuses_with_a_time_to_come_back(slow: Serving):
    """One more than may wait is refused at once: 503 queries_busy with Retry-After."""
    slow.operate("store.turns._waiting_max = 1")
    try:
        waits = [_ask(slow, slow.secret_key, f"full{number}", 5) for number in range(3)]
        waiting.until(lambda: _waiting(slow) == 1, what="the queue to be full")
        with _ask(slow, slow.secret_key, "refused", 1) as asked:
            refused = asked.read()
        assert (refused.status, refused.code, refused.headers["retry-after"]) == (
            503,
            "queries_busy",
            "5",
        )
        for connection in waits:
            assert connection.read().status == 200
            connection.__exit__()
    finally:
        slow.operate("store.turns._waiting_max = 100")


def test_equal_questions_at_once_are_worked_out_once(slow: Serving):
    """Of five clients with one question one has it worked out, the others get what it left."""
    tenant = Tenant(slow)
    name = unique("Equal")
    assert slow.track(wire_event(event=name), tenant.secret).status_code == 200
    slow.wait_visible()
    with ThreadPoolExecutor(5) as clients:
        answers = list(
            clients.map(
                lambda _: slow.get("/v1/reports/events", tenant.secret, event=name), range(5)
            )
        )
    assert sorted(answer.headers["X-Saytics-Cache"] for answer in answers) == [
        *["hit"] * 4,
        "miss",
    ]
    assert {answer.json()["total"] for answer in answers} == {1}
