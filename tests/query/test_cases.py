"""The cases of tests/cases: events as data, a question, and the table it must give.

`because` beside a question is the arithmetic, done by hand from the definitions; `aside` names
fields of a breakdown's parts that the case is not about.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rows import insert_history, instant_ms

from saytics_server.query import (
    active_users,
    funnels,
    lifecycle,
    paths,
    retention,
    stickiness,
    trends,
)
from saytics_server.query.document import read_document
from saytics_server.query.model import Frame
from saytics_server.query.reading import Reader

CASES = Path(__file__).parents[1] / "cases"
REPORTS: dict[str, Any] = {
    "trends": trends,
    "active_users": active_users,
    "funnels": funnels,
    "retention": retention,
    "lifecycle": lifecycle,
    "stickiness": stickiness,
    "paths": paths,
}
FILES = sorted(file for report in REPORTS for file in (CASES / report).glob("*.json"))


def test_there_are_cases_of_every_report():
    """Each report has at least one file."""
    assert {file.parent.name for file in FILES} == set(REPORTS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_case_gives_its_table(store, workspace_id, file):
    """Each question of the file answers exactly what stands beside it, as JSON."""
    case = json.loads(file.read_text())
    history = [{**item, "timestamp": instant_ms(item["timestamp"])} for item in case["history"]]
    insert_history(store, workspace_id, history)
    frame = Frame(
        workspace_id, case["timezone"], case.get("week_start", 0), instant_ms(case["now"])
    )
    report = REPORTS[file.parent.name]
    encode = msgspec.json.Encoder(decimal_format="number").encode
    for question in case["questions"]:
        answer = report.run(Reader(store, frame), asked(report, question, frame))
        shown = json.loads(encode(answer))
        assert compared(shown, question) == question["expected"], question
        if "text" in question:
            assert question["text"] in encode(answer).decode()


def compared(shown: dict[str, Any], question: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of an answer that the case names, whole but for what it leaves aside."""
    fields = {name: shown[name] for name in question["expected"]}
    if "aside" in question:
        fields["breakdown"] = [
            {name: value for name, value in part.items() if name not in question["aside"]}
            for part in fields["breakdown"]
        ]
    return fields


def asked(report: Any, question: dict[str, Any], frame: Frame) -> Any:
    """Return what a question of a case asks: a query string's pairs, or a document."""
    if "document" in question:
        return report.question(read_document(question["document"], report.Document), frame)
    return report.parse([tuple(pair) for pair in question["query"]], frame)
