"""GET /v1/reports/retention: of the persons who started in an interval, who returned when.

    events ─► (person, bucket): first start, last return ─► person: anchors, returns ─► cells

An anchor is the start event that puts a person into a cohort: one per person, or one per interval
(`recurring`). Which periods are filled follows from few numbers per person and bucket: in a later
bucket any return will do, in the anchor's own the last one tells whether one came after it. Elapsed
periods end anywhere in the grid of their length that the events are grouped by; there the first and
the last return of each stretch tell which of the two periods that meet in it are filled:

    grid          |---------f-----l---|      f: first return, l: last return of the stretch
    periods  ..k-1    |    k    ...          f fills k or k-1, l the same or the next one
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, cast

import msgspec

from saytics_server.errors import Refused
from saytics_server.people import Person
from saytics_server.query.activity import EVER_MS
from saytics_server.query.answer import PERSON_RULE, definition
from saytics_server.query.breakdown import (
    breakdown_fields,
    parse_breakdown,
    parse_limit,
    shown,
)
from saytics_server.query.cell import VALUE_FIELDS, Cell
from saytics_server.query.document import ReportDocument, StepDocument, shared_fields
from saytics_server.query.evidence import EVIDENCE, EVIDENCE_COLUMNS, shown_links
from saytics_server.query.filters import filters_of, selection_of
from saytics_server.query.model import (
    Frame,
    Parameters,
    Range,
    Reference,
    Selection,
    choice,
    invalid,
)
from saytics_server.query.periods import (
    HOUR_MS,
    LATEST_MS,
    parse_interval,
    parse_range,
)
from saytics_server.query.reading import Reader
from saytics_server.query.retention_periods import INTERVALS, Cohorts, Window, cohorts_of
from saytics_server.query.retention_verdict import (
    AFTER,
    BEFORE,
    COHORTS_SHOWN_MAX,
    INSIDE,
    Kind,
    Mode,
    Seen,
    anchors_of,
    events_in,
    missing_start,
    verdict,
)
from saytics_server.query.scan import OTHER, TIMESTAMP_MS, place_in
from saytics_server.sql import Sql, all_of, int64, sql, strings, uint32, uint32s

PARAMETERS = (
    "start", "return", "from", "to", "interval", "periods", "mode", "cohort", "window", "filter",
    "breakdown", "breakdown_limit", "as_of",
)  # fmt: skip

# Up to the same weekday a week later.
PERIODS_DEFAULT = 8
# A year by day.
PERIODS_MAX = 366
# A table of a year by day has 134,000 cells, 1.5 MB of JSON.
CELLS_MAX = 200_000
# Stand for no start and no return.
_NEVER_MS, _NOT_YET_MS = 2**62, -(2**62)
# The place of the only value where there is no breakdown.
_EVERYONE = sql("toUInt32(0)")


class Document(ReportDocument, frozen=True):
    """The JSON form of the question."""

    start: str | StepDocument | None = None
    return_: str | StepDocument | None = msgspec.field(name="return", default=None)
    interval: str = "day"
    periods: int = PERIODS_DEFAULT
    mode: str = "on"
    cohort: str = "first_time"
    window: str = "calendar"
    breakdown: str | None = None
    breakdown_limit: int | None = None


class RetentionQuery(msgspec.Struct, frozen=True):
    """The question, typed."""

    frame: Frame
    selection: Selection
    span: Range
    start: Selection
    returned: Selection
    cohorts: Cohorts
    mode: Mode
    kind: Kind
    breakdown: Reference | None
    values_most: int


def document_of(parameters: Sequence[tuple[str, str]]) -> Document:
    """Return what decoded query parameters ask. Raises Refused("invalid_parameter")."""
    given = Parameters(parameters, PARAMETERS, repeatable=("filter",))
    return Document(
        start=given.one("start"),
        return_=given.one("return"),
        interval=given.one("interval") or "day",
        periods=given.whole_number("periods", PERIODS_DEFAULT, most=PERIODS_MAX),
        mode=given.one("mode") or "on",
        cohort=given.one("cohort") or "first_time",
        window=given.one("window") or "calendar",
        **shared_fields(given),
        **breakdown_fields(given),
    )


def question(document: Document, frame: Frame) -> RetentionQuery:
    """Return the question, checked. Raises Refused("invalid_parameter" | "range_too_large")."""
    interval = parse_interval(document.interval, INTERVALS)
    span = parse_range(document.from_, document.to, frame)
    if not 1 <= document.periods <= PERIODS_MAX:
        raise invalid("periods", f"`periods` is a whole number from 1 to {PERIODS_MAX}.")
    window = cast("Window", choice("window", document.window, ("calendar", "elapsed")))
    cohorts = cohorts_of(span, interval, document.periods, window, frame)
    breakdown = parse_breakdown(document.breakdown)
    most = parse_limit(document.breakdown_limit)
    _refuse_too_many(cohorts, 1 if breakdown is None else most + 2)
    kinds = ("first_time", "first_ever", "recurring")
    return RetentionQuery(
        frame=frame,
        selection=Selection((), filters_of(document.filter)),
        span=span,
        start=_selection(document.start, "start"),
        returned=_selection(document.return_, "return"),
        cohorts=cohorts,
        mode=cast("Mode", choice("mode", document.mode, ("on", "on_or_after"))),
        kind=cast("Kind", choice("cohort", document.cohort, kinds)),
        breakdown=breakdown,
        values_most=most,
    )


def _refuse_too_many(cohorts: Cohorts, tables: int) -> None:
    if len(cohorts.buckets.labels) * cohorts.periods * tables > CELLS_MAX:
        raise Refused(
            "range_too_large",
            f"Cohorts times periods times values are more than {CELLS_MAX:,}."
            " Ask for a shorter range, fewer periods or a longer interval.",
            field="periods",
        )


def parse(parameters: Sequence[tuple[str, str]], frame: Frame) -> RetentionQuery:
    """Return the question that decoded query parameters ask."""
    return question(document_of(parameters), frame)


def _selection(step: str | StepDocument | None, at: str) -> Selection:
    if step is None:
        return Selection()
    if isinstance(step, str):
        return Selection((step,) if step else ())
    return selection_of(step, at)


def run(reader: Reader, query: RetentionQuery) -> dict[str, Any]:
    """Return the answer, every cohort and every period present."""
    everyone = _anchored(query, _events(reader, query), _EVERYONE)
    answer: dict[str, Any] = {
        "interval": query.cohorts.buckets.interval,
        "periods": query.cohorts.periods,
        **_table(query, _counts(reader, query, everyone).get(0, {})),
    }
    if query.breakdown is not None:
        values = largest_values(reader, query)
        events = _events(reader, query, broken_down=True)
        counts = _counts(reader, query, _anchored(query, events, _place_in(values)))
        answer["breakdown"] = [
            {**shown(value), **_table(query, counts[place])}
            for place, value in enumerate((*values, OTHER))
            if place in counts
        ]
    answer["definition"] = definition(query.frame, query.span, query.selection, _rules(query))
    return answer


def persons(reader: Reader, query: RetentionQuery, cell: Mapping[str, Any]) -> Sql:
    """Return a SELECT of the persons of a cohort who returned in a period.

    A cell is `date` and `period`, and with a breakdown `value` or `other`; without `period` it is
    the whole cohort.
    """
    fields = VALUE_FIELDS if query.breakdown is not None else ()
    asked = Cell(cell, ("date", "period", *fields))
    conditions = [sql("anchor.2 = {cohort}", cohort=uint32(asked.bucket(query.cohorts.buckets)))]
    if asked.has("period"):
        period = asked.whole_number("period", 0, query.cohorts.periods - 1)
        conditions += _returned_in(query, period)
    wanted = asked.breakdown_value(reader)
    value = _EVERYONE
    if wanted is not None:
        values = largest_values(reader, query) if wanted == OTHER else (wanted,)
        value = _place_in(values)
        place = len(values) if wanted == OTHER else 0
        conditions.append(sql("anchor.4 = {place}", place=uint32(place)))
    events = _events(reader, query, broken_down=wanted is not None)
    return sql(
        "SELECT person FROM ({anchored}) WHERE {conditions}",
        anchored=_anchored(query, events, value),
        conditions=all_of(conditions),
    )


def largest_values(reader: Reader, query: RetentionQuery) -> tuple[str, ...]:
    """Return the JSON texts of the values with the largest cohorts, all of them together."""
    statement = sql(
        "SELECT anchor.4 AS value FROM ({anchored}) GROUP BY value"
        " ORDER BY count() DESC, value LIMIT {most}",
        anchored=_anchored(query, _events(reader, query, broken_down=True), sql("breakdown")),
        most=int64(query.values_most),
    )
    return tuple(row[0] for row in reader.rows(statement))


def _events(reader: Reader, query: RetentionQuery, *, broken_down: bool = False) -> Sql:
    """Return a SELECT of the start and return events that can matter, whose each is."""
    scan = reader.scan(
        query.selection,
        Range(EVER_MS if query.kind == "first_ever" else query.span.from_ms, _last_ms(query)),
        breakdown=query.breakdown if broken_down else None,
        persons=True,
        marks={"is_start": query.start, "is_return": query.returned},
        only_marked=True,
    )
    columns = {"ms": TIMESTAMP_MS, "bucket": place_in(query.cohorts.edges_ms)}
    if query.cohorts.window == "elapsed":
        columns["stretch"] = _stretch(query)
    if broken_down:
        columns["position"] = sql("position")
    return sql(
        "SELECT *, is_start AND ms <= {to} AS starts, is_return AND ms >= {from_} AS returns"
        " FROM ({events}) WHERE starts OR returns",
        events=scan.select(columns),
        from_=int64(query.span.from_ms),
        to=int64(query.span.to_ms),
    )


def _last_ms(query: RetentionQuery) -> int:
    if query.mode == "on_or_after":
        return LATEST_MS
    if query.cohorts.window == "calendar":
        return min(query.cohorts.edges_ms[-1], LATEST_MS) - 1
    return min(query.span.to_ms + query.cohorts.periods * query.cohorts.elapsed_ms, LATEST_MS)


def _stretch(query: RetentionQuery) -> Sql:
    return sql(
        "intDiv({ms} - {from_}, {length})",
        ms=TIMESTAMP_MS,
        from_=int64(query.span.from_ms),
        length=int64(query.cohorts.elapsed_ms),
    )


def _place_in(values: tuple[str, ...]) -> Sql:
    """Return the place of an event's breakdown value among `values`; the rest comes after them."""
    if not values:
        return _EVERYONE
    return sql(
        "transform(breakdown, {values}, {places}, {rest})",
        values=strings(values),
        places=uint32s(range(len(values))),
        rest=uint32(len(values)),
    )


def _anchored(query: RetentionQuery, events: Sql, value: Sql) -> Sql:
    """Return a SELECT of (person, anchor, periods), one row per anchor.

    `anchor` is (ms, bucket, whether a return follows in the bucket, value), `periods` an array:
    the periods returned in, or the last of them alone where later ones fill earlier ones.
    """
    elapsed = query.cohorts.window == "elapsed"
    broken_down = value is not _EVERYONE
    started = sql("if(starts, ms, {never})", never=int64(_NEVER_MS))
    of_first = sql(
        ", argMin({value}, ({started}, position)) AS value", value=value, started=started
    )
    parts = sql(
        "SELECT person, bucket, min({started}) AS started,"
        " min(if(returns, ms, {never})) AS first_return,"
        " max(if(returns, ms, {not_yet})) AS last_return{of_first}"
        " FROM ({events}) GROUP BY person, bucket{stretch}",
        started=started,
        of_first=of_first if broken_down else sql(""),
        events=events,
        stretch=sql(", stretch" if elapsed else ""),
        never=int64(_NEVER_MS),
        not_yet=int64(_NOT_YET_MS),
    )
    return sql(
        "SELECT person, anchor, {periods} AS periods FROM ("
        "SELECT person, {anchors} AS anchors, {returned} AS returned"
        " FROM ({parts}) GROUP BY person) ARRAY JOIN anchors AS anchor",
        periods=_elapsed_periods(query) if elapsed else _calendar_periods(query),
        anchors=_every_anchor(query, broken_down)
        if query.kind == "recurring"
        else _first_anchor(query, broken_down),
        returned=_returned(query),
        parts=parts,
    )


def _first_anchor(query: RetentionQuery, broken_down: bool) -> Sql:
    # One argMin of a tuple would take twice as long as one for each of its parts.
    return sql(
        "arrayFilter(found -> found.1 >= {from_} AND found.1 < {never},"
        " [(min(started), argMin(bucket, started), argMin(last_return >= started, started),"
        " {value})])",
        value=sql("argMin(value, started)") if broken_down else _EVERYONE,
        from_=int64(query.span.from_ms),
        never=int64(_NEVER_MS),
    )


def _every_anchor(query: RetentionQuery, broken_down: bool) -> Sql:
    # Where a bucket has several stretches, the earliest start is the bucket's.
    return sql(
        "arrayFilter((found, before) -> found.2 != before,"
        " arraySort(groupArrayIf((started, bucket, last_return >= started, {value}),"
        " started < {never})) AS starting, arrayPopBack(arrayPushFront(starting.2, {none})))",
        value=sql("value") if broken_down else _EVERYONE,
        never=int64(_NEVER_MS),
        none=uint32(len(query.cohorts.edges_ms)),
    )


def _returned(query: RetentionQuery) -> Sql:
    """Return the array of a person's returns: buckets, or by elapsed periods milliseconds."""
    if query.cohorts.window == "calendar":
        return sql("groupArrayIf(bucket, last_return > {not_yet})", not_yet=int64(_NOT_YET_MS))
    return sql(
        "arrayConcat(groupArrayIf(first_return, last_return > {not_yet}),"
        " groupArrayIf(last_return, last_return > {not_yet}))",
        not_yet=int64(_NOT_YET_MS),
    )


def _calendar_periods(query: RetentionQuery) -> Sql:
    if query.mode == "on":
        return sql(
            "arrayConcat(arrayFilter(period -> anchor.3, [toInt64(0)]),"
            " arrayMap(bucket -> toInt64(bucket - anchor.2), arrayFilter(bucket ->"
            " bucket > anchor.2 AND bucket < anchor.2 + {periods}, returned)))",
            periods=int64(query.cohorts.periods),
        )
    return sql(
        "arrayFilter(period -> period >= 0, [multiIf("
        "arrayMax(returned) > anchor.2,"
        " least(toInt64(arrayMax(returned)) - anchor.2, {last}),"
        " anchor.3, toInt64(0), toInt64(-1))])",
        last=int64(query.cohorts.periods - 1),
    )


def _elapsed_periods(query: RetentionQuery) -> Sql:
    if query.mode == "on":
        return sql(
            "arrayDistinct(arrayMap(ms -> intDiv(ms - anchor.1, {length}), arrayFilter(ms ->"
            " ms >= anchor.1 AND ms < anchor.1 + {reach}, returned)))",
            length=int64(query.cohorts.elapsed_ms),
            reach=int64(query.cohorts.elapsed_ms * query.cohorts.periods),
        )
    return sql(
        "arrayMap(ms -> least(intDiv(ms - anchor.1, {length}), {last}), arrayFilter(ms ->"
        " ms >= anchor.1, [arrayMax(arrayPushBack(returned, {not_yet}))]))",
        length=int64(query.cohorts.elapsed_ms),
        last=int64(query.cohorts.periods - 1),
        not_yet=int64(_NOT_YET_MS),
    )


def _returned_in(query: RetentionQuery, period: int) -> list[Sql]:
    """Return the conditions on an anchor to count in a period."""
    if query.mode == "on":
        return [sql("has(periods, {period})", period=int64(period))]
    if period == 0:
        return []
    return [sql("arrayExists(last -> last >= {period}, periods)", period=int64(period))]


def _counts(
    reader: Reader, query: RetentionQuery, anchored: Sql
) -> dict[int, dict[tuple[int, int], int]]:
    """Return the numbers of anchors by value, bucket and period; one more period for all."""
    rows = reader.rows(
        sql(
            "SELECT anchor.4 AS value, anchor.2 AS cohort, period, count() FROM ({anchored})"
            " ARRAY JOIN arrayPushBack(periods, {everyone}) AS period"
            " GROUP BY value, cohort, period",
            anchored=anchored,
            everyone=int64(query.cohorts.periods),
        )
    )
    counts: dict[int, dict[tuple[int, int], int]] = {}
    for value, cohort, period, count in rows:
        counts.setdefault(value, {})[cohort, period] = count
    return counts


def _table(query: RetentionQuery, counts: Mapping[tuple[int, int], int]) -> dict[str, Any]:
    cohorts = []
    for cohort, label in enumerate(query.cohorts.buckets.labels):
        size = counts.get((cohort, query.cohorts.periods), 0)
        row = [counts.get((cohort, period), 0) for period in range(query.cohorts.periods)]
        if query.mode == "on_or_after":
            # Each person stands in the last period alone and counts in all before it.
            row = [size, *list(accumulate(reversed(row)))[-2::-1]]
        complete = [
            query.cohorts.complete(cohort, period) for period in range(query.cohorts.periods)
        ]
        cohorts.append({"date": label, "size": size, "counts": row, "complete": complete})
    return {"cohorts": cohorts, "overall": _overall(query, cohorts)}


def _overall(query: RetentionQuery, cohorts: Sequence[Mapping[str, Any]]) -> list[float | None]:
    """Return the share of each period over the cohorts for which it is over; null without any."""
    shares: list[float | None] = []
    for period in range(query.cohorts.periods):
        over = [cohort for cohort in cohorts if cohort["complete"][period]]
        size = sum(cohort["size"] for cohort in over)
        returned = sum(cohort["counts"][period] for cohort in over)
        shares.append(returned / size if size else None)
    return shares


def _rules(query: RetentionQuery) -> list[str]:
    interval = query.cohorts.buckets.interval
    cohort = {
        "first_time": "first_time: a person is in the cohort of their first start event in the"
        " range.",
        "first_ever": "first_ever: a person is in the cohort of their first start event ever, and"
        " in none if that lies before the range.",
        "recurring": f"recurring: a person is in the cohort of every {interval} with a start event"
        " of theirs, from the first one in it on.",
    }[query.kind]
    length = query.cohorts.elapsed_ms // HOUR_MS
    window = (
        f"Period k is the k-th {interval} of the workspace's calendar after the cohort's own."
        if query.cohorts.window == "calendar"
        else f"Period k is from k to k + 1 times {length} hours after the person's start event."
    )
    mode = (
        "on: returned in exactly this period; period 0 holds the persons with a return event at or"
        " after their start event, which is one itself where it matches."
        if query.mode == "on"
        else "on_or_after: returned in this period or any later one, also beyond the last shown;"
        " period 0 is the cohort's size."
    )
    return [
        f"start: {_named(query.start)}; return: {_named(query.returned)}.",
        cohort,
        window,
        mode,
        "Only start events must lie in the range. A return event counts from the time of the start"
        " event on.",
        "complete: whether the period is over for everybody who can be in the cohort. overall: the"
        " share of persons over the complete cells of a period, so weighted by cohort size.",
        *(
            [
                "breakdown: the value on the start event that counts; the"
                f" {query.values_most} largest, the others as one; null where it is absent."
            ]
            if query.breakdown is not None
            else []
        ),
        PERSON_RULE,
    ]


def _named(selection: Selection) -> str:
    names = " or ".join(f"`{name}`" for name in selection.events) or "any event"
    filters = len(selection.filters)
    return f"{names} with {filters} filter{'s'[: filters != 1]}" if filters else names


def explain(reader: Reader, query: RetentionQuery, person: Person) -> dict[str, Any]:
    """Return a person's cohorts with what filled each period or what was missing.

    A breakdown is left aside.
    """
    seen = _seen(reader, query, person)
    anchors = anchors_of(seen, query.kind)
    answer: dict[str, Any] = {
        "counted": bool(anchors),
        "cohorts": [
            verdict(seen, anchor, query.cohorts, query.mode)
            for anchor in anchors[:COHORTS_SHOWN_MAX]
        ],
    }
    if len(anchors) > COHORTS_SHOWN_MAX:
        answer["left_off"] = len(anchors) - COHORTS_SHOWN_MAX
    if not anchors:
        missing = missing_start(seen, query.span, query.kind)
        answer["missing"] = missing or _nothing_fits(reader, query, person)
    answer["links"] = shown_links(reader, person, events_in(seen))
    return answer


def _seen(reader: Reader, query: RetentionQuery, person: Person) -> list[Seen]:
    """Return a person's start and return events at any time, first and last of every stretch."""
    scan = reader.scan(
        query.selection,
        Range(EVER_MS, LATEST_MS),
        persons=True,
        marks={"is_start": query.start, "is_return": query.returned},
        only_marked=True,
        person=person,
    )
    columns = {
        "bucket": place_in(query.cohorts.edges_ms),
        "stretch": _stretch(query),
        **EVIDENCE_COLUMNS,
    }
    statement = sql(
        "SELECT multiIf(ms < {from_}, {before}, ms <= {to}, {inside}, {after}) AS part, bucket,"
        " countIf(is_start), minIf({evidence}, is_start), maxIf({evidence}, is_start),"
        " countIf(is_return), minIf({evidence}, is_return), maxIf({evidence}, is_return)"
        " FROM ({events}) WHERE is_start OR is_return"
        " GROUP BY part, bucket{stretch} ORDER BY min(ms)",
        from_=int64(query.span.from_ms),
        to=int64(query.span.to_ms),
        before=uint32(BEFORE),
        inside=uint32(INSIDE),
        after=uint32(AFTER),
        evidence=EVIDENCE,
        events=scan.select(columns),
        stretch=sql(", stretch" if query.cohorts.window == "elapsed" else ""),
    )
    return [Seen(*row) for row in reader.rows(statement)]


def _nothing_fits(reader: Reader, query: RetentionQuery, person: Person) -> str:
    named = Selection(query.start.events)
    scan = reader.scan(named, query.span, persons=True, person=person)
    unfit = reader.rows(sql("SELECT count() FROM ({events})", events=scan.select({})))[0][0]
    if unfit:
        return (
            f"No start event: {unfit} of the name in the range, none of which the filters let by."
        )
    return "No start event at any time."
