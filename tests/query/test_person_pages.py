"""What the pages of persons ask: who is meant, what they did, who is linked, one event in full."""

from __future__ import annotations

from typing import Any

import pytest
from rows import insert_history, instant_ms

from saytics_server.errors import Refused
from saytics_server.people import Person
from saytics_server.query import links, one_event, person_search, timeline
from saytics_server.query.model import Frame
from saytics_server.query.person_search import Found, Seen
from saytics_server.query.reading import Reader

NOW = "2024-01-15T12:00:00Z"
HISTORY: list[dict[str, Any]] = [
    {"event": "Visit", "anonymousId": "dev-1", "timestamp": "2024-01-10T08:00:00Z"},
    {"event": "Visit", "anonymousId": "dev-2", "timestamp": "2024-01-11T08:00:00Z"},
    {"event": "Order", "userId": "ann", "timestamp": "2024-01-12T08:00:00Z"},
    {"event": "Order", "userId": "unknown", "timestamp": "2024-01-13T08:00:00Z"},
    {"type": "identify", "userId": "ann", "anonymousId": "dev-1",
     "timestamp": "2024-01-12T09:00:00Z",
     "traits": {"email": "Ann@Example.com", "name": "Änn", "company": {"name": "Acme AG"}}},
    {"type": "identify", "userId": "anton", "timestamp": "2024-01-12T09:00:00Z",
     "traits": {"email": "old@example.com"}},
    {"type": "identify", "userId": "anton", "timestamp": "2024-01-12T10:00:00Z",
     "traits": {"email": "new@example.com"}},
]  # fmt: skip


def reader(store: Any, workspace_id: int) -> Reader:
    return Reader(store, Frame(workspace_id, "UTC", 0, instant_ms(NOW)))


def user(name: str) -> Person:
    return Person("user", name)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ann", [Found(user("ann"), "user id", "ann")]),
        ("an", [Found(user("ann"), "user id", "ann"), Found(user("anton"), "user id", "anton")]),
        ("unknown", [Found(user("unknown"), "user id", "unknown")]),
        ("unkn", []),
        ("dev-1", [Found(user("ann"), "anonymous id", "dev-1")]),
        ("dev", [Found(user("ann"), "anonymous id", "dev-1")]),
        ("dev-2", [Found(Person("anonymous", "dev-2"), "anonymous id", "dev-2")]),
        ("ann@example", [Found(user("ann"), "email", "Ann@Example.com")]),
        ("ACME", [Found(user("ann"), "company", '{"name":"Acme AG"}')]),
        ("ä", [Found(user("ann"), "name", "Änn")]),
        ("old@", []),
        ("new@", [Found(user("anton"), "email", "new@example.com")]),
        ("%", []),
    ],
)
def test_who_is_meant(store, workspace_id, text, found):
    """By the beginning or all of an id, or part of a present trait; each person once."""
    insert_history(store, workspace_id, HISTORY)
    assert person_search.search(reader(store, workspace_id), text) == found
    assert person_search.search(reader(store, workspace_id + 500_000), text) == []


def test_who_was_seen_last(store, workspace_id):
    """Persons by their last event, linked ids as one."""
    insert_history(store, workspace_id, HISTORY)
    asking = reader(store, workspace_id)
    assert person_search.latest(asking) == [
        Seen(user("unknown"), instant_ms("2024-01-13T08:00:00Z")),
        Seen(user("ann"), instant_ms("2024-01-12T08:00:00Z")),
        Seen(Person("anonymous", "dev-2"), instant_ms("2024-01-11T08:00:00Z")),
    ]
    assert person_search.names_of(asking, ["ann", "unknown"]) == {
        "ann": {"name": "Änn", "email": "Ann@Example.com"}
    }
    assert person_search.owner_of(asking, "dev-1") == user("ann")


def test_a_timeline_has_every_event_once(store, workspace_id):
    """Page by page, latest first, those of linked ids too; ties in the order of receipt."""
    moments = ["2024-01-10T08:00:00Z", "2024-01-10T08:00:00Z", "2023-05-01T00:00:00Z"]
    events = [
        {"event": f"E{n}", "timestamp": moments[n % 3], **({"userId": "ann"} if n % 2 else
         {"anonymousId": "dev-1"})}
        for n in range(11)
    ]  # fmt: skip
    link = {"type": "identify", "userId": "ann", "anonymousId": "dev-1",
            "timestamp": "2024-01-01T00:00:00Z"}  # fmt: skip
    insert_history(
        store, workspace_id, [*events, link, {"event": "Other", "userId": "bob", "timestamp": NOW}]
    )
    found, cursor = [], None
    while True:
        page = timeline.read(reader(store, workspace_id), user("ann"), limit=4, cursor=cursor)
        found += [event["event"] for event in page.events]
        cursor = page.next_cursor
        if cursor is None:
            break
    late, early = [n for n in range(11) if n % 3 != 2], [n for n in range(11) if n % 3 == 2]
    assert found == [f"E{n}" for n in (*reversed(late), *reversed(early))]
    nobody = timeline.read(reader(store, workspace_id), Person("anonymous", "dev-1"), limit=4)
    assert nobody == timeline.Timeline([], None)


@pytest.mark.parametrize("cursor", ["x", "W10", "ß", "WyJhIiwxXQ", "WzEsLTFd"])
def test_a_wrong_cursor_is_refused(store, workspace_id, cursor):
    """What is no cursor of a timeline is said to be none."""
    with pytest.raises(Refused) as refused:
        timeline.read(reader(store, workspace_id), user("ann"), limit=4, cursor=cursor)
    assert refused.value.kind.code == "invalid_cursor"


def test_a_link_stated_often_is_shown_once_per_class_of_key(store, workspace_id):
    """A hundred events with both ids are one line; the public key's statement is another."""
    often = [
        {"event": "Visit", "userId": "ann", "anonymousId": "dev-1",
         "timestamp": f"2024-01-10T08:00:{n % 60:02}Z"}
        for n in range(100)
    ]  # fmt: skip
    public = {**often[0], "keyType": "write", "timestamp": "2024-01-09T00:00:00Z"}
    other = {"type": "identify", "userId": "ann", "anonymousId": "dev-2", "timestamp": NOW}
    insert_history(store, workspace_id, [*often, public, other])
    query = links.LinksQuery("ann", None, 10, None)
    shown = links.latest_of_pairs(reader(store, workspace_id), query)
    assert [(each["anonymousId"], each["keyType"]) for each in shown] == [
        ("dev-2", "secret"),
        ("dev-1", "secret"),
        ("dev-1", "write"),
    ]


def test_one_event_is_found_by_its_place_in_its_workspace_alone(store, workspace_id):
    """As sent and as stored; another workspace has none there."""
    sent = {"event": "Ö", "userId": "ann", "properties": {"größe": 1.0, "x": None}}
    insert_history(store, workspace_id, [{**sent, "position": 77, "timestamp": NOW}])
    frame = reader(store, workspace_id).frame
    found = one_event.find(store, frame, 77)
    assert found is not None
    assert (found.shown["event"], found.shown["properties"]) == ("Ö", sent["properties"])
    assert found.properties_column == '{"gr%C3%B6%C3%9Fe":1}'
    assert one_event.find(store, frame, 78) is None
    assert one_event.find(store, Frame(workspace_id + 500_000, "UTC", 0, 0), 77) is None
