"""Message ids: UUID version 7 (RFC 9562), in the order of the calls that made them.

The server settles equal timestamps by the larger message id, so two `identify` calls within one
millisecond must not change places: the 12 bits after the time count up (RFC 9562, 6.2, method 1),
and run into the next millisecond when more than 4,096 are made in one.
60 more bits come from the operating system for each id. A generator of our own would repeat
itself in forked children, restored snapshots and programs that seed `random`, and equal ids are
events the server counts once.
"""

from __future__ import annotations

import os
import threading

_SEQUENCE_BITS = 12


class MessageIds:
    """Makes ids that rise within this process, whichever thread asks."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._last = 0

    def next(self, now_ms: int) -> str:
        """Return an id for `now_ms`, larger than every id returned before."""
        with self._lock:
            tick = now_ms << _SEQUENCE_BITS
            if tick <= self._last:
                tick = self._last + 1
            self._last = tick
        digits = f"{tick:015x}{os.urandom(8).hex()}"
        # 7 is the version; a is the variant (binary 10) with two bits fixed that could be random.
        return f"{digits[:8]}-{digits[8:12]}-7{digits[12:15]}-a{digits[15:18]}-{digits[18:30]}"
