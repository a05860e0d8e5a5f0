"""Stickiness's faces: what is refused, what it says of its rules, whom it counts and why."""

from __future__ import annotations

import pytest
from january import event, refusal
from rows import insert_history, instant_ms

from saytics_server.people import Person
from saytics_server.query import stickiness
from saytics_server.query.document import read_document
from saytics_server.query.model import Frame
from saytics_server.query.reading import Reader

DAYS = [("from", "2024-01-02"), ("to", "2024-01-04")]


def frame_of(workspace_id: int = 1) -> Frame:
    return Frame(workspace_id, "UTC", 0, instant_ms("2024-02-01T00:00:00Z"))


@pytest.mark.parametrize(
    ("parameters", "code", "field"),
    [
        ([("start", "A")], "invalid_parameter", "start"),
        ([("interval", "quarter")], "invalid_parameter", "interval"),
        ([("from", "2014-01-01"), ("interval", "hour")], "range_too_large", "interval"),
        ([("from", "1970-01-01"), ("interval", "month")], "range_too_large", "from"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(parameters, code, field):
    """Unknown names and choices and too many buckets or days name their parameter."""
    assert refusal(stickiness.parse, parameters, frame_of()) == (code, field)


@pytest.mark.parametrize(
    ("cell", "field"),
    [
        ({}, "cell.intervals"),
        ({"intervals": 0}, "cell.intervals"),
        ({"intervals": 4}, "cell.intervals"),
        ({"intervals": "1"}, "cell.intervals"),
        ({"intervals": 1, "date": "2024-01-02"}, "cell.intervals"),
        ({"date": "2024-01-02"}, "cell.metric"),
        ({"date": "2024-01-02", "metric": "wau"}, "cell.metric"),
        ({"date": "2024-01-05", "metric": "dau"}, "cell.date"),
        ({"intervals": 1, "value": None}, "cell.value"),
    ],
)
def test_a_wrong_cell_is_refused_by_name(store, cell, field):
    """Fields a cell does not have, lacks or cannot mean are named."""
    frame = frame_of()
    query = stickiness.parse(DAYS, frame)
    assert refusal(stickiness.persons, Reader(store, frame), query, cell) == (
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
                "filter": ["p=1"], "breakdown": "p"}  # fmt: skip
    assert stickiness.parse(parameters, frame_of()) == stickiness.question(
        read_document(document, stickiness.Document), frame_of()
    )


def test_the_definition_says_what_was_used(store, workspace_id):
    """The histogram, the ratio and what a breakdown means are defined in words."""
    frame = frame_of(workspace_id)
    query = stickiness.parse([*DAYS, ("interval", "hour"), ("breakdown", "user.plan")], frame)
    assert stickiness.run(Reader(store, frame), query)["definition"]["rules"] == [
        "data: persons active on exactly so many of the range's hours; total: persons active on"
        " any.",
        "dau_mau: the mean dau divided by the mean mau over the local days of the range that are"
        " over; null where nobody was active.",
        "dau_mau_data: per local day, whatever the interval, the distinct persons of the day, of"
        " the 30 local days that end with it, and their ratio; windows reach back before the"
        " range.",
        "breakdown: each value is a report of its own on the events with this value, so a person"
        " may be in several; the 25 values with the most persons, the others as one; null where"
        " the value is absent.",
        "Buckets follow the workspace's calendar and count only what lies in the range; both ends"
        " of the range are included.",
        "A person is a user with the anonymous ids linked to them, or an anonymous id without a"
        " link.",
    ]


def test_values_beyond_the_limit_are_one(store, workspace_id):
    """The values with the most persons are shown, the others together; each has its persons."""
    frame = frame_of(workspace_id)
    days = {"u1": ("pro", (2, 3)), "u2": ("pro", (2,)), "u3": ("free", (2,)), "u4": (5, (2, 4))}
    history = [
        event("A", f"0{day}T08:00:00", user, properties={"p": value})
        for user, (value, active) in days.items()
        for day in active
    ]
    insert_history(store, workspace_id, history)
    document = {"from": "2024-01-02", "to": "2024-01-04", "breakdown": "p", "breakdown_limit": 1}
    query = stickiness.question(read_document(document, stickiness.Document), frame)
    reader = Reader(store, frame)
    answer = stickiness.run(reader, query)
    histogram = [{"intervals": k, "count": count} for k, count in ((1, 1), (2, 1), (3, 0))]
    assert answer["breakdown"] == [
        {"value": "pro", "data": histogram, "total": 2},
        {"value": "other", "other": True, "data": histogram, "total": 2},
    ]
    for fields, behind in [
        ({}, ["uu1", "uu4"]),
        ({"other": True}, ["uu4"]),
        ({"value": 5}, ["uu4"]),
    ]:
        cell = {"intervals": 2, **fields}
        found = sorted(reader.rows(stickiness.persons(reader, query, cell)))
        assert found == [(person,) for person in behind]


def test_the_persons_of_a_day_and_of_its_thirty_days_are_named(store, workspace_id):
    """The cells of the ratio have persons too, of the day and of the days that end with it."""
    frame = frame_of(workspace_id)
    history = [event("A", "01T08:00:00", "u1"), event("A", "02T08:00:00", "u2")]
    insert_history(store, workspace_id, [*history, event("B", "02T08:00:00", "u3")])
    reader, query = Reader(store, frame), stickiness.parse([*DAYS, ("event", "A")], frame)
    day = stickiness.run(reader, query)["dau_mau_data"][0]
    assert day == {"date": "2024-01-02", "dau": 1, "mau": 2, "dau_mau": 0.5}
    for metric, behind in (("dau", ["uu2"]), ("mau", ["uu1", "uu2"])):
        found = reader.rows(
            stickiness.persons(reader, query, {"date": "2024-01-02", "metric": metric})
        )
        assert sorted(found) == [(person,) for person in behind]


def test_explain_lists_the_intervals_of_a_person(store, workspace_id):
    """Each active interval comes with its first event, and a visitor's through the link."""
    history = [
        event("A", "02T09:00:00"),
        event("A", "02T08:00:00"),
        event("A", "04T08:00:00", anonymousId="ø"),
        {"type": "identify", "userId": "ü", "anonymousId": "ø",
         "timestamp": instant_ms("2024-01-03T07:00:00Z")},
    ]  # fmt: skip
    insert_history(store, workspace_id, history)
    frame = frame_of(workspace_id)
    reader, query = Reader(store, frame), stickiness.parse(DAYS, frame)
    link = {"anonymous_id": "ø", "user_id": "ü", "timestamp": "2024-01-03T07:00:00.000Z"}
    assert stickiness.explain(reader, query, Person("user", "ü")) == {
        "counted": True,
        "intervals": 2,
        "data": [
            {"date": "2024-01-02", "events": 2, "event": {
                "id": "evt_0000000000002", "event": "A", "timestamp": "2024-01-02T08:00:00.000Z"}},
            {"date": "2024-01-04", "events": 1, "event": {
                "id": "evt_0000000000003", "event": "A", "timestamp": "2024-01-04T08:00:00.000Z",
                "anonymous_id": "ø"}},
        ],
        "links": [link],
    }  # fmt: skip
    assert stickiness.explain(reader, query, Person("anonymous", "ø")) == {
        "counted": False,
        "intervals": 0,
        "data": [],
        "missing": "No matching event from 2024-01-02T00:00:00.000Z to 2024-01-04T23:59:59.999Z.",
        "links": [link],
    }
