"""What lifecycle and stickiness ask alike: which events make a person active, in which intervals.

    events ─► (value, person, word): a mask of 64 cells ─► (value, person): cells, ascending

A cell is whatever stretch of time a report numbers. Per person there are a few numbers however
many events there were; `value` is the breakdown's, '' without one.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from saytics_server.query.breakdown import (
    breakdown_fields,
    largest_values,
    parse_breakdown,
    parse_limit,
)
from saytics_server.query.cell import VALUE_FIELDS, Cell
from saytics_server.query.document import ReportDocument, shared_fields
from saytics_server.query.filters import filters_of
from saytics_server.query.model import Frame, Parameters, Range, Reference, Selection
from saytics_server.query.periods import HOUR_MS, Buckets, buckets_of, parse_interval, parse_range
from saytics_server.query.reading import Reader
from saytics_server.query.scan import OTHER, Scan
from saytics_server.sql import Sql, sql, string

PARAMETERS = (
    "event", "from", "to", "interval", "filter", "breakdown", "breakdown_limit", "as_of",
)  # fmt: skip

# Before every event there can be: the first midnight of 1970 on earth.
EVER_MS = -14 * HOUR_MS


class ActivityDocument(ReportDocument, frozen=True):
    """The JSON form of the question."""

    event: str | None = None
    interval: str = "day"
    breakdown: str | None = None
    breakdown_limit: int | None = None


class ActivityQuery(msgspec.Struct, frozen=True):
    """The question, typed."""

    frame: Frame
    selection: Selection
    span: Range
    buckets: Buckets
    breakdown: Reference | None
    values_most: int


def document_of(parameters: Sequence[tuple[str, str]]) -> ActivityDocument:
    """Return what decoded query parameters ask. Raises Refused("invalid_parameter")."""
    given = Parameters(parameters, PARAMETERS, repeatable=("filter",))
    return ActivityDocument(
        event=given.one("event"),
        interval=given.one("interval") or "day",
        **shared_fields(given),
        **breakdown_fields(given),
    )


def question(document: ActivityDocument, frame: Frame) -> ActivityQuery:
    """Return the question, checked. Raises Refused("invalid_parameter" | "range_too_large")."""
    interval = parse_interval(document.interval)
    span = parse_range(document.from_, document.to, frame)
    events = (document.event,) if document.event else ()
    return ActivityQuery(
        frame=frame,
        selection=Selection(events, filters_of(document.filter)),
        span=span,
        buckets=buckets_of(span, interval, frame),
        breakdown=parse_breakdown(document.breakdown),
        values_most=parse_limit(document.breakdown_limit),
    )


def values_with_most(reader: Reader, query: ActivityQuery, span: Range) -> tuple[str, ...]:
    """Return the breakdown values with the most persons in a range."""
    scan = reader.scan(query.selection, span, breakdown=query.breakdown, persons=True)
    return largest_values(reader, scan, {}, sql("uniqExact(person)"), query.values_most)


def active_cells(scan: Scan, cell: Sql, values: tuple[str, ...]) -> Sql:
    """Return a SELECT of (value, person, cells): in which cells each was active, ascending.

    `cell` is a number from 0 over the columns of `events`.
    """
    broken_down = scan.breakdown is not None
    masks = sql(
        "SELECT {value} AS value, person, intDiv(cell, 64) AS word,"
        " groupBitOr(bitShiftLeft(toUInt64(1), cell % 64)) AS mask"
        " FROM ({events}) GROUP BY value, person, word",
        value=sql("breakdown" if broken_down else "''"),
        events=scan.select({"cell": cell}, values=values if broken_down else None),
    )
    return sql(
        "SELECT value, person, arraySort(arrayFlatten(groupArray("
        "arrayMap(bit -> toInt64(word * 64 + bit), bitPositionsToArray(mask))))) AS cells"
        " FROM ({masks}) GROUP BY value, person",
        masks=masks,
    )


def cell_scan(
    reader: Reader, query: ActivityQuery, span: Range, shown: Range, cell: Cell
) -> tuple[Scan, tuple[str, ...], Sql]:
    """Return the scan, the values and the condition on `value` for the persons of a cell.

    `span` is what is read, `shown` the range whose largest values the answer shows.
    """
    wanted = cell.breakdown_value(reader)
    breakdown = None if wanted is None else query.breakdown
    scan = reader.scan(query.selection, span, breakdown=breakdown, persons=True)
    if wanted is None:
        return scan, (), sql("true")
    values = values_with_most(reader, query, shown) if wanted == OTHER else (wanted,)
    return scan, values, sql("value = {wanted}", wanted=string(wanted))


def known_fields(query: ActivityQuery, *fields: str) -> tuple[str, ...]:
    """Return the fields that a cell of the answer can have."""
    return fields if query.breakdown is None else (*fields, *VALUE_FIELDS)


def breakdown_rule(query: ActivityQuery) -> list[str]:
    """Return what a breakdown means, where there is one."""
    if query.breakdown is None:
        return []
    return [
        "breakdown: each value is a report of its own on the events with this value, so a person"
        f" may be in several; the {query.values_most} values with the most persons,"
        " the others as one; null where the value is absent."
    ]
