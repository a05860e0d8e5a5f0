"""A person with a million events is one person of a funnel, whatever the order and the steps."""

from __future__ import annotations

import time

import pytest
from rows import instant_ms

from saytics_server.people import Person
from saytics_server.query import funnels
from saytics_server.query.document import read_document
from saytics_server.query.model import Frame
from saytics_server.query.reading import Reader

EVENTS = 1_000_000
# A third of what a query may take at most, on a machine that does other things meanwhile.
SECONDS_MAX = 10
ASKED = [
    {"steps": ["A", "B", "C", "D", "E"]},
    {"steps": ["A", "A", {"events": ["A", "B"]}]},
    {"steps": ["A", "B", "C"], "order": "strict", "breakdown": "plan"},
    {"steps": ["E", "D", {}], "order": "any"},
    {
        "steps": ["A", {"event": "C", "optional": True}, "B"],
        "exclusions": [{"event": "E", "from_step": 1, "to_step": 3}],
    },
]


@pytest.mark.slow
def test_a_person_with_a_million_events_gets_through_in_time(store, workspace_id):
    """Each kind of funnel counts and explains the person within seconds."""
    begin_ms = instant_ms("2024-01-01T00:00:00Z")
    store.command(
        "INSERT INTO events (workspace_id, day, event, timestamp, position, received_at, user_id,"
        " anonymous_id, key_type, message_id, properties_text, context_text)"
        " SELECT {workspace:UInt32}, toDate(at), ['A', 'B', 'C', 'D', 'E'][number % 5 + 1], at,"
        " number + 2, at, 'busy', '', 'secret', '', '{}', '{}' FROM (SELECT number,"
        " fromUnixTimestamp64Milli({begin:Int64} + number * 100, 'UTC') AS at"
        " FROM numbers({events:UInt64}))",
        {"workspace": workspace_id, "begin": begin_ms, "events": EVENTS},
    )
    frame = Frame(workspace_id, "UTC", 0, instant_ms("2024-03-01T00:00:00Z"))
    reader = Reader(store, frame)
    for asked in ASKED:
        started = time.monotonic()
        document = {**asked, "from": "2024-01-01", "to": "2024-01-10"}
        query = funnels.question(read_document(document, funnels.Document), frame)
        counts = [step["count"] for step in funnels.run(reader, query)["steps"]]
        expected = [1, 0, 1] if "exclusions" in asked else [1] * len(query.steps)
        assert counts == expected, asked
        verdict = funnels.explain(reader, query, Person("user", "busy"))
        assert [int(step["counted"]) for step in verdict["steps"]] == expected, asked
        assert time.monotonic() - started < SECONDS_MAX, asked
