"""The catalogue: names, keys and values there are, as a question would name them."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rows import _EVENT_COLUMNS, _table, insert_history, instant_ms

from saytics_server.errors import Refused
from saytics_server.event import column_path
from saytics_server.query import catalogue
from saytics_server.query.model import Frame, Reference
from saytics_server.query.values import parse_reference

NOON_MS = instant_ms("2024-01-15T12:00:00Z")
DAY_MS = 86_400_000

ODD_KEYS = ["plan", "a.b", "größe 😀", "$set", "100%", "", "%", "a b", "x!=y~<>", "user", "back\\"]


def frame(workspace_id: int) -> Frame:
    return Frame(workspace_id, "Europe/Berlin", 0, NOON_MS)


def events(store, workspace_id: int, *parameters: tuple[str, str]) -> dict:
    return catalogue.events(store, catalogue.parse_events(list(parameters), frame(workspace_id)))


def properties(store, workspace_id: int, *parameters: tuple[str, str]) -> dict:
    query = catalogue.parse_properties(list(parameters), frame(workspace_id))
    return catalogue.properties(store, query)


def values(store, workspace_id: int, *parameters: tuple[str, str]) -> dict:
    return catalogue.values(store, catalogue.parse_values(list(parameters), frame(workspace_id)))


def event(name: str, days_ago: int = 0, **fields: object) -> dict:
    return {"event": name, "userId": "u", "timestamp": NOON_MS - days_ago * DAY_MS, **fields}


def test_a_workspace_without_events_has_an_empty_catalogue(store, workspace_id):
    """Each list is there, and empty."""
    assert events(store, workspace_id) == {"status": "ok", "data": [], "more": False}
    assert properties(store, workspace_id) == {"status": "ok", "data": [], "more": False}
    assert values(store, workspace_id, ("property", "plan")) == {
        "status": "ok",
        "property": "plan",
        "data": [],
        "more": False,
    }


def test_names_come_with_their_number_and_the_last_time(store, workspace_id):
    """The most frequent first, equal ones by name; late events count and may not be the last."""
    history = [
        event("B"),
        event("A", 400),
        event("Größe gewählt", timestamp="2024-01-14T23:30:00.123Z"),
        event("Größe gewählt", timestamp="2024-01-14T23:30:00.122Z"),
    ]
    insert_history(store, workspace_id, history)
    assert events(store, workspace_id) == {
        "status": "ok",
        "data": [
            {"event": "Größe gewählt", "count": 2, "last_seen": "2024-01-14T23:30:00.123Z"},
            {"event": "A", "count": 1, "last_seen": "2022-12-11T12:00:00.000Z"},
            {"event": "B", "count": 1, "last_seen": "2024-01-15T12:00:00.000Z"},
        ],
        "more": False,
    }


def test_names_are_searched_and_cut(store, workspace_id):
    """A part of the name in any case finds it; `more` says that the list goes on."""
    insert_history(
        store, workspace_id, [event("Größe"), event("grÖSSE"), event("Ärger"), event("%")]
    )
    found = events(store, workspace_id, ("search", "GRÖ"))
    assert [row["event"] for row in found["data"]] == ["Größe", "grÖSSE"]
    assert [row["event"] for row in events(store, workspace_id, ("search", "%"))["data"]] == ["%"]
    cut = events(store, workspace_id, ("limit", "3"))
    assert (len(cut["data"]), cut["more"]) == (3, True)


def test_keys_come_with_types_and_values(store, workspace_id):
    """A key that had several types names them all; null and objects are no values."""
    history = [
        event("A", properties={"plan": "pro", "cart": {"total": 5, "items": ["x"]}, "gone": None}),
        event(
            "A", properties={"plan": True, "cart": {"total": 2.5}}, context={"page": {"url": "/a"}}
        ),
        event("B", 1, properties={"plan": "free"}),
        {
            "type": "identify",
            "userId": "u",
            "timestamp": NOON_MS,
            "traits": {"plan": "x", "n": None},
        },
    ]
    insert_history(store, workspace_id, history)
    shown = {row["property"]: row for row in properties(store, workspace_id)["data"]}
    assert {
        name: (row["types"], sorted(map(str, row["samples"]))) for name, row in shown.items()
    } == {
        "plan": (["boolean", "string"], ["True", "pro"]),
        "cart.total": (["number"], ["2.5", "5"]),
        "cart.items": (["array"], ["['x']"]),
        "context.page.url": (["string"], ["/a"]),
        "user.plan": (["string"], ["x"]),
    }
    assert {row["last_seen"] for row in shown.values()} == {"2024-01-15"}
    of_b = properties(store, workspace_id, ("event", "B"), ("source", "properties"))
    assert of_b["data"] == [
        {
            "property": "plan",
            "source": "properties",
            "types": ["string"],
            "last_seen": "2024-01-14",
            "samples": ["free"],
        }
    ]


def test_odd_keys_are_named_so_that_a_question_finds_them(store, workspace_id):
    """Dots, signs, emptiness and reserved names: what the catalogue says is what filters read."""
    sent = {key: f"value of {key}" for key in ODD_KEYS} | {"user": {"x": "value of user.x"}}
    insert_history(store, workspace_id, [event("A", properties=sent)])
    rows = properties(store, workspace_id)["data"]
    keys = {parse_reference(row["property"], "property").keys: row["samples"] for row in rows}
    expected = {(key,): [value] for key, value in sent.items() if key != "user"}
    assert keys == {**expected, ("user", "x"): ["value of user.x"]}
    for row in rows:
        found = values(store, workspace_id, ("property", row["property"]))
        assert found["data"] == row["samples"], row["property"]


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(
    source=st.sampled_from(["properties", "context", "user"]),
    keys=st.lists(
        st.one_of(st.sampled_from(ODD_KEYS), st.text(max_size=5)), min_size=1, max_size=4
    ),
)
def test_every_key_has_a_name_that_means_it(source, keys):
    """Whatever was sent: the name reads back as the key, and so does its path in the store."""
    reference = Reference(source, tuple(keys))
    assert parse_reference(catalogue.written(reference), "property") == reference
    assert catalogue.decoded_path(column_path(keys)) == tuple(keys)


def test_keys_are_searched_by_what_is_shown(store, workspace_id):
    """A part of a key as it was sent, in any case, or its prefix."""
    sent = {"größe 😀": 1, "a.b": 1, "cart": {"total": 1}}
    history = [
        event("A", properties=sent, context={"page": {"url": "/"}}),
        {"type": "identify", "userId": "u", "timestamp": NOON_MS, "traits": {"a.b%41": "x"}},
    ]
    insert_history(store, workspace_id, history)

    def found(search: str) -> list[str]:
        return [
            row["property"] for row in properties(store, workspace_id, ("search", search))["data"]
        ]

    assert found("GRÖ") == ["größe 😀"]
    assert found("a.b") == [r"a\.b", r"user.a\.b%41"]
    assert found("cart.t") == ["cart.total"]
    assert found("page.U") == ["context.page.url"]
    assert found("user.") == [r"user.a\.b%41"]


def test_a_rare_key_has_a_sample_all_the_same(store, workspace_id):
    """One that the events looked at first did not have is looked up by itself."""
    history = [event("A", properties={"often": number}) for number in range(30)]
    history.append(event("A", userId="z", properties={"rare": "found"}))
    insert_history(store, workspace_id, history)
    samples = {row["property"]: row["samples"] for row in properties(store, workspace_id)["data"]}
    assert samples["rare"] == ["found"]
    assert len(samples["often"]) == catalogue.SAMPLES_MAX


def test_values_are_the_most_frequent_of_the_last_day(store, workspace_id):
    """Per event's name the latest day with the key; searched as they are read, in any case."""
    history = [
        *(event("A", properties={"path": path}) for path in ["/b", "/b", '/A "ä"', "/c"]),
        event("A", 1, properties={"path": "/old"}),
        event("B", 2, properties={"path": "/B", "n": 5}),
        event("B", 2, properties={"n": 5.0}),
        event("B", 2, properties={"n": "5"}),
    ]
    insert_history(store, workspace_id, history)
    asked = ("property", "path")
    assert values(store, workspace_id, asked)["data"] == ["/b", '/A "ä"', "/B", "/c"]
    assert values(store, workspace_id, asked, ("search", "/B"))["data"] == ["/b", "/B"]
    assert values(store, workspace_id, asked, ("search", 'a "Ä'))["data"] == ['/A "ä"']
    assert values(store, workspace_id, asked, ("event", "B"))["data"] == ["/B"]
    assert values(store, workspace_id, asked, ("limit", "1"))["more"] is True
    assert values(store, workspace_id, ("property", "n"))["data"] == [5, "5"]
    assert values(store, workspace_id, ("property", "context.n"))["data"] == []


def test_values_of_traits_are_those_that_were_set(store, workspace_id):
    """Also inside a trait that is an object; one that was removed is none."""
    history = [
        {"type": "identify", "userId": user, "timestamp": NOON_MS, "traits": traits}
        for user, traits in [
            ("u", {"plan": "pro", "home": {"city": "Köln"}}),
            ("v", {"plan": None}),
        ]
    ]
    insert_history(store, workspace_id, history)
    assert values(store, workspace_id, ("property", "user.plan"))["data"] == ["pro"]
    assert values(store, workspace_id, ("property", "user.home.city"))["data"] == ["Köln"]
    assert values(store, workspace_id, ("property", "user.home"))["data"] == []


def test_workspaces_do_not_see_each_other(store, workspace_id):
    """Neither names nor keys nor values of a neighbour are in a list."""
    insert_history(store, workspace_id + 500_000, [event("A", properties={"plan": "pro"})])
    test_a_workspace_without_events_has_an_empty_catalogue(store, workspace_id)


@pytest.mark.parametrize(
    ("parse", "parameters", "field"),
    [
        (catalogue.parse_events, [("limit", "0")], "limit"),
        (catalogue.parse_events, [("event", "A")], "event"),
        (catalogue.parse_properties, [("source", "traits")], "source"),
        (catalogue.parse_properties, [("search", "x" * 257)], "search"),
        (catalogue.parse_values, [], "property"),
        (catalogue.parse_values, [("property", "userId")], "property"),
        (catalogue.parse_values, [("property", "cohort")], "property"),
        (catalogue.parse_values, [("property", "plan"), ("limit", "1001")], "limit"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(parse, parameters, field):
    """The refusal names the parameter."""
    with pytest.raises(Refused) as refused:
        parse(parameters, frame(1))
    assert (refused.value.rejection.code, refused.value.rejection.field) == (
        "invalid_parameter",
        field,
    )


def test_a_block_stored_twice_adds_no_key_twice(store, workspace_id):
    """The token that makes a block count once holds for the keys, too."""
    item = event("A", properties={"plan": "pro"}, position=1, keyType="secret", messageId="")
    block = _table(workspace_id, [item], _EVENT_COLUMNS)
    counts = []
    for token in ("first", "first", "second"):
        store.insert("events", block, token=f"twice-{workspace_id}-{token}")
        counts.append(
            store.query(
                "SELECT (SELECT count() FROM events WHERE workspace_id = {w:UInt32}),"
                " (SELECT count() FROM property_keys WHERE workspace_id = {w:UInt32})",
                {"w": workspace_id},
            )[0]
        )
    assert counts[0] == counts[1] == (1, 1)
    assert counts[2][0] == 2


@pytest.mark.parametrize("run_events_min", [0, 10**9])
def test_both_ways_of_counting_count_the_same(store, workspace_id, monkeypatch, run_events_min):
    """Run by run or event by event: the names, their numbers and their last times are the same."""
    monkeypatch.setattr(catalogue, "RUN_EVENTS_MIN", run_events_min)
    insert_history(store, workspace_id, [event("A"), event("A", 3), event("B", 3), event("A", 3)])
    assert events(store, workspace_id)["data"] == [
        {"event": "A", "count": 3, "last_seen": "2024-01-15T12:00:00.000Z"},
        {"event": "B", "count": 1, "last_seen": "2024-01-12T12:00:00.000Z"},
    ]
