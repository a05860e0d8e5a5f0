"""Active users as documents: values and the rest, the period before, and who is behind a number."""

from __future__ import annotations

from typing import Any

import pytest
from rows import insert_history, instant_ms

from saytics_server.errors import Refused
from saytics_server.event import event_id
from saytics_server.people import Person
from saytics_server.query import active_users, reports
from saytics_server.query.document import read_document
from saytics_server.query.model import Frame
from saytics_server.query.reading import Reader
from saytics_server.sql import sql

NOW = "2024-03-20T12:00:00Z"
HISTORY = [
    {"event": "Login", "userId": "u1", "timestamp": "2024-02-01T12:00:00Z",
     "properties": {"plan": "pro"}},
    {"event": "Login", "userId": "u2", "timestamp": "2024-02-05T12:00:00Z",
     "properties": {"plan": "pro"}},
    {"event": "Visit", "anonymousId": "a3", "timestamp": "2024-02-05T13:00:00Z",
     "properties": {"plan": "free"}},
    {"event": "Login", "userId": "u3", "anonymousId": "a3", "timestamp": "2024-02-07T13:00:00Z",
     "properties": {"plan": "team"}},
]  # fmt: skip
THREE_DAYS = {"report": "users", "from": "2024-02-06", "to": "2024-02-08"}


@pytest.fixture
def reader(store, workspace_id):
    insert_history(
        store,
        workspace_id,
        [{**item, "timestamp": instant_ms(item["timestamp"])} for item in HISTORY],
    )
    return Reader(store, Frame(workspace_id, "UTC", 0, instant_ms(NOW)))


def asked(reader: Reader, **document: Any) -> reports.Asked:
    return reports.asked_by_document({**THREE_DAYS, **document}, reader.frame)


def answer(reader: Reader, **document: Any) -> dict[str, Any]:
    return reports.answer(reader, asked(reader, **document))


def counts(table: dict[str, Any]) -> list[int]:
    return [row["count"] for row in table["data"]]


def test_values_beyond_the_limit_are_one_rest(reader):
    """The value with the most persons of all windows is shown; a person with two of the others
    counts once in the rest; all persons are counted without regard to values."""
    found = answer(reader, metric="wau", breakdown="plan", breakdown_limit=1)
    assert (counts(found), found["total"]) == ([3, 3, 2], 1)
    assert [
        (part["value"], part.get("other"), counts(part), part["total"])
        for part in found["breakdown"]
    ] == [("pro", None, [2, 2, 1], 0), ("other", True, [1, 1, 1], 1)]


def test_a_person_of_two_values_on_one_day_counts_once_in_all(store, workspace_id):
    """And once in each value."""
    noon = instant_ms("2024-02-06T12:00:00Z")
    insert_history(
        store,
        workspace_id,
        [
            {"event": "A", "userId": "u", "timestamp": noon, "properties": {"plan": plan}}
            for plan in ("pro", "free")
        ],
    )
    found = answer(Reader(store, Frame(workspace_id, "UTC", 0, noon)), breakdown="plan")
    assert (counts(found), found["total"]) == ([1, 0, 0], 1)
    assert [counts(part) for part in found["breakdown"]] == [[1, 0, 0], [1, 0, 0]]


def test_few_values_are_shown_in_order_of_their_persons(reader):
    """Where all values fit, they stand by how many persons the windows hold, then by their text."""
    found = answer(reader, metric="wau", breakdown="plan")
    assert [(part["value"], counts(part)) for part in found["breakdown"]] == [
        ("pro", [2, 2, 1]),
        ("free", [1, 1, 1]),
        ("team", [0, 1, 1]),
    ]


def test_the_period_before_has_windows_of_its_own(reader):
    """The three days before, each with the seven days that end with it."""
    found = answer(reader, metric="wau", compare="previous_period")
    assert found["previous"] == {
        "data": [
            {"date": "2024-02-03", "count": 1},
            {"date": "2024-02-04", "count": 1},
            {"date": "2024-02-05", "count": 3},
        ],
        "total": 2,
    }


def test_persons_behind_a_window(reader):
    """A day's cell of `wau` gives the persons of its seven days; without a date those of the range;
    by hour those of the 168 hours."""
    query = asked(reader, metric="wau", breakdown="plan", breakdown_limit=1,
                  compare="previous_period")  # fmt: skip

    def behind(asked_: reports.Asked, **cell: Any) -> list[str]:
        statement = asked_.report.persons(reader, asked_.question, cell)
        return sorted(row[0] for row in reader.rows(sql("SELECT person FROM ({p})", p=statement)))

    assert behind(query) == ["uu3"]
    assert behind(query, date="2024-02-07") == ["uu1", "uu2", "uu3"]
    assert behind(query, date="2024-02-08") == ["uu2", "uu3"]
    assert behind(query, date="2024-02-08", value="pro") == ["uu2"]
    assert behind(query, date="2024-02-08", value="other", other=True) == ["uu3"]
    assert behind(query, date="2024-02-05", compare="previous_period") == ["uu1", "uu2", "uu3"]
    hourly = {"from": "2024-02-08T11:00:00Z", "to": "2024-02-08T12:59:59Z", "interval": "hour"}
    by_hour = asked(reader, metric="wau", **hourly)
    assert behind(by_hour, date="2024-02-08T11:00:00+00:00") == ["uu1", "uu2", "uu3"]
    assert behind(by_hour, date="2024-02-08T12:00:00+00:00") == ["uu2", "uu3"]
    with pytest.raises(Refused) as refusal:
        by_hour.report.persons(reader, by_hour.question, {"value": "pro"})
    assert refusal.value.rejection.field == "cell.value"


def test_a_person_is_explained_window_by_window(reader):
    """Each bucket names the latest event of its window, or by how much the last one was missed."""
    query = asked(reader, metric="wau", event="Login", filter="plan!=team")
    verdict = query.report.explain(reader, query.question, Person("user", "u1"))
    verdict.pop("definition")
    login = {"id": event_id(1), "event": "Login", "timestamp": "2024-02-01T12:00:00.000Z"}
    assert verdict == {
        "counted": False,
        "data": [
            {"date": "2024-02-06", "active": True, "event": login},
            {"date": "2024-02-07", "active": True, "event": login},
            {"date": "2024-02-08", "active": False, "event": login, "missed_by": "12 h"},
        ],
        "missed": 0,
        "misses": [],
        "links": [],
    }
    third = query.report.explain(reader, query.question, Person("user", "u3"))
    assert [row["active"] for row in third["data"]] == [False, False, False]
    assert third["misses"] == [
        {
            "id": event_id(4),
            "event": "Login",
            "timestamp": "2024-02-07T13:00:00.000Z",
            "failed": [{"required": "plan != team", "found": "team"}],
        }
    ]


def test_a_visit_counts_as_its_users_and_the_link_is_shown(reader):
    """u3 is active on the 5th through what the id a3 did two days before it was linked."""
    query = asked(reader, **{"from": "2024-02-05", "to": "2024-02-05"})
    verdict = query.report.explain(reader, query.question, Person("user", "u3"))
    assert verdict["counted"] is True
    assert verdict["data"][0]["event"]["anonymous_id"] == "a3"
    assert verdict["links"] == [
        {"anonymous_id": "a3", "user_id": "u3", "timestamp": "2024-02-07T13:00:00.000Z"}
    ]


def test_the_query_string_and_the_document_ask_the_same():
    """Each parameter of the short form means what the field of its name means."""
    frame = Frame(1, "UTC", 0, instant_ms(NOW))
    short = [
        ("event", "Login"), ("from", "2024-01-08"), ("to", "2024-01-09"), ("interval", "hour"),
        ("filter", "plan=pro"), ("breakdown", "user.plan"), ("metric", "mau"),
        ("breakdown_limit", "3"), ("compare", "previous_period"),
    ]  # fmt: skip
    document = {
        "event": "Login", "from": "2024-01-08", "to": "2024-01-09", "interval": "hour",
        "filter": "plan=pro", "breakdown": "user.plan", "metric": "mau",
        "breakdown_limit": 3, "compare": "previous_period",
    }  # fmt: skip
    read = read_document(document, active_users.Document)
    assert active_users.parse(short, frame) == active_users.question(read, frame)


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"metric": "yau"}, "metric"),
        ({"interval": "minute"}, "interval"),
        ({"compare": "last"}, "compare"),
        ({"breakdown_limit": 201}, "breakdown_limit"),
        ({"cumulative": True}, "cumulative"),
        ({"series": []}, "series"),
    ],
)
def test_a_wrong_document_is_refused_by_name(document, field):
    """The refusal names the field."""
    frame = Frame(1, "UTC", 0, instant_ms(NOW))
    with pytest.raises(Refused) as refusal:
        reports.asked_by_document({**THREE_DAYS, **document}, frame)
    rejection = refusal.value.rejection
    assert (rejection.code, rejection.field) == ("invalid_parameter", field)
