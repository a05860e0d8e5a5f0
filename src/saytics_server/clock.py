"""Time, passed in and never reached for.

Everything that needs the time takes a `Clock`; tests hand in one they can move.
Wall time is milliseconds since the Unix epoch in UTC, the resolution events are stored in.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """The two times a program needs: one people agree on, one that never goes back."""

    def now_ms(self) -> int:
        """Return wall time in milliseconds since 1970-01-01T00:00:00Z. It may jump."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds on a clock that only moves forward. For waits and rates."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now_ms(self) -> int:
        """Return the machine's wall time in milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Return the machine's monotonic time in seconds."""
        return time.monotonic()


class ManualClock:
    """A clock that stands until it is moved. For tests and replays."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self.wall_ms = now_ms
        self.steady_s = 0.0

    def now_ms(self) -> int:
        """Return the wall time last set."""
        return self.wall_ms

    def monotonic_s(self) -> float:
        """Return the steady time last set."""
        return self.steady_s

    def advance(self, ms: int) -> None:
        """Move both clocks forward by `ms` milliseconds."""
        self.wall_ms += ms
        self.steady_s += ms / 1000
