"""Lifecycle's faces: what is refused, what it says of its rules, whom it counts and why."""

from __future__ import annotations

import pytest
from january import event, refusal
from rows import insert_history, instant_ms

from saytics_server.people import Person
from saytics_server.query import lifecycle, reports
from saytics_server.query.document import read_document
from saytics_server.query.model import Frame
from saytics_server.query.reading import Reader
from saytics_server.query.reports import Asked, PersonsDocument

DAYS = [("from", "2024-01-02"), ("to", "2024-01-04")]


def frame_of(workspace_id: int = 1) -> Frame:
    return Frame(workspace_id, "UTC", 0, instant_ms("2024-02-01T00:00:00Z"))


@pytest.mark.parametrize(
    ("parameters", "code", "field"),
    [
        ([("metric", "dau")], "invalid_parameter", "metric"),
        ([("interval", "year")], "invalid_parameter", "interval"),
        ([("event", "A"), ("event", "B")], "invalid_parameter", "event"),
        ([("breakdown", "cohort")], "invalid_parameter", "breakdown"),
        ([("from", "2014-01-01"), ("interval", "hour")], "range_too_large", "interval"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(parameters, code, field):
    """Unknown names, repeated ones, unknown choices and too many buckets name their parameter."""
    assert refusal(lifecycle.parse, parameters, frame_of()) == (code, field)


@pytest.mark.parametrize(
    ("cell", "field"),
    [
        ({"kind": "new"}, "cell.date"),
        ({"date": "2024-01-02"}, "cell.kind"),
        ({"date": "2024-01-02", "kind": "lost"}, "cell.kind"),
        ({"date": "2024-01-01", "kind": "new"}, "cell.date"),
        ({"date": "2024-01-02", "kind": "new", "period": 1}, "cell.period"),
        ({"date": "2024-01-02", "kind": "new", "other": True}, "cell.other"),
    ],
)
def test_a_wrong_cell_is_refused_by_name(store, cell, field):
    """Fields a cell does not have, lacks or cannot mean are named."""
    frame = frame_of()
    query = lifecycle.parse(DAYS, frame)
    assert refusal(lifecycle.persons, Reader(store, frame), query, cell) == (
        "invalid_parameter",
        field,
    )


def test_both_forms_ask_the_same():
    """A query string and the document that says the same give one question."""
    parameters = [
        *DAYS,
        ("event", "A"),
        ("interval", "week"),
        ("filter", "p=1"),
        ("breakdown", "p"),
    ]
    document = {"from": "2024-01-02", "to": "2024-01-04", "event": "A", "interval": "week",
                "filter": "p=1", "breakdown": "p"}  # fmt: skip
    assert lifecycle.parse(parameters, frame_of()) == lifecycle.question(
        read_document(document, lifecycle.Document), frame_of()
    )


def test_the_definition_says_what_was_used(store, workspace_id):
    """Every kind is defined in words, with the interval asked for."""
    frame = frame_of(workspace_id)
    query = lifecycle.parse([*DAYS, ("interval", "week"), ("filter", "p=1")], frame)
    assert lifecycle.run(Reader(store, frame), query)["definition"] == {
        "timezone": "UTC",
        "week_start": "monday",
        "range": {"from": "2024-01-02T00:00:00.000Z", "to": "2024-01-04T23:59:59.999Z"},
        "filters": 1,
        "rules": [
            "new: the person's first matching event ever lies in the week; all of history is looked"
            " at, also before the range.",
            "returning: active in this week and in the one before.",
            "resurrecting: active before, not in the week before, active in this one.",
            "dormant: active in the week before, not in this one; shown as a negative number.",
            "The week before the first bucket is a whole one; of a first bucket that the range"
            " cuts, what lies before the range counts as earlier.",
            "Buckets follow the workspace's calendar and count only what lies in the range; both"
            " ends of the range are included.",
            "A person is a user with the anonymous ids linked to them, or an anonymous id without"
            " a link.",
        ],
    }


def test_the_persons_of_every_cell_are_as_many_as_it_says(store, workspace_id):
    """Count and persons agree, dormant by absolute value."""
    frame = frame_of(workspace_id)
    history = [event("A", f"0{day}T08:00:00", user) for user, days in
               {"a": (1, 2), "b": (1,), "c": (2, 4), "ü": (3,), "d": (1, 3)}.items()
               for day in days]  # fmt: skip
    insert_history(store, workspace_id, history)
    reader = Reader(store, frame)
    asked = Asked(reports.REPORTS["lifecycle"], lifecycle.parse(DAYS, frame), frame)
    behind = {}
    for row in reports.answer(reader, asked)["data"]:
        for kind in lifecycle.KINDS:
            cell = {"date": row["date"], "kind": kind}
            page = reports.persons(reader, asked, PersonsDocument(query={}, cell=cell))
            assert page["count"] == len(page["persons"]) == abs(row[kind])
            behind[row["date"], kind] = "".join(person["id"] for person in page["persons"])
    assert {cell: persons for cell, persons in behind.items() if persons} == {
        ("2024-01-02", "new"): "c",
        ("2024-01-02", "returning"): "a",
        ("2024-01-02", "dormant"): "bd",
        ("2024-01-03", "new"): "ü",
        ("2024-01-03", "resurrecting"): "d",
        ("2024-01-03", "dormant"): "ac",
        ("2024-01-04", "resurrecting"): "c",
        ("2024-01-04", "dormant"): "dü",
    }


def test_values_beyond_the_limit_are_one(store, workspace_id):
    """The values with the most persons are shown, the others together; each has its persons."""
    frame = frame_of(workspace_id)
    values = {"u1": "pro", "u2": "pro", "u3": "free", "u4": None}
    history = [event("A", "02T08:00:00", user, properties={"p": p}) for user, p in values.items()]
    insert_history(store, workspace_id, history)
    document = {"from": "2024-01-02", "to": "2024-01-02", "breakdown": "p", "breakdown_limit": 1}
    query = lifecycle.question(read_document(document, lifecycle.Document), frame)
    reader = Reader(store, frame)
    parts = lifecycle.run(reader, query)["breakdown"]
    assert [(part["value"], part.get("other"), part["data"][0]["new"]) for part in parts] == [
        ("pro", None, 2),
        ("other", True, 2),
    ]
    for fields, behind in [
        ({"value": "pro"}, ["uu1", "uu2"]),
        ({"other": True}, ["uu3", "uu4"]),
        ({"value": None}, ["uu4"]),
        ({"value": "other"}, []),
    ]:
        cell = {"date": "2024-01-02", "kind": "new", **fields}
        assert sorted(reader.rows(lifecycle.persons(reader, query, cell))) == [(p,) for p in behind]


def test_explain_names_the_events_behind_each_kind(store, workspace_id):
    """A person's intervals come with the first event in them and the last one before."""
    history = [
        event("A", "01T08:00:00", anonymousId="ø"),
        event("A", "01T09:00:00", anonymousId="ø"),
        event("A", "02T08:00:00"),
        event("B", "03T08:00:00"),
        {"type": "identify", "userId": "ü", "anonymousId": "ø",
         "timestamp": instant_ms("2024-01-02T07:00:00Z")},
    ]  # fmt: skip
    insert_history(store, workspace_id, history)
    frame = frame_of(workspace_id)
    query = lifecycle.parse([*DAYS, ("event", "A")], frame)
    visits = [
        {
            "id": f"evt_000000000000{place}",
            "event": "A",
            "timestamp": f"2024-01-01T0{hour}:00:00.000Z",
            "anonymous_id": "ø",
        }
        for place, hour in ((1, 8), (2, 9))
    ]
    own = {"id": "evt_0000000000003", "event": "A", "timestamp": "2024-01-02T08:00:00.000Z"}
    assert lifecycle.explain(Reader(store, frame), query, Person("user", "ü")) == {
        "counted": True,
        "first_event": visits[0],
        "data": [
            {"date": "2024-01-02", "kind": "returning", "events": 1, "event": own,
             "previous_event": visits[1]},
            {"date": "2024-01-03", "kind": "dormant", "previous_event": own},
        ],
        "links": [
            {"anonymous_id": "ø", "user_id": "ü", "timestamp": "2024-01-02T07:00:00.000Z"}
        ],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("A", "No matching event in the range: the last came 16 h before it begins."),
        ("B", "No matching event up to 2024-01-04T23:59:59.999Z."),
    ],
)
def test_explain_says_what_a_person_lacks(store, workspace_id, name, missing):
    """Nobody without an event in the range is left without a reason."""
    insert_history(store, workspace_id, [event("A", "01T08:00:00"), event("B", "05T08:00:00")])
    frame = frame_of(workspace_id)
    query = lifecycle.parse([*DAYS, ("event", name)], frame)
    verdict = lifecycle.explain(Reader(store, frame), query, Person("user", "ü"))
    assert verdict["missing"] == missing
