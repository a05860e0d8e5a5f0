"""The cases of tests/cases: events as data, a question, and the table it must give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rows import insert_history, instant_ms

from saytics_server.query import active_users, lifecycle, paths, retention, stickiness, trends
from saytics_server.query.model import Frame
from saytics_server.query.reading import Reader

CASES = Path(__file__).parents[1] / "cases"
REPORTS: dict[str, Any] = {
    "trends": trends,
    "active_users": active_users,
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
    """Each query of the file answers exactly what stands beside it, as JSON."""
    case = json.loads(file.read_text())
    history = [{**item, "timestamp": instant_ms(item["timestamp"])} for item in case["history"]]
    insert_history(store, workspace_id, history)
    frame = Frame(
        workspace_id, case["timezone"], case.get("week_start", 0), instant_ms(case["now"])
    )
    report = REPORTS[file.parent.name]
    encode = msgspec.json.Encoder(decimal_format="number").encode
    for question in case["questions"]:
        answer = report.run(
            Reader(store, frame), report.parse([tuple(p) for p in question["query"]], frame)
        )
        shown = json.loads(encode(answer))
        expected = question["expected"]
        assert {name: shown[name] for name in expected} == expected, question["query"]
        if "text" in question:
            assert question["text"] in encode(answer).decode()
