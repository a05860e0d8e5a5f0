"""Stickiness: on how many days, weeks or months of the range persons are active."""

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
    count_entry,
    share_entry,
    shown_value,
    value_cell,
)


class Builder(msgspec.Struct, frozen=True):
    """The controls of the page."""

    event: str
    shared: Shared


def builder(given: Given) -> Builder:
    """Return the controls as the address sets them."""
    return Builder(given.one("event"), shared(given, interval_select(given)))


def document(given: Given, today: date) -> dict[str, Any]:
    """Return the question as JSON."""
    return {
        **({"event": given.one("event")} if given.one("event") else {}),
        "interval": given.one("interval", "day"),
        **shared_document(given, today),
        **breakdown_document(given),
    }


def result(answer: dict[str, Any], known: Known) -> Result:
    """Return the answer as it is shown."""
    interval, data = answer["interval"], answer["data"]
    labels = [f"{row['intervals']} {wording.counted(row['intervals'], interval)}" for row in data]
    parts = answer.get("breakdown") or [answer]
    names = [shown_value(part) if "breakdown" in answer else "persons" for part in parts]
    lines = [
        Line(name, [float(row["count"]) for row in part["data"]], colour)
        for colour, (name, part) in enumerate(zip(names, parts, strict=True), 1)
    ]
    ticks = [str(row["intervals"]) for row in data]
    total = answer["total"]
    chart = Chart("bar", ("person", "persons"), ticks, labels, lines, [])
    return Result(
        headlines=[
            Headline(
                wording.share(answer["dau_mau"]),
                "",
                "of the persons of 30 days are active on a day (DAU / MAU);"
                f" {total:,} {wording.counted(total, 'person')} in the range",
            )
        ],
        chart=encoded(chart),
        summary=f"Persons by the number of {interval}s they were active on."
        " The table below has every number.",
        tables=[_table(answer, labels, parts, names), _daily(answer["dau_mau_data"])],
        rules=answer["definition"]["rules"],
        is_empty=not total,
    )


def _table(
    answer: dict[str, Any], labels: list[str], parts: list[dict[str, Any]], names: list[str]
) -> Table:
    columns: list[Column] = []
    for colour, name in enumerate(names, 1):
        columns += [Column(name, colour if len(names) > 1 else 0), Column("share")]
    rows = []
    for place, label in enumerate(labels):
        entries: list[Entry] = []
        for line, part in enumerate(parts):
            count = part["data"][place]["count"]
            of_value = value_cell(part) if "breakdown" in answer else {}
            cell = cell_text(intervals=part["data"][place]["intervals"], **of_value)
            entries.append(count_entry(count, cell, point=f"{line}-{place}"))
            entries.append(share_entry(count / part["total"] if part["total"] else None))
        rows.append(Row(label, entries))
    return Table("Active on exactly so many", "Active on", columns, rows)


def _daily(data: list[dict[str, Any]]) -> Table:
    rows = [
        Row(
            wording.bucket(row["date"], "day"),
            [
                count_entry(row["dau"], cell_text(date=row["date"], metric="dau")),
                count_entry(row["mau"], cell_text(date=row["date"], metric="mau")),
                share_entry(row["dau_mau"]),
            ],
            running="complete" in row,
        )
        for row in reversed(data)
    ]
    columns = [Column("On the day"), Column("In the 30 days up to it"), Column("DAU / MAU")]
    return Table("Active persons per day", "Day", columns, rows)


PAGE = ReportPage(
    name="stickiness",
    title="Stickiness",
    purpose="How regularly persons come: on how many days, weeks or months they are active.",
    would_be="Bars of how many persons are active on one day, on two, and so on.",
    report="stickiness",
    builder=builder,
    document=document,
    result=result,
)
