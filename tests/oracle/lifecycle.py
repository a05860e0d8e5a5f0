"""Lifecycle, by asking of every person and every interval what the words say."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from oracle.calendar import buckets
from oracle.people import Item, Person, events_of, person_of
from oracle.values import Condition, holds, value_of

DAY_MS = 24 * 3_600_000


class Question(NamedTuple):
    """What lifecycle and stickiness can be asked."""

    timezone: str
    week_start: int
    now_ms: int
    from_ms: int
    to_ms: int
    interval: str
    event: str | None
    conditions: list[Condition]
    breakdown: tuple[str, ...] | None


# An interval: its label, where what counts of it begins and ends (excluded), and where it is over.
Stretch = tuple[str, int, int, int]


def lifecycle(
    question: Question, history: list[Item]
) -> dict[str | None, dict[tuple[str, str], set[Person]]]:
    """Return per value of the breakdown (as JSON; None for all) who is behind (label, kind)."""
    stretches = [before_range(question), *in_range(question)]
    tables = {}
    for value, events in by_value(question, history).items():
        times: dict[Person, list[int]] = {}
        for event in events:
            times.setdefault(person_of(event, history), []).append(event["timestamp"])
        table: dict[tuple[str, str], set[Person]] = {}
        for previous, this in pairwise(stretches):
            for kind in ("new", "returning", "resurrecting", "dormant"):
                table[this[0], kind] = {
                    person for person, own in times.items() if is_of_kind(kind, own, previous, this)
                }
        tables[value] = table
    return tables


def is_of_kind(kind: str, times: list[int], previous: Stretch, this: Stretch) -> bool:
    def active(stretch: Stretch) -> bool:
        return any(stretch[1] <= time < stretch[2] for time in times)

    active_before = any(time < this[1] for time in times)
    if kind == "new":
        return active(this) and not active_before
    if kind == "returning":
        return active(this) and active(previous)
    if kind == "resurrecting":
        return active(this) and active_before and not active(previous)
    return active(previous) and not active(this)


def in_range(question: Question) -> list[Stretch]:
    """Return the intervals of the range, each cut to what lies in it."""
    zone = ZoneInfo(question.timezone)
    start = before_range(question)[3]
    stretches = []
    for _, label, end in buckets(
        question.from_ms, question.to_ms, question.interval, zone, question.week_start
    ):
        stretches.append((label, max(start, question.from_ms), min(end, question.to_ms + 1), end))
        start = end
    return stretches


def before_range(question: Question) -> Stretch:
    """Return the whole interval before the first of the range."""
    earlier = buckets(
        question.from_ms - 80 * DAY_MS,
        question.from_ms,
        question.interval,
        ZoneInfo(question.timezone),
        question.week_start,
    )
    label, end = earlier[-2][1:]
    return (label, earlier[-3][2], end, end)


def by_value(question: Question, history: list[Item]) -> dict[str | None, list[Item]]:
    """Return the matching events up to the end of the range, all of them and by value."""
    events = [
        event
        for event in events_of(history)
        if event["timestamp"] <= question.to_ms
        and question.event in (None, event["event"])
        and all(
            holds(condition, event, history, ZoneInfo(question.timezone))
            for condition in question.conditions
        )
    ]
    groups: dict[str | None, list[Item]] = {None: events}
    if question.breakdown is not None:
        for event in events:
            value = as_json(value_of(question.breakdown, event, history))
            groups.setdefault(value, []).append(event)
    return groups


def as_json(value: Any) -> str:
    """Return a value as JSON; a number without a fraction is one value however it was sent."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, list):
        value = [json.loads(as_json(element)) for element in value]
    return json.dumps(value)
