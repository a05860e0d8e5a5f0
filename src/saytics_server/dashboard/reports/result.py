"""What a report's page shows of an answer: numbers in words, a chart, tables, and the definition.

Every number in a table that persons are behind carries its cell: the JSON by which the report is
asked for them. Charts have no cells of their own: a point is the number of the same name (`point`).
"""

from __future__ import annotations

import csv
import io
from typing import Any

import msgspec

from saytics_server.dashboard import wording

# A spreadsheet takes what begins with one of these for a formula, which strangers could have sent.
_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n")


class Entry(msgspec.Struct, frozen=True):
    """One number of a table, or a word. `heat` is its strength from 0 to 5; `cell` is JSON.

    `open` says that it can still change, `title` is said on hover.
    """

    text: str
    value: float | str | None = None
    cell: str = ""
    point: str = ""
    heat: int = -1
    open: bool = False
    title: str = ""


class Column(msgspec.Struct, frozen=True):
    """The head of a column; `colour` is that of its line in the chart, 0 without one."""

    label: str
    colour: int = 0
    quiet: bool = False


class Row(msgspec.Struct, frozen=True):
    """One row: what it is of, and its numbers; `running` is not yet over."""

    label: str
    entries: list[Entry]
    running: bool = False


class Table(msgspec.Struct, frozen=True):
    """A table; the first column holds the rows' labels."""

    caption: str
    corner: str
    columns: list[Column]
    rows: list[Row]


class Headline(msgspec.Struct, frozen=True):
    """One number that answers the question, and what it is."""

    text: str
    title: str
    label: str
    change: str = ""
    against: str = ""
    colour: int = 0
    cell: str = ""


class Result(msgspec.Struct, frozen=True):
    """One answer, as it is shown; `picture` is drawn by a template of the page's own."""

    headlines: list[Headline]
    chart: str
    summary: str
    tables: list[Table]
    rules: list[str]
    running_note: str = ""
    is_empty: bool = False
    picture: msgspec.Struct | None = None


def cell_text(**labels: Any) -> str:
    """Return a cell as JSON."""
    return msgspec.json.encode(labels).decode()


def count_entry(value: Any, cell: str = "", *, point: str = "", open_: bool = False) -> Entry:
    """Return a number as an entry."""
    plain = None if value is None else float(value)
    return Entry(wording.amount(value).full, plain, cell if value else "", point, open=open_)


def share_entry(value: float | None) -> Entry:
    """Return a share of one as an entry."""
    return Entry(wording.share(value), value)


def shown_value(part: dict[str, Any]) -> str:
    """Word the value of a breakdown: as sent, the rest as `other`, absent as `(none)`."""
    if part.get("other"):
        return "other values"
    if "shown" in part:
        return str(part["shown"])
    value = part["value"]
    if isinstance(value, str):
        return value or "(empty)"
    return "(none)" if value is None else msgspec.json.encode(value).decode()


def name_cohort(answer: dict[str, Any], name: str) -> None:
    """Give the two parts of a breakdown by cohort their words, in place."""
    for whole in answer.get("series", [answer]):
        for part in whole["breakdown"]:
            part["shown"] = cohort_words(part["value"], name)


def cohort_words(value: Any, name: str) -> str:
    """Word whether somebody is in a cohort."""
    return f"in {name}" if value else f"not in {name}"


def value_cell(part: dict[str, Any]) -> dict[str, Any]:
    """Return how a cell names the value of a breakdown."""
    return {"other": True} if part.get("other") else {"value": part["value"]}


def as_csv(tables: list[Table]) -> str:
    """Return the tables as a spreadsheet reads them: numbers plain, and no text a formula."""
    written = io.StringIO()
    writer = csv.writer(written)
    for place, table in enumerate(tables):
        if place:
            writer.writerow([])
        writer.writerow(map(_safe, [table.corner, *(column.label for column in table.columns)]))
        for row in table.rows:
            writer.writerow([_safe(row.label), *(_plain(entry) for entry in row.entries)])
    return written.getvalue()


def _plain(entry: Entry) -> str | float | int:
    if isinstance(entry.value, float):
        return int(entry.value) if entry.value.is_integer() else entry.value
    if isinstance(entry.value, str):
        return _safe(entry.value)
    return "" if entry.text == wording.NOTHING else _safe(entry.text)


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA_SIGNS) else text
