"""Trends and active users, by looking at every event for every bucket."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from oracle.calendar import bucket_of, buckets, day_start_ms
from oracle.people import Item, events_of, person_of
from oracle.values import Condition, aggregate, holds, value_of

HOUR_MS = 3_600_000


class Question(NamedTuple):
    timezone: str
    week_start: int
    now_ms: int
    from_ms: int
    to_ms: int
    interval: str
    event: str | None
    conditions: list[Condition]
    metric: str
    property: tuple[str, ...] | None
    breakdown: tuple[str, ...] | None


def trends(question: Question, history: list[Item]) -> dict[str, Any]:
    """Return {"data", "total", "breakdown": {value as JSON: the same}} with raw numbers."""
    zone = ZoneInfo(question.timezone)

    def table(events: list[Item]) -> dict[str, Any]:
        in_range = [e for e in events if question.from_ms <= e["timestamp"] <= question.to_ms]
        data = []
        for name, label, end in _buckets(question):
            inside = [
                event
                for event in in_range
                if bucket_of(event["timestamp"], question.interval, zone, question.week_start)
                == name
            ]
            data.append((label, _metric(question, inside, history), end <= question.now_ms))
        return {"data": data, "total": _metric(question, in_range, history)}

    in_range = [
        e for e in events_of(history) if question.from_ms <= e["timestamp"] <= question.to_ms
    ]
    return _with_breakdown(question, _matching(question, in_range, history), history, table)


def active_users(question: Question, history: list[Item]) -> dict[str, Any]:
    """Return the same shape for `dau`, `wau` and `mau`."""

    def table(events: list[Item]) -> dict[str, Any]:
        def persons(begin: int, end: int) -> int:
            """Count the persons from `begin` up to but without `end`."""
            active = [event for event in events if begin <= event["timestamp"] < end]
            return len({person_of(event, history) for event in active})

        rows = _buckets(question)
        starts = [_start(question), *(end for _, _, end in rows)]
        data = [
            (label, persons(*_window(question, start, end)), end <= question.now_ms)
            for start, (_, label, end) in zip(starts, rows, strict=False)
        ]
        return {"data": data, "total": persons(question.from_ms, question.to_ms + 1)}

    everything = _matching(question, events_of(history), history)
    first = min(_window(question, _start(question), _buckets(question)[0][2])[0], question.from_ms)
    reached = [event for event in everything if first <= event["timestamp"] <= question.to_ms]
    return _with_breakdown(question, reached, history, table)


def _window(question: Question, start: int, end: int) -> tuple[int, int]:
    days = {"dau": 1, "wau": 7, "mau": 30}[question.metric]
    last = min(end, question.to_ms + 1)
    if days == 1 or question.interval in ("week", "month"):
        return max(start, question.from_ms), last
    if question.interval == "hour":
        return end - days * 24 * HOUR_MS, last
    return day_start_ms(end - 1, ZoneInfo(question.timezone), days - 1), last


def _start(question: Question) -> int:
    zone = ZoneInfo(question.timezone)
    before = buckets(
        question.from_ms - 40 * 24 * HOUR_MS,
        question.from_ms,
        question.interval,
        zone,
        question.week_start,
    )
    return before[-2][2]


def _buckets(question: Question) -> list[tuple[str, str, int]]:
    zone = ZoneInfo(question.timezone)
    return buckets(question.from_ms, question.to_ms, question.interval, zone, question.week_start)


def _matching(question: Question, events: list[Item], history: list[Item]) -> list[Item]:
    zone = ZoneInfo(question.timezone)
    return [
        event
        for event in events
        if question.event in (None, event["event"])
        and all(holds(condition, event, history, zone) for condition in question.conditions)
    ]


def _metric(question: Question, events: list[Item], history: list[Item]) -> Any:
    if question.metric == "count":
        return len(events)
    persons = {person_of(event, history) for event in events}
    if question.metric == "users":
        return len(persons)
    if question.metric == "per_person":
        return Fraction(len(events), len(persons)) if persons else None
    assert question.property is not None
    values = [value_of(question.property, event, history) for event in events]
    return aggregate(question.metric, values)


def _with_breakdown(
    question: Question,
    events: list[Item],
    history: list[Item],
    table: Callable[[list[Item]], dict[str, Any]],
) -> dict[str, Any]:
    answer = table(events)
    if question.breakdown is not None:
        by_value: dict[str, list[Item]] = {}
        for event in events:
            by_value.setdefault(_key(value_of(question.breakdown, event, history)), []).append(
                event
            )
        answer["breakdown"] = {value: table(group) for value, group in by_value.items()}
    return answer


def _key(value: Any) -> str:
    """Return a value as JSON; a number without a fraction is one value however it was sent."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, list):
        value = [json.loads(_key(element)) for element in value]
    return json.dumps(value)
