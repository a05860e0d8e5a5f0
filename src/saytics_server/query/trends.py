"""GET /v1/reports/events: events, persons or a property's numbers per bucket of time.

One series or several, each a statement of its own over the names it counts; the values of a
breakdown are chosen once, so that `other` is the same rest in every series, and formulas are
computed per cell from the finished numbers.

    series A ─► groups by (value, bucket) ─┐
    series B ─► …                          ├─► tables ─► formulas ─► answer
    the same in the period before ─────────┘

The JSON answer: one series as the query string asks for it stands flat (`event`, `metric`, `data`,
`total`, `breakdown`, `previous`); asked as `series` they stand in a list, each with its `name`;
`formulas` are a list of `formula`, `data`, `total`, `breakdown`, `previous`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from saytics_server.errors import Refused
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
from saytics_server.query.document import ReportDocument, StepDocument, shared_fields
from saytics_server.query.evidence import Evidence, shown_links
from saytics_server.query.filters import filters_of, selection_of
from saytics_server.query.formulas import SERIES_NAME, Formula, parse_formulas
from saytics_server.query.judgement import LINK_RULE, judge
from saytics_server.query.metrics import Metric, Number, parse_metric
from saytics_server.query.model import (
    Filter,
    Frame,
    Parameters,
    Range,
    Reference,
    Selection,
    invalid,
)
from saytics_server.query.periods import buckets_of, parse_interval, parse_range
from saytics_server.query.reading import Reader
from saytics_server.query.scan import OTHER, Scan, place_in
from saytics_server.sql import Sql, all_of, sql, string

PARAMETERS = (
    "event", "from", "to", "interval", "filter", "breakdown", "metric", "breakdown_limit",
    "compare", "cumulative", "as_of",
)  # fmt: skip

# More lines than this are no chart; each is a statement.
SERIES_MAX = 10
# Names that one series adds up.
EVENTS_MAX = 100
# 300,000 numbers are 15 MB of JSON: ten years by day with 25 values and the rest, three times.
NUMBERS_MAX = 300_000

# Those of the buckets, and that of the range.
_Numbers = tuple[list[Number | None], Number | None]


class _Table(msgspec.Struct, frozen=True):
    """The numbers of a line per breakdown value, None standing for all events."""

    key: str
    numbers: Mapping[str | None, _Numbers]
    nothing: _Numbers

    def of(self, value: str | None) -> _Numbers:
        return self.numbers.get(value, self.nothing)

    def size(self, value: str) -> Number:
        total = self.of(value)[1]
        return 0 if total is None else total


class Series(msgspec.Struct, frozen=True):
    """What one line counts."""

    name: str
    selection: Selection
    metric: Metric


class TrendsQuery(msgspec.Struct, frozen=True):
    """The question, typed. `selection` is what all series share; `is_list` how it was asked."""

    frame: Frame
    selection: Selection
    series: tuple[Series, ...]
    is_list: bool
    formulas: tuple[Formula, ...]
    period: Period
    previous: Period | None
    breakdown: Reference | None
    values_max: int
    cumulative: bool


class SeriesDocument(StepDocument, frozen=True):
    """One of several series: events of a name or of one of several, with filters of their own."""

    name: str | None = None
    metric: str = "count"


class Document(ReportDocument, frozen=True):
    """The JSON form of the question: one series by `event` and `metric`, or `series`."""

    event: str | None = None
    metric: str | None = None
    series: list[SeriesDocument] | None = None
    formulas: list[str] = msgspec.field(default_factory=list)
    interval: str = "day"
    breakdown: str | None = None
    breakdown_limit: int | None = None
    cumulative: bool = False
    compare: str | None = None


def document_of(parameters: Sequence[tuple[str, str]]) -> Document:
    """Return what decoded query parameters ask. Raises Refused("invalid_parameter")."""
    given = Parameters(parameters, PARAMETERS, repeatable=("filter",))
    return Document(
        event=given.one("event"),
        interval=given.one("interval") or "day",
        metric=given.one("metric"),
        cumulative=given.choice("cumulative", ("true", "false"), "false") == "true",
        compare=given.one("compare"),
        **shared_fields(given),
        **breakdown_fields(given),
    )


def question(document: Document, frame: Frame) -> TrendsQuery:
    """Return the question, checked. Raises Refused("invalid_parameter" | "range_too_large")."""
    interval = parse_interval(document.interval)
    span = parse_range(document.from_, document.to, frame)
    period = Period(span, buckets_of(span, interval, frame))
    shared = Selection((), filters_of(document.filter))
    asked = _series_of(document, shared.filters)
    query = TrendsQuery(
        frame=frame,
        selection=shared,
        series=asked,
        is_list=document.series is not None,
        formulas=parse_formulas(document.formulas, [one.name for one in asked]),
        period=period,
        previous=parse_compare(document.compare, period, frame),
        breakdown=parse_breakdown(document.breakdown),
        values_max=parse_limit(document.breakdown_limit),
        cumulative=document.cumulative,
    )
    _refuse_too_many(query)
    return query


def parse(parameters: Sequence[tuple[str, str]], frame: Frame) -> TrendsQuery:
    """Return the question that decoded query parameters ask."""
    return question(document_of(parameters), frame)


def _series_of(document: Document, shared: tuple[Filter, ...]) -> tuple[Series, ...]:
    if document.series is None:
        events = (document.event,) if document.event else ()
        metric = parse_metric(document.metric or "count")
        return (Series("A", Selection(events, shared), metric),)
    for name in ("event", "metric"):
        if getattr(document, name) is not None:
            raise invalid(name, f"With `series`, `{name}` stands in each of them.")
    if not 1 <= len(document.series) <= SERIES_MAX:
        raise invalid("series", f"`series` holds 1 to {SERIES_MAX}.")
    found: dict[str, Series] = {}
    for place, written in enumerate(document.series):
        one = _one_series(written, place, shared)
        if one.name in found:
            raise invalid(f"series[{place}].name", f"Two series are named `{one.name}`.")
        found[one.name] = one
    return tuple(found.values())


def _one_series(written: SeriesDocument, place: int, shared: tuple[Filter, ...]) -> Series:
    at = f"series[{place}]"
    name = chr(ord("A") + place) if written.name is None else written.name
    if not SERIES_NAME.fullmatch(name):
        raise invalid(
            f"{at}.name", "A name is 1 to 32 letters, digits and `_`, and begins with no digit."
        )
    selection = selection_of(written, at, most=EVENTS_MAX)
    return Series(
        name,
        Selection(selection.events, shared + selection.filters),
        parse_metric(written.metric, f"{at}.metric"),
    )


def _refuse_too_many(query: TrendsQuery) -> None:
    values = 1 if query.breakdown is None else query.values_max + 2  # all, and the rest
    lines = (
        (len(query.series) + len(query.formulas)) * values * (1 if query.previous is None else 2)
    )
    if lines * len(query.period.buckets.labels) > NUMBERS_MAX:
        raise Refused(
            "range_too_large",
            f"The answer would hold more than {NUMBERS_MAX:,} numbers. Ask for a shorter range, a"
            " coarser interval, or fewer series and values.",
            field="interval",
        )


# --- run ----------------------------------------------------------------------------------------


def run(reader: Reader, query: TrendsQuery) -> dict[str, Any]:
    """Return the answer, every bucket present."""
    values, is_ranked = _values(reader, query)
    now = _tables(reader, query, query.period, values)
    if not is_ranked:
        values = tuple(sorted(values, key=now[0].size, reverse=True))
    before = None
    if query.previous is not None:
        before = _tables(reader, query, query.previous, values)
    return _answer(query, now, before, values)


def _tables(
    reader: Reader, query: TrendsQuery, period: Period, values: tuple[str, ...]
) -> list[_Table]:
    return [_table(reader, query, one, period, values) for one in query.series]


def _scan(
    reader: Reader, query: TrendsQuery, one: Series, span: Range, *, persons: bool = False
) -> Scan:
    return reader.scan(
        one.selection,
        span,
        breakdown=query.breakdown,
        persons=persons or one.metric.counts_persons,
    )


def _values(reader: Reader, query: TrendsQuery) -> tuple[tuple[str, ...], bool]:
    """Return the breakdown values to show, and whether they are in order: largest total first.

    They are the largest of the first series, then of the next as far as there is room.
    """
    if query.breakdown is None:
        return (), True
    span, most, first = query.period.span, query.values_max, query.series[0]
    if len(query.series) == 1 and first.metric.counts_persons:
        few = few_values(reader, first.selection, span, query.breakdown, most)
        if few is not None:
            return few, False
    values: dict[str, None] = {}
    for one in query.series:
        scan = _scan(reader, query, one, span)
        found = largest_values(reader, scan, one.metric.columns, one.metric.rank, most)
        values |= dict.fromkeys(found)
        if len(values) >= most:
            break
    return tuple(values)[:most], True


def _table(
    reader: Reader, query: TrendsQuery, one: Series, period: Period, values: tuple[str, ...]
) -> _Table:
    """Return the numbers of a series in a period."""
    scan = _scan(reader, query, one, period.span)
    starts = tuple(sorted(set(period.buckets.starts_ms)))
    events = scan.select(
        {"bucket": place_in(starts), **one.metric.columns},
        values=values if query.breakdown is not None else None,
    )
    # A bucket of no length (a day that the zone never had) starts where the next one does.
    places = {start: place for place, start in enumerate(period.buckets.starts_ms)}
    statement = running_statement if query.cumulative else statement_of
    groups: dict[str | None, dict[int | None, Number | None]] = {None: {}}
    for all_values, value, all_buckets, bucket, *aggregates in reader.rows(
        statement(one.metric, events, broken_down=query.breakdown is not None)
    ):
        place = None if all_buckets else places[starts[bucket]]
        groups.setdefault(None if all_values else value, {})[place] = one.metric.result(aggregates)
    labels, none = period.buckets.labels, one.metric.nothing()
    fill = _carried if query.cumulative else _filled
    numbers = {value: fill(found, len(labels), none) for value, found in groups.items()}
    return _Table(one.metric.key, numbers, ([none] * len(labels), none))


def _filled(found: Mapping[int | None, Number | None], count: int, none: Number | None) -> _Numbers:
    return [found.get(place, none) for place in range(count)], found.get(None, none)


def _carried(
    found: Mapping[int | None, Number | None], count: int, none: Number | None
) -> _Numbers:
    numbers: list[Number | None] = []
    latest = none
    for place in range(count):
        latest = found.get(place, latest)
        numbers.append(latest)
    return numbers, latest


def statement_of(metric: Metric, events: Sql, *, broken_down: bool) -> Sql:
    """Return the SELECT of every group's aggregates: per bucket, per value, both, and in all.

    The totals are groups of their own, because distinct persons and percentiles do not add up.
    """
    return sql(
        "SELECT {is_all_values}, {value}, grouping(bucket), bucket, {aggregates}"
        " FROM ({events}) GROUP BY CUBE({keys})",
        is_all_values=sql("grouping(breakdown)" if broken_down else "1"),
        value=sql("breakdown" if broken_down else "''"),
        aggregates=metric.aggregates,
        events=events,
        keys=sql("breakdown, bucket" if broken_down else "bucket"),
    )


def running_statement(metric: Metric, events: Sql, *, broken_down: bool) -> Sql:
    """Return the SELECT of the aggregates of everything up to the end of each bucket.

    The states of the buckets are merged one after another; a bucket without events has no row.
    """
    return sql(
        "SELECT all_values, value, 0, bucket, {running} FROM ("
        "SELECT {is_all_values} AS all_values, {value} AS value, bucket, {states}"
        " FROM ({events}) GROUP BY {keys})"
        " WINDOW up_to AS (PARTITION BY all_values, value ORDER BY bucket"
        " ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)",
        running=metric.running("up_to"),
        is_all_values=sql("grouping(breakdown)" if broken_down else "1"),
        value=sql("breakdown" if broken_down else "''"),
        states=metric.states,
        events=events,
        keys=sql("GROUPING SETS ((breakdown, bucket), (bucket))" if broken_down else "bucket"),
    )


# --- the answer ---------------------------------------------------------------------------------


def _answer(
    query: TrendsQuery,
    now: Sequence[_Table],
    before: Sequence[_Table] | None,
    values: tuple[str, ...],
) -> dict[str, Any]:
    rest = (OTHER,) if any(OTHER in table.numbers for table in [*now, *(before or [])]) else ()
    lines = _lines(query, now, before, (*values, *rest))
    series_lines, formula_lines = lines[: len(now)], lines[len(now) :]
    answer: dict[str, Any] = {"interval": query.period.buckets.interval}
    if query.is_list:
        answer["series"] = [
            {"name": one.name, **_what(one), **line}
            for one, line in zip(query.series, series_lines, strict=True)
        ]
    else:
        answer = {**_what(query.series[0]), **answer, **series_lines[0]}
    if query.formulas:
        answer["formulas"] = [
            {"formula": formula.text, **line}
            for formula, line in zip(query.formulas, formula_lines, strict=True)
        ]
    span = query.period.span
    answer["definition"] = definition(query.frame, span, query.selection, _rules(query))
    return answer


def _what(one: Series) -> dict[str, Any]:
    names = one.selection.events
    what = {"events": list(names)} if len(names) > 1 else {"event": names[0] if names else None}
    return {**what, "metric": one.metric.text}


def _lines(
    query: TrendsQuery,
    now: Sequence[_Table],
    before: Sequence[_Table] | None,
    values: tuple[str, ...],
) -> list[dict[str, Any]]:
    """Return data, total, previous and breakdown of every series, then of every formula."""
    every = [*now, *(_computed(query, formula, now, values) for formula in query.formulas)]
    if before is None:
        return [_line(query, table, None, values) for table in every]
    old = [*before, *(_computed(query, formula, before, values) for formula in query.formulas)]
    return [_line(query, *tables, values) for tables in zip(every, old, strict=True)]


def _line(
    query: TrendsQuery, table: _Table, before: _Table | None, values: tuple[str, ...]
) -> dict[str, Any]:
    def rows(period: Period, table: _Table, value: str | None) -> dict[str, Any]:
        numbers, total = table.of(value)
        data = series(period.buckets, numbers, table.key, query.frame.now_ms)
        return {"data": data, "total": total}

    def both(value: str | None) -> dict[str, Any]:
        shown_now = rows(query.period, table, value)
        if before is None or query.previous is None:
            return shown_now
        return {**shown_now, "previous": rows(query.previous, before, value)}

    line = both(None)
    if query.breakdown is not None:
        line["breakdown"] = [{**shown(value), **both(value)} for value in values]
    return line


def _computed(
    query: TrendsQuery, formula: Formula, tables: Sequence[_Table], values: tuple[str, ...]
) -> _Table:
    """Return what a formula makes of the numbers of the series."""
    names = [one.name for one in query.series]

    def of(every: Sequence[_Numbers]) -> _Numbers:
        columns = zip(*(data for data, _ in every), strict=True)
        data = [formula.value(dict(zip(names, column, strict=True))) for column in columns]
        totals = (total for _, total in every)
        return data, formula.value(dict(zip(names, totals, strict=True)))

    numbers = {value: of([table.of(value) for table in tables]) for value in (None, *values)}
    return _Table("value", numbers, ([], None))


def _rules(query: TrendsQuery) -> list[str]:
    metrics = [one.metric for one in query.series]
    rules = [f"{metric.kind}: {metric.rule}." for metric in metrics]
    rules.append(BUCKET_RULE)
    if any(metric.reference is not None for metric in metrics):
        rules.append("Events without a number in the property are left out.")
    if any(metric.counts_persons for metric in metrics):
        rules.append(PERSON_RULE)
    if query.breakdown is not None:
        largest = "the largest total"
        if len(query.series) > 1:
            largest += " in the first series, then in the next as far as there is room"
        rules.append(
            f"The {query.values_max} values with {largest}, the others as one; null where the value"
            " is absent."
        )
    if query.cumulative:
        rules.append("cumulative: each bucket counts from the start of the range to its end.")
    if query.formulas:
        rules.append(
            "Formulas are computed from the numbers shown, totals from totals; division by 0 and"
            " an operand of null give null."
        )
    if query.previous is not None:
        rules.append(previous_rule(query.previous))
    return list(dict.fromkeys(rules))


# --- behind a number ----------------------------------------------------------------------------


def persons(reader: Reader, query: TrendsQuery, cell: Mapping[str, Any]) -> Sql:
    """Return a SELECT of the persons behind a number: who did an event that it counts.

    The cell is {"date"?, "value"? | "other"?, "series"?, "compare"?}: without `date` the whole
    range, without `value` all values; `series` names one of several, `compare` says that the cell
    is one of the period before.
    """
    named = Cell(cell, _fields(query))
    one = query.series[0]
    if len(query.series) > 1 or named.has("series"):
        name = named.choice("series", [known.name for known in query.series])
        one = next(known for known in query.series if known.name == name)
    period = query.period
    if named.has("compare"):
        named.choice("compare", COMPARISONS)
        assert query.previous is not None  # else it is no field of the cell
        period = query.previous
    span = period.span
    if named.has("date"):
        part = period.part(named.bucket(period.buckets))
        span = Range(span.from_ms, part.to_ms) if query.cumulative else part
    conditions = [one.metric.takes_part]
    values: tuple[str, ...] | None = None
    wanted = named.breakdown_value(reader)
    scan = _scan(reader, query, one, span, persons=True)
    if wanted is None:
        scan = msgspec.structs.replace(scan, breakdown=None)
    else:
        values = _values(reader, query)[0] if wanted == OTHER else (wanted,)
        conditions.append(sql("breakdown = {wanted}", wanted=string(wanted)))
    return sql(
        "SELECT DISTINCT person FROM ({events}) WHERE {conditions}",
        events=scan.select(one.metric.columns, values=values),
        conditions=all_of(conditions),
    )


def _fields(query: TrendsQuery) -> tuple[str, ...]:
    broken_down = VALUE_FIELDS if query.breakdown is not None else ()
    compared = ("compare",) if query.previous is not None else ()
    return ("date", *broken_down, "series", *compared)


def explain(reader: Reader, query: TrendsQuery, person: Person) -> dict[str, Any]:
    """Return which events of a person each series counts, and what the others of its names lack."""
    verdicts = []
    seen: list[Evidence] = []
    labels = query.period.buckets.labels
    for one in query.series:
        found = judge(reader, one.selection, query.period, person, one.metric)
        seen += found.seen
        verdicts.append(
            {
                "name": one.name,
                **_what(one),
                "counted": sum(found.counts.values()),
                "data": [
                    {
                        "date": labels[bucket],
                        "counted": found.counts[bucket],
                        "events": found.counted.get(bucket, []),
                    }
                    for bucket in sorted(found.counts)
                ],
                "missed": found.missed,
                "misses": found.misses,
            }
        )
    return {
        "counted": any(verdict["counted"] for verdict in verdicts),
        "series": verdicts,
        "links": shown_links(reader, person, seen),
        "definition": definition(
            query.frame, query.period.span, query.selection, [*_rules(query), LINK_RULE]
        ),
    }
