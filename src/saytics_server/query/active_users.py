"""GET /v1/reports/users: persons active per bucket, or within a window that ends with it.

A window of 30 days that moves by one day would count each person 30 times over. Instead the time
line is cut into cells at every edge of a window; a person is the set of cells they were active in,
as bit masks of 64 cells; and each active cell opens the windows it lies in until the next active
cell takes over. Per person that is a few numbers however many windows there are.

    cells       | 0 | 1 | 2 | 3 | 4 | 5 |      window 0: cells 0 to 2, 1: cells 1 to 3 ...
    active            x       x                cell 1 lies in windows 0, 1; cell 3 in 1, 2, 3
    changes     window 0: +1   window 1: -1 +1   window 4: -1
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import accumulate
from typing import Any, Literal, cast
from zoneinfo import ZoneInfo

import msgspec

from saytics_server.query.answer import BUCKET_RULE, PERSON_RULE, definition, series
from saytics_server.query.breakdown import largest_values, parse_breakdown, shown
from saytics_server.query.document import ReportDocument
from saytics_server.query.filters import filters_of
from saytics_server.query.model import (
    Frame,
    Parameters,
    Range,
    Reference,
    Selection,
    choice,
)
from saytics_server.query.periods import (
    HOUR_MS,
    Buckets,
    buckets_of,
    day_start_ms,
    local_date,
    parse_interval,
    parse_range,
)
from saytics_server.query.reading import Reader
from saytics_server.query.scan import OTHER, Scan, place_in
from saytics_server.sql import Sql, int64, sql, uint32s

PARAMETERS = ("from", "to", "interval", "metric", "event", "filter", "breakdown")

Measure = Literal["dau", "wau", "mau"]
_TRAILING_DAYS: dict[Measure, int] = {"dau": 1, "wau": 7, "mau": 30}
_EVERYONE = ""


class ActiveUsersQuery(msgspec.Struct, frozen=True):
    """The question, typed."""

    frame: Frame
    selection: Selection
    span: Range
    buckets: Buckets
    metric: Measure
    breakdown: Reference | None


class Windows(msgspec.Struct, frozen=True):
    """Time cut into cells, and which windows each cell lies in.

    Cell k begins at `cells_ms[k]` and lies in the windows `opens[k]` up to but without `closes[k]`.
    Cells before `first_cell` lie before the range.
    """

    cells_ms: tuple[int, ...]
    opens: tuple[int, ...]
    closes: tuple[int, ...]
    first_cell: int


class Document(ReportDocument, frozen=True):
    """The JSON form of the question."""

    event: str | None = None
    interval: str = "day"
    metric: str = "dau"
    breakdown: str | None = None


def document_of(parameters: Sequence[tuple[str, str]]) -> Document:
    """Return what decoded query parameters ask. Raises Refused("invalid_parameter")."""
    given = Parameters(parameters, PARAMETERS, repeatable=("filter",))
    return Document(
        event=given.one("event"),
        from_=given.one("from"),
        to=given.one("to"),
        interval=given.one("interval") or "day",
        filter=list(given.every("filter")),
        breakdown=given.one("breakdown"),
        metric=given.one("metric") or "dau",
    )


def question(document: Document, frame: Frame) -> ActiveUsersQuery:
    """Return the question, checked. Raises Refused("invalid_parameter" | "range_too_large")."""
    interval = parse_interval(document.interval)
    span = parse_range(document.from_, document.to, frame)
    events = (document.event,) if document.event else ()
    return ActiveUsersQuery(
        frame=frame,
        selection=Selection(events, filters_of(document.filter)),
        span=span,
        buckets=buckets_of(span, interval, frame),
        metric=cast("Measure", choice("metric", document.metric, tuple(_TRAILING_DAYS))),
        breakdown=parse_breakdown(document.breakdown),
    )


def parse(parameters: Sequence[tuple[str, str]], frame: Frame) -> ActiveUsersQuery:
    """Return the question that decoded query parameters ask."""
    return question(document_of(parameters), frame)


def run(reader: Reader, query: ActiveUsersQuery) -> dict[str, Any]:
    """Return the answer, every bucket present."""
    windows = windows_of(query)
    scan = reader.scan(
        query.selection,
        Range(windows.cells_ms[0], query.span.to_ms),
        breakdown=query.breakdown,
        persons=True,
    )
    everyone = msgspec.structs.replace(scan, breakdown=None)
    counts = _counts(reader, query, windows, everyone)
    if query.breakdown is None:
        return _answer(query, counts, {}, ())
    values = largest_values(reader, scan, {}, sql("uniqExact(person)"))
    return _answer(query, counts, _counts(reader, query, windows, scan, values), values)


def windows_of(query: ActiveUsersQuery) -> Windows:
    """Return the windows of each bucket, cut into cells. Pure."""
    bounds = [_window(query, index) for index in range(len(query.buckets.labels))]
    edges = {edge for bound in bounds for edge in bound} | {query.span.from_ms}
    cells = tuple(sorted(edges))[:-1]
    begins = [begin for begin, _ in bounds]
    ends = [end for _, end in bounds]
    opens = tuple(bisect_right(ends, cell) for cell in cells)
    closes = tuple(
        max(bisect_right(begins, cell), opening) for cell, opening in zip(cells, opens, strict=True)
    )
    return Windows(cells, opens, closes, cells.index(query.span.from_ms))


def _window(query: ActiveUsersQuery, index: int) -> tuple[int, int]:
    """Return where the window of a bucket begins and ends (excluded)."""
    begin, end = query.buckets.starts_ms[index], query.buckets.ends_ms()[index]
    last = min(end, query.span.to_ms + 1)
    days = _TRAILING_DAYS[query.metric]
    if days == 1 or query.buckets.interval in ("week", "month"):
        return max(begin, query.span.from_ms), last
    if query.buckets.interval == "hour":
        return end - days * 24 * HOUR_MS, last
    zone = ZoneInfo(query.frame.timezone)
    return day_start_ms(local_date(begin, zone) - timedelta(days=days - 1), zone), last


def statement_of(windows: Windows, scan: Scan, values: tuple[str, ...] | None) -> Sql:
    """Return the SELECT of (value, window, change in the number of persons at this window).

    The place after the last window holds the number of persons seen in the range itself.
    """
    value = sql("breakdown" if scan.breakdown is not None else "''")
    masks = sql(
        "SELECT {value} AS value, person, intDiv(cell, 64) AS word,"
        " groupBitOr(bitShiftLeft(toUInt64(1), cell % 64)) AS mask"
        " FROM ({events}) GROUP BY value, person, word",
        value=value,
        events=scan.select({"cell": place_in(windows.cells_ms)}, values=values),
    )
    persons = sql(
        "SELECT value, person, arraySort(arrayFlatten(groupArray("
        "arrayMap(bit -> word * 64 + bit, bitPositionsToArray(mask))))) AS cells"
        " FROM ({masks}) GROUP BY value, person",
        masks=masks,
    )
    return sql(
        "SELECT value, change.1 AS place, sum(change.2) FROM ({persons})"
        " ARRAY JOIN arrayConcat("
        "arrayMap(cell -> (toInt64({opens}[cell + 1]), toInt64(1)), cells),"
        "arrayMap((cell, following) -> (toInt64(least({closes}[cell + 1],"
        " if(following = 0, {closes}[cell + 1], {opens}[following]))), toInt64(-1)),"
        " cells, arrayPushBack(arrayMap(cell -> cell + 1, arrayPopFront(cells)), 0)),"
        "[({beyond}, toInt64(cells[-1] >= {first}))]) AS change"
        " GROUP BY value, place",
        persons=persons,
        opens=uint32s(windows.opens),
        closes=uint32s(windows.closes),
        beyond=int64(_beyond(windows)),
        first=int64(windows.first_cell),
    )


def _beyond(windows: Windows) -> int:
    return max(windows.closes) + 1


def _counts(
    reader: Reader,
    query: ActiveUsersQuery,
    windows: Windows,
    scan: Scan,
    values: tuple[str, ...] | None = None,
) -> dict[str, tuple[list[int], int]]:
    """Return per value the persons of each bucket and of the range."""
    changes: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for value, place, change in reader.rows(statement_of(windows, scan, values)):
        changes[value][place] = change
    buckets = range(len(query.buckets.labels))
    return {
        value: (
            list(accumulate(by_place.get(place, 0) for place in buckets)),
            by_place.get(_beyond(windows), 0),
        )
        for value, by_place in changes.items()
    }


def _answer(
    query: ActiveUsersQuery,
    counts: Mapping[str, tuple[list[int], int]],
    per_value: Mapping[str, tuple[list[int], int]],
    values: tuple[str, ...],
) -> dict[str, Any]:
    def numbers(found: tuple[list[int], int] | None) -> dict[str, Any]:
        per_bucket, total = found or ([0] * len(query.buckets.labels), 0)
        data = series(query.buckets, per_bucket, "count", query.frame.now_ms)
        return {"data": data, "total": total}

    answer = {
        "metric": query.metric,
        "interval": query.buckets.interval,
        **numbers(counts.get(_EVERYONE)),
    }
    if query.breakdown is not None:
        rest = (OTHER,) if OTHER in per_value else ()
        answer["breakdown"] = [
            {**shown(value), **numbers(per_value[value])}
            for value in (*values, *rest)
            if value in per_value
        ]
    answer["definition"] = definition(query.frame, query.span, query.selection, _rules(query))
    return answer


def _rules(query: ActiveUsersQuery) -> list[str]:
    days = _TRAILING_DAYS[query.metric]
    if days == 1 or query.buckets.interval in ("week", "month"):
        window = f"{query.metric}: distinct persons of the {query.buckets.interval}."
    elif query.buckets.interval == "hour":
        window = f"{query.metric}: distinct persons of the {days * 24} hours up to the hour's end."
    else:
        window = f"{query.metric}: distinct persons of the {days} local days that end with the day."
    return [
        window,
        "total: distinct persons of the range.",
        "Windows reach back before the range." if days > 1 else BUCKET_RULE,
        PERSON_RULE,
    ]
