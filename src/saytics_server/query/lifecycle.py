"""GET /v1/reports/lifecycle: who came, stayed, came back and went, interval by interval.

A person is the ascending set of cells they were active in, and two neighbours in it say it all:

    cells     0: ever before | 1: the interval before the range | 2, 3, 4 ...: the buckets
    active    1, 2, 5          bucket at 2: returning (1 is active), at 3: dormant,
                               at 5: resurrecting; had there been no cell before 2, 2 were new

So new + returning + resurrecting are the persons active in a bucket, and returning + dormant those
active in the one before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from saytics_server.people import Person
from saytics_server.query import activity
from saytics_server.query.activity import (
    EVER_MS,
    ActivityDocument,
    ActivityQuery,
    active_cells,
    breakdown_rule,
    cell_scan,
    known_fields,
    values_with_most,
)
from saytics_server.query.answer import BUCKET_RULE, PERSON_RULE, definition
from saytics_server.query.breakdown import shown
from saytics_server.query.cell import Cell
from saytics_server.query.evidence import (
    EVIDENCE,
    EVIDENCE_COLUMNS,
    Evidence,
    length_text,
    shown_event,
    shown_links,
)
from saytics_server.query.model import Frame, Range
from saytics_server.query.periods import buckets_of, utc_text
from saytics_server.query.reading import Reader
from saytics_server.query.scan import OTHER, TIMESTAMP_MS, Scan
from saytics_server.sql import Sql, int64, int64s, sql, uint32, uint32s

KINDS = ("new", "returning", "resurrecting", "dormant")
_DORMANT = KINDS.index("dormant")

# Cells before that of the first bucket.
_EARLIER, _BEFORE, _FIRST = 0, 1, 2

# Per value of the breakdown, by (bucket, place in KINDS), how many persons.
_Counts = Mapping[str, Mapping[tuple[int, int], int]]

Document = ActivityDocument
document_of = activity.document_of
question = activity.question


def parse(parameters: Sequence[tuple[str, str]], frame: Frame) -> ActivityQuery:
    """Return the question that decoded query parameters ask."""
    return question(document_of(parameters), frame)


def run(reader: Reader, query: ActivityQuery) -> dict[str, Any]:
    """Return the answer, every bucket present."""
    everyone = reader.scan(query.selection, _span(query), persons=True)
    answer: dict[str, Any] = {
        "event": query.selection.events[0] if query.selection.events else None,
        "interval": query.buckets.interval,
        "data": _rows(query, _counts(reader, query, everyone, ()).get("", {})),
    }
    if query.breakdown is not None:
        values = values_with_most(reader, query, _shown(query))
        scan = reader.scan(query.selection, _span(query), breakdown=query.breakdown, persons=True)
        counts = _counts(reader, query, scan, values)
        answer["breakdown"] = [
            {**shown(value), "data": _rows(query, counts[value])}
            for value in (*values, OTHER)
            if value in counts
        ]
    answer["definition"] = definition(query.frame, query.span, query.selection, _rules(query))
    return answer


def statement_of(query: ActivityQuery, scan: Scan, values: tuple[str, ...]) -> Sql:
    """Return the SELECT of (value, 4 * bucket + place in KINDS, persons)."""
    return sql(
        "SELECT value, place, count() FROM ({persons}) ARRAY JOIN {places} AS place"
        " GROUP BY value, place",
        persons=active_cells(scan, _cell(query), values),
        places=_places(query),
    )


def persons(reader: Reader, query: ActivityQuery, cell: Mapping[str, Any]) -> Sql:
    """Return a SELECT of the persons of one kind in one bucket.

    A cell is `date` and `kind`, and with a breakdown `value` or `other`.
    """
    asked = Cell(cell, known_fields(query, "date", "kind"))
    bucket = asked.bucket(query.buckets)
    kind = KINDS.index(asked.choice("kind", KINDS))
    scan, values, of_value = cell_scan(reader, query, _span(query), _shown(query), asked)
    return sql(
        "SELECT person FROM ({persons}) WHERE {of_value} AND has({places}, {place})",
        persons=active_cells(scan, _cell(query), values),
        of_value=of_value,
        places=_places(query),
        place=int64(_place(bucket, kind)),
    )


def explain(reader: Reader, query: ActivityQuery, person: Person) -> dict[str, Any]:
    """Return what a person was in which bucket, by which events. A breakdown is left aside."""
    scan = reader.scan(query.selection, _span(query), persons=True, person=person)
    statement = sql(
        "SELECT cell, min({evidence}), max({evidence}), count() FROM ({events})"
        " GROUP BY cell ORDER BY cell",
        evidence=EVIDENCE,
        events=scan.select({"cell": _cell(query), **EVIDENCE_COLUMNS}),
    )
    active = {cell: (first, last, count) for cell, first, last, count in reader.rows(statement)}
    firsts = [first for first, _, _ in active.values()]
    in_range = any(cell >= _FIRST for cell in active)
    return {
        "counted": bool(_kinds(query, sorted(active))),
        "first_event": shown_event(min(firsts)) if firsts else None,
        "data": _explained(query, active),
        **({} if in_range else {"missing": _missing(query, active)}),
        "links": shown_links(reader, person, firsts),
    }


def _span(query: ActivityQuery) -> Range:
    return Range(EVER_MS, query.span.to_ms)


def _before_ms(query: ActivityQuery) -> int:
    """Return where the interval before the first bucket begins."""
    last_ms = query.buckets.starts_ms[0] - 1
    return buckets_of(Range(last_ms, last_ms), query.buckets.interval, query.frame).starts_ms[0]


def _shown(query: ActivityQuery) -> Range:
    """Return the range of the events that can make a number other than 0."""
    return Range(_before_ms(query), query.span.to_ms)


def _cell(query: ActivityQuery) -> Sql:
    """Return the cell of an event. What the range cuts off the first bucket is merely earlier."""
    first, *later = query.buckets.starts_ms
    before = _before_ms(query)
    cells = {before - 1: _EARLIER, before: _BEFORE, first: _EARLIER}
    cells[query.span.from_ms] = _FIRST
    cells |= {start: place for place, start in enumerate(later, start=_FIRST + 1)}
    starts = int64s(cells)
    # Rounding down leaves what lies before the first start there.
    return sql(
        "transform(roundDown({ms}, {starts}), {starts}, {cells}, toUInt32(0))",
        ms=TIMESTAMP_MS,
        starts=starts,
        cells=uint32s(cells.values()),
    )


def _places(query: ActivityQuery) -> Sql:
    """Return the array of 4 * bucket + place in KINDS for the cells of one person."""
    return sql(
        "arrayConcat("
        "arrayFilter(place -> place >= 0, arrayMap((cell, before) ->"
        " 4 * (cell - 2) + multiIf(before < 0, 0, before = cell - 1, 1, 2),"
        " cells, arrayPushFront(arrayPopBack(cells), toInt64(-1)))),"
        "arrayMap(cell -> 4 * (cell - 1) + 3, arrayFilter((cell, after) ->"
        " cell >= 1 AND cell < {last} AND after != cell + 1,"
        " cells, arrayPushBack(arrayPopFront(cells), toInt64(-1)))))",
        last=uint32(len(query.buckets.labels) + _FIRST - 1),
    )


def _place(bucket: int, kind: int) -> int:
    return len(KINDS) * bucket + kind


def _counts(
    reader: Reader, query: ActivityQuery, scan: Scan, values: tuple[str, ...]
) -> dict[str, dict[tuple[int, int], int]]:
    counts: dict[str, dict[tuple[int, int], int]] = defaultdict(dict)
    for value, place, count in reader.rows(statement_of(query, scan, values)):
        counts[value][divmod(place, len(KINDS))] = count
    return counts


def _rows(query: ActivityQuery, counts: Mapping[tuple[int, int], int]) -> list[dict[str, Any]]:
    running = query.buckets.running(query.frame.now_ms)
    return [
        {
            "date": label,
            **{
                name: -counts.get((bucket, kind), 0)
                if kind == _DORMANT
                else counts.get((bucket, kind), 0)
                for kind, name in enumerate(KINDS)
            },
            **({"complete": False} if running[bucket] else {}),
        }
        for bucket, label in enumerate(query.buckets.labels)
    ]


def _kinds(query: ActivityQuery, cells: Sequence[int]) -> list[tuple[int, str, int | None]]:
    """Return (bucket, kind, the active cell before) of one person, as the statement counts."""
    kinds: list[tuple[int, str, int | None]] = []
    last = len(query.buckets.labels) + _FIRST - 1
    for before, cell in pairwise([None, *cells, None]):
        if before is not None and _BEFORE <= before < last and cell != before + 1:
            kinds.append((before + 1 - _FIRST, "dormant", before))
        if cell is not None and cell >= _FIRST:
            kind = "new" if before is None else "resurrecting"
            kind = "returning" if before == cell - 1 else kind
            kinds.append((cell - _FIRST, kind, before))
    return kinds


def _explained(
    query: ActivityQuery, active: Mapping[int, tuple[Evidence, Evidence, int]]
) -> list[dict[str, Any]]:
    verdicts = []
    for bucket, kind, before in _kinds(query, list(active)):
        verdict: dict[str, Any] = {"date": query.buckets.labels[bucket], "kind": kind}
        if kind != "dormant":
            first, _, count = active[bucket + _FIRST]
            verdict |= {"events": count, "event": shown_event(first)}
        if before is not None:
            verdict["previous_event"] = shown_event(active[before][1])
        verdicts.append(verdict)
    return verdicts


def _missing(query: ActivityQuery, active: Mapping[int, tuple[Evidence, Evidence, int]]) -> str:
    if not active:
        return f"No matching event up to {utc_text(query.span.to_ms)}."
    last = max(last for _, last, _ in active.values())
    short = length_text(query.span.from_ms - last[0])
    return f"No matching event in the range: the last came {short} before it begins."


def _rules(query: ActivityQuery) -> list[str]:
    interval = query.buckets.interval
    return [
        f"new: the person's first matching event ever lies in the {interval}; all of history is"
        " looked at, also before the range.",
        f"returning: active in this {interval} and in the one before.",
        f"resurrecting: active before, not in the {interval} before, active in this one.",
        f"dormant: active in the {interval} before, not in this one; shown as a negative number.",
        f"The {interval} before the first bucket is a whole one; of a first bucket that the range"
        " cuts, what lies before the range counts as earlier.",
        *breakdown_rule(query),
        BUCKET_RULE,
        PERSON_RULE,
    ]
