"""Every operator on every kind of value, in every place a value can stand, as the oracle says."""

from __future__ import annotations

import json
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from rows import insert_history
from test_against_oracle import NUMBERS, PATTERNS, TEXTS, filter_document

from oracle.values import holds
from saytics_server.query.document import FilterDocument, read_document
from saytics_server.query.filters import filters_of
from saytics_server.query.model import Frame, Range, Selection
from saytics_server.query.reading import Reader
from saytics_server.sql import named, sql

ZONE = "Europe/Berlin"
NOON_MS = 1_711_886_400_000
VALUES: list[Any] = [
    *TEXTS, *NUMBERS, True, False, None, {}, {"pro": 1}, [], ["pro", "ß😀"], [""], [5, "5", 2.5],
    [True, False], "pro\nfessional", "x" * 256, "2024-03-31T02:30:00", "2024-03-30T22:59:59.999Z",
]  # fmt: skip
ASKED = [*TEXTS, *(json.dumps(number) for number in NUMBERS), "ro", "false", "2.5", "-5", "2024"]
COMPARING = ["=", "!=", ">", ">=", "<", "<=", "contains", "not_contains"]
# One statement judges so many filters at once.
BATCH = 30


def filters_on(path: tuple[str, ...]) -> list[Any]:
    """Return filters of every operator on one value, and groups of them."""
    single: list[Any] = [(path, operator, text) for operator in COMPARING for text in ASKED]
    single += [(path, "matches", pattern) for pattern in [*PATTERNS, "o.f", "(?i)PRO", "^x{200}"]]
    lists = [["pro", "5"], ["true"], ["", "null"], ["2024-03-31", "1e300"]]
    single += [(path, operator, texts) for operator in ("in", "not_in") for texts in lists]
    single += [(path, "is_set", ""), (path, "is_not_set", "")]
    event = (("field", "userId"), "not_in", ["u1", "u2", "u3"])
    groups = [
        ("and", [(path, ">", "0"), ("or", [(path, "<", "6"), event])]),
        ("or", [(path, "is_not_set", ""), ("and", [(path, "contains", "r"), event])]),
        ("or", [(path, "=", "pro"), (("user", "plan"), "=", "5"), (("context", "plan"), "=", "")]),
    ]
    return [*single, *groups]


@pytest.fixture(scope="module")
def history() -> list[dict[str, Any]]:
    """Return an event for each value, of a user with the same trait; one has nothing at all."""
    items: list[dict[str, Any]] = []
    for place, value in enumerate(VALUES):
        held = {"plan": value}
        who = {"userId": f"u{place}", "timestamp": NOON_MS}
        items.append({"event": "A", "properties": held, "context": held, **who})
        items.append({"type": "identify", "traits": held, **who})
    items.append({"event": "A", "anonymousId": "nobody", "timestamp": NOON_MS})
    return items


@pytest.mark.parametrize("source", ["properties", "context", "user"])
def test_a_filter_holds_where_the_oracle_says(store, workspace_id, history, source):
    """Numbers with numbers, times with times, texts with texts; opposites also where absent; in
    properties, in the context and in traits alike."""
    insert_history(store, workspace_id, history)
    reader = Reader(store, Frame(workspace_id, ZONE, 0, NOON_MS))
    asked = filters_on((source, "plan"))
    wrong = []
    for start in range(0, len(asked), BATCH):
        batch = asked[start : start + BATCH]
        found = held_by(reader, batch)
        for filter_, positions in zip(batch, found, strict=True):
            expected = {
                position
                for position, item in enumerate(history, start=1)
                if item.get("type") != "identify" and holds(filter_, item, history, ZoneInfo(ZONE))
            }
            if positions != expected:
                differing = positions ^ expected
                wrong.append((filter_, [history[p - 1].get("properties") for p in differing]))
    assert not wrong, "\n".join(map(str, wrong))


def held_by(reader: Reader, batch: list[Any]) -> list[set[int]]:
    """Return for each filter the positions of the events that fulfil it."""
    marks = {}
    for place, filter_ in enumerate(batch):
        document = filter_document(filter_)
        if isinstance(document, dict):
            document = read_document(document, FilterDocument)
        marks[f"mark_{place}"] = Selection((), filters_of(document))
    scan = reader.scan(Selection(), Range(NOON_MS, NOON_MS), marks=marks)
    columns = {"position": sql("position"), **{name: sql(f"toUInt8({name})") for name in marks}}
    statement = sql(
        "SELECT {columns} FROM ({events})",
        columns=named({f"shown_{place}": c for place, c in enumerate(columns.values())}),
        events=scan.select({"position": sql("position")}),
    )
    rows = reader.rows(statement)
    return [{row[0] for row in rows if row[1 + place]} for place in range(len(batch))]
