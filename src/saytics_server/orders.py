"""What a command may have the running server do that takes a while, and how it tells how far it is.

An order is a value: the control socket carries it as JSON. Paths are absolute: the server runs in
another folder than whoever asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

# Told how much is done, of how much; what it raises ends the work.
Report = Callable[[int, int], None]


class BackupOrder(msgspec.Struct, frozen=True):
    """Copy the data directory to `destination`; share what is the same in the backup `since`."""

    destination: str
    since: str | None = None


# Carries out an order, given as JSON, and returns the answer.
Work = Callable[[bytes, Report], dict[str, Any]]
Works = Mapping[str, Work]
