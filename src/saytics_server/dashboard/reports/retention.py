"""Retention: of those who started in an interval, who came back, and when."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from typing import Any

import msgspec

from saytics_server.dashboard import wording
from saytics_server.dashboard.chart import Chart, Line, encoded
from saytics_server.dashboard.reports.builder import Select, Shared, select, shared
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
)

_PERIODS_DEFAULT = 8
_INTERVALS = {"day": "daily", "week": "weekly", "month": "monthly"}
_MODES = {"on": "in exactly that period", "on_or_after": "in that period or later"}
_COHORTS = {
    "first_time": "for the first time in the range",
    "first_ever": "for the first time ever",
    "recurring": "in each period anew",
}
_SHOWN = {"": "as shares", "persons": "as persons"}
_PERIODS = {str(count): f"{count} periods" for count in (4, 7, 8, 12, 14, 30)}
# Steps of colour in the table: more are not told apart.
_HEATS = 5


class Builder(msgspec.Struct, frozen=True):
    """The controls of the page."""

    start: str
    returned: str
    cohort: Select
    mode: Select
    periods: Select
    shared: Shared


def builder(given: Given) -> Builder:
    """Return the controls as the address sets them."""
    return Builder(
        start=given.one("start"),
        returned=given.one("return"),
        cohort=select("cohort", "Who counts", _COHORTS, given.one("cohort", "first_time")),
        mode=select("mode", "Counted as returned", _MODES, given.one("mode", "on")),
        periods=select("periods", "Periods", _PERIODS, given.one("periods", str(_PERIODS_DEFAULT))),
        shared=shared(
            given,
            select("interval", "Interval", _INTERVALS, given.one("interval", "day")),
            select("show", "Numbers", _SHOWN, given.one("show")),
        ),
    )


def document(given: Given, today: date) -> dict[str, Any]:
    """Return the question as JSON."""
    named = {name: given.one(name) for name in ("start", "return") if given.one(name)}
    return {
        **named,
        "interval": given.one("interval", "day"),
        "periods": given.whole_number("periods", _PERIODS_DEFAULT),
        "mode": given.one("mode", "on"),
        "cohort": given.one("cohort", "first_time"),
        **shared_document(given, today),
        **breakdown_document(given),
    }


def result(answer: dict[str, Any], known: Known) -> Result:
    """Return the answer as it is shown."""
    interval = answer["interval"]
    periods = [f"{interval.capitalize()} {period}" for period in range(answer["periods"])]
    tables = [_table(answer, periods, known.given.one("show") == "persons")]
    lines = [Line("all persons", answer["overall"])]
    if "breakdown" in answer:
        tables.append(_by_value(answer, periods))
        lines = [
            Line(shown_value(part), part["overall"], place)
            for place, part in enumerate(answer["breakdown"], 1)
        ]
    size = sum(cohort["size"] for cohort in answer["cohorts"])
    chart = Chart("line", ("", ""), periods, periods, lines, [], is_share=True)
    is_open = not all(all(cohort["complete"]) for cohort in answer["cohorts"])
    return Result(
        headlines=_headlines(answer, lines, interval, size),
        chart=encoded(chart),
        summary="Share of persons who returned, by period. The table below has every number.",
        tables=tables,
        rules=answer["definition"]["rules"],
        running_note="Hatched: the period is still running, so the number can grow."
        if is_open
        else "",
        is_empty=not size,
    )


def _headlines(
    answer: dict[str, Any], lines: list[Line], interval: str, size: int
) -> list[Headline]:
    period = min(1, answer["periods"] - 1)
    when = f"in {interval} {period}"
    if len(lines) == 1:
        # The share is of those whose period is over, who may be fewer than all.
        told = f"came back {when}; {size:,} {wording.counted(size, 'person')} started"
        return [Headline(wording.share(answer["overall"][period]), "", told)]
    return [
        Headline(wording.share(line.values[period]), when, line.name, colour=line.colour)
        for line in lines
    ]


def _table(answer: dict[str, Any], periods: list[str], as_persons: bool) -> Table:
    interval = answer["interval"]
    # Period 0 holds nearly everybody: it would leave no colour for the others.
    most = max((_share(c, p) for c in answer["cohorts"] for p in range(1, len(periods))), default=0)
    mean = [_heated(share_entry(share), share, most) for share in answer["overall"]]
    size = sum(cohort["size"] for cohort in answer["cohorts"])
    rows = [Row("All, weighted", [count_entry(size), *mean])]
    for cohort in answer["cohorts"]:
        entries = [count_entry(cohort["size"], cell_text(date=cohort["date"]))]
        for period in range(len(periods)):
            entries.append(_cell(cohort, period, most, as_persons))
        rows.append(Row(wording.bucket(cohort["date"], interval), entries))
    columns = [Column("Persons"), *map(Column, periods)]
    return Table("By when they started", f"Started in {interval}", columns, rows)


def _share(cohort: dict[str, Any], period: int) -> float:
    size: int = cohort["size"]
    return cohort["counts"][period] / size if size else 0.0


def _cell(cohort: dict[str, Any], period: int, most: float, as_persons: bool) -> Entry:
    count, share = cohort["counts"][period], _share(cohort, period)
    complete = cohort["complete"][period]
    if not cohort["size"] or (not complete and not count):
        return Entry("", None, open=not complete)
    cell = cell_text(date=cohort["date"], period=period) if count else ""
    if as_persons:
        entry = Entry(f"{count:,}", float(count), cell)
    else:
        told = f"{count:,} {wording.counted(count, 'person')}"
        entry = Entry(wording.share(share), share, cell, title=told)
    heated = _heated(entry, share, most)
    return msgspec.structs.replace(heated, open=not complete)


def _heated(entry: Entry, share: float | None, most: float) -> Entry:
    strength = min(1.0, (share or 0) / most) if most else 0.0
    return msgspec.structs.replace(entry, heat=math.ceil(strength * _HEATS))


def _by_value(answer: dict[str, Any], periods: Sequence[str]) -> Table:
    rows = [
        Row(
            shown_value(part),
            [
                count_entry(sum(cohort["size"] for cohort in part["cohorts"])),
                *map(share_entry, part["overall"]),
            ],
        )
        for part in answer["breakdown"]
    ]
    columns = [Column("Persons"), *map(Column, periods)]
    return Table("By value of the breakdown", "Value", columns, rows)


PAGE = ReportPage(
    name="retention",
    title="Retention",
    purpose="Of those who started, how many came back, and for how long they stay.",
    would_be="A table of who came back, by when they began.",
    report="retention",
    builder=builder,
    document=document,
    result=result,
)
