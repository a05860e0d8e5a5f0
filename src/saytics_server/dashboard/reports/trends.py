"""Trends: how often something happens, or how much it is, per interval; one line per series."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec

from saytics_server.dashboard.reports.builder import (
    COMPARISONS,
    Option,
    Select,
    Shared,
    interval_select,
    select,
    shared,
)
from saytics_server.dashboard.reports.given import Given, breakdown_document, shared_document
from saytics_server.dashboard.reports.over_time import Drawn, drawn_of, over_time
from saytics_server.dashboard.reports.report_page import Known, ReportPage
from saytics_server.dashboard.reports.result import Result

# In the address, and how the builder says it; those below need a property.
METRICS = {
    "count": "events",
    "users": "unique persons",
    "per_person": "events per person",
    "sum": "the sum of",
    "avg": "the average of",
    "min": "the least of",
    "max": "the most of",
    "median": "the median of",
    "p90": "the 90th percentile of",
    "p99": "the 99th percentile of",
}
_WITHOUT_PROPERTY = ("count", "users", "per_person")
_UNITS = {"count": ("event", "events"), "users": ("person", "persons")}
_RUNNING_TOTALS = {"": "each on its own", "true": "running total"}


class SeriesRow(msgspec.Struct, frozen=True):
    """One series of the builder."""

    event: str
    metric: Select
    property: str


class Builder(msgspec.Struct, frozen=True):
    """The controls of the page."""

    series: list[SeriesRow]
    fresh: SeriesRow
    shared: Shared


def builder(given: Given) -> Builder:
    """Return the controls as the address sets them."""
    rows = given.rows("event", "metric", "metric_property") or [("", "count", "")]
    return Builder(
        series=[_row(*row) for row in rows],
        fresh=_row("", "count", ""),
        shared=shared(
            given,
            interval_select(given),
            select("compare", "Comparison", COMPARISONS, given.one("compare")),
            select("cumulative", "Totals", _RUNNING_TOTALS, given.one("cumulative")),
        ),
    )


def _row(event: str, metric: str, property_: str) -> SeriesRow:
    chosen = metric or "count"
    listed = select("metric", "What is counted", METRICS, chosen)
    options = [
        Option(each.value, each.label, each.selected, detail=each.value not in _WITHOUT_PROPERTY)
        for each in listed.options
    ]
    return SeriesRow(event, Select(listed.name, listed.label, options), property_)


def document(given: Given, today: date) -> dict[str, Any]:
    """Return the question as JSON."""
    rows = given.rows("event", "metric", "metric_property") or [("", "count", "")]
    asked: dict[str, Any] = {
        "series": [_series(*row) for row in rows],
        "interval": given.one("interval", "day"),
        **shared_document(given, today),
        **breakdown_document(given),
    }
    if given.one("compare"):
        asked["compare"] = given.one("compare")
    if given.one("cumulative") == "true":
        asked["cumulative"] = True
    return asked


def _series(event: str, metric: str, property_: str) -> dict[str, Any]:
    kind = metric or "count"
    written = kind if kind in _WITHOUT_PROPERTY else f"{kind}:{property_}"
    return {**({"event": event} if event else {}), "metric": written}


def result(answer: dict[str, Any], known: Known) -> Result:
    """Return the answer as it is shown."""
    drawn: list[Drawn] = []
    for one in answer["series"]:
        is_said = len(answer["series"]) == 1 and one["metric"] in _UNITS
        name = one.get("event") or "any event" if is_said else series_name(one)
        shown = name if len(answer["series"]) > 1 else ""
        drawn += drawn_of(one, name, {"series": one["name"]}, len(drawn), shown)
    return over_time(drawn, answer["interval"], _units(answer), answer["definition"]["rules"])


def series_name(one: dict[str, Any]) -> str:
    """Word a series: its event, and what of it is counted where that is not events."""
    event = one.get("event") or "any event"
    kind, _, of = one["metric"].partition(":")
    if kind == "count":
        return event
    return f"{METRICS[kind]} {of}, {event}" if of else f"{METRICS[kind]}, {event}"


def _units(answer: dict[str, Any]) -> tuple[str, str]:
    kinds = {one["metric"] for one in answer["series"]}
    return _UNITS.get(kinds.pop(), ("", "")) if len(kinds) == 1 else ("", "")


PAGE = ReportPage(
    name="trends",
    title="Trends",
    purpose="How often something happens, by how many, and how much it adds up to.",
    would_be="A line of how often your events happen, with one line per value of any property.",
    report="events",
    builder=builder,
    document=document,
    result=result,
)
