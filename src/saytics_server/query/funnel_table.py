"""From every person's counted attempt to the table: persons per step, and the times between steps.

One statement: persons are gathered per breakdown value and bucket into aggregates that can still be
merged, then the values beyond the largest are merged into one, and totals are made of the rest, so
that medians of `other` and of everybody are as exact as those of a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec

from saytics_server.query.funnel_attempts import counted_attempts
from saytics_server.query.funnel_events import (
    ABSENT_VALUE,
    OTHER_VALUE,
    TIME_SHIFT,
    FunnelEvents,
)
from saytics_server.query.funnel_question import FunnelQuery
from saytics_server.query.metrics import tidy
from saytics_server.sql import Sql, int64, int64s, named, sql, uint32s

# Edges of the histogram of the time to convert, in seconds: as people speak of time. The first bin
# is the same second; the last ends with the window.
_EDGES_S = (
    0, 1, 10, 60, 300, 900, 3_600, 3 * 3_600, 6 * 3_600, 12 * 3_600, 86_400, 2 * 86_400,
    3 * 86_400, 7 * 86_400, 14 * 86_400, 30 * 86_400, 90 * 86_400, 180 * 86_400,
)  # fmt: skip


class Numbers(msgspec.Struct, frozen=True):
    """What is known of a group of persons; times in milliseconds.

    `elapsed` and `medians` are of each step, since the step filled before it; `bins` counts
    conversions by the edge of the histogram.
    """

    persons: int
    reached: Sequence[int]
    elapsed: Sequence[int]
    medians: Sequence[float | None]
    elapsed_in_all: int
    median_in_all: float | None
    bins: dict[int, int]


# (value or None for all, bucket or None for all)
Group = tuple[int | None, int | None]


def table_of(rows: Sequence[Sequence[Any]]) -> dict[Group, Numbers]:
    """Return the rows of `statement_of` by group."""
    table: dict[Group, Numbers] = {}
    for of_all, value, of_range, bucket, *numbers in rows:
        group = (None if of_all else value, None if of_range else bucket)
        size, reached, elapsed, medians, in_all, median, bins = numbers
        counted = dict(zip(*bins, strict=True))
        table[group] = Numbers(size, reached, elapsed, medians, in_all, median, counted)
    return table


def outcomes(query: FunnelQuery, events: FunnelEvents) -> Sql:
    """Return a SELECT of (person, filled, value, bucket), one row per person with an attempt."""
    value = sql(f"toUInt64({ABSENT_VALUE})")
    if query.breakdown is not None and events.detailed:
        value = sql(
            {
                "first": "arrayFirst(code -> code != 0, value_codes)",
                "last": "arrayLast(code -> code != 0, value_codes)",
            }.get(str(query.attribution), f"value_codes[{query.attribution} + 1]")
        )
    bucket = sql("toUInt32(0)")
    if query.buckets is not None:
        bucket = sql(
            "transform(roundDown(toInt64(bitShiftRight(filled[1], {shift})), {starts}),"
            " {starts}, {places}, toUInt32(0))",
            shift=sql(str(TIME_SHIFT)),
            starts=int64s(query.buckets.starts_ms),
            places=uint32s(range(len(query.buckets.starts_ms))),
        )
    return sql(
        "SELECT person, filled, {value} AS value, {bucket} AS bucket FROM ({attempts})",
        value=value,
        bucket=bucket,
        attempts=counted_attempts(query, events),
    )


def value_sizes(query: FunnelQuery, events: FunnelEvents) -> Sql:
    """Return a SELECT of the codes of the largest values: those the answer shows."""
    return sql(
        "SELECT value FROM ({outcomes}) GROUP BY value ORDER BY count() DESC, value LIMIT {most}",
        outcomes=outcomes(query, events),
        most=int64(query.values_most),
    )


def statement_of(query: FunnelQuery, events: FunnelEvents) -> Sql:
    """Return the SELECT of every group's numbers: per value, per bucket, per both, and in all."""
    timed = sql(
        "SELECT *, arrayMap(key -> bitShiftRight(key, {shift}),"
        " arrayFill(key -> key > 0, filled)) AS times, arrayDifference(times) AS elapsed,"
        " arrayMap((time, key) -> if(key > 0, time, NULL), elapsed, filled) AS elapsed_if_filled,"
        " filled[{last}] > 0 AS is_converted, times[{last}] - times[1] AS duration_ms"
        " FROM ({outcomes})",
        shift=sql(str(TIME_SHIFT)),
        last=sql(str(len(query.steps))),
        outcomes=outcomes(query, events),
    )
    aggregates = _aggregates(query)
    gathered = sql(
        "SELECT value, bucket, count() AS persons, {states} FROM ({timed}) GROUP BY value, bucket",
        states=named({name: part.state for name, part in aggregates.items()}),
        timed=timed,
    )
    keys = [
        *(["label"] if query.breakdown is not None else []),
        *(["bucket"] if query.buckets is not None else []),
    ]
    return sql(
        "SELECT {of_all}, {label}, {of_range}, {bucket}, sum(persons) AS size, {merged}"
        " FROM ({labelled}){groups}",
        of_all=sql("grouping(label)" if "label" in keys else "1"),
        label=sql("label" if "label" in keys else "0"),
        of_range=sql("grouping(bucket)" if "bucket" in keys else "1"),
        bucket=sql("bucket" if "bucket" in keys else "0"),
        merged=named({f"{name}_merged": part.merged for name, part in aggregates.items()}),
        labelled=_labelled(query, gathered) if "label" in keys else gathered,
        groups=sql(f" GROUP BY CUBE({', '.join(keys)})" if keys else " HAVING size > 0"),
    )


def _labelled(query: FunnelQuery, gathered: Sql) -> Sql:
    return sql(
        "SELECT *, if(dense_rank() OVER (ORDER BY in_value DESC, value) <= {most}, value, {other})"
        " AS label FROM (SELECT *, sum(persons) OVER (PARTITION BY value) AS in_value"
        " FROM ({gathered}))",
        most=int64(query.values_most),
        other=sql(f"toUInt64({OTHER_VALUE})"),
        gathered=gathered,
    )


class _Aggregate(msgspec.Struct, frozen=True):
    state: Sql
    merged: Sql


def _aggregates(query: FunnelQuery) -> dict[str, _Aggregate]:
    """Return every aggregate by its column, in the order of the rows that `table_of` reads."""
    duration = sql("duration_ms, is_converted")
    edges = int64s(edge * 1_000 for edge in edges_s(query)[:-1])
    bins = sql("[roundDown(toInt64(duration_ms), {edges})], [toUInt64(1)]", edges=edges)
    asked: dict[str, tuple[str, str, Sql]] = {
        "reached": ("sumForEach", "", sql("arrayMap(key -> toUInt64(key > 0), filled)")),
        "elapsed_of": ("sumForEach", "", sql("elapsed")),
        # An element that is NULL counts as none: a step's median is of those who filled it.
        "medians": ("quantileExactInclusiveForEach", "(0.5)", sql("elapsed_if_filled")),
        "in_all": ("sumIf", "", duration),
        "median": ("quantileExactInclusiveOrNullIf", "(0.5)", duration),
        "bins": ("sumMapIf", "", sql("{bins}, is_converted", bins=bins)),
    }
    return {
        column: _Aggregate(
            sql(f"{name}State{parameter}({{arguments}})", arguments=arguments),
            sql(f"{name}Merge{parameter}({column})"),
        )
        for column, (name, parameter, arguments) in asked.items()
    }


def edges_s(query: FunnelQuery) -> tuple[int, ...]:
    """Return the edges of the histogram in seconds, the window's end the last."""
    end = query.window_ms // 1_000
    return (*(edge for edge in _EDGES_S if edge < end), end)


def shown(query: FunnelQuery, numbers: Numbers | None) -> dict[str, Any]:
    """Return a group's steps, conversion, and time to convert as answers show them."""
    if numbers is None:
        nothing = [0] * len(query.steps)
        numbers = Numbers(0, nothing, nothing, [None] * len(query.steps), 0, None, {})
    converted = numbers.reached[-1]
    edges = edges_s(query)
    return {
        "steps": [_shown_step(query, numbers, place) for place in range(len(query.steps))],
        "conversion": ratio(converted, numbers.reached[0]),
        "average_time_s": _seconds(ratio(numbers.elapsed_in_all, converted)),
        "median_time_s": _seconds(numbers.median_in_all),
        "histogram": [
            {"from_s": begin, "to_s": end, "count": numbers.bins.get(begin * 1_000, 0)}
            for begin, end in pairwise(edges)
        ],
    }


def _shown_step(query: FunnelQuery, numbers: Numbers, place: int) -> dict[str, Any]:
    step = query.steps[place]
    count = numbers.reached[place]
    before = numbers.reached[previous_required(query, place)]
    return {
        "event": step.label,
        **({"optional": True} if step.optional else {}),
        "count": count,
        "conversion_from_first": ratio(count, numbers.reached[0]),
        "conversion_from_previous": ratio(count, before),
        "dropped": before - count,
        "drop_off": ratio(before - count, before),
        "average_time_s": _seconds(ratio(numbers.elapsed[place], count)) if place else None,
        "median_time_s": _seconds(numbers.medians[place]) if place else None,
    }


def previous_required(query: FunnelQuery, place: int) -> int:
    """Return the place of the step that a step's conversion is measured from; its own if first."""
    return max((step for step in query.required if step < place), default=0)


def ratio(part: int, whole: int) -> float | None:
    """Return a share; None of nothing."""
    return part / whole if whole else None


def _seconds(milliseconds: float | None) -> Any:
    return None if milliseconds is None else tidy(milliseconds / 1_000)
