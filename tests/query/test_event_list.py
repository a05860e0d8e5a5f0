"""GET /v1/events: order, filters, pages that stay put, and cursors that cannot be bent."""

from __future__ import annotations

import base64

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rows import fresh_workspace_id, insert_history, instant_ms

from saytics_server.errors import Refused
from saytics_server.event import event_id
from saytics_server.query import event_list
from saytics_server.query.model import Frame

NOON_MS = instant_ms("2024-01-15T12:00:00Z")
DAY_MS = 86_400_000


def frame(workspace_id: int) -> Frame:
    return Frame(workspace_id, "Europe/Berlin", 0, NOON_MS)


def page(store, workspace_id: int, *parameters: tuple[str, str]) -> dict:
    return event_list.run(store, event_list.parse(list(parameters), frame(workspace_id)))


def all_pages(store, workspace_id: int, *parameters: tuple[str, str]) -> list[str]:
    found, cursor = [], None
    while True:
        given_cursor = [("cursor", cursor)] if cursor else []
        answer = page(store, workspace_id, *parameters, *given_cursor)
        found += [event["id"] for event in answer["data"]]
        cursor = answer["next_cursor"]
        if cursor is None:
            return found


def event(at_ms: int, **fields: object) -> dict:
    return {"event": "Größe gewählt", "userId": "u", "timestamp": at_ms, **fields}


def test_an_event_is_shown_as_it_was_sent(store, workspace_id):
    """Every field of the contract is there, absent ones as null, times in UTC milliseconds."""
    properties = {"a.b": [1, None, "ß"], "": {"😀": 1.5}, "n": None}
    sent = {
        "event": "A", "anonymousId": "anon", "timestamp": "2024-01-15T10:30:00.123Z",
        "receivedAt": "2024-01-15T10:31:00Z", "properties": properties, "keyType": "write",
        "messageId": "m-1", "context": {"page": {"url": "/x"}},
    }  # fmt: skip
    insert_history(store, workspace_id, [sent])
    assert page(store, workspace_id) == {
        "status": "ok",
        "data": [
            {
                "id": event_id(1),
                "event": "A",
                "userId": None,
                "anonymousId": "anon",
                "timestamp": "2024-01-15T10:30:00.123Z",
                "receivedAt": "2024-01-15T10:31:00.000Z",
                "properties": properties,
                "context": {"page": {"url": "/x"}},
                "messageId": "m-1",
                "keyType": "write",
            }
        ],
        "next_cursor": None,
    }


def test_a_workspace_without_events_has_an_empty_list(store, workspace_id):
    """There is nothing, and no further page."""
    assert page(store, workspace_id) == {"status": "ok", "data": [], "next_cursor": None}


@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    days=st.lists(st.sampled_from([0, 0, 0, 1, 2, 9, 400, -1]), max_size=12),
    limit=st.integers(1, 4),
    order=st.sampled_from(["desc", "asc"]),
)
def test_pages_hold_every_event_once_in_order(store, days, limit, order):
    """By time, equal times by position, in both directions, whatever the gaps between days."""
    workspace_id = fresh_workspace_id()
    insert_history(store, workspace_id, [event(NOON_MS - day * DAY_MS) for day in days])
    positions = sorted(
        range(1, len(days) + 1), key=lambda position: (-days[position - 1], position)
    )
    if order == "desc":
        positions.reverse()
    found = all_pages(store, workspace_id, ("limit", str(limit)), ("order", order))
    assert found == [event_id(position) for position in positions]


@pytest.mark.parametrize("order", ["desc", "asc"])
def test_pages_stay_put_while_events_arrive(store, workspace_id, order):
    """What arrives after the first page, late or in time, is on none of its further pages."""
    insert_history(store, workspace_id, [event(NOON_MS - day * DAY_MS) for day in range(6)])
    before = all_pages(store, workspace_id, ("order", order))
    first = page(store, workspace_id, ("order", order), ("limit", "2"))
    late = [event(NOON_MS - day * DAY_MS + 5, position=100 + day) for day in range(-1, 7)]
    insert_history(store, workspace_id, late)
    rest, cursor = [], first["next_cursor"]
    while cursor:
        answer = page(store, workspace_id, ("cursor", cursor), ("limit", "2"))
        rest += [shown["id"] for shown in answer["data"]]
        cursor = answer["next_cursor"]
    assert [shown["id"] for shown in first["data"]] + rest == before


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ([("userId", "u")], [1, 4]),
        ([("anonymousId", "a")], [2, 4]),
        ([("event", "B")], [3]),
        ([("userId", "u"), ("anonymousId", "a")], [4]),
        ([("from", "2024-01-15")], [2, 3, 4]),
        ([("to", "2024-01-15T00:00:00+01:00")], [1, 2]),
        ([("from", "2024-01-14T23:00:00Z"), ("to", "2024-01-15")], [2, 3]),
        ([("event", "b")], []),
    ],
)
def test_filters_narrow_the_list(store, parameters, expected):
    """Ids and names match exactly; dates cover local days, times include both ends."""
    workspace_id = fresh_workspace_id()
    midnight = instant_ms("2024-01-15T00:00:00+01:00")
    history = [
        event(midnight - 1),
        {"event": "A", "anonymousId": "a", "timestamp": midnight},
        {"event": "B", "anonymousId": "b", "timestamp": midnight + DAY_MS - 1},
        event(midnight + DAY_MS, anonymousId="a"),
    ]
    insert_history(store, workspace_id, history)
    found = all_pages(store, workspace_id, ("order", "asc"), *parameters)
    assert found == [event_id(position) for position in expected]


def test_a_cursor_remembers_the_question(store, workspace_id):
    """Filters need not be repeated with it, and other ones are refused."""
    insert_history(
        store, workspace_id, [event(NOON_MS), event(NOON_MS), event(NOON_MS, userId="v")]
    )
    cursor = page(store, workspace_id, ("userId", "u"), ("limit", "1"))["next_cursor"]
    assert [e["userId"] for e in page(store, workspace_id, ("cursor", cursor))["data"]] == ["u"]
    for other in (("userId", "v"), ("order", "asc"), ("event", "A"), ("from", "2024-01-01")):
        with pytest.raises(Refused, match="invalid_cursor"):
            page(store, workspace_id, ("cursor", cursor), other)


def test_a_bent_or_foreign_cursor_is_refused(store, workspace_id):
    """Any changed character, any other workspace and any garbage answers invalid_cursor."""
    insert_history(store, workspace_id, [event(NOON_MS), event(NOON_MS)])
    cursor = page(store, workspace_id, ("limit", "1"))["next_cursor"]
    bent = [cursor[:-3], cursor + "AAAA", "A", "é", "%", "\n", base64.b64encode(b"{}" * 9).decode()]
    bent += [cursor[:i] + ("A" if cursor[i] != "A" else "B") + cursor[i + 1 :] for i in range(30)]
    for wrong in bent:
        with pytest.raises(Refused, match="invalid_cursor"):
            event_list.parse([("cursor", wrong)], frame(workspace_id))
    with pytest.raises(Refused, match="invalid_cursor"):
        event_list.parse([("cursor", cursor)], frame(workspace_id + 1))
