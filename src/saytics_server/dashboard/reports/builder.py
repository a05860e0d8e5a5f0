"""The parts that builders share, as the templates draw them: choices, filters, range.

In: the fields of an address. Out: controls that show what the address asks.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from saytics_server.dashboard.reports.given import (
    CUSTOM,
    OPERATORS,
    RANGES,
    FilterRow,
    Given,
)

INTERVALS = {"hour": "hourly", "day": "daily", "week": "weekly", "month": "monthly"}
COMPARISONS = {"": "not compared", "previous_period": "compared with the period before"}


class Option(msgspec.Struct, frozen=True):
    """One entry of a list. `detail` says that it needs another field beside it."""

    value: str
    label: str
    selected: bool
    detail: bool = False


class Select(msgspec.Struct, frozen=True):
    """A list to choose from; `label` is said to those who do not see what is around it."""

    name: str
    label: str
    options: list[Option]


class Shared(msgspec.Struct, frozen=True):
    """What every builder ends with: filters, breakdown, range, and what stands beside it."""

    filters: list[FilterRow]
    operators: list[Option]
    range: Select
    from_: str
    to: str
    breakdown: str | None
    selects: list[Select]


def select(name: str, label: str, options: Mapping[str, str], chosen: str) -> Select:
    """Return a list with one entry chosen; what is none of them stays, to be refused by name."""
    known = options if chosen in options else {**options, chosen: chosen}
    return Select(
        name, label, [Option(value, shown, value == chosen) for value, shown in known.items()]
    )


def shared(given: Given, *selects: Select, breakdown: bool = True) -> Shared:
    """Return the parts of a builder that all have, and the lists that stand beside the range."""
    ranges = {name: label for name, (label, _) in RANGES.items()}
    return Shared(
        filters=given.filters,
        operators=[Option(sign, words, sign == "=") for sign, words in OPERATORS.items()],
        range=select("range", "Range", {**ranges, CUSTOM: "dates from"}, given.range),
        from_=given.one("from"),
        to=given.one("to"),
        breakdown=given.one("breakdown") if breakdown else None,
        selects=list(selects),
    )


def interval_select(
    given: Given, intervals: Mapping[str, str] = INTERVALS, default: str = "day"
) -> Select:
    """Return the list of intervals."""
    return select("interval", "Interval", intervals, given.one("interval", default))
