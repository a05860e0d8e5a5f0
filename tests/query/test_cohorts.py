"""Cohorts: what their definitions say, which are refused and how, and where they can be used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from rows import insert_history, instant_ms

from saytics_server.errors import Refused
from saytics_server.query import cohorts, reports
from saytics_server.query.cohorts import PARTS_EXPANDED_MAX, PARTS_MAX, Saved
from saytics_server.query.model import Frame
from saytics_server.query.reading import Reader

NOON_MS = instant_ms("2024-03-31T12:00:00+02:00")
DAY_MS = 86_400_000
ZONE = "Europe/Berlin"


def frame(workspace_id: int = 1, **definitions: Any) -> Frame:
    return Frame(workspace_id, ZONE, 0, NOON_MS, cohorts=definitions)


def who(store: Any, workspace_id: int, definition: Any, **others: Any) -> list[str]:
    """Return the keys of the persons of a definition."""
    reader = Reader(store, frame(workspace_id, asked=definition, **others))
    return sorted(row[0] for row in reader.rows(cohorts.persons_in(reader, "asked")))


def event(user: str, days_ago: float = 1, **fields: Any) -> dict[str, Any]:
    return {"event": "Order", "userId": user, "timestamp": NOON_MS - int(days_ago * DAY_MS),
            **fields}  # fmt: skip


def identify(user: str, **traits: Any) -> dict[str, Any]:
    return {"type": "identify", "userId": user, "timestamp": NOON_MS, "traits": traits}


def test_traits_make_a_cohort(store, workspace_id):
    """As they stand now; who has none is in what is not so."""
    insert_history(
        store,
        workspace_id,
        [
            identify("a", plan="pro", größe=5),
            identify("b", plan="free"),
            identify("c", plan="pro"),
            {**identify("c", plan=None), "timestamp": NOON_MS + 1},
            {"event": "Visit", "anonymousId": "ø", "timestamp": NOON_MS},
        ],
    )
    assert who(store, workspace_id, {"traits": ["user.plan=pro"]}) == ["ua"]
    assert who(store, workspace_id, {"traits": ["user.plan!=pro"]}) == ["aø", "ub", "uc"]
    either = {"or": ["user.größe>4", {"property": "user.plan", "operator": "=", "value": "free"}]}
    assert who(store, workspace_id, {"traits": either}) == ["ua", "ub"]
    assert who(store, workspace_id, {"traits": ["user.plan=pro", "user.größe=4"]}) == []


def test_behaviour_counts_events_in_a_window(store, workspace_id):
    """At least so many, of these names, that fulfil the filter; both ends of a window belong to
    it, and a day before now is 24 hours, also where the clock changed in between."""
    insert_history(
        store,
        workspace_id,
        [
            *(event("often", days) for days in (1, 2, 3)),
            event("edge", 7),
            {**event("before", 7), "timestamp": NOON_MS - 7 * DAY_MS - 1},
            event("now", 0),
            event("later", -0.1),
            event("other", 1, event="Visit", properties={"amount": 5}),
        ],
    )

    def did(**fields: Any) -> list[str]:
        return who(store, workspace_id, {"did": fields})

    assert did(event="Order", at_least=3) == ["uoften"]
    assert did(event="Order", at_least=4) == []
    assert did(event="Order", last_days=7) == ["uedge", "unow", "uoften"]
    assert did(event="Order") == ["ubefore", "uedge", "ulater", "unow", "uoften"]
    assert did(event="Order", to="2024-03-24") == ["ubefore", "uedge"]
    assert did(**{"event": "Order", "from": "2024-03-31"}) == ["ulater", "unow"]
    assert did(**{"from": "2024-03-24T10:00:00Z", "to": "2024-03-24T10:00:00Z"}) == ["uedge"]
    assert did(filter=["amount>=5"]) == ["uother"]
    assert did(events=["Order", "Visit"], last_days=1) == ["unow", "uoften", "uother"]
    assert who(store, workspace_id, {"did_not": {"event": "Order", "last_days": 7}}) == [
        "ubefore", "ulater", "uother",
    ]  # fmt: skip


def test_days_are_elapsed_time(store, workspace_id):
    """In Berlin the 31st of March 2024 has 23 hours: a day ago is 11 o'clock of the day before."""
    insert_history(
        store,
        workspace_id,
        [
            {**event("in"), "timestamp": instant_ms("2024-03-30T11:00:00+01:00")},
            {**event("out"), "timestamp": instant_ms("2024-03-30T10:59:59.999+01:00")},
        ],
    )
    assert who(store, workspace_id, {"did": {"last_days": 1}}) == ["uin"]


def test_a_listed_id_stands_for_the_person_it_is_now(store, workspace_id):
    """A visitor who was listed stays in the cohort as a user; on a shared device it is the last
    user; what was never seen is nobody."""
    insert_history(
        store,
        workspace_id,
        [
            {"event": "Visit", "anonymousId": "alone", "timestamp": NOON_MS},
            {"event": "Visit", "anonymousId": "shared", "timestamp": NOON_MS - 5},
            {**identify("first"), "anonymousId": "shared", "timestamp": NOON_MS - 4},
            {**identify("second"), "anonymousId": "shared", "timestamp": NOON_MS - 2},
            {**identify("third"), "anonymousId": "shared", "timestamp": NOON_MS + 1},
            {"event": "Visit", "userId": "alone", "timestamp": NOON_MS},
        ],
    )

    def listed(**ids: list[str]) -> list[str]:
        return who(store, workspace_id, {"list": ids})

    assert listed(anonymous_ids=["alone", "unseen"]) == ["aalone"]
    assert listed(user_ids=["alone", "unseen"]) == ["ualone"]
    assert listed(anonymous_ids=["shared"]) == ["usecond"]
    assert listed(anonymous_ids=["shared"], user_ids=["first"]) == ["ufirst", "usecond"]


def test_cohorts_are_made_of_cohorts(store, workspace_id):
    """And, or, not, other cohorts by id, in parts and in the filters of behaviour."""
    insert_history(
        store,
        workspace_id,
        [identify("a", plan="pro"), identify("b", plan="pro"), event("b"), event("c"), event("c")],
    )
    pro = {"traits": "user.plan=pro"}
    did = {"did": {"event": "Order"}}
    others = {"1": pro, "2": {"and": [{"cohort": "1"}, did]}}
    for definition, expected in (
        ({"and": [pro, did]}, ["ub"]),
        ({"or": [pro, did]}, ["ua", "ub", "uc"]),
        ({"and": [pro, {"not": did}]}, ["ua"]),
        ({"cohort": "2"}, ["ub"]),
        ({"not": {"cohort": "2"}}, ["ua", "uc"]),
        ({"did": {"at_least": 2, "filter": ["cohort!=1"]}}, ["uc"]),
        ({"did": {"filter": [{"property": "cohort", "operator": "in", "value": ["1", "2"]}]}},
         ["ub"]),
    ):  # fmt: skip
        assert who(store, workspace_id, definition, **others) == expected, definition


def test_as_of_tells_who_was_in_a_cohort(store, workspace_id):
    """By the traits, events and links received by then, with the days before then."""
    then = NOON_MS - 2 * DAY_MS
    late = {"receivedAt": then + 1}
    insert_history(
        store,
        workspace_id,
        [
            {**identify("a", plan="pro"), "timestamp": then - 9},
            {**identify("a", plan="free"), "timestamp": then - 8, **late},
            {**identify("late", plan="pro"), "timestamp": then - 9, **late},
            {**event("b"), "timestamp": then - 1},
            {**event("c"), "timestamp": then - 1, **late},
            {"event": "Visit", "anonymousId": "ø", "timestamp": then - 7},
            {**identify("a"), "anonymousId": "ø", "timestamp": then - 6, **late},
        ],
    )

    def at(as_of_ms: int | None, definition: Any) -> list[str]:
        asking = Frame(
            workspace_id, ZONE, 0, as_of_ms or NOON_MS, as_of_ms, cohorts={"1": definition}
        )
        reader = Reader(store, asking)
        return sorted(row[0] for row in reader.rows(cohorts.persons_in(reader, "1")))

    for definition, earlier, now in (
        ({"traits": "user.plan=pro"}, ["ua"], ["ulate"]),
        ({"did": {"event": "Order"}}, ["ub"], ["ub", "uc"]),
        ({"did": {"event": "Order", "last_days": 1}}, ["ub"], []),
        ({"list": {"anonymous_ids": ["ø"]}}, ["aø"], ["ua"]),
        ({"not": {"list": {"user_ids": ["b"]}}}, ["aø", "ua"], ["ua", "uc", "ulate"]),
    ):
        assert (at(then, definition), at(None, definition)) == (earlier, now), definition


# What a report cannot be asked without.
NEEDED: dict[str, dict[str, Any]] = {
    "funnels": {"steps": ["Order", "Order"]},
    "paths": {"start": "Order"},
    "retention": {"start": "Order"},
}
# It gives its scan a breakdown after the reader has made it, so without the cohort's condition.


@pytest.mark.parametrize("name", reports.REPORTS)
def test_a_cohort_is_a_filter_and_a_breakdown_of_every_report(store, workspace_id, name):
    """Each counts its members alone; broken down, it shows them and the others."""
    days = {"in": (0, 1, 2), "out": (0, 1), "neither": (1,)}
    history = [event(user, day) for user, active in days.items() for day in active]
    insert_history(store, workspace_id, history)
    asking = frame(workspace_id, **{"7": {"list": {"user_ids": ["in"]}}})
    document = {"report": name, **NEEDED.get(name, {})}
    asked = _answer(store, asking, {**document, "filter": ["cohort=7"]})
    everybody = _answer(store, asking, document)
    rest = _answer(store, asking, {**document, "filter": ["cohort!=7"]})
    assert asked != everybody != rest != asked
    if "breakdown" in {
        f.encode_name for f in msgspec.structs.fields(reports.REPORTS[name].Document)
    }:
        parts = _answer(store, asking, {**document, "breakdown": "cohort=7"})["breakdown"]
        assert sorted(json.dumps(part["value"]) for part in parts) == ["false", "true"]


def _answer(store: Any, asking: Frame, document: Any) -> dict[str, Any]:
    answer = reports.answer(Reader(store, asking), reports.asked_by_document(document, asking))
    return {name: value for name, value in answer.items() if name != "definition"}


@pytest.mark.parametrize(
    ("filters", "breakdown", "field"),
    [(["cohort=8"], None, "filter"), ([], "cohort=8", "breakdown"), (["cohort>7"], None, "filter")],
)
def test_an_unknown_cohort_is_refused_where_it_is_named(store, filters, breakdown, field):
    """By the parameter, and with the id."""
    document = {"report": "events", "filter": filters, "breakdown": breakdown}
    with pytest.raises(Refused) as refused:
        _answer(store, frame(), document)
    assert (refused.value.rejection.code, refused.value.rejection.field) == (
        "invalid_parameter",
        field,
    )


DID = "definition.did"


@pytest.mark.parametrize(
    ("definition", "field"),
    [
        ({}, "definition"),
        ([], "definition."),
        ({"traits": ["user.a=1"], "did": {}}, "definition"),
        ({"trait": ["user.a=1"]}, "definition.trait"),
        ({"traits": []}, "definition.traits"),
        ({"traits": ["plan=pro"]}, "definition.traits"),
        ({"traits": ["cohort=1"]}, "definition.traits"),
        ({"traits": ["user.plan"]}, "definition.traits"),
        ({"traits": {"property": "user.a", "operator": "is"}}, "definition.traits.operator"),
        ({"did": {"at_least": 0}}, f"{DID}.at_least"),
        ({"did": {"at_least": 1_000_001}}, f"{DID}.at_least"),
        ({"did": {"last_days": 0}}, f"{DID}.last_days"),
        ({"did": {"last_days": 36_501}}, f"{DID}.last_days"),
        ({"did": {"last_days": 1, "to": "2024-01-01"}}, f"{DID}.last_days"),
        ({"did": {"from": "2024-01-02", "to": "2024-01-01"}}, f"{DID}.from"),
        ({"did": {"event": "A", "events": ["B"]}}, f"{DID}.events"),
        ({"did": {"events": ["A"] * 51}}, f"{DID}.events"),
        ({"did": {"filter": ["a"]}}, f"{DID}.filter"),
        ({"did": {"filters": ["a=1"]}}, f"{DID}.filters"),
        ({"did": {"last_days": "7"}}, f"{DID}.last_days"),
        ({"did_not": {"at_least": 0}}, "definition.did_not.at_least"),
        ({"list": {}}, "definition.list"),
        ({"list": {"user_ids": [""]}}, "definition.list"),
        ({"list": {"user_ids": ["x" * 257]}}, "definition.list"),
        ({"list": {"anonymous_ids": ["x"] * 10_001}}, "definition.list"),
        ({"list": {"ids": ["x"]}}, "definition.list.ids"),
        ({"and": []}, "definition.and"),
        ({"or": [{"did": {}}] * (PARTS_MAX + 1)}, "definition.or"),
        ({"or": [{"did": {}}, {"not": {"did": {"at_least": 0}}}]},
         "definition.or[1].not.did.at_least"),
        ({"not": {}}, "definition.not"),
        ({"cohort": 7}, "definition.cohort"),
    ],
)  # fmt: skip
def test_a_wrong_definition_is_refused_by_its_field(definition, field):
    """With a sentence that says what is wanted."""
    with pytest.raises(Refused) as refused:
        cohorts.parse(definition, frame())
    rejection = refused.value.rejection
    assert (rejection.code, rejection.field) == ("invalid_parameter", field)
    assert rejection.message.endswith(".")


@pytest.mark.parametrize("depth", [8, 100, 100_000])
def test_a_deep_definition_is_refused(depth):
    """However deep it is."""
    definition: dict[str, Any] = {"did": {}}
    for _ in range(depth):
        definition = {"not": definition}
    with pytest.raises(Refused, match="invalid_parameter"):
        cohorts.parse(definition, frame())


def saved(**definitions: Any) -> Mapping[str, Saved]:
    return {id_: Saved(f"Name {id_}", definition) for id_, definition in definitions.items()}


def refusal(all_saved: Mapping[str, Saved], cohort_id: str) -> str | None:
    """Return why a cohort may not be saved among all of them."""
    try:
        cohorts.check(all_saved, cohort_id, frame())
    except Refused as refused:
        return refused.rejection.message
    return None


def test_a_circle_is_refused_with_its_names():
    """Whether it goes through parts or filters, however long it is."""
    circle = "A cohort cannot be made of itself: "
    assert refusal(saved(a={"cohort": "a"}), "a") == f"{circle}`Name a` → `Name a`."
    through_parts = saved(a={"not": {"cohort": "b"}}, b={"or": [{"did": {}}, {"cohort": "a"}]})
    assert refusal(through_parts, "a") == f"{circle}`Name a` → `Name b` → `Name a`."
    through_filter = saved(
        a={"cohort": "b"}, b={"cohort": "c"}, c={"did": {"filter": ["cohort!=a"]}}
    )
    assert refusal(through_filter, "c") == (f"{circle}`Name c` → `Name a` → `Name b` → `Name c`.")
    diamond = saved(
        a={"and": [{"cohort": "b"}, {"cohort": "c"}]},
        b={"cohort": "d"},
        c={"cohort": "d"},
        d={"did": {}},
    )
    assert refusal(diamond, "a") is None


def test_a_circle_that_was_saved_all_the_same_is_refused_when_asked(store):
    """No query loops."""
    circle = frame(**{"1": {"cohort": "2"}, "2": {"did": {"filter": ["cohort=1"]}}})
    with pytest.raises(Refused, match="invalid_parameter"):
        Reader(store, circle).cohort("1")


def test_a_cohort_of_one_that_is_not_there_is_refused():
    """By its id."""
    assert refusal(saved(a={"cohort": "x"}), "a") == "There is no cohort `x`."


def test_growing_is_refused_in_all_that_grows():
    """A change that makes another cohort too large is refused with the other's name."""
    half = {"or": [{"did": {}}] * PARTS_MAX}
    twice = {"and": [{"cohort": "a"}, {"cohort": "a"}]}
    assert refusal(saved(a=half, b=twice), "a") is None
    larger = {"or": [half, {"or": [{"did": {}}] * 5}]}
    assert PARTS_EXPANDED_MAX == 50
    assert refusal(saved(a=larger, b=twice), "a") == (
        "The cohort `Name b` has more than 50 conditions, those of the cohorts it is made of"
        " included."
    )


def test_the_cohorts_made_of_one_are_known_by_name():
    """So that it is not deleted under them."""
    all_saved = saved(
        a={"did": {}},
        b={"not": {"cohort": "a"}},
        c={"did": {"filter": ["cohort=a"]}},
        d={"cohort": "b"},
    )
    assert cohorts.users_of(all_saved, "a", frame()) == ["Name b", "Name c"]
    assert cohorts.users_of(all_saved, "d", frame()) == []


def test_the_largest_definition_is_answered(store, workspace_id):
    """As many parts as there may be, in a filter, in the breakdown and in a series."""
    insert_history(store, workspace_id, [event("a"), event("b")])
    part = {"did": {"event": "Order", "filter": ["user.plan!=pro"], "last_days": 7}}
    asking = frame(
        workspace_id,
        **{"1": {"or": [part] * PARTS_MAX}, "2": {"and": [{"cohort": "1"}] * 2}},
    )
    answer = _answer(
        store,
        asking,
        {"report": "events", "metric": "users", "filter": ["cohort=2"], "breakdown": "cohort=2"},
    )
    assert answer["total"] == 2


def test_a_long_list_is_answered(store, workspace_id):
    """Ten thousand long ids of each kind stay one query."""
    insert_history(
        store,
        workspace_id,
        [event("0" * 36), {**event(""), "userId": None, "anonymousId": "x" * 36 + "9"}],
    )
    users = [f"{n:036}" for n in range(5_000)]
    anonymous = ["x" * 36 + str(n) for n in range(5_000)]
    found = who(store, workspace_id, {"list": {"user_ids": users, "anonymous_ids": anonymous}})
    assert found == ["a" + "x" * 36 + "9", "u" + "0" * 36]
