"""The faces of funnels: what is refused, what it says of its rules, whom it counts and why."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from rows import insert_history, instant_ms

from saytics_server.errors import Refused
from saytics_server.people import Person
from saytics_server.query import funnels, reports
from saytics_server.query.document import read_document
from saytics_server.query.model import Frame
from saytics_server.query.reading import Reader
from saytics_server.query.reports import Asked, PersonsDocument

NOW = "2024-03-01T00:00:00Z"
DAYS = {"from": "2024-01-01", "to": "2024-01-02"}
STEPS = [("steps", "A"), ("steps", "B")]
HOUR = {"event": "B", "optional": True}


def frame_of(workspace_id: int = 1, **fields: Any) -> Frame:
    return Frame(workspace_id, "UTC", 0, instant_ms(NOW), **fields)


def event(name: str, at: str, user: str = "ü", **fields: Any) -> dict[str, Any]:
    ids = {} if "anonymousId" in fields else {"userId": user}
    return {"event": name, "timestamp": instant_ms(f"2024-01-{at}Z"), **ids, **fields}


def question_of(frame: Frame, **document: Any) -> Any:
    return funnels.question(read_document({**DAYS, **document}, funnels.Document), frame)


def refusal(call: Any, *arguments: Any, **fields: Any) -> tuple[str, str | None]:
    with pytest.raises(Refused) as raised:
        call(*arguments, **fields)
    return raised.value.rejection.code, raised.value.rejection.field


@pytest.mark.parametrize(
    ("parameters", "code", "field"),
    [
        ([("event", "A")], "invalid_parameter", "event"),
        ([("steps", "A")], "invalid_parameter", "steps"),
        ([("steps", "A")] * 21, "invalid_parameter", "steps"),
        ([*STEPS, ("steps", "")], "invalid_parameter", "steps"),
        ([*STEPS, ("order", "loose")], "invalid_parameter", "order"),
        ([*STEPS, ("tie", "later")], "invalid_parameter", "tie"),
        ([*STEPS, ("tie", "strict"), ("order", "any")], "invalid_parameter", "tie"),
        ([*STEPS, ("window", "14")], "invalid_parameter", "window"),
        ([*STEPS, ("window", "0d")], "invalid_parameter", "window"),
        ([*STEPS, ("window", "1.5h")], "invalid_parameter", "window"),
        ([*STEPS, ("window", "367d")], "invalid_parameter", "window"),
        ([*STEPS, ("interval", "year")], "invalid_parameter", "interval"),
        ([*STEPS, ("attribution", "middle")], "invalid_parameter", "attribution"),
        ([*STEPS, ("attribution", "3")], "invalid_parameter", "attribution.step"),
        ([*STEPS, ("breakdown_limit", "201")], "invalid_parameter", "breakdown_limit"),
        ([*STEPS, ("filter", "plan")], "invalid_parameter", "filter"),
        ([*STEPS, ("from", "2024-02-01"), ("to", "2024-01-01")], "invalid_parameter", "from"),
        (
            [*STEPS, ("from", "2014-01-01"), ("to", "2024-01-01"), ("interval", "hour")],
            "range_too_large",
            "interval",
        ),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(parameters, code, field):
    """Too few and too many steps, unknown choices and what does not fit name their parameter."""
    assert refusal(funnels.parse, parameters, frame_of()) == (code, field)


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"steps": ["A", "B"], "colour": "red"}, "colour"),
        ({"steps": ["A", {"event": "B", "optionl": True}]}, "steps[1].optionl"),
        ({"steps": ["A", {"event": "B", "events": ["C"]}]}, "steps[1].events"),
        ({"steps": ["A", {"events": ["B"] * 51}]}, "steps[1].events"),
        ({"steps": ["A", {"event": "B", "filter": "plan"}]}, "steps[1].filter"),
        ({"steps": [HOUR, "B"]}, "steps[0].optional"),
        ({"steps": ["A", HOUR]}, "steps[1].optional"),
        ({"steps": ["A", HOUR, "C"], "order": "strict"}, "steps[1].optional"),
        (
            {"steps": ["A", "B"], "exclusions": [{"event": "X", "from_step": 2, "to_step": 1}]},
            "exclusions[0].to_step",
        ),
        (
            {"steps": ["A", "B"], "exclusions": [{"event": "X", "from_step": 1, "to_step": 3}]},
            "exclusions[0].to_step",
        ),
        (
            {"steps": ["A", HOUR, "C"], "exclusions": [{"from_step": 2, "to_step": 3}]},
            "exclusions[0].from_step",
        ),
        ({"steps": ["A", "B"], "exclusions": [{"from_step": 1, "to_step": 2}] * 11}, "exclusions"),
        (
            {"steps": ["A", "B"], "order": "any", "exclusions": [{"from_step": 1, "to_step": 2}]},
            "exclusions",
        ),
        ({"steps": ["A", "B"], "attribution": {"step": 0}}, "attribution.step"),
    ],
)
def test_a_wrong_field_of_a_document_is_refused_by_its_place(document, field):
    """Unknown fields, optional ends, and exclusions between no steps name where they stand."""
    assert refusal(question_of, frame_of(), **document) == ("invalid_parameter", field)


@pytest.mark.parametrize(
    ("cell", "field"),
    [
        ({}, "cell.step"),
        ({"step": 0}, "cell.step"),
        ({"step": 3}, "cell.step"),
        ({"step": 1, "dropped": "yes"}, "cell.dropped"),
        ({"step": 1, "date": "2024-01-01"}, "cell.date"),
        ({"step": 1, "value": "pro"}, "cell.value"),
    ],
)
def test_a_cell_the_answer_does_not_have_is_refused_by_name(store, workspace_id, cell, field):
    """A cell is a step, and a date or a value only where the answer has one."""
    frame = frame_of(workspace_id)
    query = question_of(frame, steps=["A", "B"])
    asked = refusal(funnels.persons, Reader(store, frame), query, cell)
    assert asked == ("invalid_parameter", field)


def test_an_empty_workspace_has_a_whole_answer(store, workspace_id):
    """Without events every step and bucket is there, with 0, and what is of nothing is null."""
    frame = frame_of(workspace_id)
    query = question_of(frame, steps=["A", "B"], interval="day", breakdown="plan")
    answer = funnels.run(Reader(store, frame), query)
    nobody = {"count": 0, "dropped": 0} | dict.fromkeys(
        (
            "conversion_from_first",
            "conversion_from_previous",
            "drop_off",
            "average_time_s",
            "median_time_s",
        )
    )
    assert answer["steps"] == [{"event": name, **nobody} for name in "AB"]
    assert (answer["conversion"], answer["median_time_s"], answer["breakdown"]) == (None, None, [])
    assert {bin_["count"] for bin_ in answer["histogram"]} == {0}
    assert answer["data"] == [
        {"date": date, "counts": [0, 0], "conversion": None} for date in DAYS.values()
    ]


def test_the_definition_says_what_was_used(store, workspace_id):
    """Order, ties, window, exclusions, optional steps and attribution stand in the answer."""
    frame = frame_of(workspace_id)
    query = question_of(
        frame,
        steps=["A", HOUR, "C"],
        tie="strict",
        window="90m",
        exclusions=[{"event": "X", "from_step": 1, "to_step": 3}],
        breakdown="plan",
        attribution={"step": 3},
    )
    told = funnels.run(Reader(store, frame), query)["definition"]
    assert (told["order"], told["tie"], told["window"]) == ("ordered", "strict", "90m")
    rules = " ".join(told["rules"])
    for part in ("in this order", "tie=strict", "90m", "optional", "`X`", "event of step 3"):
        assert part in rules, part


def test_the_histogram_counts_conversions_by_their_time(store, workspace_id):
    """Bins are as people speak of time, each with its beginning; the last includes its end."""
    times = ["10:00:00", "10:00:09", "10:00:10", "10:30:00"]
    for user, time in enumerate(times):
        history = [event("A", "01T10:00:00", str(user)), event("B", f"01T{time}", str(user))]
        insert_history(store, workspace_id, history)
    frame = frame_of(workspace_id)
    answer = funnels.run(Reader(store, frame), question_of(frame, steps=["A", "B"], window="30m"))
    assert [(bin_["from_s"], bin_["to_s"], bin_["count"]) for bin_ in answer["histogram"]] == [
        (0, 1, 1), (1, 10, 1), (10, 60, 1), (60, 300, 0), (300, 900, 0), (900, 1800, 1),
    ]  # fmt: skip


def test_values_beyond_the_largest_are_one_and_their_persons_can_be_asked_for(store, workspace_id):
    """The rest is `other`; its counts and persons are those of all the values not shown."""
    for user, plan in [("a", "pro"), ("b", "pro"), ("c", "free"), ("d", "team")]:
        history = [
            event(name, f"01T10:00:0{second}", user, properties={"plan": plan})
            for second, name in enumerate("AB")
        ]
        insert_history(store, workspace_id, history[: 1 if user == "d" else 2])
    frame = frame_of(workspace_id)
    query = question_of(frame, steps=["A", "B"], breakdown="plan", breakdown_limit=1)
    reader = Reader(store, frame)
    answer = funnels.run(reader, query)
    parts = [
        (part["value"], [step["count"] for step in part["steps"]]) for part in answer["breakdown"]
    ]
    assert parts == [("pro", [2, 2]), ("other", [2, 1])]
    asked = Asked(reports.REPORTS["funnels"], query, frame)
    cell = {"step": 2, "other": True, "dropped": True}
    assert reports.persons(reader, asked, PersonsDocument({}, cell)) == {
        "status": "ok",
        "count": 1,
        "persons": [{"type": "user", "id": "d"}],
        "next_cursor": None,
    }


EXPLAINED = [
    (
        {"steps": ["A", "C"], "window": "1h"},
        [event("A", "01T10:00:00"), event("C", "01T13:00:00")],
        "`C` (evt_0000000000002) came 2 h after the window of 1h had passed.",
    ),
    (
        {"steps": ["A", "C"], "order": "strict"},
        [event("A", "01T10:00:00"), event("X", "01T10:01:00"), event("C", "01T10:02:00")],
        "`C` (evt_0000000000003) came 2 min after step 1, with other events between.",
    ),
    (
        {"steps": ["A", "C"], "exclusions": [{"event": "X", "from_step": 1, "to_step": 2}]},
        [event("A", "01T10:00:00"), event("X", "01T10:01:00"), event("C", "01T10:02:00")],
        "The exclusion `X` came 1 min after step 1, at 2024-01-01T10:01:00.000Z.",
    ),
    (
        {"steps": ["A", "C"], "tie": "strict"},
        [event("A", "01T10:00:00"), event("C", "01T10:00:00")],
        "No event of this step after step 1; the last one came 0 ms before.",
    ),
    (
        {"steps": ["A", "C"]},
        [event("C", "01T09:00:00"), event("A", "01T10:00:00")],
        "No event of this step after step 1; the last one came 1 h before.",
    ),
    ({"steps": ["A", "C"]}, [event("A", "01T10:00:00")], "No event of this step at any time."),
    (
        {"steps": ["A", "C"], "order": "any"},
        [event("C", "01T10:00:00")],
        "Inside the window of 14d there were events for 1 different steps.",
    ),
]


@pytest.mark.parametrize(("document", "history", "missing"), EXPLAINED)
def test_what_a_person_lacked_is_said_with_by_how_much(
    store, workspace_id, document, history, missing
):
    """The first step missed names the event that came too late, too early or not at all."""
    insert_history(store, workspace_id, history)
    frame = frame_of(workspace_id)
    query = question_of(frame, **document)
    verdict = funnels.explain(Reader(store, frame), query, Person("user", "ü"))
    assert [step.get("missing") for step in verdict["steps"]] == [None, missing]


@pytest.mark.parametrize(
    ("history", "missing"),
    [
        ([event("C", "01T10:00:00")], "No event of step 1, `A`, in the range."),
        (
            [event("A", "05T00:00:00"), event("C", "05T10:00:00")],
            "No event of step 1, `A`, in the range: one came 2 d after it ends.",
        ),
    ],
)
def test_why_nobody_is_counted_is_said(store, workspace_id, history, missing):
    """Without an event of the first step in the range there is no attempt, near as it may be."""
    insert_history(store, workspace_id, history)
    frame = frame_of(workspace_id)
    query = question_of(frame, steps=["A", "C"])
    assert funnels.explain(Reader(store, frame), query, Person("user", "ü")) == {
        "counted": False,
        "steps": [],
        "missing": missing,
        "links": [],
    }


def test_an_explanation_names_events_times_and_the_link_that_decided(store, workspace_id):
    """Steps name their events and how long they took; a visitor's events the link they came by."""
    link = {"type": "identify", "userId": "ü", "anonymousId": "visitor"}
    insert_history(
        store,
        workspace_id,
        [
            event("A", "01T10:00:00", anonymousId="visitor"),
            {**link, "timestamp": instant_ms("2024-01-01T10:00:05Z")},
            event("C", "01T10:00:30"),
        ],
    )
    frame = frame_of(workspace_id)
    query = question_of(frame, steps=["A", HOUR, "C"], window="1h")
    verdict = funnels.explain(Reader(store, frame), query, Person("user", "ü"))
    assert verdict == {
        "counted": True,
        "window": {"from": "2024-01-01T10:00:00.000Z", "to": "2024-01-01T11:00:00.000Z"},
        "steps": [
            {
                "step": 1,
                "event": "A",
                "counted": True,
                "filled_by": {
                    "id": "evt_0000000000001",
                    "event": "A",
                    "timestamp": "2024-01-01T10:00:00.000Z",
                    "anonymous_id": "visitor",
                },
                "after_previous_s": None,
            },
            {
                "step": 2,
                "event": "B",
                "counted": False,
                "missing": "Optional, and no event was left for it.",
            },
            {
                "step": 3,
                "event": "C",
                "counted": True,
                "filled_by": {
                    "id": "evt_0000000000003",
                    "event": "C",
                    "timestamp": "2024-01-01T10:00:30.000Z",
                },
                "after_previous_s": 30.0,
            },
        ],
        "links": [
            {
                "anonymous_id": "visitor",
                "user_id": "ü",
                "timestamp": "2024-01-01T10:00:05.000Z",
            }
        ],
    }


@pytest.mark.parametrize("order", ["ordered", "any"])
def test_a_step_used_twice_is_filled_by_two_events_of_one_time(store, workspace_id, order):
    """Two events alike in name and time fill a step each, the first stored the first."""
    insert_history(store, workspace_id, [event("A", "01T10:00:00"), event("A", "01T10:00:00")])
    frame = frame_of(workspace_id)
    query = question_of(frame, steps=["A", "A"], order=order)
    verdict = funnels.explain(Reader(store, frame), query, Person("user", "ü"))
    ids = [step["filled_by"]["id"] for step in verdict["steps"]]
    assert ids == ["evt_0000000000001", "evt_0000000000002"]


def test_twenty_steps_are_counted_like_two(store, workspace_id):
    """The longest funnel there may be is answered, each step on its own."""
    history = [event(f"S{step}", f"01T10:00:{step:02}") for step in range(15)]
    insert_history(store, workspace_id, history)
    frame = frame_of(workspace_id)
    for order in ("ordered", "strict", "any"):
        query = question_of(frame, steps=[f"S{step}" for step in range(20)], order=order)
        answer = funnels.run(Reader(store, frame), query)
        assert [step["count"] for step in answer["steps"]] == [1] * 15 + [0] * 5


def test_both_forms_ask_the_same(store, workspace_id):
    """Every parameter of the query string is the field of the document of its name."""
    frame = frame_of(workspace_id)
    parameters = [
        *STEPS, *DAYS.items(), ("window", "1h"), ("order", "strict"), ("tie", "strict"),
        ("filter", "plan=pro"), ("breakdown", "plan"), ("breakdown_limit", "3"),
        ("attribution", "2"), ("interval", "week"),
    ]  # fmt: skip
    document = {
        "steps": ["A", "B"], "window": "1h", "order": "strict", "tie": "strict",
        "filter": ["plan=pro"], "breakdown": "plan", "breakdown_limit": 3,
        "attribution": {"step": 2}, "interval": "week",
    }  # fmt: skip
    assert msgspec.to_builtins(funnels.parse(parameters, frame)) == msgspec.to_builtins(
        question_of(frame, **document)
    )
