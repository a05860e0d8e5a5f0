"""Message ids: UUID version 7 (RFC 9562), in the order of the calls that made them.

The server settles equal timestamps by the larger message id, so two `identify` calls within one
millisecond must not change places: the 12 bits after the time count up (RFC 9562, 6.2, method 1),
and run into the next millisecond when more than 4,096 are made in one.
60 more bits come from the operating system. A generator of our own would repeat itself in forked
children, restored snapshots and programs that seed `random`, and equal ids are events the server
counts once. They are fetched for many ids at once, because a call costs a microsecond and lets
another thread take the interpreter; what was fetched is used within the same second only, so that a
snapshot restored later fetches anew, and never in a forked child.
"""

from __future__ import annotations

import os
import threading

_SEQUENCE_BITS = 12
_SEQUENCE_MASK = (1 << _SEQUENCE_BITS) - 1
_RANDOM_BYTES = 8
_FETCHED_AT_ONCE = 64  # ids
_FETCHED_FOR_MS = 1000


class MessageIds:
    """Makes ids that rise within this process, whichever thread asks."""

    def __init__(self) -> None:
        self._last = 0
        self._prefix_ms = -1
        self._prefix = ""
        self.restart_in_child()

    def restart_in_child(self) -> None:
        """Forget the lock another thread may have held, and random bits the parent will use too."""
        self._lock = threading.RLock()
        self._random: list[str] = []
        self._fetched_ms = 0

    def next(self, now_ms: int) -> str:
        """Return an id for `now_ms`, larger than every id returned before."""
        with self._lock:
            tick = now_ms << _SEQUENCE_BITS
            if tick <= self._last:
                tick = self._last + 1
            self._last = tick
            if tick >> _SEQUENCE_BITS != self._prefix_ms:
                self._prefix_ms = tick >> _SEQUENCE_BITS
                digits = f"{self._prefix_ms:012x}"
                # 7 is the version.
                self._prefix = f"{digits[:8]}-{digits[8:]}-7"
            if not self._random or not 0 <= now_ms - self._fetched_ms < _FETCHED_FOR_MS:
                self._fetch(now_ms)
            return f"{self._prefix}{tick & _SEQUENCE_MASK:03x}-{self._random.pop()}"

    def _fetch(self, now_ms: int) -> None:
        digits = os.urandom(_RANDOM_BYTES * _FETCHED_AT_ONCE).hex()
        width = 2 * _RANDOM_BYTES
        # a is the variant (binary 10) with two bits fixed that could be random.
        self._random = [
            f"a{digits[at : at + 3]}-{digits[at + 3 : at + 15]}"
            for at in range(0, len(digits), width)
        ]
        self._fetched_ms = now_ms
