"""A person with a million events is one person, answered and explained like any other."""

from __future__ import annotations

import time

import pytest
from rows import insert_history, instant_ms

from saytics_server.people import Person
from saytics_server.query import lifecycle, retention, stickiness
from saytics_server.query.model import Frame
from saytics_server.query.reading import Reader

EVENTS = 1_000_000
# A third of what a query may take at most, on a machine that does other things meanwhile.
SECONDS_MAX = 10


@pytest.mark.slow
def test_a_person_with_a_million_events_is_answered_in_time(store, workspace_id):
    """Each report counts and explains the person as if they had one event a day."""
    begin_ms = instant_ms("2024-01-01T00:00:00Z")
    store.command(
        "INSERT INTO events (workspace_id, day, event, timestamp, position, received_at, user_id,"
        " anonymous_id, key_type, message_id, properties_text, context_text)"
        " SELECT {workspace:UInt32}, toDate(at), 'A', at, number + 2, at, 'busy', '', 'secret', '',"
        " '{}', '{}' FROM (SELECT number, fromUnixTimestamp64Milli("
        "{begin:Int64} + intDiv(number * 864000000, {events:Int64}), 'UTC') AS at"
        " FROM numbers({events:UInt64}))",
        {"workspace": workspace_id, "begin": begin_ms, "events": EVENTS},
    )
    insert_history(store, workspace_id, [{"event": "A", "userId": "ü", "timestamp": begin_ms}])
    frame = Frame(workspace_id, "UTC", 0, instant_ms("2024-02-01T00:00:00Z"))
    span = [("from", "2024-01-01"), ("to", "2024-01-10")]
    reader, busy = Reader(store, frame), Person("user", "busy")
    started = time.monotonic()

    every_day = retention.parse([*span, ("cohort", "recurring"), ("window", "elapsed")], frame)
    sizes = [row["size"] for row in retention.run(reader, every_day)["cohorts"]]
    assert sizes == [2] + [1] * 9
    verdict = retention.explain(reader, every_day, busy)
    assert [all(p["counted"] for p in row["periods"]) for row in verdict["cohorts"]] == (
        [True] * 3 + [False] * 7
    )

    query = lifecycle.parse(span, frame)
    kinds = [(row["new"], row["returning"]) for row in lifecycle.run(reader, query)["data"]]
    assert kinds == [(2, 0)] + [(0, 1)] * 9
    events = [row["events"] for row in lifecycle.explain(reader, query, busy)["data"]]
    assert events == [EVENTS // 10] * 10

    sticky = stickiness.parse(span, frame)
    counts = {row["intervals"]: row["count"] for row in stickiness.run(reader, sticky)["data"]}
    assert {k: count for k, count in counts.items() if count} == {1: 1, 10: 1}
    assert stickiness.explain(reader, sticky, busy)["intervals"] == 10
    assert time.monotonic() - started < SECONDS_MAX * 6
