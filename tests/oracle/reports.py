"""Trends and active users, by looking at every event for every bucket.

Every table is rows of (label, number, persons behind it, whether its time is over, events) and,
last, the row of the whole range, whose label is None.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from fractions import Fraction
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from oracle.calendar import buckets, day_start_ms, shown
from oracle.formulas import value_of_formula
from oracle.people import Item, Person, events_of, person_of
from oracle.values import Filter, aggregate, holds, numbers, value_of

HOUR_MS = 3_600_000

# Values beyond the limit, as one.
OTHER = "other"


class Row(NamedTuple):
    label: str | None
    number: Any
    persons: set[Person]
    over: bool
    events: int


Table = list[Row]


class Line(NamedTuple):
    """A table, the same for the period before, and both per breakdown value, in order."""

    now: Table
    before: Table | None
    values: dict[str, tuple[Table, Table | None]] | None


class Question(NamedTuple):
    """What active users can be asked, and one series of a trend."""

    timezone: str
    week_start: int
    now_ms: int
    from_ms: int
    to_ms: int
    interval: str
    event: str | None
    conditions: list[Filter]
    metric: str
    property: tuple[str, ...] | None
    breakdown: tuple[str, ...] | None
    compare: bool = False
    cumulative: bool = False
    limit: int = 25
    events: tuple[str, ...] = ()


class Period(NamedTuple):
    """A range, the end excluded, and its buckets: (label, start, end)."""

    begin: int
    end: int
    rows: list[tuple[str, int, int]]


def trends(
    series: dict[str, Question], formulas: list[str], history: list[Item]
) -> tuple[dict[str, Line], dict[str, Line]]:
    """Return the lines of the series by name, and those of the formulas by text, which may be a
    series' name. The series differ in what they count only."""
    shared = next(iter(series.values()))
    period = period_of(shared)
    matching = {name: matching_events(one, history) for name, one in series.items()}
    inside = {
        name: [e for e in events if period.begin <= e["timestamp"] < period.end]
        for name, events in matching.items()
    }

    def rank(name: str, events: list[Item]) -> Any:
        return _metric(series[name], events, history)

    values = None
    if shared.breakdown is not None:
        values = []
        for name, events in inside.items():
            largest = _largest(shared, events, history, lambda group, name=name: rank(name, group))
            values += [value for value in largest if value not in values]
        values = values[: shared.limit]
    lines = {}
    for name, one in series.items():

        def table(period: Period, events: list[Item], one: Question = one) -> Table:
            return _trend(one, period, events, history)

        lines[name] = _line(one, matching[name], history, values, table)
    if values is not None:
        _drop_empty_rest(lines)
    return lines, {formula: _formula(formula, lines) for formula in formulas}


def active_users(question: Question, history: list[Item]) -> dict[str, Any]:
    """Return the line of `dau`, `wau` or `mau` as `line`, and its rows as (label, number, over) and
    total once more."""
    period = period_of(question)
    matching = matching_events(question, history)

    def table(period: Period, events: list[Item]) -> Table:
        def row(label: str | None, begin: int, end: int, over: bool) -> Row:
            active = [event for event in events if begin <= event["timestamp"] < end]
            persons = {person_of(event, history) for event in active}
            return Row(label, len(persons), persons, over, len(active))

        rows = [
            row(label, *window(question, period, start, end), end <= question.now_ms)
            for label, start, end in period.rows
        ]
        return [*rows, row(None, period.begin, period.end, True)]

    values = None
    if question.breakdown is not None:
        first = min(window(question, period, start, end)[0] for _, start, end in period.rows)
        read = [e for e in matching if min(first, period.begin) <= e["timestamp"] < period.end]
        values = _largest(
            question, read, history, lambda group: len({person_of(e, history) for e in group})
        )[: question.limit]
    lines = {"line": _line(question, matching, history, values, table)}
    if values is not None:
        _drop_empty_rest(lines)
    line = lines["line"]
    return {
        "line": line,
        "data": [(row.label, row.number, row.over) for row in line.now[:-1]],
        "total": line.now[-1].number,
    }


def matching_events(question: Question, history: list[Item]) -> list[Item]:
    """Return the events that are asked for, whenever they were."""
    zone = ZoneInfo(question.timezone)
    names = question.events or ((question.event,) if question.event else ())
    return [
        event
        for event in events_of(history)
        if (not names or event["event"] in names)
        and all(holds(condition, event, history, zone) for condition in question.conditions)
    ]


def window(question: Question, period: Period, start: int, end: int) -> tuple[int, int]:
    """Return where the window of a bucket begins and ends, the end excluded."""
    days = {"dau": 1, "wau": 7, "mau": 30}[question.metric]
    last = min(end, period.end)
    if days == 1 or question.interval in ("week", "month"):
        return max(start, period.begin), last
    if question.interval == "hour":
        return end - days * 24 * HOUR_MS, last
    zone = ZoneInfo(question.timezone)
    return day_start_ms(start, zone, days - 1), last


def period_of(question: Question) -> Period:
    """Return the range of a question with its buckets."""
    zone = ZoneInfo(question.timezone)
    before = buckets(
        question.from_ms - 40 * 24 * HOUR_MS,
        question.from_ms,
        question.interval,
        zone,
        question.week_start,
    )
    start = before[-2][2]
    rows = []
    for _, label, end in buckets(
        question.from_ms, question.to_ms, question.interval, zone, question.week_start
    ):
        rows.append((label, start, end))
        start = end
    return Period(question.from_ms, question.to_ms + 1, rows)


def period_before(question: Question) -> Period:
    """Return the range and each bucket moved back by the length of the range: by hours on an hour
    axis, else by the least number of local days that makes it end before it began."""
    period = period_of(question)
    zone = ZoneInfo(question.timezone)
    if question.interval == "hour":
        back = 0
        while period.end - back > period.begin:
            back += HOUR_MS
        rows = [
            (shown(start - back, zone).isoformat(timespec="seconds"), start - back, end - back)
            for _, start, end in period.rows
        ]
        return Period(period.begin - back, period.end - back, rows)
    days = 1
    while not (
        _days_back(period.begin, days, zone) < _days_back(period.end, days, zone) <= period.begin
    ):
        days += 1
    rows = []
    for _, start, end in period.rows:
        label = (shown(start, zone).date() - timedelta(days=days)).isoformat()
        rows.append((label, _days_back(start, days, zone), _days_back(end, days, zone)))
    return Period(_days_back(period.begin, days, zone), _days_back(period.end, days, zone), rows)


def _days_back(instant: int, days: int, zone: ZoneInfo) -> int:
    """Return the instant as long after local midnight, on a day so many dates earlier."""
    since_midnight = instant - day_start_ms(instant, zone, 0)
    midnight, next_midnight = (
        day_start_ms(instant, zone, days),
        day_start_ms(instant, zone, days - 1),
    )
    if midnight == next_midnight:
        return midnight  # a date that never was
    return min(midnight + since_midnight, next_midnight - 1)


def _trend(one: Question, period: Period, events: list[Item], history: list[Item]) -> Table:
    def row(label: str | None, begin: int, end: int, over: bool) -> Row:
        inside = [event for event in events if begin <= event["timestamp"] < end]
        contributing = inside
        if one.property is not None:
            contributing = [
                event for event in inside if numbers([value_of(one.property, event, history)])
            ]
        persons = {person_of(event, history) for event in contributing}
        return Row(label, _metric(one, inside, history), persons, over, len(inside))

    rows = [
        row(
            label,
            period.begin if one.cumulative else max(start, period.begin),
            min(end, period.end),
            end <= one.now_ms,
        )
        for label, start, end in period.rows
    ]
    return [*rows, row(None, period.begin, period.end, True)]


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


def _line(
    question: Question,
    events: list[Item],
    history: list[Item],
    values: list[str] | None,
    table: Callable[[Period, list[Item]], Table],
) -> Line:
    period = period_of(question)
    earlier = period_before(question) if question.compare else None

    def both(group: list[Item]) -> tuple[Table, Table | None]:
        return table(period, group), table(earlier, group) if earlier else None

    per_value = None
    if values is not None:
        groups: dict[str, list[Item]] = {value: [] for value in (*values, OTHER)}
        for event in events:
            value = as_json(value_of(question.breakdown, event, history))
            groups[value if value in groups else OTHER].append(event)
        per_value = {value: both(group) for value, group in groups.items()}
    return Line(*both(events), per_value)


def _drop_empty_rest(lines: dict[str, Line]) -> None:
    """Leave out the rest where no line has anything in it."""
    tables = [t for line in lines.values() for t in line.values[OTHER] if t is not None]
    if not any(row.events for table in tables for row in table):
        for line in lines.values():
            del line.values[OTHER]


def _largest(
    question: Question,
    events: list[Item],
    history: list[Item],
    rank: Callable[[list[Item]], Any],
) -> list[str]:
    groups: dict[str, list[Item]] = {}
    for event in events:
        groups.setdefault(as_json(value_of(question.breakdown, event, history)), []).append(event)

    def place(value: str) -> tuple[bool, Any, bytes]:
        size = rank(groups[value])
        written = json.dumps(json.loads(value), ensure_ascii=False, separators=(",", ":"))
        return size is None, -(size or 0), written.replace("e+", "e").encode()

    return sorted(groups, key=place)[: question.limit]


def _formula(text: str, series: dict[str, Line]) -> Line:
    def table(tables: dict[str, Table]) -> Table:
        rows = zip(*tables.values(), strict=True)
        return [
            row[0]._replace(
                persons=set(),
                number=value_of_formula(
                    text, {name: one.number for name, one in zip(tables, row, strict=True)}
                ),
            )
            for row in rows
        ]

    def both(of: dict[str, tuple[Table, Table | None]]) -> tuple[Table, Table | None]:
        now = table({name: one[0] for name, one in of.items()})
        if any(one[1] is None for one in of.values()):
            return now, None
        return now, table({name: one[1] for name, one in of.items() if one[1] is not None})

    values = next(iter(series.values())).values
    per_value = None
    if values is not None:
        per_value = {
            value: both({name: line.values[value] for name, line in series.items() if line.values})
            for value in values
        }
    return Line(*both({name: (line.now, line.before) for name, line in series.items()}), per_value)


def as_json(value: Any) -> str:
    """Return a value as JSON; a number without a fraction is one value however it was sent."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, list):
        value = [json.loads(as_json(element)) for element in value]
    return json.dumps(value)
