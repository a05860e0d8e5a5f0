"""What is kept answers only the question asked now: time that passes changes the question."""

from __future__ import annotations

from typing import Any

import pytest
from rows import insert_history, instant_ms

from saytics_server.query import reports
from saytics_server.query.model import Frame
from saytics_server.query.reading import Reader
from saytics_server.store import NotKeptError, Store
from saytics_server.store.turns import Asker

TWO_DAYS = {"report": "events", "event": "Order", "from": "2024-01-08", "to": "2024-01-09"}
# What each report is asked besides, over its default range.
REPORTS: list[dict[str, Any]] = [
    {"report": "events", "event": "Order", "metric": "users"},
    {"report": "users", "metric": "wau"},
    {"report": "funnels", "steps": [{"event": "Visit"}, {"event": "Order"}]},
    {"report": "retention", "start": {"event": "Visit"}, "return": {"event": "Order"}},
    {"report": "lifecycle"},
    {"report": "stickiness"},
    {"report": "paths", "start": {"event": "Visit"}},
]


@pytest.fixture
def workspace(store, workspace_id):
    """A workspace with a visitor who orders the next day."""
    times = {"Visit": "2024-01-08T10:00:00Z", "Order": "2024-01-09T10:00:00Z"}
    insert_history(
        store,
        workspace_id,
        [
            {"event": name, "userId": "ü", "timestamp": instant_ms(time)}
            for name, time in times.items()
        ],
    )
    return workspace_id


def ask(store: Store, workspace_id: int, document: Any, now: str, **cohorts: Any) -> dict[str, Any]:
    """Return the answer of a report as it is worked out at a time, in the thread's turn or not."""
    frame = Frame(workspace_id, "UTC", 0, instant_ms(now), cohorts=cohorts)
    return reports.answer(Reader(store, frame), reports.asked_by_document(document, frame))


def ask_first(store: Store, workspace_id: int, *question: Any, **cohorts: Any) -> dict[str, Any]:
    """Ask in a turn, so that the answer is kept."""
    turn = store.turns.ask(Asker(workspace_id, "key"), lambda: None)
    with store.in_turn(turn):
        return ask(store, workspace_id, *question, **cohorts)


def test_a_bucket_that_ends_is_complete_in_the_kept_answer(store, workspace):
    """The numbers are kept, and what is running is said of the time of asking."""
    first = ask_first(store, workspace, TWO_DAYS, "2024-01-09T23:59:59Z")
    with store.from_kept(workspace):
        later = ask(store, workspace, TWO_DAYS, "2024-01-10T00:00:00Z")
    assert [bucket.get("complete", True) for bucket in first["data"]] == [True, False]
    assert [bucket.get("complete", True) for bucket in later["data"]] == [True, True]
    assert [bucket["count"] for bucket in later["data"]] == [0, 1]


@pytest.mark.parametrize("document", REPORTS, ids=lambda document: document["report"])
def test_a_default_range_is_kept_for_its_day_alone(store, workspace, document):
    """Every report is kept until midnight, when the last thirty days are others."""
    first = ask_first(store, workspace, document, "2024-01-20T10:00:00Z")
    with store.from_kept(workspace):
        assert ask(store, workspace, document, "2024-01-20T23:59:59Z") == first
        with pytest.raises(NotKeptError):
            ask(store, workspace, document, "2024-01-21T00:00:00Z")


def test_a_cohort_of_the_last_days_is_worked_out_every_time(store, workspace):
    """Its window moves with every millisecond."""
    document = {**TWO_DAYS, "filter": "cohort=7"}
    visitors = {"did": {"event": "Visit", "last_days": 3}}
    now, later = "2024-01-10T10:00:00.000Z", "2024-01-10T10:00:00.001Z"
    ask_first(store, workspace, document, now, **{"7": visitors})
    with store.from_kept(workspace):
        assert ask(store, workspace, document, now, **{"7": visitors})["total"] == 1
        with pytest.raises(NotKeptError):
            ask(store, workspace, document, later, **{"7": visitors})
