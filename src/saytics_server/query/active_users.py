"""GET /v1/reports/users: persons active per bucket, or within a window that ends with it.

A window of 30 days that moves by one day would count each person 30 times over. Instead the time
line is cut into cells at every edge of a window; a person is the set of cells they were active in,
as bit masks of 64 cells; and each active cell opens the windows it lies in until the next active
cell takes over. Per person that is a few numbers however many windows there are.

    cells       | 0 | 1 | 2 | 3 | 4 | 5 |      window 0: cells 0 to 2, 1: cells 1 to 3 ...
    active            x       x                cell 1 lies in windows 0, 1; cell 3 in 1, 2, 3
    changes     window 0: +1   window 1: -1 +1   window 4: -1

The numbers of each breakdown value and of all persons come from the same masks, so that events are
read once; twice where a breakdown has more values than are shown.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import accumulate
from typing import Any, Literal, cast
from zoneinfo import ZoneInfo

import msgspec

from saytics_server.people import Person
from saytics_server.query.answer import BUCKET_RULE, PERSON_RULE, definition, series
from saytics_server.query.breakdown import (
    breakdown_fields,
    few_values,
    largest_values,
    parse_breakdown,
    parse_limit,
    shown,
)
from saytics_server.query.cell import VALUE_FIELDS, Cell
from saytics_server.query.comparison import COMPARISONS, Period, parse_compare, previous_rule
from saytics_server.query.document import ReportDocument, shared_fields
from saytics_server.query.evidence import length_text, shown_event, shown_links
from saytics_server.query.filters import filters_of
from saytics_server.query.judgement import LINK_RULE, judge
from saytics_server.query.model import Frame, Parameters, Range, Reference, Selection, choice
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
from saytics_server.sql import Sql, int64, sql, string, uint32s

PARAMETERS = (
    "from", "to", "interval", "metric", "event", "filter", "breakdown", "breakdown_limit",
    "compare", "as_of",
)  # fmt: skip

Measure = Literal["dau", "wau", "mau"]
_TRAILING_DAYS: dict[Measure, int] = {"dau": 1, "wau": 7, "mau": 30}


class Counts(msgspec.Struct, frozen=True):
    """How many persons: of each bucket's window, of the range, and of all windows together."""

    data: list[int]
    total: int
    seen: int


# Per breakdown value, None standing for all.
_Counts = Mapping[str | None, Counts]


class ActiveUsersQuery(msgspec.Struct, frozen=True):
    """The question, typed."""

    frame: Frame
    selection: Selection
    period: Period
    previous: Period | None
    metric: Measure
    breakdown: Reference | None
    values_max: int

    @property
    def is_trailing(self) -> bool:
        """Return whether the window of a bucket reaches back beyond it."""
        trails = _TRAILING_DAYS[self.metric] > 1
        return trails and self.period.buckets.interval in ("hour", "day")


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
    breakdown_limit: int | None = None
    compare: str | None = None


def document_of(parameters: Sequence[tuple[str, str]]) -> Document:
    """Return what decoded query parameters ask. Raises Refused("invalid_parameter")."""
    given = Parameters(parameters, PARAMETERS, repeatable=("filter",))
    return Document(
        event=given.one("event"),
        interval=given.one("interval") or "day",
        metric=given.one("metric") or "dau",
        compare=given.one("compare"),
        **shared_fields(given),
        **breakdown_fields(given),
    )


def question(document: Document, frame: Frame) -> ActiveUsersQuery:
    """Return the question, checked. Raises Refused("invalid_parameter" | "range_too_large")."""
    interval = parse_interval(document.interval)
    span = parse_range(document.from_, document.to, frame)
    period = Period(span, buckets_of(span, interval, frame))
    events = (document.event,) if document.event else ()
    return ActiveUsersQuery(
        frame=frame,
        selection=Selection(events, filters_of(document.filter)),
        period=period,
        previous=parse_compare(document.compare, period, frame),
        metric=cast("Measure", choice("metric", document.metric, tuple(_TRAILING_DAYS))),
        breakdown=parse_breakdown(document.breakdown),
        values_max=parse_limit(document.breakdown_limit),
    )


def parse(parameters: Sequence[tuple[str, str]], frame: Frame) -> ActiveUsersQuery:
    """Return the question that decoded query parameters ask."""
    return question(document_of(parameters), frame)


def run(reader: Reader, query: ActiveUsersQuery) -> dict[str, Any]:
    """Return the answer, every bucket present."""
    values, is_ranked = _values(reader, query)
    now = _counts(reader, query, query.period, values)
    if not is_ranked:
        values = tuple(sorted(values, key=lambda value: -now[value].seen if value in now else 0))
    before = None
    if query.previous is not None:
        before = _counts(reader, query, query.previous, values)
    return _answer(query, now, before, values)


def _values(reader: Reader, query: ActiveUsersQuery) -> tuple[tuple[str, ...], bool]:
    """Return the breakdown values to show, and whether they are in order: most persons first."""
    if query.breakdown is None:
        return (), True
    span = _read(windows_of(query, query.period), query.period)
    few = few_values(reader, query.selection, span, query.breakdown, query.values_max)
    if few is not None:
        return few, False
    scan = _scan(reader, query, span)
    most = query.values_max
    return largest_values(reader, scan, {}, sql("uniqExact(person)"), most), True


def _read(windows: Windows, period: Period) -> Range:
    return Range(windows.cells_ms[0], period.span.to_ms)


def _scan(reader: Reader, query: ActiveUsersQuery, span: Range) -> Scan:
    return reader.scan(query.selection, span, breakdown=query.breakdown, persons=True)


def windows_of(query: ActiveUsersQuery, period: Period) -> Windows:
    """Return the windows of each bucket, cut into cells. Pure."""
    bounds = [window_of(query, period, index) for index in range(len(period.buckets.labels))]
    edges = {edge for bound in bounds for edge in bound} | {period.span.from_ms}
    cells = tuple(sorted(edges))[:-1]
    begins = [begin for begin, _ in bounds]
    ends = [end for _, end in bounds]
    opens = tuple(bisect_right(ends, cell) for cell in cells)
    closes = tuple(
        max(bisect_right(begins, cell), opening) for cell, opening in zip(cells, opens, strict=True)
    )
    return Windows(cells, opens, closes, cells.index(period.span.from_ms))


def window_of(query: ActiveUsersQuery, period: Period, index: int) -> tuple[int, int]:
    """Return where the window of a bucket begins and ends (excluded)."""
    begin, end = period.buckets.starts_ms[index], period.buckets.ends_ms()[index]
    last = min(end, period.span.to_ms + 1)
    days = _TRAILING_DAYS[query.metric]
    if not query.is_trailing:
        return max(begin, period.span.from_ms), last
    if period.buckets.interval == "hour":
        return end - days * 24 * HOUR_MS, last
    zone = ZoneInfo(query.frame.timezone)
    return day_start_ms(local_date(begin, zone) - timedelta(days=days - 1), zone), last


def statement_of(windows: Windows, scan: Scan, values: tuple[str, ...]) -> Sql:
    """Return the SELECT of (is all values, value, window, change in the number of persons there).

    The two places after the last window hold the number of persons seen in the range itself, and
    at all.
    """
    broken_down = scan.breakdown is not None
    masks = sql(
        "SELECT {value} AS value, person, intDiv(cell, 64) AS word,"
        " groupBitOr(bitShiftLeft(toUInt64(1), cell % 64)) AS mask"
        " FROM ({events}) GROUP BY value, person, word",
        value=sql("breakdown" if broken_down else "''"),
        events=scan.select(
            {"cell": place_in(windows.cells_ms)}, values=values if broken_down else None
        ),
    )
    # A person of several values may have a cell more than once; that would cancel out, row by row.
    persons = sql(
        "SELECT {is_all} AS is_all, value, person, arrayCompact(arraySort(arrayFlatten(groupArray("
        "arrayMap(bit -> word * 64 + bit, bitPositionsToArray(mask)))))) AS cells"
        " FROM ({masks}) GROUP BY {keys}",
        is_all=sql("grouping(value)" if broken_down else "1"),
        keys=sql("GROUPING SETS ((value, person), (person))" if broken_down else "value, person"),
        masks=masks,
    )
    return sql(
        "SELECT is_all, value, change.1 AS place, sum(change.2) FROM ({persons})"
        " ARRAY JOIN arrayConcat("
        "arrayMap(cell -> (toInt64({opens}[cell + 1]), toInt64(1)), cells),"
        "arrayMap((cell, following) -> (toInt64(least({closes}[cell + 1],"
        " if(following = 0, {closes}[cell + 1], {opens}[following]))), toInt64(-1)),"
        " cells, arrayPushBack(arrayMap(cell -> cell + 1, arrayPopFront(cells)), 0)),"
        "[({beyond}, toInt64(cells[-1] >= {first})), ({beyond} + 1, toInt64(1))]) AS change"
        " GROUP BY is_all, value, place",
        persons=persons,
        opens=uint32s(windows.opens),
        closes=uint32s(windows.closes),
        beyond=int64(_beyond(windows)),
        first=int64(windows.first_cell),
    )


def _beyond(windows: Windows) -> int:
    return max(windows.closes) + 1


def _counts(
    reader: Reader, query: ActiveUsersQuery, period: Period, values: tuple[str, ...]
) -> _Counts:
    windows = windows_of(query, period)
    scan = _scan(reader, query, _read(windows, period))
    changes: dict[str | None, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for is_all, value, place, change in reader.rows(statement_of(windows, scan, values)):
        changes[None if is_all else value][place] = change
    places = range(len(period.buckets.labels))
    return {
        value: Counts(
            list(accumulate(by_place.get(place, 0) for place in places)),
            by_place.get(_beyond(windows), 0),
            by_place.get(_beyond(windows) + 1, 0),
        )
        for value, by_place in changes.items()
    }


def _answer(
    query: ActiveUsersQuery, now: _Counts, before: _Counts | None, values: tuple[str, ...]
) -> dict[str, Any]:
    def rows(period: Period, counts: _Counts, value: str | None) -> dict[str, Any]:
        found = counts.get(value, Counts([0] * len(period.buckets.labels), 0, 0))
        data = series(period.buckets, found.data, "count", query.frame.now_ms)
        return {"data": data, "total": found.total}

    def both(value: str | None) -> dict[str, Any]:
        shown_now = rows(query.period, now, value)
        if before is None or query.previous is None:
            return shown_now
        return {**shown_now, "previous": rows(query.previous, before, value)}

    interval = query.period.buckets.interval
    answer = {"metric": query.metric, "interval": interval, **both(None)}
    if query.breakdown is not None:
        rest = (OTHER,) if OTHER in {*now, *(before or {})} else ()
        answer["breakdown"] = [{**shown(value), **both(value)} for value in (*values, *rest)]
    span = query.period.span
    answer["definition"] = definition(query.frame, span, query.selection, _rules(query))
    return answer


def _rules(query: ActiveUsersQuery) -> list[str]:
    days, interval = _TRAILING_DAYS[query.metric], query.period.buckets.interval
    if not query.is_trailing:
        window = f"{query.metric}: distinct persons of the {interval}."
    elif interval == "hour":
        window = f"{query.metric}: distinct persons of the {days * 24} hours up to the hour's end."
    else:
        window = f"{query.metric}: distinct persons of the {days} local days that end with the day."
    rules = [
        window,
        "total: distinct persons of the range.",
        "Windows reach back before the range." if query.is_trailing else BUCKET_RULE,
        PERSON_RULE,
    ]
    if query.breakdown is not None:
        rules.append(
            f"The {query.values_max} values with the most persons, the others as one; null where"
            " the value is absent."
        )
    return rules if query.previous is None else [*rules, previous_rule(query.previous)]


# --- behind a number ----------------------------------------------------------------------------


def persons(reader: Reader, query: ActiveUsersQuery, cell: Mapping[str, Any]) -> Sql:
    """Return a SELECT of the persons behind a number.

    The cell is {"date"?, "value"? | "other"?, "compare"?}: without `date` the whole range, without
    `value` all values; `compare` says that the cell is one of the period before.
    """
    compared = ("compare",) if query.previous is not None else ()
    broken_down = VALUE_FIELDS if query.breakdown is not None else ()
    named = Cell(cell, ("date", *broken_down, *compared))
    period = query.period
    if query.previous is not None and named.has("compare"):
        named.choice("compare", COMPARISONS)
        period = query.previous
    span = period.span
    if named.has("date"):
        begin, end = window_of(query, period, named.bucket(period.buckets))
        span = Range(begin, end - 1)
    wanted = named.breakdown_value(reader)
    scan = _scan(reader, query, span)
    if wanted is None:
        scan = msgspec.structs.replace(scan, breakdown=None)
        return sql("SELECT DISTINCT person FROM ({events})", events=scan.select({}))
    values = _values(reader, query)[0] if wanted == OTHER else (wanted,)
    return sql(
        "SELECT DISTINCT person FROM ({events}) WHERE breakdown = {wanted}",
        events=scan.select({}, values=values),
        wanted=string(wanted),
    )


def explain(reader: Reader, query: ActiveUsersQuery, person: Person) -> dict[str, Any]:
    """Return for each bucket the latest event that makes a person active in it, or by how much the
    last one before was missed, and the events of the name that a filter removes."""
    windows = windows_of(query, query.period)
    labels = tuple(map(str, range(len(windows.cells_ms))))
    interval = query.period.buckets.interval
    cells = Buckets(interval, windows.cells_ms, query.period.span.to_ms + 1, labels)
    found = judge(reader, query.selection, Period(_read(windows, query.period), cells), person)
    active = sorted(found.latest)
    starts = [windows.cells_ms[cell] for cell in active]
    data: list[dict[str, Any]] = []
    for place, label in enumerate(query.period.buckets.labels):
        begin, end = window_of(query, query.period, place)
        before_end = bisect_left(starts, end)
        verdict: dict[str, Any] = {"date": label, "active": False}
        if before_end:
            event = found.latest[active[before_end - 1]]
            verdict["active"] = starts[before_end - 1] >= begin
            verdict["event"] = shown_event(event)
            if not verdict["active"]:
                verdict["missed_by"] = length_text(begin - event[0])
        data.append(verdict)
    return {
        "counted": bool(starts) and starts[-1] >= query.period.span.from_ms,
        "data": data,
        "missed": found.missed,
        "misses": found.misses,
        "links": shown_links(reader, person, found.seen),
        "definition": definition(
            query.frame, query.period.span, query.selection, [*_rules(query), LINK_RULE]
        ),
    }
