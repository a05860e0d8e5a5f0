"""What a value is, when a filter holds, and what a metric makes of values, in plain Python.

A condition here is a triple (keys, operator, text) whose first key says where to look: "user",
"context", "properties" or "field"; `in` takes texts and `is_set` an empty text. A group is a pair
of "and" or "or" and conditions or groups. How either is written is the tests' business.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from oracle.people import Item, person_of, traits_of

Condition = tuple[tuple[str, ...], str, Any]
Filter = tuple[Any, ...]  # a condition or a group

ABSENT = None


def value_of(keys: tuple[str, ...], event: Item, history: list[Item]) -> Any:
    """Return a value as sent; None where it is absent, null or an object."""
    source, *path = keys
    if source == "field":
        return event.get(path[0]) or ABSENT
    if source == "user":
        found: Any = traits_of(person_of(event, history), history)
    else:
        found = event.get(source) or {}
    for key in path:
        if not isinstance(found, dict) or key not in found:
            return ABSENT
        found = found[key]
    return ABSENT if isinstance(found, dict) else found


def holds(filter_: Filter, event: Item, history: list[Item], zone: ZoneInfo) -> bool:
    if len(filter_) == 2:
        joint, parts = filter_
        held = [holds(part, event, history, zone) for part in parts]
        return all(held) if joint == "and" else any(held)
    keys, operator, text = filter_
    value = value_of(keys, event, history)
    if operator in _OPPOSITES:
        return not _fulfils(value, _OPPOSITES[operator], text, zone)
    return _fulfils(value, operator, text, zone)


_OPPOSITES = {"!=": "=", "not_contains": "contains", "not_in": "in", "is_not_set": "is_set"}


def _fulfils(value: Any, operator: str, text: Any, zone: ZoneInfo) -> bool:
    if operator == "is_set":
        return value is not ABSENT
    if operator == "=":
        return _equal(value, text, zone)
    if operator == "in":
        return any(_equal(value, one, zone) for one in text)
    if operator in ("~", "contains"):
        if isinstance(value, list):
            return any(_element_text(element) == text for element in value)
        return isinstance(value, str) and text in value
    if operator == "matches":
        return isinstance(value, str) and re.search(text, value, re.DOTALL) is not None
    compared = _comparable(value, text, zone)
    if compared is None:
        return False
    left, right = compared
    return {">": left > right, ">=": left >= right, "<": left < right, "<=": left <= right}[
        operator
    ]


def _equal(value: Any, text: str, zone: ZoneInfo) -> bool:
    if isinstance(value, str) and value == text:
        return True
    if isinstance(value, bool):
        return text == ("true" if value else "false")
    compared = _comparable(value, text, zone)
    return compared is not None and compared[0] == compared[1]


def _comparable(value: Any, text: str, zone: ZoneInfo) -> tuple[Any, Any] | None:
    """Return both sides as numbers, as times or as texts; None where they are of two kinds."""
    wanted_number = number(text)
    if wanted_number is not None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return Fraction(value), wanted_number
    wanted_time = time_of(text, zone)
    if wanted_time is not None:
        found = time_of(value, zone) if isinstance(value, str) else None
        return None if found is None else (found, wanted_time)
    return (value, text) if isinstance(value, str) else None


def number(text: str) -> Fraction | None:
    """Return the number a text writes as JSON does; one with a fraction is a double."""
    if re.fullmatch(r"-?(0|[1-9][0-9]*)", text):
        return Fraction(int(text))
    if re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", text):
        return Fraction(float(text))
    return None


def time_of(text: str, zone: ZoneInfo) -> datetime | None:
    """Return an ISO 8601 time, cut to milliseconds; a date is its local midnight."""
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            day = date.fromisoformat(text)
            return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
        if not re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}", text):
            return None
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _element_text(element: Any) -> str | None:
    if isinstance(element, bool):
        return "true" if element else "false"
    if isinstance(element, float) and element.is_integer():
        return str(int(element))
    return None if element is None else str(element)


def numbers(values: list[Any]) -> list[Any]:
    return [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]


def aggregate(kind: str, values: list[Any]) -> Any:
    """Return a property's metric over the values of its events, absent ones among them."""
    given = sorted(numbers(values))
    if kind == "sum":
        return sum((Fraction(Decimal(repr(value))) for value in given), Fraction(0))
    if not given:
        return None
    if kind == "avg":
        return sum(Fraction(Decimal(repr(value))) for value in given) / len(given)
    if kind in ("min", "max"):
        return given[0] if kind == "min" else given[-1]
    level = {"median": Fraction(1, 2), "p90": Fraction(9, 10), "p95": Fraction(19, 20)}.get(
        kind, Fraction(99, 100)
    )
    place = level * (len(given) - 1)
    below = int(place)
    above = min(below + 1, len(given) - 1)
    return Fraction(given[below]) + (place - below) * (
        Fraction(given[above]) - Fraction(given[below])
    )
