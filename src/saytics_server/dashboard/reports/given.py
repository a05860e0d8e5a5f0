"""The question in a page's address: fields of a GET form, read back as they were written.

    /reports/trends?workspace=acme&event=Order&range=30&filter_property=plan&filter_operator==…

A row of a builder is a set of fields that repeat in step; an empty row is none. Nothing is refused
here but what only the page knows (its ranges): the rest goes to the report as written, so that a
wrong value is answered by the report's own words. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from itertools import zip_longest
from typing import Any

import msgspec

from saytics_server.query.model import invalid

# In the address, what the control says, and the days, today included.
RANGES: dict[str, tuple[str, int]] = {
    "today": ("today", 1),
    "7": ("the last 7 days", 7),
    "30": ("the last 30 days", 30),
    "90": ("the last 90 days", 90),
    "365": ("the last 365 days", 365),
}
CUSTOM = "custom"
RANGE_DEFAULT = "30"

# With the rest as many as there are colours and marks that tell lines apart.
VALUES_SHOWN = 7

# As a report's document writes them, and as people say them.
OPERATORS = {
    "=": "is",
    "!=": "is not",
    "contains": "contains",
    "not_contains": "does not contain",
    ">": "is more than",
    ">=": "is at least",
    "<": "is less than",
    "<=": "is at most",
    "matches": "matches the pattern",
    "is_set": "is there",
    "is_not_set": "is not there",
}
_WITHOUT_VALUE = ("is_set", "is_not_set")


class FilterRow(msgspec.Struct, frozen=True):
    """One condition as somebody wrote it."""

    property: str = ""
    operator: str = "="
    value: str = ""


class Given:
    """The fields of an address."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self.pairs = list(pairs)

    def one(self, name: str, default: str = "") -> str:
        """Return the last value of a field; `default` where it is absent or empty."""
        return next((value for value in reversed(self.every(name)) if value), default)

    def every(self, name: str) -> list[str]:
        """Return all values of a field, empty ones too, in order."""
        return [value for key, value in self.pairs if key == name]

    def rows(self, *names: str) -> list[tuple[str, ...]]:
        """Return fields that repeat in step, row by row; what is missing is empty."""
        return list(zip_longest(*map(self.every, names), fillvalue=""))

    def whole_number(self, name: str, default: int) -> int:
        """Return a field that is a whole number. Raises Refused("invalid_parameter")."""
        text = self.one(name, str(default))
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise invalid(name, f"`{name}` is a whole number.")
        return int(text)

    @property
    def filters(self) -> list[FilterRow]:
        """Return the conditions that name a property."""
        rows = self.rows("filter_property", "filter_operator", "filter_value")
        return [FilterRow(row[0], row[1] or "=", row[2]) for row in rows if row[0]]

    @property
    def range(self) -> str:
        """Return the name of the range asked for."""
        return self.one("range", CUSTOM if self.one("from") or self.one("to") else RANGE_DEFAULT)


def shared_document(given: Given, today: date) -> dict[str, Any]:
    """Return range and filters as every report's document has them. Raises Refused."""
    first, last = _span(given, today)
    bounds = {name: text for name, text in (("from", first), ("to", last)) if text}
    filters = [_filter(row) for row in given.filters]
    return {**bounds, **({"filter": filters} if filters else {})}


def _span(given: Given, today: date) -> tuple[str, str]:
    if given.range == CUSTOM:
        return given.one("from"), given.one("to")
    if given.range not in RANGES:
        raise invalid("range", "This range is not known. Choose one of the list.")
    days = RANGES[given.range][1]
    return (today - timedelta(days=days - 1)).isoformat(), today.isoformat()


def _filter(row: FilterRow) -> dict[str, Any]:
    if row.operator in _WITHOUT_VALUE:
        return {"property": row.property, "operator": row.operator}
    return {"property": row.property, "operator": row.operator, "value": row.value}


def breakdown_document(given: Given) -> dict[str, Any]:
    """Return the breakdown as a report's document has it."""
    wanted = given.one("breakdown")
    return {"breakdown": wanted, "breakdown_limit": VALUES_SHOWN} if wanted else {}
