"""What a report is asked for, as values: who asks and when, over which range, of which events.

Every report parses its parameters with `Parameters`, which refuses by name what it does not know,
what is given twice and what is missing. Nothing here touches the store.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, get_args

import msgspec

from saytics_server.errors import Refused

Interval = Literal["hour", "day", "week", "month"]
INTERVALS: tuple[Interval, ...] = ("hour", "day", "week", "month")

# Where a name is looked up: `field` is the event itself, `cohort` a saved group of persons.
Source = Literal["properties", "context", "user", "field", "cohort"]

Operator = Literal[
    "=", "!=", ">", ">=", "<", "<=", "contains", "not_contains", "matches", "in", "not_in",
    "is_set", "is_not_set",
]  # fmt: skip
OPERATORS: tuple[Operator, ...] = get_args(Operator)
# These hold exactly where their counterpart does not, so also where the value is absent.
NEGATIONS: dict[Operator, Operator] = {
    "!=": "=",
    "not_contains": "contains",
    "not_in": "in",
    "is_not_set": "is_set",
}


class Frame(msgspec.Struct, frozen=True):
    """Whose events, in which calendar, asked when.

    `as_of_ms` leaves out what was received later. `cohorts` are the saved definitions by id.
    """

    workspace_id: int
    timezone: str
    week_start: int  # 0 = Monday … 6 = Sunday
    now_ms: int
    as_of_ms: int | None = None
    cohorts: Mapping[str, Mapping[str, Any]] = msgspec.field(default_factory=dict)


class Range(msgspec.Struct, frozen=True):
    """Milliseconds since the epoch, both ends included."""

    from_ms: int
    to_ms: int


class Reference(msgspec.Struct, frozen=True):
    """The name of a value: a path of keys in an event's properties or context, a trait of the
    person (further keys lead into it), a field of the event itself, or a cohort's id."""

    source: Source
    keys: tuple[str, ...]


class Condition(msgspec.Struct, frozen=True):
    """A condition on one value: `values` holds one text, none for `is_set`, any number for `in`."""

    reference: Reference
    operator: Operator
    values: tuple[str, ...] = ()


class Group(msgspec.Struct, frozen=True):
    """Conditions of which every one, or at least one, must hold."""

    every: bool
    parts: tuple[Filter, ...]


Filter = Condition | Group


class Selection(msgspec.Struct, frozen=True):
    """Which events: those of one of the names, no name meaning all, that fulfil every filter."""

    events: tuple[str, ...] = ()
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
        return choice(name, self.one(name) or default, choices)

    def whole_number(self, name: str, default: int, *, most: int) -> int:
        """Return a parameter that is a whole number from 1 to `most`."""
        text = self.one(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
            raise invalid(name, f"`{name}` is a whole number from 1 to {most}.")
        return int(text)


def choice(name: str, value: str, choices: Collection[str]) -> str:
    """Return `value`, which is one of `choices`. Raises Refused("invalid_parameter")."""
    if value not in choices:
        raise invalid(name, f"`{name}` is one of {_list(choices)}.")
    return value


def invalid(name: str, message: str) -> Refused:
    """Return the refusal of one parameter."""
    return Refused("invalid_parameter", message, field=name)


def _list(names: Collection[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
