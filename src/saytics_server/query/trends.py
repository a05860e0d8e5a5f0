"""GET /v1/reports/events: events, persons or a property's numbers per bucket of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from saytics_server.query.answer import BUCKET_RULE, PERSON_RULE, definition, series
from saytics_server.query.breakdown import (
    BREAKDOWN_VALUES,
    largest_values,
    parse_breakdown,
    shown,
)
from saytics_server.query.document import ReportDocument
from saytics_server.query.filters import filters_of
from saytics_server.query.metrics import Metric, parse_metric
from saytics_server.query.model import (
    Frame,
    Parameters,
    Range,
    Reference,
    Selection,
)
from saytics_server.query.periods import Buckets, buckets_of, parse_interval, parse_range
from saytics_server.query.reading import Reader
from saytics_server.query.scan import OTHER, Scan, place_in
from saytics_server.query.values import event_value
from saytics_server.sql import Sql, sql
from saytics_server.store import Row

PARAMETERS = ("event", "from", "to", "interval", "filter", "breakdown", "metric")

# A group of events: (breakdown value, bucket), None standing for all of them.
_Group = tuple[str | None, int | None]


class TrendsQuery(msgspec.Struct, frozen=True):
    """The question, typed."""

    frame: Frame
    selection: Selection
    span: Range
    buckets: Buckets
    metric: Metric
    breakdown: Reference | None


class Document(ReportDocument, frozen=True):
    """The JSON form of the question."""

    event: str | None = None
    interval: str = "day"
    metric: str = "count"
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
        metric=given.one("metric") or "count",
    )


def question(document: Document, frame: Frame) -> TrendsQuery:
    """Return the question, checked. Raises Refused("invalid_parameter" | "range_too_large")."""
    interval = parse_interval(document.interval)
    span = parse_range(document.from_, document.to, frame)
    events = (document.event,) if document.event else ()
    return TrendsQuery(
        frame=frame,
        selection=Selection(events, filters_of(document.filter)),
        span=span,
        buckets=buckets_of(span, interval, frame),
        metric=parse_metric(document.metric),
        breakdown=parse_breakdown(document.breakdown),
    )


def parse(parameters: Sequence[tuple[str, str]], frame: Frame) -> TrendsQuery:
    """Return the question that decoded query parameters ask."""
    return question(document_of(parameters), frame)


def run(reader: Reader, query: TrendsQuery) -> dict[str, Any]:
    """Return the answer, every bucket present."""
    scan = reader.scan(
        query.selection,
        query.span,
        breakdown=query.breakdown,
        persons=query.metric.counts_persons,
    )
    columns = _columns(query)
    values: tuple[str, ...] = ()
    if query.breakdown is not None:
        values = largest_values(reader, scan, columns, query.metric.rank)
    statement = statement_of(query, scan, columns, values)
    groups = {
        group: query.metric.result(aggregates)
        for group, aggregates in map(_group, reader.rows(statement))
    }
    return _answer(query, groups, values)


def statement_of(
    query: TrendsQuery, scan: Scan, columns: dict[str, Sql], values: tuple[str, ...]
) -> Sql:
    """Return the SELECT of every group's aggregates: per bucket, per value, both, and in all.

    The totals are groups of their own, because distinct persons and percentiles do not add up.
    """
    broken_down = query.breakdown is not None
    return sql(
        "SELECT {is_all_values}, {value}, grouping(bucket), bucket, {aggregates}"
        " FROM ({events}) GROUP BY CUBE({keys})",
        is_all_values=sql("grouping(breakdown)" if broken_down else "1"),
        value=sql("breakdown" if broken_down else "''"),
        aggregates=query.metric.aggregates,
        events=scan.select(columns, values=values if broken_down else None),
        keys=sql("breakdown, bucket" if broken_down else "bucket"),
    )


def _columns(query: TrendsQuery) -> dict[str, Sql]:
    columns = {"bucket": place_in(query.buckets.starts_ms)}
    if query.metric.reference is not None:
        numbers = event_value(query.metric.reference).numbers
        columns |= dict(zip(("whole", "natural", "real"), numbers, strict=True))
    return columns


def _group(row: Row) -> tuple[_Group, Row]:
    is_all_values, value, is_all_buckets, bucket, *aggregates = row
    return (
        (None if is_all_values else value, None if is_all_buckets else bucket),
        tuple(aggregates),
    )


def _answer(
    query: TrendsQuery, groups: Mapping[_Group, Any], values: tuple[str, ...]
) -> dict[str, Any]:
    def numbers(value: str | None) -> dict[str, Any]:
        nothing = query.metric.nothing()
        per_bucket = [
            groups.get((value, bucket), nothing) for bucket in range(len(query.buckets.labels))
        ]
        data = series(query.buckets, per_bucket, query.metric.key, query.frame.now_ms)
        return {"data": data, "total": groups.get((value, None), nothing)}

    answer: dict[str, Any] = {
        "event": query.selection.events[0] if query.selection.events else None,
        "interval": query.buckets.interval,
        "metric": query.metric.text,
        **numbers(None),
    }
    if query.breakdown is not None:
        rest = (OTHER,) if (OTHER, None) in groups else ()
        answer["breakdown"] = [
            {**shown(value), **numbers(value)}
            for value in (*values, *rest)
            if (value, None) in groups
        ]
    answer["definition"] = definition(query.frame, query.span, query.selection, _rules(query))
    return answer


def _rules(query: TrendsQuery) -> list[str]:
    metric = query.metric
    rules = [f"{metric.kind}: {metric.rule}.", BUCKET_RULE]
    if metric.reference is not None:
        rules.append("Events without a number in the property are left out.")
    if metric.counts_persons:
        rules.append(PERSON_RULE)
    if query.breakdown is not None:
        rules.append(
            f"The {BREAKDOWN_VALUES} values with the largest total, the others as one; null where"
            " the value is absent."
        )
    return rules
