"""One cell of a report's answer, as somebody names it who asks for its persons. Pure.

    {"date": "2024-01-08", "period": 2, "value": "pro"}

A cell is the JSON object of labels that stand around its number in the answer. Fields that the
report does not have, or that it needs and does not get, are refused by name as `cell.FIELD`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from saytics_server.query.breakdown import value_text
from saytics_server.query.model import choice, invalid
from saytics_server.query.periods import Buckets
from saytics_server.query.reading import Reader
from saytics_server.query.scan import OTHER

# In a report without a breakdown these two are no fields of a cell.
VALUE_FIELDS = ("value", "other")


class Cell:
    """The fields of one cell, each read once by the report that knows what they mean."""

    def __init__(self, fields: Mapping[str, Any], known: Collection[str]) -> None:
        """Take the fields as decoded. Raises Refused("invalid_parameter")."""
        for name in fields:
            if name not in known:
                names = ", ".join(f"`{field}`" for field in known)
                raise invalid(f"cell.{name}", f"`{name}` is not a field of this cell: {names}.")
        self._fields = fields

    def has(self, name: str) -> bool:
        """Return whether a field is given, and not null."""
        return self._fields.get(name) is not None

    def bucket(self, buckets: Buckets) -> int:
        """Return the place of the bucket whose label is `date`."""
        label = self._fields.get("date")
        if not isinstance(label, str) or label not in buckets.labels:
            raise invalid("cell.date", "`date` is the date of a row of the answer.")
        return buckets.labels.index(label)

    def whole_number(self, name: str, least: int, most: int) -> int:
        """Return a field that is a whole number from `least` to `most`."""
        number = self._fields.get(name)
        if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
            raise invalid(f"cell.{name}", f"`{name}` is a whole number from {least} to {most}.")
        return number

    def choice(self, name: str, choices: Collection[str]) -> str:
        """Return a field that is one of `choices`."""
        return choice(f"cell.{name}", str(self._fields.get(name, "")), choices)

    def breakdown_value(self, reader: Reader) -> str | None:
        """Return the text of the breakdown value, OTHER for the rest, None for all values."""
        if "other" in self._fields:
            if self._fields["other"] is not True or self._fields.get("value", OTHER) != OTHER:
                raise invalid("cell.other", "`other` is true, for the values not shown.")
            return OTHER
        return value_text(reader, self._fields["value"]) if "value" in self._fields else None
