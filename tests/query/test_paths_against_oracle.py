"""Generated histories take the same paths in the store and in the naive oracle."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from active_histories import Case, cases, households, quick, quick_persons, thorough
from hypothesis import given
from rows import fresh_workspace_id, insert_history

from oracle.paths import Edge, Node, Question
from oracle.paths import paths as oracle_paths
from saytics_server.people import Person, person_of
from saytics_server.query import paths
from saytics_server.query.document import read_document
from saytics_server.query.model import Frame
from saytics_server.query.periods import utc_text
from saytics_server.query.reading import Reader
from saytics_server.sql import sql

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS
# The night of a change of the clock: sessions and windows are elapsed time and must not notice.
BASE_MS = 1711846800000 - 60 * MINUTE_MS
KEYS = [[], [], ["plan"], ["a.b"], ["plan", "a.b"]]
NAMES = ["A", "B ü", "other", "x:'\\"]

# What ends a session or a window, and a moment less and more; ties are frequent.
LENGTHS = [10 * MINUTE_MS, 30 * MINUTE_MS, 60 * MINUTE_MS]
GAPS = [*[0, 1, 5 * MINUTE_MS] * 6, *(at + beside for at in LENGTHS for beside in (-1, 0, 1))]
# As the oracle takes them, and as they are written.
FILTERS = {
    (("properties", "plan"), "=", "pro"): "plan=pro",
    (("properties", "a.b"), "!=", "pro"): "a\\.b!=pro",
    (("user", "plan"), "=", "pro"): "user.plan=pro",
    (("user", "a.b"), "!=", "free"): "user.a\\.b!=free",
}


def history_of(random: Random) -> list[dict[str, Any]]:
    """Return what happened in order of receipt, which need not be that of time."""
    history = []
    at = BASE_MS
    for _ in range(random.randint(15, 40)):
        at += random.choice(GAPS)
        item = {
            "timestamp": at,
            "keyType": random.choice(["secret", "secret", "secret", "write"]),
            "messageId": random.choice(["", "m1", "m2"]),
        }
        traits = {key: random.choice(["pro", "free"]) for key in random.choice(KEYS)}
        # Mostly one person, so that what stands beside each other is of the same one.
        user, device = random.choice(["x", "x", "x", "ü"]), random.choice(["x", "ø"])
        if random.random() < 0.06:
            ids = random.choice([{"userId": user}, {"userId": user, "anonymousId": device}])
            history.append({**item, "type": "identify", **ids, "traits": traits})
            continue
        ids = random.choice([{"userId": user}] * 3 + [{"anonymousId": device}])
        if random.random() < 0.05:
            ids = {"userId": user, "anonymousId": device}
        history.append({**item, "event": random.choice(NAMES), **ids, "properties": traits})
    if random.random() < 0.5:
        random.shuffle(history)
    return history


def case_of(random: Random) -> Case:
    history = households(random, lambda: history_of(random))
    times = [item["timestamp"] for item in history]
    from_ms, to_ms = sorted(random.choices(times, k=2))
    if random.random() < 0.7:
        from_ms, to_ms = min(times), max(times)
    names = random.sample(NAMES, len(NAMES))
    anchors = random.choice([1, 1, 2])
    in_sessions = random.random() < 0.5

    def few() -> list[Any]:
        return [random.choice(list(FILTERS))] if random.random() < 0.1 else []

    question = Question(
        timezone="Europe/Berlin",
        from_ms=from_ms,
        to_ms=to_ms,
        anchors=tuple(names[:anchors]),
        anchor_conditions=few(),
        backward=random.random() < 0.5,
        depth=random.randint(2, 6),
        gap_ms=random.choice(LENGTHS) if in_sessions else None,
        reach_ms=DAY_MS if in_sessions else random.choice(LENGTHS),
        collapse=random.random() < 0.5,
        top=random.choice([1, 2, 25, 25]),
        exclude=tuple(names[-1:]) if random.random() < 0.3 else (),
        conditions=few(),
    )
    return question, history


def document_of(question: Question) -> paths.Document:
    anchor = {
        "events": list(question.anchors),
        "filter": [FILTERS[condition] for condition in question.anchor_conditions],
    }
    length = (
        {"window": f"{question.reach_ms // MINUTE_MS}m"}
        if question.gap_ms is None
        else {"session": f"{question.gap_ms // MINUTE_MS}m"}
    )
    return read_document(
        {
            "from": utc_text(question.from_ms),
            "to": utc_text(question.to_ms),
            "end" if question.backward else "start": anchor,
            "depth": question.depth,
            "collapse": question.collapse,
            "top": question.top,
            "exclude": list(question.exclude),
            "filter": [FILTERS[condition] for condition in question.conditions],
            **length,
        },
        paths.Document,
    )


def compare(store: Any, question: Question, history: list[Any], most: int = 0) -> None:
    """Assert that all counts are the oracle's, and so are `most` cells and explanations."""
    workspace = fresh_workspace_id()
    insert_history(store, workspace, history)
    frame = Frame(workspace, question.timezone, 0, BASE_MS)
    reader, query = Reader(store, frame), paths.question(document_of(question), frame)
    answer, expected = paths.run(reader, query), oracle_paths(question, history)

    def node_id(node: Node) -> str:
        step = question.depth + 1 - node[0] if question.backward else node[0]
        return f"{step}~other" if node[1] is None else f"{step}:{node[1]}"

    def ends(edge: Edge) -> tuple[str, str]:
        near, far = map(node_id, edge)
        return (far, near) if question.backward else (near, far)

    nodes = {node_id(node): persons for node, persons in expected.nodes.items()}
    edges = {ends(edge): persons for edge, persons in expected.edges.items()}
    assert answer["total"] == len(expected.everybody)
    assert {n["id"]: n["count"] for n in answer["nodes"]} == {i: len(p) for i, p in nodes.items()}
    assert {(e["source"], e["target"]): e["count"] for e in answer["edges"]} == {
        pair: len(persons) for pair, persons in edges.items()
    }
    cells = [({}, expected.everybody)]
    cells += [({"node": node}, persons) for node, persons in nodes.items()]
    cells += [({"source": s, "target": t}, persons) for (s, t), persons in edges.items()]
    for cell, persons in cells[-most:] if most else []:
        statement = sql("SELECT DISTINCT person FROM ({p})", p=paths.persons(reader, query, cell))
        behind = {person_of(row[0]) for row in reader.rows(statement)}
        assert behind == {Person(*person) for person in persons}, cell
    for person, of_person in list(expected.paths.items())[:most]:
        explained = paths.explain(reader, query, Person(*person))
        shown = [
            [step["node"] for step in path["steps"] if step["node"] is not None]
            for path in explained["paths"]
        ]
        in_time = [path[::-1] if question.backward else path for path in of_person]
        assert shown == [[node_id(node) for node in path] for path in in_time]


@pytest.mark.timeout(600)
@quick
@given(case=cases(case_of))
def test_paths_are_those_of_the_oracle(store, case):
    """Nodes, edges and their counts are the definition's."""
    compare(store, *case)


@pytest.mark.timeout(600)
@quick_persons
@given(case=cases(case_of))
def test_behind_paths_are_whom_the_oracle_counts(store, case):
    """The persons behind a node or an edge and each person's explanation are the definition's."""
    compare(store, *case, most=2)


@pytest.mark.slow
@pytest.mark.timeout(600)
@thorough
@given(case=cases(case_of))
def test_paths_are_those_of_the_oracle_in_many_histories(store, case):
    """The same over hundreds of histories."""
    compare(store, *case, most=2)
