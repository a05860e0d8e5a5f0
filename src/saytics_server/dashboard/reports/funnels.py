"""Funnels: how many persons come how far through a sequence of steps, and how long they take."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec

from saytics_server.dashboard import wording
from saytics_server.dashboard.reports.builder import Option, Select, Shared, select, shared
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

_STEPS_LEAST = 2
_ORDERS = {
    "ordered": "in this order, anything between",
    "strict": "in this order, nothing between",
    "any": "in any order",
}
_WINDOWS = {
    "1h": "within 1 hour",
    "1d": "within 1 day",
    "7d": "within 7 days",
    "14d": "within 14 days",
    "30d": "within 30 days",
    "90d": "within 90 days",
}
_ATTRIBUTIONS = {"first": "value of the first step that has one", "last": "value of the last one"}
_OVER_TIME = {"": "as one number", "day": "daily", "week": "weekly", "month": "monthly"}


class StepRow(msgspec.Struct, frozen=True):
    """One step of the builder."""

    event: str
    optional: list[Option]


class Builder(msgspec.Struct, frozen=True):
    """The controls of the page."""

    steps: list[StepRow]
    fresh: StepRow
    order: Select
    window: Select
    shared: Shared


class Bar(msgspec.Struct, frozen=True):
    """One step as a bar: its length in percent of the first, and both parts' persons."""

    step: int
    event: str
    optional: bool
    width: str
    reached: Entry
    of_first: str
    of_previous: str
    dropped: Entry
    drop_off: str
    time: str


class Picture(msgspec.Struct, frozen=True):
    """The funnel as bars."""

    bars: list[Bar]


def builder(given: Given) -> Builder:
    """Return the controls as the address sets them; two empty steps where there are none."""
    rows = given.rows("step", "optional")
    rows += [("", "")] * (_STEPS_LEAST - len(rows))
    return Builder(
        steps=[_row(*row) for row in rows],
        fresh=_row("", ""),
        order=select("order", "Order", _ORDERS, given.one("order", "ordered")),
        window=select("window", "Time to convert", _WINDOWS, given.one("window", "14d")),
        shared=shared(
            given,
            select("interval", "Over time", _OVER_TIME, given.one("interval")),
            select("attribution", "Whose value", _ATTRIBUTIONS, given.one("attribution", "first")),
        ),
    )


def _row(event: str, optional: str) -> StepRow:
    return StepRow(
        event,
        [
            Option("", "required", selected=optional != "true"),
            Option("true", "may be skipped", selected=optional == "true"),
        ],
    )


def _steps(given: Given) -> list[dict[str, Any]]:
    return [
        {"event": event, **({"optional": True} if optional == "true" else {})}
        for event, optional in given.rows("step", "optional")
        if event
    ]


def missing(given: Given) -> str:
    """Say what the question still lacks."""
    lacking = _STEPS_LEAST - len(_steps(given))
    if lacking <= 0:
        return ""
    return "Choose the events of at least two steps above; more can be added."


def starter(events: list[str]) -> list[tuple[str, str]]:
    """Return a funnel of the two most frequent events."""
    steps = events[:_STEPS_LEAST]
    if len(steps) < _STEPS_LEAST:
        return []
    return [field for event in steps for field in (("step", event), ("optional", ""))]


def document(given: Given, today: date) -> dict[str, Any]:
    """Return the question as JSON."""
    asked: dict[str, Any] = {
        "steps": _steps(given),
        "order": given.one("order", "ordered"),
        "window": given.one("window", "14d"),
        **shared_document(given, today),
        **breakdown_document(given),
    }
    if given.one("breakdown"):
        asked["attribution"] = given.one("attribution", "first")
    if given.one("interval"):
        asked["interval"] = given.one("interval")
    return asked


def result(answer: dict[str, Any], known: Known) -> Result:
    """Return the answer as it is shown."""
    steps = answer["steps"]
    tables = [_table(steps)]
    if "breakdown" in answer:
        tables.append(_by_value(answer))
    if "data" in answer:
        tables.append(_by_time(answer, known.document["interval"]))
    converted, began = steps[-1]["count"], steps[0]["count"]
    label = f"converted: {converted:,} of {began:,} {wording.counted(began, 'person')}"
    if answer["median_time_s"] is not None:
        label += f", in {wording.duration(1000 * answer['median_time_s'])} at the median"
    return Result(
        headlines=[Headline(wording.share(answer["conversion"]), "", label)],
        chart="",
        summary="",
        tables=tables,
        rules=answer["definition"]["rules"],
        running_note=_running_note(answer),
        is_empty=not began,
        picture=Picture([_bar(step, place, began) for place, step in enumerate(steps, 1)]),
    )


def _bar(step: dict[str, Any], place: int, began: int) -> Bar:
    dropped = count_entry(step["dropped"], cell_text(step=place, dropped=True))
    return Bar(
        step=place,
        event=step["event"],
        optional=step.get("optional", False),
        width=f"{100 * step['count'] / began if began else 0:.2f}",
        reached=count_entry(step["count"], cell_text(step=place)),
        of_first=wording.share(step["conversion_from_first"]),
        of_previous=wording.share(step["conversion_from_previous"]),
        dropped=dropped,
        drop_off=wording.share(step["drop_off"]),
        time=_time(step["median_time_s"]),
    )


def _time(seconds: float | None) -> str:
    return wording.NOTHING if seconds is None else wording.duration(1000 * seconds)


def _table(steps: list[dict[str, Any]]) -> Table:
    heads = ("Persons", "Of the first", "Of the step before", "Left", "Median time", "Mean time")
    rows = []
    for place, step in enumerate(steps, 1):
        left = cell_text(step=place, dropped=True)
        entries = [
            count_entry(step["count"], cell_text(step=place)),
            share_entry(step["conversion_from_first"]),
            share_entry(step["conversion_from_previous"]),
            count_entry(step["dropped"], left),
            Entry(_time(step["median_time_s"]), step["median_time_s"]),
            Entry(_time(step["average_time_s"]), step["average_time_s"]),
        ]
        rows.append(Row(f"{place}. {step['event']}", entries))
    return Table("Steps", "Step", [Column(head) for head in heads], rows)


def _by_value(answer: dict[str, Any]) -> Table:
    columns = [Column(step["event"]) for step in answer["steps"]]
    columns += [Column("Conversion"), Column("Median time")]
    rows = []
    for part in answer["breakdown"]:
        entries = [
            count_entry(step["count"], cell_text(step=place, **value_cell(part)))
            for place, step in enumerate(part["steps"], 1)
        ]
        seconds = part["median_time_s"]
        entries += [share_entry(part["conversion"]), Entry(_time(seconds), seconds)]
        rows.append(Row(shown_value(part), entries))
    return Table("By value of the breakdown", "Value", columns, rows)


def _by_time(answer: dict[str, Any], interval: str) -> Table:
    columns = [*(Column(step["event"]) for step in answer["steps"]), Column("Conversion")]
    rows = [
        Row(
            wording.bucket(row["date"], interval),
            [
                *(
                    count_entry(count, cell_text(step=place, date=row["date"]))
                    for place, count in enumerate(row["counts"], 1)
                ),
                share_entry(row["conversion"]),
            ],
            running="complete" in row,
        )
        for row in reversed(answer["data"])
    ]
    return Table("By when the first step was", interval.capitalize(), columns, rows)


def _running_note(answer: dict[str, Any]) -> str:
    if not any("complete" in row for row in answer.get("data", ())):
        return ""
    return "Running: persons of these rows still have time to convert."


PAGE = ReportPage(
    name="funnels",
    title="Funnels",
    purpose="How many persons come how far, how long they take, and who is lost where.",
    would_be="Bars of how many persons reach each step, and who was lost between them.",
    report="funnels",
    builder=builder,
    document=document,
    result=result,
    missing=missing,
    starter=starter,
)
