"""Active users: how many different persons did something, per bucket or in trailing windows."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec

from saytics_server.dashboard.reports.builder import (
    COMPARISONS,
    Select,
    Shared,
    interval_select,
    select,
    shared,
)
from saytics_server.dashboard.reports.given import Given, breakdown_document, shared_document
from saytics_server.dashboard.reports.over_time import drawn_of, over_time
from saytics_server.dashboard.reports.report_page import Known, ReportPage
from saytics_server.dashboard.reports.result import Result

_METRICS = {
    "dau": "active in the interval itself",
    "wau": "active in the 7 days up to it",
    "mau": "active in the 30 days up to it",
}


class Builder(msgspec.Struct, frozen=True):
    """The controls of the page."""

    metric: Select
    event: str
    shared: Shared


def builder(given: Given) -> Builder:
    """Return the controls as the address sets them."""
    return Builder(
        metric=select("metric", "Active when", _METRICS, given.one("metric", "dau")),
        event=given.one("event"),
        shared=shared(
            given,
            interval_select(given),
            select("compare", "Comparison", COMPARISONS, given.one("compare")),
        ),
    )


def document(given: Given, today: date) -> dict[str, Any]:
    """Return the question as JSON."""
    chosen = {name: given.one(name) for name in ("event", "compare") if given.one(name)}
    return {
        "metric": given.one("metric", "dau"),
        "interval": given.one("interval", "day"),
        **chosen,
        **shared_document(given, today),
        **breakdown_document(given),
    }


def result(answer: dict[str, Any], known: Known) -> Result:
    """Return the answer as it is shown."""
    did = known.given.one("event")
    name = f"with {did}" if did else "active in the range"
    drawn = drawn_of(answer, name, {}, 0)
    rules = answer["definition"]["rules"]
    return over_time(drawn, answer["interval"], ("person", "persons"), rules)


PAGE = ReportPage(
    name="active-users",
    title="Active users",
    purpose="How many different persons did something: per day, week or month.",
    would_be="A line of how many different persons were active.",
    report="users",
    builder=builder,
    document=document,
    result=result,
)
