"""Retention's faces: what is refused, what it says of its rules, whom it counts and why."""

from __future__ import annotations

from typing import Any

import pytest
from january import event, refusal
from rows import insert_history, instant_ms

from saytics_server.people import Person
from saytics_server.query import reports, retention
from saytics_server.query.document import read_document
from saytics_server.query.model import Frame
from saytics_server.query.reading import Reader
from saytics_server.query.reports import Asked, PersonsDocument

NOW = "2024-01-06T00:00:00Z"
DAYS = [("from", "2024-01-01"), ("to", "2024-01-02")]


def frame_of(workspace_id: int = 1, **fields: Any) -> Frame:
    return Frame(workspace_id, "UTC", 0, instant_ms(NOW), **fields)


@pytest.mark.parametrize(
    ("parameters", "code", "field"),
    [
        ([("steps", "A")], "invalid_parameter", "steps"),
        ([("start", "A"), ("start", "B")], "invalid_parameter", "start"),
        ([("interval", "hour")], "invalid_parameter", "interval"),
        ([("mode", "after")], "invalid_parameter", "mode"),
        ([("cohort", "all")], "invalid_parameter", "cohort"),
        ([("window", "rolling")], "invalid_parameter", "window"),
        ([("periods", "0")], "invalid_parameter", "periods"),
        ([("periods", "367")], "invalid_parameter", "periods"),
        ([("periods", "1.5")], "invalid_parameter", "periods"),
        ([("filter", "plan")], "invalid_parameter", "filter"),
        ([("from", "2024-02-01"), ("to", "2024-01-01")], "invalid_parameter", "from"),
        ([("from", "2014-01-01"), ("periods", "366")], "range_too_large", "periods"),
        ([("from", "1970-01-01"), ("to", "2024-01-01")], "range_too_large", "interval"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_refused_by_name(parameters, code, field):
    """Unknown names, repeated ones, unknown choices and too many cells name their parameter."""
    assert refusal(retention.parse, parameters, frame_of()) == (code, field)


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"start": {"event": "A", "events": ["B"]}}, "start.events"),
        ({"return": {"events": [str(number) for number in range(51)]}}, "return.events"),
        ({"return": {"event": "A", "filter": "plan"}}, "return.filter"),
        ({"return": {"event": "A", "filters": []}}, "return.filters"),
        ({"periods": 0}, "periods"),
        ({"periods": "3"}, "periods"),
        ({"breakdown_limit": 201}, "breakdown_limit"),
        ({"return_": "A"}, "return_"),
    ],
)
def test_a_wrong_field_is_refused_by_name(document, field):
    """A document's fields are refused where they stand."""

    def ask() -> None:
        retention.question(read_document(document, retention.Document), frame_of())

    assert refusal(ask) == ("invalid_parameter", field)


@pytest.mark.parametrize(
    ("cell", "field"),
    [
        ({}, "cell.date"),
        ({"date": "2024-01-03"}, "cell.date"),
        ({"date": 5}, "cell.date"),
        ({"date": "2024-01-01", "period": 8}, "cell.period"),
        ({"date": "2024-01-01", "period": -1}, "cell.period"),
        ({"date": "2024-01-01", "period": True}, "cell.period"),
        ({"date": "2024-01-01", "step": 1}, "cell.step"),
        ({"date": "2024-01-01", "value": "pro"}, "cell.value"),
    ],
)
def test_a_wrong_cell_is_refused_by_name(store, cell, field):
    """Fields a cell does not have, lacks or cannot mean are named."""
    frame = frame_of()
    query = retention.parse(DAYS, frame)
    assert refusal(retention.persons, Reader(store, frame), query, cell) == (
        "invalid_parameter",
        field,
    )


def test_both_forms_ask_the_same():
    """A query string and the document that says the same give one question."""
    parameters = [
        ("start", "Signup"), ("return", "Open"), ("from", "2024-01-01"), ("to", "2024-01-02"),
        ("interval", "week"), ("periods", "3"), ("mode", "on_or_after"), ("cohort", "recurring"),
        ("window", "elapsed"), ("filter", "plan=pro"), ("filter", "amount>5"),
        ("breakdown", "user.plan"),
    ]  # fmt: skip
    document = {
        "start": {"event": "Signup"}, "return": "Open", "from": "2024-01-01", "to": "2024-01-02",
        "interval": "week", "periods": 3, "mode": "on_or_after", "cohort": "recurring",
        "window": "elapsed", "breakdown": "user.plan",
        "filter": [{"property": "plan", "value": "pro"}, "amount>5"],
    }  # fmt: skip
    assert retention.parse(parameters, frame_of()) == retention.question(
        read_document(document, retention.Document), frame_of()
    )


def test_the_definition_says_what_was_used(store, workspace_id):
    """The rules name the events, the kind of cohort, the periods and the mode."""
    frame = frame_of(workspace_id)
    document = {
        "start": {"events": ["Signup", "Größe"], "filter": "plan=pro"},
        "from": "2024-01-01",
        "to": "2024-01-01",
        "mode": "on_or_after",
        "cohort": "first_ever",
        "window": "elapsed",
    }
    query = retention.question(read_document(document, retention.Document), frame)
    assert retention.run(Reader(store, frame), query)["definition"] == {
        "timezone": "UTC",
        "week_start": "monday",
        "range": {"from": "2024-01-01T00:00:00.000Z", "to": "2024-01-01T23:59:59.999Z"},
        "filters": 0,
        "rules": [
            "start: `Signup` or `Größe` with 1 filter; return: any event.",
            "first_ever: a person is in the cohort of their first start event ever, and in none if"
            " that lies before the range.",
            "Period k is from k to k + 1 times 24 hours after the person's start event.",
            "on_or_after: returned in this period or any later one, also beyond the last shown;"
            " period 0 is the cohort's size.",
            "Only start events must lie in the range. A return event counts from the time of the"
            " start event on.",
            "complete: whether the period is over for everybody who can be in the cohort. overall:"
            " the share of persons over the complete cells of a period, so weighted by cohort"
            " size.",
            "A person is a user with the anonymous ids linked to them, or an anonymous id without"
            " a link.",
        ],
    }


def test_persons_come_in_pages_with_their_count(store, workspace_id):
    """The persons of a cell are counted once each and continue from a cursor."""
    frame = frame_of(workspace_id)
    history = [event("Signup", "01T08:00:00", user) for user in ("u1", "u2", "u3")]
    history += [event("Signup", "01T08:00:00", anonymousId="a")]
    insert_history(store, workspace_id, [*history, event("Open", "02T08:00:00", "u3")])
    query = retention.parse([*DAYS, ("start", "Signup")], frame)
    asked = Asked(reports.REPORTS["retention"], query, frame)
    reader = Reader(store, frame)
    cohort = {"date": "2024-01-01"}
    first = reports.persons(reader, asked, PersonsDocument(query={}, cell=cohort, limit=3))
    rest = reports.persons(
        reader, asked, PersonsDocument(query={}, cell=cohort, cursor=first["next_cursor"])
    )
    returned = reports.persons(
        reader, asked, PersonsDocument(query={}, cell={**cohort, "period": 1})
    )
    assert [first["count"], rest["count"], returned["count"]] == [4, 4, 1]
    assert first["persons"] + rest["persons"] == [
        {"type": "anonymous", "id": "a"},
        *({"type": "user", "id": user} for user in ("u1", "u2", "u3")),
    ]
    assert returned["persons"] == [{"type": "user", "id": "u3"}]


def test_values_beyond_the_limit_are_one(store, workspace_id):
    """The largest cohorts by value are shown, the others together; each has its persons."""
    frame = frame_of(workspace_id)
    plans = {"u1": "pro", "u2": "pro", "u3": "free", "u4": "größe 😀"}
    insert_history(
        store,
        workspace_id,
        [event("A", "01T08:00:00", user, properties={"p": plan}) for user, plan in plans.items()],
    )
    document = {"from": "2024-01-01", "to": "2024-01-01", "periods": 1, "breakdown": "p"}
    query = retention.question(
        read_document({**document, "breakdown_limit": 1}, retention.Document), frame
    )
    reader = Reader(store, frame)
    sizes = {
        (part["value"], part.get("other", False)): part["cohorts"][0]["size"]
        for part in retention.run(reader, query)["breakdown"]
    }
    assert sizes == {("pro", False): 2, ("other", True): 2}
    for fields, behind in [({"value": "pro"}, ["uu1", "uu2"]), ({"other": True}, ["uu3", "uu4"])]:
        cell = {"date": "2024-01-01", **fields}
        assert sorted(reader.rows(retention.persons(reader, query, cell))) == [(p,) for p in behind]


def test_as_of_leaves_out_what_came_later(store, workspace_id):
    """A return received after the time asked for is not known, and its period is running."""
    history = [
        event("A", "01T08:00:00"),
        event("B", "02T08:00:00", receivedAt="2024-01-05T00:00:00Z"),
    ]
    insert_history(store, workspace_id, history)
    asked = reports.asked_by_document(
        {"report": "retention", "from": "2024-01-01", "to": "2024-01-01", "periods": 3,
         "as_of": "2024-01-03T00:00:00Z"},
        frame_of(workspace_id),
    )  # fmt: skip
    answer = reports.answer(Reader(store, asked.frame), asked)
    assert answer["cohorts"] == [
        {"date": "2024-01-01", "size": 1, "counts": [1, 0, 0], "complete": [True, True, False]}
    ]


def explained(
    store: Any, workspace_id: int, parameters: list[tuple[str, str]], person: Person
) -> dict[str, Any]:
    frame = frame_of(workspace_id)
    return retention.explain(Reader(store, frame), retention.parse(parameters, frame), person)


def test_explain_says_what_filled_a_period_and_by_how_much_one_was_missed(store, workspace_id):
    """Every period names its event, or the nearest ones before and after it."""
    history = [
        event("Open", "01T07:30:00"),
        event("Signup", "01T08:00:00", anonymousId="ø"),
        event("Open", "02T08:00:00"),
        event("Open", "04T01:00:00.005"),
        {"type": "identify", "userId": "ü", "anonymousId": "ø",
         "timestamp": instant_ms("2024-01-01T09:00:00Z")},
    ]  # fmt: skip
    insert_history(store, workspace_id, history)
    parameters = [*DAYS, ("start", "Signup"), ("return", "Open"), ("periods", "3")]
    verdict = explained(store, workspace_id, parameters, Person("user", "ü"))
    assert verdict == {
        "counted": True,
        "cohorts": [
            {
                "date": "2024-01-01",
                "start_event": {
                    "id": "evt_0000000000002",
                    "event": "Signup",
                    "timestamp": "2024-01-01T08:00:00.000Z",
                    "anonymous_id": "ø",
                },
                "periods": [
                    {
                        "period": 0,
                        "from": "2024-01-01T00:00:00.000Z",
                        "to": "2024-01-01T23:59:59.999Z",
                        "complete": True,
                        "counted": False,
                        "missing": "No return event in the period: one came 30 min too early and"
                        " before the start event, one came 8 h too late.",
                    },
                    {
                        "period": 1,
                        "from": "2024-01-02T00:00:00.000Z",
                        "to": "2024-01-02T23:59:59.999Z",
                        "complete": True,
                        "counted": True,
                        "event": {
                            "id": "evt_0000000000003",
                            "event": "Open",
                            "timestamp": "2024-01-02T08:00:00.000Z",
                        },
                    },
                    {
                        "period": 2,
                        "from": "2024-01-03T00:00:00.000Z",
                        "to": "2024-01-03T23:59:59.999Z",
                        "complete": True,
                        "counted": False,
                        "missing": "No return event in the period: one came 16 h too early, one"
                        " came 1 h too late.",
                    },
                ],
            }
        ],
        "links": [{"anonymous_id": "ø", "user_id": "ü", "timestamp": "2024-01-01T09:00:00.000Z"}],
    }


@pytest.mark.parametrize(
    ("parameters", "missing"),
    [
        ([("start", "Late")], "No start event in the range: one came 1 d 8 h after it ends."),
        ([("start", "Early")], "No start event in the range: one came 16 h before it begins."),
        (
            [("start", "Both"), ("cohort", "first_ever")],
            "The first start event ever came 16 h before the range begins.",
        ),
        (
            [("start", "Both"), ("filter", "plan=pro")],
            "No start event: 1 of the name in the range, none of which the filters let by.",
        ),
        ([("start", "None")], "No start event at any time."),
    ],
)
def test_explain_says_why_a_person_is_in_no_cohort(store, workspace_id, parameters, missing):
    """Starts outside the range, before it, or removed by a filter are told apart."""
    insert_history(
        store,
        workspace_id,
        [
            {**event("Early", "01T08:00:00"), "timestamp": instant_ms("2023-12-31T08:00:00Z")},
            {**event("Both", "01T08:00:00"), "timestamp": instant_ms("2023-12-31T08:00:00Z")},
            event("Both", "01T08:00:00"),
            event("Late", "04T08:00:00"),
        ],
    )
    verdict = explained(store, workspace_id, [*DAYS, *parameters], Person("user", "ü"))
    assert verdict == {"counted": False, "cohorts": [], "missing": missing, "links": []}


def test_explain_shows_whose_an_anonymous_id_is(store, workspace_id):
    """An anonymous id that a link made somebody else's has no part, and the link says why."""
    history = [
        event("A", "01T08:00:00", anonymousId="ø"),
        {"type": "identify", "userId": "ü", "anonymousId": "ø",
         "timestamp": instant_ms("2024-01-02T09:00:00Z")},
    ]  # fmt: skip
    insert_history(store, workspace_id, history)
    assert explained(store, workspace_id, DAYS, Person("anonymous", "ø")) == {
        "counted": False,
        "cohorts": [],
        "missing": "No start event at any time.",
        "links": [{"anonymous_id": "ø", "user_id": "ü", "timestamp": "2024-01-02T09:00:00.000Z"}],
    }
