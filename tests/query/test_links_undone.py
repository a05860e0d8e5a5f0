"""Undone links: whom an event belongs to after it, and as of a time before it."""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

import pytest
from active_histories import DAY_MS, HOUR_MS, cases, history_of, key_of, quick, thorough, zone_of
from hypothesis import given
from rows import fresh_workspace_id, insert_history, instant_ms

from oracle.people import events_of, person_of
from saytics_server.event import UnlinkRow
from saytics_server.query.cohorts import EVER
from saytics_server.query.model import Frame, Selection
from saytics_server.query.reading import Reader
from saytics_server.sql import sql
from saytics_server.store.blocks import columns

NOON_MS = instant_ms("2024-01-15T12:00:00Z")


class Undoing(NamedTuple):
    """What was undone, and its place in the order of receipt."""

    anonymous_id: str
    user_id: str
    received_ms: int
    position: int


class Asked(NamedTuple):
    history: list[dict[str, Any]]
    undone: list[Undoing]
    as_of_ms: int | None


def insert_undone(store: Any, workspace_id: int, undone: list[Undoing]) -> None:
    """Store what was undone as the loader would."""
    rows = [
        (one.position, UnlinkRow(workspace_id, 1, one.received_ms, one.anonymous_id, one.user_id))
        for one in undone
    ]
    for table in columns(rows).values():
        store.insert("unlinks", table, token=f"undone-{workspace_id}")


def counts(store: Any, workspace_id: int, as_of_ms: int | None) -> dict[str, int]:
    """Return the number of events of each person."""
    reader = Reader(store, Frame(workspace_id, "UTC", 0, NOON_MS, as_of_ms=as_of_ms))
    events = reader.scan(Selection(), EVER, persons=True).select({})
    rows = reader.rows(sql("SELECT person, count() FROM ({e}) GROUP BY person", e=events))
    return dict(rows)


def standing(asked: Asked) -> list[dict[str, Any]]:
    """Return the history as it would have been without what was undone, and was received later."""
    kept = []
    for item in asked.history:
        received = (item["receivedAt"], item["position"])
        if asked.as_of_ms is not None and received[0] > asked.as_of_ms:
            continue
        is_void = any(
            (one.anonymous_id, one.user_id) == (item.get("anonymousId"), item.get("userId"))
            and received < (one.received_ms, one.position)
            and (asked.as_of_ms is None or one.received_ms <= asked.as_of_ms)
            for one in asked.undone
        )
        # An event stays its user's, a call still sets traits: only the link is gone.
        kept.append({**item, "anonymousId": None} if is_void else item)
    return kept


def expected(asked: Asked) -> dict[str, int]:
    history = standing(asked)
    found: dict[str, int] = {}
    for event in events_of(history):
        key = key_of(person_of(event, history))
        found[key] = found.get(key, 0) + 1
    return found


def case_of(random: Random) -> Asked:
    _, middle = zone_of(random)
    history = [
        {**item, "receivedAt": item["timestamp"] + random.choice([0, 0, HOUR_MS, 3 * DAY_MS])}
        for item in history_of(random, middle)
    ]
    links = [
        (place, item)
        for place, item in enumerate(history, start=1)
        if item.get("anonymousId") and item.get("userId")
    ]
    undone = []
    for number in range(random.randint(1, 4) if links else 0):
        place, item = random.choice(links)
        position = random.choice([place, 10_000]) if random.random() < 0.7 else 0
        undone.append(
            Undoing(
                item["anonymousId"],
                item["userId"],
                item["receivedAt"] + random.choice([0, 0, 1, -1, DAY_MS]),
                # Never a position of the history's own.
                position * 10 + number,
            )
        )
    history = [{**item, "position": place * 10 + 5} for place, item in enumerate(history, start=1)]
    moments = [item["receivedAt"] for item in history] + [one.received_ms for one in undone]
    as_of_ms = random.choice([None, random.choice(moments) + random.choice([0, -1, 1])])
    return Asked(history, undone, as_of_ms)


def compare(store: Any, asked: Asked) -> None:
    workspace_id = fresh_workspace_id()
    insert_history(store, workspace_id, asked.history)
    insert_undone(store, workspace_id, asked.undone)
    assert counts(store, workspace_id, asked.as_of_ms) == expected(asked)


@quick
@given(asked=cases(case_of))
def test_events_belong_to_whom_the_standing_links_say(store, asked):
    """As if what was undone had never been said, and as of then as if it had not been undone."""
    compare(store, asked)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@thorough
@given(asked=cases(case_of))
def test_events_belong_to_whom_the_standing_links_say_in_many_histories(store, asked):
    """The same over hundreds of histories."""
    compare(store, asked)


def test_an_undone_link_gives_way_to_the_one_before(store, workspace_id):
    """On a shared device the events of the undone user go to the user before, not to nobody."""
    device = {"anonymousId": "d"}
    history = [
        {"type": "identify", "userId": "first", "timestamp": NOON_MS, **device},
        {"type": "identify", "userId": "second", "timestamp": NOON_MS + 2, **device},
        {"event": "A", "timestamp": NOON_MS + 1, **device},
        {"event": "A", "timestamp": NOON_MS + 3, **device},
    ]
    insert_history(store, workspace_id, history)
    assert counts(store, workspace_id, None) == {"ufirst": 1, "usecond": 1}
    insert_undone(store, workspace_id, [Undoing("d", "second", NOON_MS + 5, 9)])
    assert counts(store, workspace_id, None) == {"ufirst": 2}
    assert counts(store, workspace_id, NOON_MS + 4) == {"ufirst": 1, "usecond": 1}
    assert counts(store, workspace_id, NOON_MS + 5) == {"ufirst": 2}
