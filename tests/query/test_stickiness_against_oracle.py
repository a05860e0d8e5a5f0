"""Generated histories give the same stickiness from the store and from the naive oracle."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from active_histories import (
    cases,
    everybody,
    key_of,
    named_value,
    quick,
    quick_persons,
    some,
    thorough,
)
from hypothesis import given
from rows import fresh_workspace_id, insert_history
from test_lifecycle_against_oracle import case_of, parameters_of

from oracle.lifecycle import Question, in_range
from oracle.people import Households
from oracle.stickiness import dau_mau
from oracle.stickiness import stickiness as naive
from saytics_server.people import Person
from saytics_server.query import stickiness
from saytics_server.query.model import Frame
from saytics_server.query.reading import Reader

# Of one example: cells whose persons are asked for, persons who are explained.
ASKED = (2, 2)


def histogram(table: dict[int, set[Any]]) -> dict[str, Any]:
    """Return what the answer must show of an oracle's table."""
    return {
        "data": [{"intervals": k, "count": len(behind)} for k, behind in sorted(table.items())],
        "total": sum(map(len, table.values())),
    }


def compare(
    store: Any, question: Question, history: Households, cells_most: int = 0, persons_most: int = 0
) -> None:
    """Assert that the table is the oracle's, and so are some cells' persons and some verdicts."""
    workspace = fresh_workspace_id()
    insert_history(store, workspace, history)
    frame = Frame(workspace, question.timezone, question.week_start, question.now_ms)
    reader = Reader(store, frame)
    query = stickiness.parse(parameters_of(question), frame)
    answer = stickiness.run(reader, query)
    expected = naive(question, history)
    tables: dict[str | None, Any] = {None: {name: answer[name] for name in ("data", "total")}}
    for part in answer.get("breakdown", []):
        tables[json.dumps(part.pop("value"))] = part
    assert tables == {value: histogram(table) for value, table in expected.items()}
    compare_ratios(question, history, answer)
    cells = [
        ({"intervals": intervals, **named_value(value)}, behind)
        for value, table in expected.items()
        for intervals, behind in sorted(table.items(), key=lambda row: not row[1])
    ]
    for cell, behind in some(cells, cells_most):
        found = [row[0] for row in reader.rows(stickiness.persons(reader, query, cell))]
        assert sorted(found) == sorted(map(key_of, behind)), cell
    intervals_of = {person: k for k, behind in expected[None].items() for person in behind}
    for person in some(everybody(history), persons_most):
        verdict = stickiness.explain(reader, query, Person(*person))
        assert verdict["intervals"] == intervals_of.get(person, 0)
        labels = [label for label, *_ in in_range(question)]
        assert [row["date"] for row in verdict["data"]] == [
            label for label in labels if label in {row["date"] for row in verdict["data"]}
        ]


def compare_ratios(
    question: Question, history: list[dict[str, Any]], answer: dict[str, Any]
) -> None:
    ratio, days = dau_mau(question, history)
    assert answer["dau_mau"] == (None if ratio is None else float(ratio))
    assert answer["dau_mau_data"] == [
        {
            "date": label,
            "dau": dau,
            "mau": mau,
            "dau_mau": float(Fraction(dau, mau)) if mau else None,
            **({} if over else {"complete": False}),
        }
        for label, dau, mau, over in days
    ]


@pytest.mark.timeout(600)
@quick
@given(case=cases(case_of))
def test_stickiness_counts_as_the_oracle_does(store, case):
    """Every number is that of the naive definition."""
    compare(store, *case)


@pytest.mark.timeout(600)
@quick_persons
@given(case=cases(case_of))
def test_behind_stickiness_are_whom_the_oracle_counts(store, case):
    """The persons behind each number and each person's verdict follow the definition."""
    compare(store, *case, *ASKED)


@pytest.mark.slow
@pytest.mark.timeout(600)
@thorough
@given(case=cases(case_of))
def test_stickiness_counts_as_the_oracle_does_in_many_histories(store, case):
    """Numbers, persons and verdicts stay the naive ones over two thousand persons."""
    compare(store, *case, 1, 1)
