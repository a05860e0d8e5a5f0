"""GET /v1/reports/stickiness: on how many intervals persons were active, and dau / mau.

Buckets and local days cut the range into cells that lie in one of each, so one pass over the
events gives both the histogram and the daily persons. The trailing 30 days of `mau` are asked of
the report that knows them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from saytics_server.errors import Refused
from saytics_server.people import Person
from saytics_server.query import active_users, activity
from saytics_server.query.activity import (
    ActivityDocument,
    ActivityQuery,
    active_cells,
    breakdown_rule,
    cell_scan,
    document_of,
    known_fields,
    values_with_most,
)
from saytics_server.query.answer import BUCKET_RULE, PERSON_RULE, definition
from saytics_server.query.breakdown import shown
from saytics_server.query.cell import Cell
from saytics_server.query.evidence import EVIDENCE, EVIDENCE_COLUMNS, shown_event, shown_links
from saytics_server.query.model import Frame
from saytics_server.query.periods import BUCKETS_MAX, Buckets, buckets_of, utc_text
from saytics_server.query.reading import Reader
from saytics_server.query.scan import OTHER, Scan, place_in
from saytics_server.sql import Sql, int64, sql, uint32, uint32s

Document = ActivityDocument


class StickinessQuery(msgspec.Struct, frozen=True):
    """The question, typed. `days` are the local days of the range, `monthly` their `mau`."""

    activity: ActivityQuery
    days: Buckets
    monthly: active_users.ActiveUsersQuery


class _Counts(msgspec.Struct):
    """Persons by the number of intervals they were active on, and by the place of a day."""

    by_intervals: dict[int, int] = msgspec.field(default_factory=dict)
    by_day: dict[int, int] = msgspec.field(default_factory=dict)


def question(document: ActivityDocument, frame: Frame) -> StickinessQuery:
    """Return the question, checked. Raises Refused("invalid_parameter" | "range_too_large")."""
    asked = activity.question(document, frame)
    monthly = active_users.Document(
        event=document.event,
        from_=document.from_,
        to=document.to,
        filter=document.filter,
        as_of=document.as_of,
        metric="mau",
    )
    try:
        days = buckets_of(asked.span, "day", frame)
    except Refused:
        raise Refused(
            "range_too_large",
            f"The range has more than {BUCKETS_MAX:,} days, each of which has a dau / mau."
            " Ask for a shorter range.",
            field="from",
        ) from None
    return StickinessQuery(asked, days, active_users.question(monthly, frame))


def parse(parameters: Sequence[tuple[str, str]], frame: Frame) -> StickinessQuery:
    """Return the question that decoded query parameters ask."""
    return question(document_of(parameters), frame)


def run(reader: Reader, query: StickinessQuery) -> dict[str, Any]:
    """Return the answer: a row for every number of intervals, a ratio for every day."""
    asked = query.activity
    scan = reader.scan(asked.selection, asked.span, persons=True)
    everyone = _counts(reader, query, scan, ()).get("", _Counts())
    monthly = active_users.run(reader, query.monthly)
    daily = [everyone.by_day.get(day, 0) for day in range(len(query.days.labels))]
    answer: dict[str, Any] = {
        "event": asked.selection.events[0] if asked.selection.events else None,
        "interval": asked.buckets.interval,
        **_histogram(query, everyone),
        **_dau_mau(query, daily, [row["count"] for row in monthly["data"]]),
    }
    if asked.breakdown is not None:
        values = values_with_most(reader, asked, asked.span)
        by_value = reader.scan(asked.selection, asked.span, breakdown=asked.breakdown, persons=True)
        counts = _counts(reader, query, by_value, values)
        answer["breakdown"] = [
            {**shown(value), **_histogram(query, counts[value])}
            for value in (*values, OTHER)
            if value in counts
        ]
    answer["definition"] = definition(asked.frame, asked.span, asked.selection, _rules(query))
    return answer


def statement_of(query: StickinessQuery, scan: Scan, values: tuple[str, ...]) -> Sql:
    """Return the SELECT of (value, place, persons).

    A place is a number of intervals, or that of all intervals plus one plus the place of a day.
    """
    return sql(
        "SELECT value, place, count() FROM ({persons}) ARRAY JOIN arrayConcat("
        "[toUInt32({intervals})],"
        " arrayCompact(arrayMap(cell -> toUInt32({beyond} + {day_of}[cell + 1]), cells))"
        ") AS place GROUP BY value, place",
        persons=active_cells(scan, place_in(_cells(query)), values),
        intervals=_intervals(query),
        beyond=uint32(_beyond(query)),
        day_of=uint32s(_places_of(_cells(query), query.days)),
    )


def persons(reader: Reader, query: StickinessQuery, cell: Mapping[str, Any]) -> Sql:
    """Return a SELECT of the persons active on exactly so many intervals, or of a day's measure.

    A cell is `intervals`, and with a breakdown `value` or `other`; or `date` and `metric`, which is
    `dau` or `mau`.
    """
    if "date" in cell:
        daily = Cell(cell, ("date", "metric"))
        metric = cast("active_users.Measure", daily.choice("metric", ("dau", "mau")))
        users = msgspec.structs.replace(query.monthly, metric=metric)
        return active_users.persons(reader, users, {"date": cell["date"]})
    asked = Cell(cell, known_fields(query.activity, "intervals"))
    intervals = asked.whole_number("intervals", 1, len(query.activity.buckets.labels))
    scan, values, of_value = cell_scan(
        reader, query.activity, query.activity.span, query.activity.span, asked
    )
    return sql(
        "SELECT person FROM ({persons}) WHERE {of_value} AND {found} = {intervals}",
        persons=active_cells(scan, place_in(_cells(query)), values),
        of_value=of_value,
        found=_intervals(query),
        intervals=int64(intervals),
    )


def explain(reader: Reader, query: StickinessQuery, person: Person) -> dict[str, Any]:
    """Return the intervals a person was active on, each with its first event."""
    asked = query.activity
    scan = reader.scan(asked.selection, asked.span, persons=True, person=person)
    statement = sql(
        "SELECT bucket, min({evidence}), count() FROM ({events}) GROUP BY bucket ORDER BY bucket",
        evidence=EVIDENCE,
        events=scan.select({"bucket": place_in(asked.buckets.starts_ms), **EVIDENCE_COLUMNS}),
    )
    rows = reader.rows(statement)
    missing = (
        f"No matching event from {utc_text(asked.span.from_ms)} to {utc_text(asked.span.to_ms)}."
    )
    return {
        "counted": bool(rows),
        "intervals": len(rows),
        "data": [
            {"date": asked.buckets.labels[bucket], "events": count, "event": shown_event(first)}
            for bucket, first, count in rows
        ],
        **({} if rows else {"missing": missing}),
        "links": shown_links(reader, person, [first for _, first, _ in rows]),
    }


def _cells(query: StickinessQuery) -> tuple[int, ...]:
    """Return where the stretches of time start that lie in one bucket and one day."""
    return tuple(sorted({*query.activity.buckets.starts_ms, *query.days.starts_ms}))


def _places_of(cells: tuple[int, ...], buckets: Buckets) -> list[int]:
    """Return in which bucket each cell lies; cells before the first hold no event."""
    return [max(bisect_right(buckets.starts_ms, cell) - 1, 0) for cell in cells]


def _intervals(query: StickinessQuery) -> Sql:
    return sql(
        "length(arrayCompact(arrayMap(cell -> {interval_of}[cell + 1], cells)))",
        interval_of=uint32s(_places_of(_cells(query), query.activity.buckets)),
    )


def _beyond(query: StickinessQuery) -> int:
    return len(query.activity.buckets.labels) + 1


def _counts(
    reader: Reader, query: StickinessQuery, scan: Scan, values: tuple[str, ...]
) -> dict[str, _Counts]:
    counts: dict[str, _Counts] = defaultdict(_Counts)
    beyond = _beyond(query)
    for value, place, count in reader.rows(statement_of(query, scan, values)):
        if place < beyond:
            counts[value].by_intervals[place] = count
        else:
            counts[value].by_day[place - beyond] = count
    return counts


def _histogram(query: StickinessQuery, counts: _Counts) -> dict[str, Any]:
    return {
        "data": [
            {"intervals": intervals, "count": counts.by_intervals.get(intervals, 0)}
            for intervals in range(1, _beyond(query))
        ],
        "total": sum(counts.by_intervals.values()),
    }


def _dau_mau(query: StickinessQuery, daily: list[int], monthly: list[int]) -> dict[str, Any]:
    running = query.days.running(query.activity.frame.now_ms)
    over = [place for place, is_running in enumerate(running) if not is_running]
    return {
        "dau_mau": _ratio(sum(daily[day] for day in over), sum(monthly[day] for day in over)),
        "dau_mau_data": [
            {
                "date": label,
                "dau": dau,
                "mau": mau,
                "dau_mau": _ratio(dau, mau),
                **({"complete": False} if is_running else {}),
            }
            for label, dau, mau, is_running in zip(
                query.days.labels, daily, monthly, running, strict=True
            )
        ],
    }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _rules(query: StickinessQuery) -> list[str]:
    interval = query.activity.buckets.interval
    return [
        f"data: persons active on exactly so many of the range's {interval}s; total: persons active"
        " on any.",
        "dau_mau: the mean dau divided by the mean mau over the local days of the range that are"
        " over; null where nobody was active.",
        "dau_mau_data: per local day, whatever the interval, the distinct persons of the day, of"
        " the 30 local days that end with it, and their ratio; windows reach back before the"
        " range.",
        *breakdown_rule(query.activity),
        BUCKET_RULE,
        PERSON_RULE,
    ]
