"""Undone links: whom an event belongs to after it, and as of a time before it."""

from __future__ import annotations

import itertools
from random import Random
from typing import Any, NamedTuple

import pytest
from active_histories import DAY_MS, HOUR_MS, cases, history_of, key_of, quick, thorough, zone_of
from hypothesis import given
from rows import fresh_workspace_id, insert_history, instant_ms

from oracle.people import Households, events_of, person_of
from saytics_server.event import UnlinkRow
from saytics_server.people import LINK_COUNTERPARTS_MAX
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
    history: Households
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


def standing(asked: Asked) -> Households:
    """Return the history as it would have been without what was undone, and was received later."""

    def without_void(item: dict[str, Any]) -> dict[str, Any]:
        is_void = any(
            (one.anonymous_id, one.user_id) == (item.get("anonymousId"), item.get("userId"))
            and (item["receivedAt"], item["position"]) < (one.received_ms, one.position)
            and (asked.as_of_ms is None or one.received_ms <= asked.as_of_ms)
            for one in asked.undone
        )
        # An event stays its user's, a call still sets traits: only the link is gone.
        return {**item, "anonymousId": None} if is_void else item

    known = asked.history.only(
        lambda item: asked.as_of_ms is None or item["receivedAt"] <= asked.as_of_ms
    )
    return known.changed(without_void)


def expected(asked: Asked) -> dict[str, int]:
    history = standing(asked)
    found: dict[str, int] = {}
    for event in events_of(history):
        key = key_of(person_of(event, history))
        found[key] = found.get(key, 0) + 1
    return found


def case_of(random: Random) -> Asked:
    _, middle = zone_of(random)
    places = itertools.count(1)
    history = history_of(random, middle).changed(
        lambda item: {
            **item,
            "receivedAt": item["timestamp"] + random.choice([0, 0, HOUR_MS, 3 * DAY_MS]),
            "position": next(places) * 1_000 + 500,
        }
    )
    links = [item for item in history if item.get("anonymousId") and item.get("userId")]
    undone = []
    for number in range(random.randint(1, 4 + len(links) // 5) if links else 0):
        item = random.choice(links)
        # Just before the item by receipt, after everything, before everything.
        position = random.choice([item["position"] - 500, 10_000_000])
        position = position if random.random() < 0.7 else 0
        undone.append(
            Undoing(
                item["anonymousId"],
                item["userId"],
                item["receivedAt"] + random.choice([0, 0, 1, -1, DAY_MS]),
                position + number,
            )
        )
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


def test_an_undone_link_no_longer_counts_towards_quarantine(store, workspace_id):
    """1,001 ids linked to a user are too many; with one of them undone the others are used."""
    places = range(LINK_COUNTERPARTS_MAX + 1)
    history: list[dict[str, Any]] = [
        {"type": "identify", "userId": "u", "anonymousId": f"d{place}", "timestamp": NOON_MS}
        for place in places
    ]
    history += [
        {"event": "A", "anonymousId": f"d{place}", "timestamp": NOON_MS} for place in (7, 8)
    ]
    insert_history(store, workspace_id, history)
    assert counts(store, workspace_id, None) == {"ad7": 1, "ad8": 1}
    insert_undone(store, workspace_id, [Undoing("d7", "u", NOON_MS + 5, 9_999)])
    assert counts(store, workspace_id, None) == {"ad7": 1, "uu": 1}
    assert counts(store, workspace_id, NOON_MS + 4) == {"ad7": 1, "ad8": 1}


def test_an_undone_user_of_a_device_no_longer_counts_towards_quarantine(store, workspace_id):
    """A device of 1,001 users is nobody's; with one user undone it is the latest's of the others,
    and linked again it is nobody's once more."""
    device = {"anonymousId": "d"}
    history: list[dict[str, Any]] = [
        {"type": "identify", "userId": f"u{place}", "timestamp": NOON_MS - place, **device}
        for place in range(LINK_COUNTERPARTS_MAX + 1)
    ]
    history.append({"event": "A", "timestamp": NOON_MS + 1, **device})
    insert_history(store, workspace_id, history)
    assert counts(store, workspace_id, None) == {"ad": 1}
    insert_undone(store, workspace_id, [Undoing("d", "u0", NOON_MS + 5, 9_999)])
    assert counts(store, workspace_id, None) == {"uu1": 1}
    again = {**history[0], "timestamp": NOON_MS + 6, "position": 10_000}
    insert_history(store, workspace_id, [again])
    assert counts(store, workspace_id, None) == {"ad": 1}


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
