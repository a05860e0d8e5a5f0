"""Lifecycle: who is new, stays, comes back or goes quiet, interval by interval."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec

from saytics_server.dashboard import wording
from saytics_server.dashboard.chart import Chart, Line, encoded
from saytics_server.dashboard.reports.builder import Shared, interval_select, shared
from saytics_server.dashboard.reports.given import Given, breakdown_document, shared_document
from saytics_server.dashboard.reports.report_page import Known, ReportPage
from saytics_server.dashboard.reports.result import (
    Column,
    Entry,
    Headline,
    Result,
    Row,
    Table,
    cell_text,
    shown_value,
    value_cell,
)
from saytics_server.dashboard.reports.verdicts import LIFECYCLE_KINDS


class Builder(msgspec.Struct, frozen=True):
    """The controls of the page."""

    event: str
    shared: Shared


def builder(given: Given) -> Builder:
    """Return the controls as the address sets them."""
    return Builder(given.one("event"), shared(given, interval_select(given, default="week")))


def document(given: Given, today: date) -> dict[str, Any]:
    """Return the question as JSON."""
    return {
        **({"event": given.one("event")} if given.one("event") else {}),
        "interval": given.one("interval", "week"),
        **shared_document(given, today),
        **breakdown_document(given),
    }


def result(answer: dict[str, Any], known: Known) -> Result:
    """Return the answer as it is shown."""
    interval, data = answer["interval"], answer["data"]
    labels = [wording.bucket(row["date"], interval) for row in data]
    running = [place for place, row in enumerate(data) if "complete" in row]
    lines = [
        Line(said, [float(row[kind]) for row in data], colour)
        for colour, (kind, said) in enumerate(LIFECYCLE_KINDS.items(), 1)
    ]
    ticks = [wording.tick(row["date"], interval) for row in data]
    chart = Chart("stack", ("person", "persons"), ticks, labels, lines, running)
    tables = [_table("Everybody", data, interval, {})]
    tables += [
        _table(shown_value(part), part["data"], interval, value_cell(part))
        for part in answer.get("breakdown", ())
    ]
    return Result(
        headlines=_headlines(data, interval),
        chart=encoded(chart),
        summary=f"New, staying, returning and quiet persons from {labels[0]} to {labels[-1]}."
        " The table below has every number.",
        tables=tables,
        rules=answer["definition"]["rules"],
        running_note=f"Hatched: {labels[running[0]]} is still running." if running else "",
        is_empty=not any(value for line in lines for value in line.values),
    )


def _headlines(data: list[dict[str, Any]], interval: str) -> list[Headline]:
    """Return the latest interval that is over, kind by kind: a legend with numbers."""
    over = [row for row in data if "complete" not in row] or data
    latest = over[-1]
    when = wording.bucket(latest["date"], interval)
    return [
        Headline(
            f"{abs(latest[kind]):,}",
            when,
            f"{said}, {when}" if place == 1 else said,
            colour=place,
            cell=cell_text(date=latest["date"], kind=kind) if latest[kind] else "",
        )
        for place, (kind, said) in enumerate(LIFECYCLE_KINDS.items(), 1)
    ]


def _table(caption: str, data: list[dict[str, Any]], interval: str, cell: dict[str, Any]) -> Table:
    columns = [Column(said, colour) for colour, said in enumerate(LIFECYCLE_KINDS.values(), 1)]
    rows = [
        Row(
            wording.bucket(row["date"], interval),
            [_entry(row, place, line, cell) for line in range(len(LIFECYCLE_KINDS))],
            running="complete" in row,
        )
        for place, row in enumerate(data)
    ]
    return Table(caption, interval.capitalize(), columns, rows[::-1])


def _entry(row: dict[str, Any], place: int, line: int, cell: dict[str, Any]) -> Entry:
    kind = list(LIFECYCLE_KINDS)[line]
    count = row[kind]
    at = cell_text(date=row["date"], kind=kind, **cell) if count else ""
    # Points of the chart are everybody's.
    point = "" if cell else f"{line}-{place}"
    return Entry(wording.number(count).full, float(count), at, point)


PAGE = ReportPage(
    name="lifecycle",
    title="Lifecycle",
    purpose="Whether growth comes from new persons, from those who stay, or is lost again.",
    would_be="Bars of new, staying, returning and quiet persons.",
    report="lifecycle",
    builder=builder,
    document=document,
    result=result,
)
