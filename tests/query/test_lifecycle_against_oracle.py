"""Generated histories give the same lifecycle from the store and from the naive oracle."""

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

from oracle.lifecycle import Question, in_range
from oracle.lifecycle import lifecycle as naive
from oracle.people import Households
from saytics_server.people import Person
from saytics_server.query import lifecycle
from saytics_server.query.lifecycle import KINDS
from saytics_server.query.model import Frame
from saytics_server.query.periods import utc_text
from saytics_server.query.reading import Reader

# Of one example: cells whose persons are asked for, persons who are explained.
ASKED = (3, 2)


def case_of(random: Random) -> Case:
    zone, middle = zone_of(random)
    interval = random.choice(["hour", "day", "day", "week", "month"])
    days = {"hour": 2, "day": 9, "week": 30, "month": 70}[interval]
    from_ms, to_ms = range_of(random, zone, middle, days)
    question = Question(
        timezone=zone,
        week_start=random.randint(0, 6),
        now_ms=middle + random.randint(-DAY_MS, 9 * DAY_MS),
        from_ms=from_ms,
        to_ms=to_ms,
        interval=interval,
        event=random.choice([None, "A", "B 'ü'"]),
        conditions=conditions_of(random),
        breakdown=breakdown_of(random),
    )
    return question, history_of(random, middle)


def parameters_of(question: Question) -> list[tuple[str, str]]:
    parameters = [
        ("from", utc_text(question.from_ms)),
        ("to", utc_text(question.to_ms)),
        ("interval", question.interval),
        *(("filter", filter_text(condition)) for condition in question.conditions),
    ]
    if question.event is not None:
        parameters.append(("event", question.event))
    if question.breakdown is not None:
        parameters.append(("breakdown", written(question.breakdown)))
        parameters.append(("breakdown_limit", str(BREAKDOWN_LIMIT)))
    return parameters


def rows_of(question: Question, table: Any) -> list[dict[str, Any]]:
    """Return what the answer must show of an oracle's table."""
    return [
        {
            "date": label,
            **{kind: len(table[label, kind]) * (-1 if kind == "dormant" else 1) for kind in KINDS},
            **({} if over <= question.now_ms else {"complete": False}),
        }
        for label, _, _, over in in_range(question)
    ]


def compare(
    store: Any, question: Question, history: Households, cells_most: int = 0, persons_most: int = 0
) -> None:
    """Assert that the table is the oracle's, and so are some cells' persons and some verdicts."""
    workspace = fresh_workspace_id()
    insert_history(store, workspace, history)
    frame = Frame(workspace, question.timezone, question.week_start, question.now_ms)
    reader = Reader(store, frame)
    query = lifecycle.parse(parameters_of(question), frame)
    answer = lifecycle.run(reader, query)
    expected = naive(question, history)
    tables: dict[str | None, Any] = {None: answer["data"]}
    tables |= {json.dumps(part["value"]): part["data"] for part in answer.get("breakdown", [])}
    shown = {value: rows_of(question, table) for value, table in expected.items()}
    assert tables == {
        value: rows
        for value, rows in shown.items()
        if value is None or any(expected[value].values())
    }
    cells = [
        ({"date": label, "kind": kind, **named_value(value)}, behind)
        for value, table in expected.items()
        for (label, kind), behind in sorted(table.items())
        if behind
    ]
    for cell, behind in some(cells, cells_most):
        found = [row[0] for row in reader.rows(lifecycle.persons(reader, query, cell))]
        assert sorted(found) == sorted(map(key_of, behind)), cell
    for person in some(everybody(history), persons_most):
        verdict = lifecycle.explain(reader, query, Person(*person))
        told = {(row["date"], row["kind"]) for row in verdict["data"]}
        assert told == {cell for cell, behind in expected[None].items() if person in behind}
        assert verdict["counted"] == bool(told)


@pytest.mark.timeout(600)
@quick
@given(case=cases(case_of))
def test_lifecycle_counts_as_the_oracle_does(store, case):
    """Every number is that of the naive definition."""
    compare(store, *case)


@pytest.mark.timeout(600)
@quick_persons
@given(case=cases(case_of))
def test_behind_lifecycle_are_whom_the_oracle_counts(store, case):
    """The persons behind each number and each person's verdict follow the definition."""
    compare(store, *case, *ASKED)


@pytest.mark.slow
@pytest.mark.timeout(600)
@thorough
@given(case=cases(case_of))
def test_lifecycle_counts_as_the_oracle_does_in_many_histories(store, case):
    """Numbers, persons and verdicts stay the naive ones over two thousand persons."""
    compare(store, *case, 1, 1)
