"""Why a person counts: the events of one person that a selection counts, and those it nearly does.

A near miss is an event of the right name that a filter removes, or that lacks the metric's number;
what it has stands beside what was asked. Everything is read of one person alone; counts are of all
events, lists hold the first ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from saytics_server.people import Person
from saytics_server.query.comparison import Period
from saytics_server.query.evidence import EVIDENCE, EVIDENCE_COLUMNS, Evidence, shown_event
from saytics_server.query.metrics import Metric
from saytics_server.query.model import Condition, Filter, Reference, Selection
from saytics_server.query.reading import Reader
from saytics_server.query.scan import ABSENT, PERSONAL, Scan, place_in
from saytics_server.query.values import event_value
from saytics_server.sql import Sql, all_of, int64, joined, sql
from saytics_server.store import Row

# What fits a screen or two.
EVENTS_PER_BUCKET_MAX, EVENTS_MAX = 10, 1_000

LINK_RULE = (
    "An event with an anonymous id alone is the user's of the latest link of that id at or before"
    " it, else of the first link; one sent with a secret key sees only links of secret keys."
)


class Requirement(msgspec.Struct, frozen=True):
    """What an event must fulfil beside its name, and the text of what it has instead."""

    words: str
    holds: Sql
    value: Sql


class Judgement(msgspec.Struct, frozen=True):
    """What is known of a person's events: per bucket how many count, the latest of these and the
    first few; how many are missed, and the first; and all that are listed here."""

    counts: Mapping[int, int]
    latest: Mapping[int, Evidence]
    counted: Mapping[int, list[dict[str, Any]]]
    missed: int
    misses: list[dict[str, Any]]
    seen: list[Evidence]


def judge(
    reader: Reader,
    selection: Selection,
    period: Period,
    person: Person,
    metric: Metric | None = None,
) -> Judgement:
    """Return which events of a person in a period a selection counts; with a metric of a property,
    those with a number in it."""
    requirements = _requirements(selection, metric)
    scan = reader.scan(
        Selection(selection.events),
        period.span,
        marks={f"filter_{n}": Selection((), (f,)) for n, f in enumerate(selection.filters)},
        person=person,
    )
    columns = {} if metric is None else metric.columns
    bucket = place_in(period.buckets.starts_ms)
    events = _judged(scan, {"bucket": bucket, **columns}, requirements)
    counts = reader.rows(
        sql(
            "SELECT counted, bucket, count(), max(evidence) FROM ({events})"
            " GROUP BY counted, bucket",
            events=events,
        )
    )
    rows = reader.rows(
        sql(
            "SELECT counted, bucket, evidence, holds, found FROM ({events}) ORDER BY evidence"
            " LIMIT {few} BY counted, bucket LIMIT {most}",
            events=events,
            few=int64(EVENTS_PER_BUCKET_MAX),
            most=int64(EVENTS_MAX),
        )
    )
    counted: dict[int, list[dict[str, Any]]] = {}
    for is_counted, bucket, event, *_ in rows:
        if is_counted:
            counted.setdefault(bucket, []).append(shown_event(event))
    latest = {bucket: event for is_counted, bucket, _, event in counts if is_counted}
    return Judgement(
        {bucket: count for is_counted, bucket, count, _ in counts if is_counted},
        latest,
        counted,
        sum(count for is_counted, _, count, _ in counts if not is_counted),
        [_miss(row, requirements) for is_counted, _, *row in rows if not is_counted],
        [*latest.values(), *(event for _, _, event, *_ in rows)],
    )


def _requirements(selection: Selection, metric: Metric | None) -> list[Requirement]:
    required = [
        Requirement(in_words(filter_), sql(f"toUInt8(filter_{place})"), _value_of(filter_))
        for place, filter_ in enumerate(selection.filters)
    ]
    if metric is not None and metric.reference is not None:
        holds = sql("toUInt8({number})", number=metric.takes_part)
        value = event_value(metric.reference).json
        required.append(Requirement(f"a number for {metric.text}", holds, value))
    return required


def _judged(scan: Scan, columns: Mapping[str, Sql], requirements: list[Requirement]) -> Sql:
    """Return a SELECT of (bucket, evidence, holds, found, counted), one row per event."""
    values = {f"value_{place}": required.value for place, required in enumerate(requirements)}
    found = (sql(f"ifNull(value_{n}, '{ABSENT}')") for n in range(len(requirements)))
    return sql(
        "SELECT bucket, {evidence} AS evidence, CAST([{holds}] AS Array(UInt8)) AS holds,"
        " CAST([{found}] AS Array(String)) AS found, {counted} AS counted FROM ({events})",
        evidence=EVIDENCE,
        holds=joined(", ", (required.holds for required in requirements)),
        found=joined(", ", found),
        counted=all_of([required.holds for required in requirements]),
        events=scan.select({**columns, **EVIDENCE_COLUMNS, **values}),
    )


def _miss(row: Row, requirements: list[Requirement]) -> dict[str, Any]:
    event, holds, found = row
    failed = [
        {
            "required": required.words,
            **({"found": msgspec.json.decode(value)} if value else {}),
        }
        for required, held, value in zip(requirements, holds, found, strict=True)
        if not held
    ]
    return {**shown_event(event), "failed": failed}


def _value_of(filter_: Filter) -> Sql:
    """Return the JSON text of the one value of an event that decides, '' where there is none."""
    if isinstance(filter_, Condition) and filter_.reference.source not in PERSONAL:
        return event_value(filter_.reference).json
    return sql("''")


def in_words(filter_: Filter) -> str:
    """Return a filter as a person reads it: `plan = pro`, `(a = 1 or user.b is_set)`."""
    if isinstance(filter_, Condition):
        values = f" {', '.join(filter_.values)}" if filter_.values else ""
        return f"{_name(filter_.reference)} {filter_.operator}{values}"
    joint = " and " if filter_.every else " or "
    return f"({joint.join(map(in_words, filter_.parts))})"


def _name(reference: Reference) -> str:
    prefix = () if reference.source in ("properties", "field") else (reference.source,)
    return ".".join((*prefix, *reference.keys))
