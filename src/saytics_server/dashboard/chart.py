"""What `charts.js` draws, as finished numbers: ticks, and one or more lines over them.

Nothing here is markup: names are strangers' words, and go into the chart as text.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["line", "bar", "stack"]


class Line(msgspec.Struct, frozen=True):
    """One series. `colour` counts from 1; `quiet` ones are of the period before, and dashed."""

    name: str
    values: list[float | None]
    colour: int = 1
    quiet: bool = False


class Chart(msgspec.Struct, frozen=True):
    """`running` are the places of what is not yet over; `units` how one and many are called."""

    kind: Kind
    units: tuple[str, str]
    ticks: list[str]
    labels: list[str]
    lines: list[Line]
    running: list[int]
    # A share is drawn and told as a percentage.
    is_share: bool = False


def encoded(chart: msgspec.Struct) -> str:
    """Return a chart as the JSON text of a `data-` attribute, which the template escapes."""
    return msgspec.json.encode(chart).decode()
