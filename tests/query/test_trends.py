"""Trends as documents: series, formulas, the period before, and what stands behind a number."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from rows import insert_history, instant_ms

from saytics_server.errors import Refused
from saytics_server.event import event_id
from saytics_server.people import Person
from saytics_server.query import reports, trends
from saytics_server.query.document import read_document
from saytics_server.query.model import Frame
from saytics_server.query.reading import Reader
from saytics_server.sql import sql

NOW = "2024-01-20T12:00:00Z"
# Orders of the 8th and 9th, visits of these days and of the 6th, one order of the 7th.
HISTORY = [
    {"event": "Visit", "anonymousId": "a1", "timestamp": "2024-01-06T10:00:00Z"},
    {"event": "Order", "userId": "u3", "timestamp": "2024-01-07T10:00:00Z",
     "properties": {"amount": 7, "plan": "free"}},
    {"event": "Visit", "anonymousId": "a1", "timestamp": "2024-01-08T08:00:00Z",
     "properties": {"plan": "pro"}},
    {"event": "Visit", "userId": "u2", "timestamp": "2024-01-08T09:00:00Z",
     "properties": {"plan": "a/b"}},
    {"event": "Order", "userId": "u1", "anonymousId": "a1", "timestamp": "2024-01-08T10:00:00Z",
     "properties": {"amount": 0.1, "plan": "pro"}},
    {"event": "Order", "userId": "u1", "timestamp": "2024-01-09T10:00:00Z",
     "properties": {"amount": 0.2, "plan": "pro"}},
    {"event": "Order", "userId": "u2", "timestamp": "2024-01-09T11:00:00Z",
     "properties": {"amount": "much", "plan": "a/b"}},
    {"event": "Refund", "userId": "ü", "timestamp": "2024-01-09T12:00:00Z",
     "properties": {"amount": 0.3}},
]  # fmt: skip
TWO_DAYS = {"report": "events", "from": "2024-01-08", "to": "2024-01-09"}


@pytest.fixture
def reader(store, workspace_id):
    insert_history(
        store,
        workspace_id,
        [{**item, "timestamp": instant_ms(item["timestamp"])} for item in HISTORY],
    )
    return Reader(store, Frame(workspace_id, "UTC", 0, instant_ms(NOW)))


def asked(reader: Reader, **document: Any) -> reports.Asked:
    return reports.asked_by_document({**TWO_DAYS, **document}, reader.frame)


def answer(reader: Reader, **document: Any) -> dict[str, Any]:
    given = reports.answer(reader, asked(reader, **document))
    given.pop("definition")
    return given


def days(key: str, *numbers: Any, first: int = 8) -> list[dict[str, Any]]:
    return [{"date": f"2024-01-{first + i:02}", key: n} for i, n in enumerate(numbers)]


def test_several_series_stand_in_a_list_with_their_formulas(reader):
    """Names default to A, B, C; each series has its own events, filters and metric; a formula
    computes its total from the totals."""
    assert answer(
        reader,
        series=[
            {"event": "Order", "metric": "users"},
            {"event": "Visit", "metric": "users"},
            {"name": "money", "events": ["Order", "Refund"], "metric": "sum:amount"},
        ],
        formulas=["A / B * 100", "money - A"],
    ) == {
        "interval": "day",
        "series": [
            {"name": "A", "event": "Order", "metric": "users",
             "data": days("count", 1, 2), "total": 2},
            {"name": "B", "event": "Visit", "metric": "users",
             "data": days("count", 2, 0), "total": 2},
            {"name": "money", "events": ["Order", "Refund"], "metric": "sum:amount",
             "data": days("value", Decimal("0.1"), Decimal("0.5")), "total": Decimal("0.6")},
        ],
        "formulas": [
            {"formula": "A / B * 100", "data": days("value", 50, None), "total": 100},
            {"formula": "money - A",
             "data": days("value", Decimal("-0.9"), Decimal("-1.5")), "total": Decimal("-1.4")},
        ],
    }  # fmt: skip


def test_filters_of_the_report_hold_in_every_series(reader):
    """Those of a series come on top."""
    found = answer(
        reader,
        filter={"property": "plan", "operator": "is_set"},
        series=[{"filter": "plan=pro"}, {"event": "Visit"}, {"event": "Refund"}],
    )
    assert [line["total"] for line in found["series"]] == [3, 2, 0]


def test_one_series_stands_flat_with_or_without_formulas(reader):
    """Asked by `event` and `metric` the answer has the shape of the query string's."""
    assert answer(reader, event="Order", formulas=["A * 2"]) == {
        "event": "Order",
        "interval": "day",
        "metric": "count",
        "data": days("count", 1, 2),
        "total": 3,
        "formulas": [{"formula": "A * 2", "data": days("value", 2, 4), "total": 6}],
    }


def test_a_breakdown_has_the_same_values_in_every_series(reader):
    """Values are the largest of the first series, then of the next; the rest is the same rest."""
    found = answer(
        reader,
        series=[{"event": "Order"}, {"event": "Visit"}, {"event": "Refund"}],
        formulas=["A + B + C"],
        breakdown="plan",
        breakdown_limit=2,
    )
    totals = {
        line.get("name", "sum"): {
            (part["value"], part.get("other", False)): part["total"] for part in line["breakdown"]
        }
        for line in [*found["series"], *found["formulas"]]
    }
    assert totals == {
        "A": {("pro", False): 2, ("a/b", False): 1, ("other", True): 0},
        "B": {("pro", False): 1, ("a/b", False): 1, ("other", True): 0},
        "C": {("pro", False): 0, ("a/b", False): 0, ("other", True): 1},
        "sum": {("pro", False): 3, ("a/b", False): 2, ("other", True): 1},
    }


def test_values_of_persons_are_ordered_by_how_many(reader):
    """Most persons first, equal ones by their text, whether all values fit or not; a limit holds
    for all series together."""
    wide = {"from": "2024-01-06", "breakdown": "plan", "metric": "users"}
    found = answer(reader, **wide)
    assert [(part["value"], part["total"]) for part in found["breakdown"]] == [
        (None, 2), ("a/b", 1), ("free", 1), ("pro", 1),
    ]  # fmt: skip
    cut = answer(reader, **wide, breakdown_limit=2)
    assert [(part["value"], part["total"]) for part in cut["breakdown"]] == [
        (None, 2), ("a/b", 1), ("other", 2),
    ]  # fmt: skip
    two = answer(
        reader,
        series=[{"event": "Refund"}, {"event": "Order"}, {"event": "Visit"}],
        breakdown="plan",
        breakdown_limit=2,
    )
    assert [part["value"] for part in two["series"][2]["breakdown"]] == [None, "pro", "other"]


def test_cumulative_numbers_count_from_the_start(reader):
    """Each bucket holds the metric of everything so far: persons once, means of all, and what there
    was where nothing came."""
    wide = {"from": "2024-01-06", "to": "2024-01-10", "cumulative": True}
    users = answer(reader, metric="users", **wide)
    assert users["data"] == days("count", 1, 2, 3, 4, 4, first=6)
    assert users["total"] == 4
    mean = answer(reader, metric="avg:amount", event="Order", **wide)
    third = pytest.approx(7.3 / 3)
    assert [row["value"] for row in mean["data"]] == [None, 7, 3.55, third, third]
    middle = answer(reader, metric="median:amount", event="Order", **wide)
    assert [row["value"] for row in middle["data"]] == [None, 7, pytest.approx(3.55), 0.2, 0.2]


def test_the_period_before_stands_beside(reader):
    """Data and total of the equally long range before, bucket by bucket, per value and formula."""
    found = answer(
        reader, event="Visit", compare="previous_period", breakdown="plan", formulas=["A - 1"]
    )
    assert found["data"] == days("count", 2, 0)
    assert found["previous"] == {"data": days("count", 1, 0, first=6), "total": 1}
    assert found["formulas"][0]["previous"] == {
        "data": days("value", 0, -1, first=6),
        "total": 0,
    }
    # What had no plan then is none of the values of now.
    assert {part["value"]: part["previous"]["total"] for part in found["breakdown"]} == {
        "a/b": 0,
        "pro": 0,
        "other": 1,
    }


def test_as_of_leaves_out_what_came_later(store, workspace_id):
    """Events and links received after that time are not known, and its day was still running."""
    insert_history(
        store,
        workspace_id,
        [
            {"event": "A", "anonymousId": "a", "timestamp": instant_ms("2024-01-08T10:00:00Z")},
            {"event": "A", "userId": "u", "timestamp": instant_ms("2024-01-08T11:00:00Z")},
            {"event": "A", "userId": "u", "timestamp": instant_ms("2024-01-08T11:30:00Z"),
             "receivedAt": "2024-01-10T00:00:00Z"},
            {"type": "identify", "userId": "u", "anonymousId": "a",
             "timestamp": instant_ms("2024-01-08T12:00:00Z"), "receivedAt": "2024-01-10T00:00:00Z"},
        ],
    )  # fmt: skip
    frame = Frame(workspace_id, "UTC", 0, instant_ms(NOW))

    def at(as_of):
        document = {"report": "events", "from": "2024-01-08", "to": "2024-01-08", **as_of}
        both = reports.asked_by_document({**document, "series": [{}, {"metric": "users"}]}, frame)
        return [
            (line["total"], line["data"][0].get("complete", True))
            for line in reports.answer(Reader(store, both.frame), both)["series"]
        ]

    assert at({}) == [(3, True), (1, True)]
    assert at({"as_of": "2024-01-09"}) == [(2, True), (2, True)]
    assert at({"as_of": "2024-01-08T10:30:00Z"}) == [(1, False), (1, False)]


def test_the_query_string_and_the_document_ask_the_same():
    """Each parameter of the short form means what the field of its name means."""
    frame = Frame(1, "UTC", 0, instant_ms(NOW))
    short = [
        ("event", "Order"), ("from", "2024-01-08"), ("to", "2024-01-09"), ("interval", "week"),
        ("filter", "plan=pro"), ("filter", "amount>1"), ("breakdown", "user.plan"),
        ("metric", "sum:amount"), ("breakdown_limit", "3"), ("compare", "previous_period"),
        ("cumulative", "true"),
    ]  # fmt: skip
    document = {
        "event": "Order", "from": "2024-01-08", "to": "2024-01-09", "interval": "week",
        "filter": ["plan=pro", "amount>1"], "breakdown": "user.plan", "metric": "sum:amount",
        "breakdown_limit": 3, "compare": "previous_period", "cumulative": True,
    }  # fmt: skip
    read = read_document(document, trends.Document)
    assert trends.parse(short, frame) == trends.question(read, frame)
    asked_then = reports.asked_by_parameters("events", [("as_of", "2024-01-09")], frame)
    assert asked_then.frame.as_of_ms == instant_ms("2024-01-10") - 1


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"colour": "red"}, "colour"),
        ({"series": []}, "series"),
        ({"series": [{}] * 11}, "series"),
        ({"series": [{}], "event": "A"}, "event"),
        ({"series": [{}], "metric": "count"}, "metric"),
        ({"series": [{"name": "1st"}]}, "series[0].name"),
        ({"series": [{}, {"name": "A"}]}, "series[1].name"),
        ({"series": [{"event": "A", "events": ["B"]}]}, "series[0].events"),
        ({"series": [{"events": ["x"] * 101}]}, "series[0].events"),
        ({"series": [{"metric": "sum"}]}, "series[0].metric"),
        ({"series": [{"metric": "sum:user.mrr"}]}, "series[0].metric"),
        ({"series": [{"filter": "plan"}]}, "series[0].filter"),
        ({"series": [{"colour": 1}]}, "series[0].colour"),
        ({"formulas": ["A", "B"]}, "formulas[1]"),
        ({"formulas": ["A"] * 11}, "formulas"),
        ({"compare": "previous_year"}, "compare"),
        ({"breakdown_limit": 0}, "breakdown_limit"),
        ({"breakdown_limit": 201}, "breakdown_limit"),
        ({"cumulative": "yes"}, "cumulative"),
        ({"as_of": "yesterday"}, "as_of"),
    ],
)
def test_a_wrong_document_is_refused_by_name(document, field):
    """The refusal names the field, with its place in a list."""
    frame = Frame(1, "UTC", 0, instant_ms(NOW))
    with pytest.raises(Refused) as refusal:
        reports.asked_by_document({**TWO_DAYS, **document}, frame)
    rejection = refusal.value.rejection
    assert (rejection.code, rejection.field) == ("invalid_parameter", field)


def test_an_answer_of_too_many_numbers_is_refused():
    """Two years by hour with 25 values are 17,544 buckets; a year by day with 200 is enough."""
    frame = Frame(1, "UTC", 0, instant_ms(NOW))
    year = {"report": "events", "from": "2023-01-01", "to": "2023-12-31", "breakdown": "plan"}
    reports.asked_by_document({**year, "breakdown_limit": 200}, frame)
    with pytest.raises(Refused, match="range_too_large"):
        reports.asked_by_document(
            {**year, "breakdown_limit": 200, "series": [{}] * 3, "compare": "previous_period"},
            frame,
        )


def test_persons_behind_cells_of_every_kind(reader):
    """A cell by date, value, rest, series and period before gives who is counted there; for a
    property's metric those who had a number."""
    three = asked(
        reader,
        series=[{"event": "Order", "metric": "sum:amount"}, {"name": "seen", "event": "Visit"}],
        breakdown="plan",
        breakdown_limit=1,
        compare="previous_period",
    )

    def behind(**cell):
        rows = reader.rows(
            sql("SELECT person FROM ({p})", p=three.report.persons(reader, three.question, cell))
        )
        return sorted(row[0] for row in rows)

    assert behind(series="A") == ["uu1"]
    assert behind(series="A", value="a/b") == []
    assert behind(series="seen") == ["uu1", "uu2"]
    assert behind(series="seen", date="2024-01-09") == []
    assert behind(series="seen", value="a/b") == ["uu2"]
    assert behind(series="seen", value="other", other=True) == ["uu2"]
    assert behind(series="seen", value=None) == []
    assert behind(series="seen", value={"a": 1}) == []
    assert behind(series="seen", compare="previous_period") == ["uu1"]
    assert behind(series="A", compare="previous_period", date="2024-01-07") == ["uu3"]


def test_persons_of_a_cumulative_cell_are_those_of_the_range_so_far(reader):
    """As many as the bucket shows."""
    query = asked(reader, metric="users", cumulative=True, **{"from": "2024-01-06"})
    statement = query.report.persons(reader, query.question, {"date": "2024-01-08"})
    rows = reader.rows(sql("SELECT person FROM ({p})", p=statement))
    assert sorted(row[0] for row in rows) == ["uu1", "uu2", "uu3"]


@pytest.mark.parametrize(
    ("cell", "field"),
    [
        ({"day": "2024-01-08"}, "cell.day"),
        ({"date": "2024-01-10"}, "cell.date"),
        ({"date": 5}, "cell.date"),
        ({"series": "B"}, "cell.series"),
        ({"value": "pro"}, "cell.value"),
        ({"compare": "previous_period"}, "cell.compare"),
    ],
)
def test_a_wrong_cell_is_refused_by_name(reader, cell, field):
    """Unknown fields, labels and series answer invalid_parameter, and so does a value where there
    is no breakdown or a period before where none was asked for."""
    plain = asked(reader)
    with pytest.raises(Refused) as refusal:
        plain.report.persons(reader, plain.question, cell)
    assert refusal.value.rejection.field == field


def test_one_of_several_series_must_be_named(reader):
    """Without `series` there is no telling whose persons."""
    two = asked(reader, series=[{}, {}])
    with pytest.raises(Refused) as refusal:
        two.report.persons(reader, two.question, {})
    assert refusal.value.rejection.field == "cell.series"


def test_a_person_is_explained_event_by_event(reader):
    """What counts stands under its bucket; of what nearly does it says which filter failed and what
    was there instead; and the links that made visits the user's."""
    query = asked(
        reader,
        series=[
            {"events": ["Order", "Visit"], "metric": "sum:amount", "filter": "plan=pro"},
        ],
    )
    verdict = query.report.explain(reader, query.question, Person("user", "u1"))
    verdict.pop("definition")
    visit = {"id": event_id(3), "event": "Visit", "timestamp": "2024-01-08T08:00:00.000Z",
             "anonymous_id": "a1"}  # fmt: skip
    first = {"id": event_id(5), "event": "Order", "timestamp": "2024-01-08T10:00:00.000Z"}
    second = {"id": event_id(6), "event": "Order", "timestamp": "2024-01-09T10:00:00.000Z"}
    assert verdict == {
        "counted": True,
        "series": [
            {
                "name": "A",
                "events": ["Order", "Visit"],
                "metric": "sum:amount",
                "counted": 2,
                "data": [
                    {"date": "2024-01-08", "counted": 1, "events": [first]},
                    {"date": "2024-01-09", "counted": 1, "events": [second]},
                ],
                "missed": 1,
                "misses": [
                    {**visit, "failed": [{"required": "a number for sum:amount", "found": None}]}
                ],
            }
        ],
        "links": [{"anonymous_id": "a1", "user_id": "u1", "timestamp": "2024-01-08T10:00:00.000Z"}],
    }


def test_a_miss_names_every_filter_that_failed(reader):
    """In words, with the event's own value where one value decides."""
    query = asked(
        reader,
        event="Order",
        filter=[
            {"property": "plan", "operator": "in", "value": ["pro", "team"]},
            {"or": ["amount>5", {"property": "user.vip", "operator": "is_set"}]},
            {"property": "amount", "operator": "is_set"},
        ],
    )
    verdict = query.report.explain(reader, query.question, Person("user", "u2"))
    assert verdict["counted"] is False
    assert verdict["series"][0]["misses"] == [
        {
            "id": event_id(7),
            "event": "Order",
            "timestamp": "2024-01-09T11:00:00.000Z",
            "failed": [
                {"required": "plan in pro, team", "found": "a/b"},
                {"required": "(amount > 5 or user.vip is_set)"},
            ],
        }
    ]


def test_what_an_anonymous_id_did_is_its_users(reader):
    """Asked for the id itself, nothing counts, and the link says whose it is."""
    query = asked(reader)
    verdict = query.report.explain(reader, query.question, Person("anonymous", "a1"))
    assert verdict["counted"] is False
    assert [link["user_id"] for link in verdict["links"]] == ["u1"]


def test_lists_of_an_explanation_are_short_and_its_counts_are_not(store, workspace_id):
    """Of 50 events of a day the first ten are listed, and all are counted."""
    begin = instant_ms("2024-01-08T00:00:00Z")
    insert_history(
        store,
        workspace_id,
        [{"event": "A", "userId": "u", "timestamp": begin + i * 60_000} for i in range(50)],
    )
    reader = Reader(store, Frame(workspace_id, "UTC", 0, instant_ms(NOW)))
    query = asked(reader)
    verdict = query.report.explain(reader, query.question, Person("user", "u"))
    (row,) = verdict["series"][0]["data"]
    assert (row["counted"], [e["id"] for e in row["events"]]) == (
        50,
        [event_id(position) for position in range(1, 11)],
    )


def test_the_definition_says_what_was_done(reader):
    """Metrics, rest, accumulation, formulas and the period before stand in words."""
    query = asked(
        reader,
        series=[{}, {"metric": "users"}],
        formulas=["A / B"],
        breakdown="plan",
        cumulative=True,
        compare="previous_period",
    )
    rules = reports.answer(reader, query)["definition"]["rules"]
    for start in ("count: events", "users: distinct", "The 25 values", "cumulative:", "Formulas",
                  "previous: the range and its buckets moved back by its length in local days:"
                  " 2024-01-06T00:00:00.000Z to 2024-01-07T23:59:59.999Z."):  # fmt: skip
        assert any(rule.startswith(start) for rule in rules), start
