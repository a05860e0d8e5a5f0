"""Answers that are lines over time: one number per bucket, per series or value of a breakdown.

In: the parts of an answer that have `data`, `total`, perhaps `previous`. Out: the finished result.
"""

from __future__ import annotations

from typing import Any

import msgspec

from saytics_server.dashboard import wording
from saytics_server.dashboard.chart import Chart, Line, encoded
from saytics_server.dashboard.reports.result import (
    Column,
    Entry,
    Headline,
    Result,
    Row,
    Table,
    cell_text,
    count_entry,
    shown_value,
    value_cell,
)


class Drawn(msgspec.Struct):
    """A line: what it is called, its part of the answer, and what a cell of it says."""

    name: str
    part: dict[str, Any]
    cell: dict[str, Any]
    colour: int


def drawn_of(
    part: dict[str, Any], name: str, cell: dict[str, Any], before: int, prefix: str = ""
) -> list[Drawn]:
    """Return the lines of a part, one per value of its breakdown; `before` others stand before."""
    values = part.get("breakdown")
    if not values:
        return [Drawn(name, part, cell, before + 1)]
    return [
        Drawn(
            f"{prefix}: {shown_value(value)}" if prefix else shown_value(value),
            value,
            {**cell, **value_cell(value)},
            place,
        )
        for place, value in enumerate(values, before + 1)
    ]


def over_time(
    drawn: list[Drawn], interval: str, units: tuple[str, str], rules: list[str]
) -> Result:
    """Return lines as they are shown."""
    data = drawn[0].part["data"]
    labels = [wording.bucket(row["date"], interval) for row in data]
    running = [place for place, row in enumerate(data) if "complete" in row]
    chart = Chart(
        kind="line" if len(labels) > 1 else "bar",
        units=units,
        ticks=[wording.tick(row["date"], interval) for row in data],
        labels=labels,
        lines=[line for each in drawn for line in _lines(each)],
        running=running,
    )
    return Result(
        headlines=[_headline(each, len(drawn), units) for each in drawn],
        chart=encoded(chart),
        summary=_summary(chart),
        tables=[_table(drawn, labels, interval, running)],
        rules=rules,
        running_note=f"Dashed: {labels[running[0]]} is still running." if running else "",
        is_empty=not any(value for line in chart.lines for value in line.values),
    )


def _summary(chart: Chart) -> str:
    names = ", ".join(line.name for line in chart.lines)
    return (
        f"{names}, from {chart.labels[0]} to {chart.labels[-1]}. The table below has every number."
    )


def _numbers(part: dict[str, Any]) -> list[Any]:
    return [row["count"] if "count" in row else row["value"] for row in part["data"]]


def _lines(each: Drawn) -> list[Line]:
    lines = [Line(each.name, _plain(each.part), each.colour)]
    if before := each.part.get("previous"):
        lines.append(Line(f"{each.name}, the period before", _plain(before), each.colour, True))
    return lines


def _plain(part: dict[str, Any]) -> list[float | None]:
    return [None if value is None else float(value) for value in _numbers(part)]


def _headline(each: Drawn, of: int, units: tuple[str, str]) -> Headline:
    total = each.part["total"]
    worded = wording.amount(total)
    change = against = ""
    before = each.part.get("previous")
    if before and before["total"] and total is not None:
        compared = wording.compared(float(total), float(before["total"]), "the period before")
        change, against = compared.change, compared.against
    unit = units[0] if total == 1 else units[1]
    return Headline(
        text=worded.short if of == 1 else worded.full,
        title=worded.full,
        label=f"{unit}, {each.name}" if unit and of == 1 else each.name,
        change=change,
        against=against,
        colour=each.colour if of > 1 else 0,
        cell=cell_text(**each.cell) if total else "",
    )


def _table(drawn: list[Drawn], labels: list[str], interval: str, running: list[int]) -> Table:
    columns: list[Column] = []
    for each in drawn:
        columns.append(Column(each.name, each.colour if len(drawn) > 1 else 0))
        if "previous" in each.part:
            columns.append(Column("the period before", quiet=True))
    rows = [
        Row(label, _entries(drawn, place), place in running) for place, label in enumerate(labels)
    ]
    return Table("Every number, the newest first", interval.capitalize(), columns, rows[::-1])


def _entries(drawn: list[Drawn], place: int) -> list[Entry]:
    entries: list[Entry] = []
    for each in drawn:
        parts = [(each.part, each.cell)]
        if before := each.part.get("previous"):
            parts.append((before, {**each.cell, "compare": "previous_period"}))
        for part, cell in parts:
            at = cell_text(date=part["data"][place]["date"], **cell)
            point = f"{len(entries)}-{place}"
            entries.append(count_entry(_numbers(part)[place], at, point=point))
    return entries
