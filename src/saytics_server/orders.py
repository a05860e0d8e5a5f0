"""What a command may have the running server do that takes a while, and how it tells how far it is.

An order is a value: the control socket carries it as JSON. Paths are absolute: the server runs in
another folder than whoever asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

# Told how much is done, of how much; what it raises ends the work.
Report = Callable[[int, int], None]


class BackupOrder(msgspec.Struct, frozen=True):
    """Copy the data directory to `destination`; share what is the same in the backup `since`."""

    destination: str
    since: str | None = None


class ExportOrder(msgspec.Struct, frozen=True):
    """Write events, identify calls and persons to files in `destination`.

    `from_` and `to` bound the times of events and calls, as in the API; without `workspace`, all.
    """

    destination: str
    format: Literal["parquet", "jsonl", "csv"]
    from_: str | None = None
    to: str | None = None
    workspace: str | None = None


# Carries out an order, given as JSON, and returns the answer.
Work = Callable[[bytes, Report], dict[str, Any]]
Works = Mapping[str, Work]
