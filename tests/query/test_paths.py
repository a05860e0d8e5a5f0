"""Paths: what is refused, what the answer says of itself, and one person's explanation."""

from __future__ import annotations

from typing import Any

import pytest
from rows import insert_history, instant_ms

from saytics_server.errors import Refused
from saytics_server.people import Person
from saytics_server.query import paths, reports
from saytics_server.query.document import read_document
from saytics_server.query.model import Frame, Selection
from saytics_server.query.reading import Reader
from saytics_server.sql import sql

TEN_MS = instant_ms("2024-01-10T10:00:00Z")
MINUTE_MS = 60_000
DAY = (("from", "2024-01-10"), ("to", "2024-01-10"))


def frame(workspace_id: int) -> Frame:
    return Frame(workspace_id, "UTC", 0, TEN_MS)


def event(name: str, minute: float, user: str = "u", **fields: Any) -> dict[str, Any]:
    at = TEN_MS + round(minute * MINUTE_MS)
    return {"event": name, "userId": user, "timestamp": at, **fields}


def asked(store: Any, workspace_id: int, *parameters: tuple[str, str]) -> tuple[Reader, Any]:
    reader = Reader(store, frame(workspace_id))
    return reader, paths.parse([*DAY, *parameters], reader.frame)


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "start"),
        ({"start": "A", "end": "B"}, "start"),
        ({"start": {"filter": "plan=pro"}}, "start"),
        ({"start": {"event": "A", "events": ["B"]}}, "start"),
        ({"end": {"events": []}}, "end"),
        ({"end": ""}, "end"),
        ({"start": {"events": [str(n) for n in range(51)]}}, "start.events"),
        ({"start": {"event": "A", "filter": "plan"}}, "start.filter"),
        ({"start": "A", "depth": 1}, "depth"),
        ({"start": "A", "depth": 21}, "depth"),
        ({"start": "A", "top": 0}, "top"),
        ({"start": "A", "top": 201}, "top"),
        ({"start": "A", "window": "1d", "session": "30m"}, "window"),
        ({"start": "A", "window": "0d"}, "window"),
        ({"start": "A", "window": "367d"}, "window"),
        ({"start": "A", "window": "1.5d"}, "window"),
        ({"start": "A", "session": "25h"}, "session"),
        ({"start": "A", "session": "30"}, "session"),
        ({"start": "A", "exclude": ["B", "A"]}, "exclude"),
        ({"start": "A", "exclude": [str(n) for n in range(51)]}, "exclude"),
        ({"start": "A", "filter": ["x"]}, "filter"),
        ({"start": "A", "from": "2024-02-01", "to": "2024-01-01"}, "from"),
        ({"start": "A", "colapse": True}, "colapse"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(document, field):
    """The refusal names the field, also one that there is not."""
    with pytest.raises(Refused) as refused:
        paths.question(read_document(document, paths.Document), frame(1))
    assert (refused.value.rejection.code, refused.value.rejection.field) == (
        "invalid_parameter",
        field,
    )


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("depth", "0"), ("top", "201"), ("collapse", "no"), ("interval", "day")],
)
def test_a_parameter_that_does_not_fit_is_refused(parameter, value):
    """In the short form as in the document."""
    with pytest.raises(Refused) as refused:
        paths.parse([("start", "A"), (parameter, value)], frame(1))
    assert refused.value.rejection.field == parameter


def test_both_forms_ask_the_same():
    """What the query string says, the document says too."""
    written = [
        ("end", "A"), ("depth", "3"), ("window", "2h"), ("collapse", "false"), ("top", "7"),
        ("exclude", "B"), ("exclude", "C"), ("filter", "plan=pro"), *DAY,
    ]  # fmt: skip
    document = {
        "end": {"event": "A"}, "depth": 3, "window": "120m", "collapse": False, "top": 7,
        "exclude": ["B", "C"], "filter": "plan=pro", "from": "2024-01-10", "to": "2024-01-10",
    }  # fmt: skip
    asked_by_document = paths.question(read_document(document, paths.Document), frame(1))
    assert paths.parse(written, frame(1)) == asked_by_document
    assert asked_by_document.anchor == Selection(("A",))
    assert asked_by_document.reach_ms == 120 * MINUTE_MS


def test_the_definition_says_every_rule(store, workspace_id):
    """Where a path begins and ends, ties, repeats, what is left out, and how persons count."""
    reader, query = asked(store, workspace_id, ("start", "A"), ("exclude", "P"), ("top", "3"))
    answer = paths.run(reader, query)
    assert answer["nodes"] == answer["edges"] == []
    assert answer["total"] == 0
    assert answer["definition"]["rules"] == [
        "A session ends where 30 min or more pass without an event that the filter keeps.",
        "In each session with a start event in the range the path is taken at the first such"
        " event, and follows the session up to 1 d after it, also beyond the range.",
        "The start event is step 1 of 5; events in order of their time, equal times in the order"
        " they were received.",
        "Repeats of an event one after the other are one step.",
        "Events left out are no steps, but they keep a session going.",
        "Of the edges between two steps the 3 with the most persons are shown, equal ones by name;"
        " a path that takes another one goes on to `other` and is not followed further.",
        "Counts are persons: a person with several paths counts once per node and per edge.",
        "A person is a user with the anonymous ids linked to them, or an anonymous id without a"
        " link.",
    ]
    _, backward = asked(store, workspace_id, ("end", "A"), ("window", "2d"), ("collapse", "false"))
    rules = paths.run(reader, backward)["definition"]["rules"]
    assert rules[0] == (
        "Each person has one path, at their first end event in the range; it holds what happened"
        " up to 2 d before it, inclusive, also beyond the range."
    )
    assert "Repeats of an event are steps of their own." in rules


@pytest.mark.parametrize(
    ("cell", "field"),
    [
        ({"step": 1}, "cell.step"),
        ({"node": "A"}, "cell.node"),
        ({"node": "6:A"}, "cell.node"),
        ({"node": "0:A"}, "cell.node"),
        ({"node": 1}, "cell.node"),
        ({"node": "1:A", "source": "1:A"}, "cell.node"),
        ({"source": "1:A"}, "cell.target"),
        ({"target": "2:A"}, "cell.source"),
        ({"source": "1:A", "target": "3:B"}, "cell.target"),
        ({"source": "1~other", "target": "2:B"}, "cell.target"),
    ],
)
def test_a_cell_that_is_none_is_refused(store, workspace_id, cell, field):
    """By the name of the field that does not fit."""
    reader, query = asked(store, workspace_id, ("start", "A"))
    with pytest.raises(Refused) as refused:
        paths.persons(reader, query, cell)
    assert refused.value.rejection.field == field


def test_a_node_that_the_answer_does_not_have_has_nobody(store, workspace_id):
    """A name that no event has, or a rest that there is not."""
    insert_history(store, workspace_id, [event("A", 0), event("B", 1)])
    reader, query = asked(store, workspace_id, ("start", "A"))
    for node in ("2:C", "2~other", "3:B"):
        assert not reader.rows(sql("{p}", p=paths.persons(reader, query, {"node": node})))
    both = paths.persons(reader, query, {"source": "1:A", "target": "2:B"})
    assert [row[0] for row in reader.rows(both)] == ["uu"]


def test_a_name_with_a_line_break_is_a_name(store, workspace_id):
    """Ids hold names as they are."""
    insert_history(store, workspace_id, [event("A", 0), event("x:\n~other'\\", 1)])
    reader, query = asked(store, workspace_id, ("start", "A"))
    node = paths.run(reader, query)["nodes"][1]["id"]
    assert node == "2:x:\n~other'\\"
    assert len(reader.rows(paths.persons(reader, query, {"node": node}))) == 1


def test_an_explanation_shows_each_path_and_why_it_ends(store, workspace_id):
    """By its session, its depth, or because nothing came after; the rest is not followed."""
    history = [
        event("A", 0, position=1), event("B", 1, position=2),
        event("A", 60, position=3), event("C", 61, position=4), event("D", 62, position=5),
        event("A", 0, "v", position=6), event("B", 1, "v", position=7),
    ]  # fmt: skip
    insert_history(store, workspace_id, history)
    reader, query = asked(store, workspace_id, ("start", "A"), ("top", "1"), ("depth", "3"))
    found = paths.explain(reader, query, Person("user", "u"))

    def step(number: int, node: str | None, name: str, minute: int, id_: int) -> dict[str, Any]:
        return {
            "step": number,
            "node": node,
            "id": f"evt_{id_:013d}",
            "event": name,
            "timestamp": f"2024-01-10T1{minute // 60}:{minute % 60:02d}:00.000Z",
        }

    following = {"id": "evt_0000000000003", "event": "A", "timestamp": "2024-01-10T11:00:00.000Z"}
    assert found["counts"] is True
    assert found["paths_total"] == 2
    assert found["paths"] == [
        {
            "steps": [step(1, "1:A", "A", 0, 1), step(2, "2:B", "B", 1, 2)],
            "ended": {"by": "session", "after": "59 min", "next": following},
        },
        {
            "steps": [
                step(1, "1:A", "A", 60, 3), step(2, "2~other", "C", 61, 4),
                step(3, None, "D", 62, 5),
            ],
            "ended": {"by": "depth"},
        },
    ]  # fmt: skip
    only = paths.explain(reader, query, Person("user", "v"))["paths"]
    assert [path["ended"] for path in only] == [{"by": "no_event"}]


def test_an_explanation_says_by_how_much_the_window_was_passed(store, workspace_id):
    """And up to an event it reads in order of time, the end event last."""
    insert_history(store, workspace_id, [event("A", 0), event("B", 61), event("C", 62)])
    reader, query = asked(store, workspace_id, ("end", "C"), ("window", "1h"))
    found = paths.explain(reader, query, Person("user", "u"))["paths"]
    assert [[step["node"] for step in path["steps"]] for path in found] == [["4:B", "5:C"]]
    ended = found[0]["ended"]
    assert (ended["by"], ended["passed_by"], ended["next"]["event"]) == ("window", "2 min", "A")
    reader, query = asked(store, workspace_id, ("start", "A"), ("window", "1h"))
    ended = paths.explain(reader, query, Person("user", "u"))["paths"][0]["ended"]
    assert (ended["by"], ended["passed_by"], ended["next"]["event"]) == ("window", "1 min", "B")


def test_an_explanation_says_what_was_missing_and_which_link_decided(store, workspace_id):
    """Somebody without a path did other things; an anonymous id's events went to its user."""
    history = [
        event("B", 0, "w"),
        {"event": "A", "anonymousId": "phone", "timestamp": TEN_MS},
        {"type": "identify", "userId": "u", "anonymousId": "phone", "timestamp": TEN_MS + 1},
    ]
    insert_history(store, workspace_id, history)
    reader, query = asked(store, workspace_id, ("start", "A"))
    without = paths.explain(reader, query, Person("user", "w"))
    assert (without["counts"], without["paths"]) == (False, [])
    assert without["missing"] == {
        "what": "no start event in the range",
        "events": ["A"],
        "other_events_in_range": 1,
    }
    link = {"anonymous_id": "phone", "user_id": "u", "timestamp": "2024-01-10T10:00:00.001Z"}
    for person in (Person("user", "u"), Person("anonymous", "phone")):
        found = paths.explain(reader, query, person)
        assert found["counts"] is (person.kind == "user")
        assert found["links"] == [link]


@pytest.mark.slow
def test_a_person_with_a_million_events_has_paths(store, workspace_id):
    """And they stay within the memory that a query may have."""
    store.command(
        "INSERT INTO events (workspace_id, day, event, timestamp, position, received_at, user_id,"
        " anonymous_id, key_type, message_id, properties_text, context_text)"
        " SELECT {w:UInt32}, toDate(at), if(number % 3 = 0, 'A', 'B'), at, number, at, 'u', '',"
        " 'secret', '', '{{}}', '{{}}' FROM (SELECT number,"
        " toDateTime64('2024-01-10 00:00:00', 3, 'UTC') + toIntervalMillisecond(number * 60)"
        " AS at FROM numbers(1000000))".replace("{{}}", "{}"),
        {"w": workspace_id},
    )
    reader, query = asked(store, workspace_id, ("start", "A"), ("depth", "20"))
    answer = paths.run(reader, query)
    assert [node["count"] for node in answer["nodes"]] == [1] * 20
    reader, query = asked(store, workspace_id, ("end", "B"), ("collapse", "false"), ("top", "1"))
    assert paths.run(reader, query)["total"] == 1
    assert paths.explain(reader, query, Person("user", "u"))["paths_total"] == 1


def test_a_session_without_end_is_followed_for_a_day(store, workspace_id):
    """What happens exactly 24 hours after the start event is on the path, and nothing later."""
    day = 24 * 60
    pings = [event("Ping", minute) for minute in range(20, day + 60, 20)]
    edge = [event("Last", day), event("Late", day + 1 / 60_000)]
    insert_history(store, workspace_id, [event("A", 0), *pings, *edge])
    reader, query = asked(store, workspace_id, ("start", "A"), ("exclude", "Ping"))
    assert [node["id"] for node in paths.run(reader, query)["nodes"]] == ["1:A", "2:Last"]
    ended = paths.explain(reader, query, Person("user", "u"))["paths"][0]["ended"]
    assert (ended["by"], ended["passed_by"], ended["next"]["event"]) == ("window", "1 ms", "Late")


def test_a_session_ends_between_events_of_the_same_name_too(store, workspace_id):
    """What goes on after the rest is another session, even if its first event is the same."""
    history = [event("A", 0), event("B", 1), event("B", 60), event("C", 61)]
    insert_history(store, workspace_id, history)
    reader, query = asked(store, workspace_id, ("start", "A"))
    ended = paths.explain(reader, query, Person("user", "u"))["paths"][0]["ended"]
    assert (ended["by"], ended["after"], ended["next"]["event"]) == ("session", "59 min", "B")


def test_alternatives_are_an_anchor_each(store, workspace_id):
    """The first of either opens the session's path, where its own filter keeps it."""
    history = [
        event("B", 0, properties={"plan": "free"}), event("A", 1, properties={"plan": "pro"}),
        event("B", 0, "v", properties={"plan": "pro"}), event("A", 1, "v"),
    ]  # fmt: skip
    insert_history(store, workspace_id, history)
    document = {
        "from": "2024-01-10", "to": "2024-01-10",
        "start": {"events": ["A", "B"], "filter": "plan=pro"},
    }  # fmt: skip
    reader = Reader(store, frame(workspace_id))
    query = paths.question(read_document(document, paths.Document), reader.frame)
    answer = paths.run(reader, query)
    assert [(node["id"], node["count"]) for node in answer["nodes"]] == [
        ("1:A", 1), ("1:B", 1), ("2:A", 1),
    ]  # fmt: skip
    assert answer["total"] == 2


def test_as_of_in_the_query_string_leaves_out_what_came_later(store, workspace_id):
    """An event received after `as_of` is on no path, though it happened before."""
    late = {"receivedAt": TEN_MS + 60 * MINUTE_MS}
    insert_history(store, workspace_id, [event("A", 0), event("B", 1), event("C", 2, **late)])
    now = Frame(workspace_id, "UTC", 0, TEN_MS + 90 * MINUTE_MS)
    ids = {}
    for as_of in ("2024-01-10T10:30:00Z", "2024-01-10T11:00:00Z"):
        question = [*DAY, ("start", "A"), ("as_of", as_of)]
        put = reports.asked_by_parameters("paths", question, now)
        answer = reports.answer(Reader(store, put.frame), put)
        ids[as_of[11:16]] = [node["id"] for node in answer["nodes"]]
    assert ids == {"10:30": ["1:A", "2:B"], "11:00": ["1:A", "2:B", "3:C"]}
