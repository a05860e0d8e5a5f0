"""GET /v1/reports/funnels: how many persons came how far through a sequence of steps, and how fast.

Document ─► FunnelQuery          funnel_question
events   ─► keys that sort       funnel_events (funnel_shared: events that fit several steps)
keys     ─► counted attempts     funnel_attempts, one per person
attempts ─► the table            funnel_table
a person ─► why                  funnel_verdict
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from saytics_server.query.answer import BUCKET_RULE, PERSON_RULE, definition
from saytics_server.query.breakdown import shown as shown_value
from saytics_server.query.cell import VALUE_FIELDS, Cell
from saytics_server.query.funnel_events import (
    ABSENT_VALUE,
    OTHER_VALUE,
    events_of,
    marks_of,
    value_code,
)
from saytics_server.query.funnel_question import (
    Document,
    FunnelQuery,
    document_of,
    question,
)
from saytics_server.query.funnel_table import (
    Group,
    Numbers,
    outcomes,
    previous_required,
    ratio,
    shown,
    statement_of,
    table_of,
    value_sizes,
)
from saytics_server.query.funnel_verdict import explain
from saytics_server.query.model import Frame, invalid
from saytics_server.query.periods import Buckets
from saytics_server.query.reading import Reader
from saytics_server.query.scan import ABSENT, OTHER
from saytics_server.sql import Sql, all_of, sql, string, uint32, uint64s

__all__ = ["Document", "document_of", "explain", "parse", "persons", "question", "run"]


def parse(parameters: Sequence[tuple[str, str]], frame: Frame) -> FunnelQuery:
    """Return the question that decoded query parameters ask."""
    return question(document_of(parameters), frame)


def run(reader: Reader, query: FunnelQuery) -> dict[str, Any]:
    """Return the answer: every step, and with a breakdown or an interval each part."""
    events = events_of(reader, query, detailed=query.breakdown is not None)
    table = table_of(reader.rows(statement_of(query, events)))
    answer = {"order": query.order, "window": query.window, **_part(query, table, None)}
    if query.breakdown is not None:
        answer["breakdown"] = [
            {**shown_value(text), **_part(query, table, code)}
            for code, text in _values(reader, query, table)
        ]
    answer["definition"] = {
        **definition(query.frame, query.span, query.selection, _rules(query)),
        "order": query.order,
        "tie": query.tie,
        "window": query.window,
    }
    return answer


def persons(reader: Reader, query: FunnelQuery, cell: Mapping[str, Any]) -> Sql:
    """Return a SELECT of the persons who reached a step, or only the one before.

    A cell is `step`, from 1, and `dropped`; with an interval `date`; with a breakdown `value` or
    `other`.
    """
    fields = ["step", "dropped"]
    fields += ["date"] if query.buckets is not None else []
    fields += VALUE_FIELDS if query.breakdown is not None else []
    asked = Cell(cell, fields)
    step = asked.whole_number("step", 1, len(query.steps))
    conditions = [sql(f"filled[{step}] > 0")]
    if "dropped" in cell:
        if not isinstance(cell["dropped"], bool):
            raise invalid("cell.dropped", "`dropped` is true or false.")
        if cell["dropped"]:
            before = previous_required(query, step - 1) + 1
            conditions = [sql(f"filled[{before}] > 0"), sql(f"filled[{step}] = 0")]
    if query.buckets is not None and asked.has("date"):
        conditions.append(sql("bucket = {place}", place=uint32(asked.bucket(query.buckets))))
    text = asked.breakdown_value(reader)
    if text is not None:
        conditions.append(_of_value(reader, query, text))
    events = events_of(reader, query, detailed=text is not None)
    return sql(
        "SELECT person FROM ({outcomes}) WHERE {conditions}",
        outcomes=outcomes(query, events),
        conditions=all_of(conditions),
    )


def _of_value(reader: Reader, query: FunnelQuery, text: str) -> Sql:
    if text != OTHER:
        return sql("value = {code}", code=value_code(string(text)))
    largest = reader.rows(value_sizes(query, events_of(reader, query, detailed=True)))
    return sql("value NOT IN {codes}", codes=uint64s(row[0] for row in largest))


def _values(
    reader: Reader, query: FunnelQuery, table: Mapping[Group, Numbers]
) -> list[tuple[int, str]]:
    """Return the code and the text of each value of the table, largest first, the rest last."""
    sizes = {
        code: numbers.persons
        for (code, bucket), numbers in table.items()
        if code is not None and bucket is None
    }
    texts = {ABSENT_VALUE: ABSENT, OTHER_VALUE: OTHER}
    wanted = [code for code in sizes if code not in texts]
    if wanted:
        scan = reader.scan(
            query.selection,
            query.reach,
            breakdown=query.breakdown,
            marks=marks_of(query),
            only_marked=True,
        )
        statement = sql(
            "SELECT code, any(breakdown) FROM (SELECT breakdown, {code} AS code FROM ({events}))"
            " WHERE code IN {wanted} GROUP BY code",
            code=value_code(sql("breakdown")),
            events=scan.select({}),
            wanted=uint64s(wanted),
        )
        texts |= {int(code): text for code, text in reader.rows(statement)}
    return sorted(
        ((code, texts[code]) for code in sizes),
        key=lambda value: (value[0] == OTHER_VALUE, -sizes[value[0]], value[1]),
    )


def _part(query: FunnelQuery, table: Mapping[Group, Numbers], value: int | None) -> dict[str, Any]:
    part = shown(query, table.get((value, None)))
    if query.buckets is not None:
        part["interval"] = query.buckets.interval
        part["data"] = [
            _bucket(query, query.buckets, place, table.get((value, place)))
            for place in range(len(query.buckets.labels))
        ]
    return part


def _bucket(
    query: FunnelQuery, buckets: Buckets, place: int, numbers: Numbers | None
) -> dict[str, Any]:
    counts = list(numbers.reached) if numbers is not None else [0] * len(query.steps)
    last_start_ms = min(buckets.ends_ms()[place] - 1, query.span.to_ms)
    running = last_start_ms + query.window_ms >= query.frame.now_ms
    return {
        "date": buckets.labels[place],
        "counts": counts,
        "conversion": ratio(counts[-1], counts[0]),
        **({"complete": False} if running else {}),
    }


def _rules(query: FunnelQuery) -> list[str]:
    opens = "any step" if query.order == "any" else "step 1"
    rules = [
        {
            "ordered": "ordered: the steps in this order, anything between them.",
            "strict": "strict: the steps in this order, and no other event of the person strictly"
            " between the times of two of them. Events the report's filter removes are not seen.",
            "any": "any: step k counts the persons with at least k different steps, in whatever"
            " order.",
        }[query.order],
        f"Every event of {opens} in the range opens an attempt. Its window is {query.window} of"
        " elapsed time, the end included; later steps may lie after the range.",
        "A person counts once: with the attempt that got furthest, of those with the earliest.",
        "One event fills one step. Each step takes the first event it can.",
    ]
    if query.order != "any":
        rules.append(
            "tie=either: events at the same time are taken in the order of the steps."
            if query.tie == "either"
            else "tie=strict: each step is later than the one before."
        )
    if len(query.required) < len(query.steps):
        rules.append(
            "An optional step is filled by the first event left between the steps around it; how"
            " far an attempt got, and conversion from the previous step, do not depend on it."
        )
    rules += [
        f"`{exclusion.label}` after step {exclusion.from_step + 1} and before step"
        f" {exclusion.to_step + 1}, or before the window ends without it: the attempt gets no"
        f" further than step {exclusion.from_step + 1}. At the same time is not between."
        for exclusion in query.exclusions
    ]
    rules.append("Times run between the filled steps of the counted attempt; ratios are 0 to 1.")
    if query.buckets is not None:
        rules.append(
            "data: persons by the time of step 1; incomplete while a window that began in the"
            " bucket has not passed."
        )
        rules.append(BUCKET_RULE)
    if query.breakdown is not None:
        rules.append(_attribution_rule(query))
    return [*rules, PERSON_RULE]


def _attribution_rule(query: FunnelQuery) -> str:
    which = {
        "first": "first touch: the value on the earliest step event of the counted attempt that"
        " has one",
        "last": "last touch: the value on the latest step event of the counted attempt that has"
        " one",
    }.get(str(query.attribution))
    if which is None:
        assert isinstance(query.attribution, int)
        which = f"the value on the event of step {query.attribution + 1}"
    return (
        f"breakdown by {which}; null without one. The {query.values_most} largest, the others as"
        " one; the values add up to the total."
    )
