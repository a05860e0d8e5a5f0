"""What a report is asked for, as values: who asks and when, over which range, of which events.

Every report parses its parameters with `Parameters`, which refuses by name what it does not know,
what is given twice and what is missing. Nothing here touches the store.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

import msgspec

from saytics_server.errors import Refused

Interval = Literal["hour", "day", "week", "month"]
INTERVALS: tuple[Interval, ...] = ("hour", "day", "week", "month")

# Where a name is looked up; `field` is the event itself.
Source = Literal["properties", "context", "user", "field"]

# The first that fits is taken, so the longer stand before their beginnings.
Operator = Literal["!=", ">=", "<=", "=", ">", "<", "~"]
OPERATORS: tuple[Operator, ...] = ("!=", ">=", "<=", "=", ">", "<", "~")


class Frame(msgspec.Struct, frozen=True):
    """Whose events, in which calendar, asked when."""

    workspace_id: int
    timezone: str
    week_start: int  # 0 = Monday … 6 = Sunday
    now_ms: int


class Range(msgspec.Struct, frozen=True):
    """Milliseconds since the epoch, both ends included."""

    from_ms: int
    to_ms: int


class Reference(msgspec.Struct, frozen=True):
    """The name of a value: a path of keys in an event's properties or context, a trait of the
    person (further keys lead into it), or a field of the event itself."""

    source: Source
    keys: tuple[str, ...]


class Filter(msgspec.Struct, frozen=True):
    """A condition on one value of an event, as it was written."""

    reference: Reference
    operator: Operator
    value: str


class Selection(msgspec.Struct, frozen=True):
    """Which events a report looks at; no event name means all."""

    event: str | None
    filters: tuple[Filter, ...] = ()


class Parameters:
    """A query string's parameters, read once each and refused where they do not fit."""

    def __init__(
        self,
        pairs: Sequence[tuple[str, str]],
        known: Collection[str],
        *,
        repeatable: Collection[str] = (),
    ) -> None:
        """Take the decoded pairs in order. Raises Refused("invalid_parameter")."""
        self._pairs = pairs
        seen: set[str] = set()
        for name, _ in pairs:
            if name not in known:
                raise invalid(name, f"`{name}` is not a parameter here. Known: {_list(known)}.")
            if name in seen and name not in repeatable:
                raise invalid(name, f"`{name}` may be given once.")
            seen.add(name)

    def one(self, name: str) -> str | None:
        """Return the value of a parameter, None where it is absent or empty."""
        return next((value for key, value in self._pairs if key == name and value), None)

    def every(self, name: str) -> tuple[str, ...]:
        """Return all values of a repeatable parameter, in order."""
        return tuple(value for key, value in self._pairs if key == name)

    def choice(self, name: str, choices: Collection[str], default: str) -> str:
        """Return a parameter that is one of `choices`."""
        value = self.one(name) or default
        if value not in choices:
            raise invalid(name, f"`{name}` is one of {_list(choices)}.")
        return value

    def whole_number(self, name: str, default: int, *, most: int) -> int:
        """Return a parameter that is a whole number from 1 to `most`."""
        text = self.one(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
            raise invalid(name, f"`{name}` is a whole number from 1 to {most}.")
        return int(text)


def invalid(name: str, message: str) -> Refused:
    """Return the refusal of one parameter."""
    return Refused("invalid_parameter", message, field=name)


def _list(names: Collection[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
