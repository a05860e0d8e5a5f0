"""Generated histories give the same retention from the store and from the naive oracle."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from active_histories import (
    BREAKDOWN_LIMIT,
    DAY_MS,
    Case,
    breakdown_of,
    cases,
    conditions_of,
    everybody,
    filter_text,
    history_of,
    key_of,
    named_value,
    quick,
    quick_persons,
    range_of,
    some,
    thorough,
    written,
    zone_of,
)
from hypothesis import given
from rows import fresh_workspace_id, insert_history

from oracle.people import Households
from oracle.retention import Cohort, Question, Step, overall
from oracle.retention import retention as naive
from saytics_server.people import Person
from saytics_server.query import retention
from saytics_server.query.document import read_document
from saytics_server.query.model import Frame
from saytics_server.query.periods import utc_text
from saytics_server.query.reading import Reader

# Of one example: cells whose persons are asked for, persons who are explained.
ASKED = (3, 2)


def step_of(random: Random) -> Step:
    names = random.choice([(), ("A",), ("A",), ("B 'ü'",), ("A", "C")])
    return Step(names, conditions_of(random))


def case_of(random: Random) -> Case:
    zone, middle = zone_of(random)
    interval = random.choice(["day", "day", "day", "week", "month"])
    days = {"day": 7, "week": 25, "month": 70}[interval]
    from_ms, to_ms = range_of(random, zone, middle, days)
    start = step_of(random)
    question = Question(
        timezone=zone,
        week_start=random.randint(0, 6),
        now_ms=middle + random.randint(-DAY_MS, 9 * DAY_MS),
        from_ms=from_ms,
        to_ms=to_ms,
        interval=interval,
        periods=random.randint(1, 5),
        start=start,
        returned=random.choice([Step((), []), start, step_of(random)]),
        conditions=conditions_of(random),
        mode=random.choice(["on", "on_or_after"]),
        cohort=random.choice(["first_time", "first_ever", "recurring"]),
        window=random.choice(["calendar", "elapsed"]),
        breakdown=breakdown_of(random),
    )
    return question, history_of(random, middle)


def document_of(question: Question) -> dict[str, Any]:
    document: dict[str, Any] = {
        "start": step_document(question.start),
        "return": step_document(question.returned),
        "from": utc_text(question.from_ms),
        "to": utc_text(question.to_ms),
        "filter": [filter_text(condition) for condition in question.conditions],
    }
    for name in ("interval", "periods", "mode", "cohort", "window"):
        document[name] = getattr(question, name)
    if question.breakdown is not None:
        document["breakdown"] = written(question.breakdown)
        document["breakdown_limit"] = BREAKDOWN_LIMIT
    return document


def step_document(step: Step) -> Any:
    if not step.conditions and len(step.events) == 1:
        return step.events[0]
    filters = [filter_text(condition) for condition in step.conditions]
    names = {"event": step.events[0]} if len(step.events) == 1 else {"events": list(step.events)}
    return {**names, "filter": filters}


def table_of(question: Question, cohorts: list[Cohort]) -> dict[str, Any]:
    """Return what the answer must show of an oracle's table."""
    return {
        "cohorts": [
            {
                "date": cohort.label,
                "size": len(cohort.members),
                "counts": [len(returned) for returned in cohort.returned],
                "complete": cohort.complete,
            }
            for cohort in cohorts
        ],
        "overall": [
            None if share is None else float(share) for share in overall(cohorts, question.periods)
        ],
    }


def compare(
    store: Any, question: Question, history: Households, cells_most: int = 0, persons_most: int = 0
) -> None:
    """Assert that the table is the oracle's, and so are some cells' persons and some verdicts."""
    workspace = fresh_workspace_id()
    insert_history(store, workspace, history)
    frame = Frame(workspace, question.timezone, question.week_start, question.now_ms)
    reader = Reader(store, frame)
    document = read_document(document_of(question), retention.Document)
    query = retention.question(document, frame)
    answer = retention.run(reader, query)
    expected = naive(question, history)
    names = ("cohorts", "overall")
    tables: dict[str | None, Any] = {None: {name: answer[name] for name in names}}
    for part in answer.get("breakdown", []):
        tables[json.dumps(part["value"])] = {name: part[name] for name in names}
    assert tables == {value: table_of(question, rows) for value, rows in expected.items()}
    cells = cells_of(expected)
    for cell, behind in some(cells, cells_most):
        found = [row[0] for row in reader.rows(retention.persons(reader, query, cell))]
        assert sorted(found) == sorted(map(key_of, behind)), cell
    for person in some(everybody(history), persons_most):
        verdict = retention.explain(reader, query, Person(*person))
        told = {
            row["date"]: [period["counted"] for period in row["periods"]]
            for row in verdict["cohorts"]
        }
        assert told == {
            cohort.label: [person in returned for returned in cohort.returned]
            for cohort in expected[None]
            if person in cohort.members
        }


def cells_of(expected: dict[str | None, list[Cohort]]) -> list[tuple[dict[str, Any], set[Any]]]:
    """Return every cell somebody is behind, and an empty one."""
    cells = [
        ({"date": row.label, **period, **named_value(value)}, behind)
        for value, rows in expected.items()
        for row in rows
        for period, behind in [
            ({}, row.members),
            *(({"period": period}, behind) for period, behind in enumerate(row.returned)),
        ]
    ]
    return [cell for cell in cells if cell[1]] + [cell for cell in cells if not cell[1]][:1]


@pytest.mark.timeout(600)
@quick
@given(case=cases(case_of))
def test_retention_counts_as_the_oracle_does(store, case):
    """Every number is that of the naive definition."""
    compare(store, *case)


@pytest.mark.timeout(600)
@quick_persons
@given(case=cases(case_of))
def test_behind_retention_are_whom_the_oracle_counts(store, case):
    """The persons behind each number and each person's verdict follow the definition."""
    compare(store, *case, *ASKED)


@pytest.mark.slow
@pytest.mark.timeout(600)
@thorough
@given(case=cases(case_of))
def test_retention_counts_as_the_oracle_does_in_many_histories(store, case):
    """Numbers, persons and verdicts stay the naive ones over two thousand persons."""
    compare(store, *case, 1, 1)
