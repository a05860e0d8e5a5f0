"""Why a person counts in a funnel as they do: which event filled which step, or what was missing.

The attempt is the one the report counts, by the same statement narrowed to one person; what is told
about it rests on a few more looks at the events around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from saytics_server.people import Person
from saytics_server.query.evidence import (
    EVIDENCE,
    EVIDENCE_COLUMNS,
    Evidence,
    length_text,
    shown_event,
    shown_links,
)
from saytics_server.query.funnel_attempts import counted_attempts
from saytics_server.query.funnel_events import TIME_SHIFT, events_of, marks_of
from saytics_server.query.funnel_question import FunnelQuery
from saytics_server.query.model import Range
from saytics_server.query.periods import LATEST_MS, utc_text
from saytics_server.query.reading import Reader
from saytics_server.sql import Sql, int64, sql, uint64s

_FIRST_MS = 0


class _Attempt(msgspec.Struct, frozen=True):
    """The counted attempt: the event of each step, None where none filled it, and what ended it."""

    events: tuple[Evidence | None, ...]
    # Of each exclusion, when it happened, None where it did not end the attempt.
    broken_ms: tuple[int | None, ...]

    @property
    def start_ms(self) -> int:
        start = self.events[0]
        assert start is not None
        return start[0]

    @property
    def positions(self) -> list[int]:
        return [event[1] for event in self.events if event is not None]


class _Split(msgspec.Struct, frozen=True):
    """An instant, and the positions of events that are taken."""

    instant_ms: int
    used: tuple[int, ...] = ()


class _Around(msgspec.Struct, frozen=True):
    """Events of a step: how many lie before an instant and the last of them, and from it on the
    first."""

    before: int
    last_before: Evidence
    after: int
    first_after: Evidence


def explain(reader: Reader, query: FunnelQuery, person: Person) -> dict[str, Any]:
    """Return the verdict on one person, step by step. A breakdown is left aside."""
    attempt = _attempt(reader, query, person)
    if attempt is None:
        return {
            "counted": False,
            "steps": [],
            "missing": _missing_start(reader, query, person),
            "links": shown_links(reader, person, ()),
        }
    told = []
    missing_told = False
    for place, event in enumerate(attempt.events):
        step: dict[str, Any] = {"step": place + 1, "event": query.steps[place].label}
        step["counted"] = event is not None
        if event is not None:
            step["filled_by"] = shown_event(event)
            step["after_previous_s"] = _since_previous(attempt, place)
        elif query.steps[place].optional:
            step["missing"] = "Optional, and no event was left for it."
        elif missing_told:
            step["missing"] = "The step before was not reached."
        else:
            step["missing"] = _missing(reader, query, person, attempt, place)
            missing_told = True
        told.append(step)
    return {
        "counted": True,
        "window": {
            "from": utc_text(attempt.start_ms),
            "to": utc_text(attempt.start_ms + query.window_ms),
        },
        "steps": told,
        "links": shown_links(reader, person, [event for event in attempt.events if event]),
    }


def _attempt(reader: Reader, query: FunnelQuery, person: Person) -> _Attempt | None:
    events = events_of(reader, query, detailed=True, person=person)
    found = reader.rows(
        sql("SELECT positions, broken FROM ({attempts})", attempts=counted_attempts(query, events))
    )
    if not found:
        return None
    positions, broken = found[0]
    by_position = _events_at(reader, query, person, [place for place in positions if place])
    return _Attempt(
        tuple(by_position[position] if position else None for position in positions),
        tuple(key >> TIME_SHIFT if key else None for key in broken),
    )


def _events_at(
    reader: Reader, query: FunnelQuery, person: Person, positions: Sequence[int]
) -> dict[int, Evidence]:
    statement = sql(
        "SELECT {evidence} FROM ({events}) WHERE position IN {positions}",
        evidence=EVIDENCE,
        events=_events_of_person(reader, query, person, query.reach),
        positions=uint64s(positions),
    )
    return {row[0][1]: row[0] for row in reader.rows(statement)}


def _events_of_person(reader: Reader, query: FunnelQuery, person: Person, span: Range) -> Sql:
    scan = reader.scan(
        query.selection,
        span,
        persons=True,
        marks=marks_of(query),
        only_marked=True,
        person=person,
    )
    return scan.select(EVIDENCE_COLUMNS)


def _around(
    reader: Reader, query: FunnelQuery, person: Person, mark: str, split: _Split
) -> _Around:
    """Return the events of a mark, written in code, on both sides of an instant."""
    statement = sql(
        "SELECT countIf({mark} AND is_before), maxIf({evidence}, {mark} AND is_before),"
        " countIf({mark} AND is_after), minIf({evidence}, {mark} AND is_after)"
        " FROM (SELECT *, ms < {instant} AS is_before, ms >= {instant}"
        " AND position NOT IN {used} AS is_after FROM ({events}))",
        mark=sql(mark),
        evidence=EVIDENCE,
        instant=int64(split.instant_ms),
        used=uint64s(split.used),
        events=_events_of_person(reader, query, person, Range(_FIRST_MS, LATEST_MS)),
    )
    return _Around(*reader.rows(statement)[0])


def _since_previous(attempt: _Attempt, place: int) -> float | None:
    event = attempt.events[place]
    before = [earlier[0] for earlier in attempt.events[:place] if earlier is not None]
    return (event[0] - before[-1]) / 1_000 if event is not None and before else None


def _missing_start(reader: Reader, query: FunnelQuery, person: Person) -> str:
    """Return why a person has no attempt."""
    places = range(len(query.steps)) if query.order == "any" else range(1)
    mark = f"({' OR '.join(f'step_{place}' for place in places)})"
    before = _around(reader, query, person, mark, _Split(query.span.from_ms))
    after = _around(reader, query, person, mark, _Split(query.span.to_ms + 1))
    near = []
    if before.before:
        near.append(
            f"one came {length_text(query.span.from_ms - before.last_before[0])} before it begins"
        )
    if after.after:
        near.append(
            f"one came {length_text(after.first_after[0] - query.span.to_ms)} after it ends"
        )
    opens = "any step" if query.order == "any" else f"step 1, `{query.steps[0].label}`,"
    return f"No event of {opens} in the range{': ' + ', '.join(near) if near else ''}."


def _missing(
    reader: Reader, query: FunnelQuery, person: Person, attempt: _Attempt, place: int
) -> str:
    """Return what the counted attempt lacked for a step."""
    if query.order == "any":
        return f"Inside the window of {query.window} there were events for {place} different steps."
    last_place = max(step for step in query.required if step < place)
    last = attempt.events[last_place]
    assert last is not None
    for exclusion, broken_ms in zip(query.exclusions, attempt.broken_ms, strict=True):
        if broken_ms is not None and exclusion.from_step == last_place:
            return (
                f"The exclusion `{exclusion.label}` came {length_text(broken_ms - last[0])} after"
                f" step {last_place + 1}, at {utc_text(broken_ms)}."
            )
    later_ms = last[0] + (1 if query.tie == "strict" else 0)
    split = _Split(later_ms, tuple(attempt.positions))
    around = _around(reader, query, person, f"step_{place}", split)
    if not around.after:
        return _never_after(around, last, last_place)
    late_ms = around.first_after[0] - attempt.start_ms - query.window_ms
    came = shown_event(around.first_after)
    if late_ms > 0:
        return (
            f"`{came['event']}` ({came['id']}) came {length_text(late_ms)} after the window of"
            f" {query.window} had passed."
        )
    if query.order == "strict":
        return (
            f"`{came['event']}` ({came['id']}) came {length_text(around.first_after[0] - last[0])}"
            f" after step {last_place + 1}, with other events between."
        )
    return f"`{came['event']}` ({came['id']}) is needed for another step: one event fills one."


def _never_after(around: _Around, last: Evidence, last_place: int) -> str:
    if not around.before:
        return "No event of this step at any time."
    return (
        f"No event of this step after step {last_place + 1}; the last one came"
        f" {length_text(last[0] - around.last_before[0])} before."
    )
