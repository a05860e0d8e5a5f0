"""Telling the program about losses, and the developer about everything in debug mode.

Nothing here raises, and nothing here ever holds the key or, outside `on_error`, an event's content.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import traceback
from typing import Any

from saytics.errors import SayticsError
from saytics.options import OnError

# Without `on_error` a loss is a line on stderr; a loss that repeats is a line a minute, with a sum.
REPEAT_AFTER_S = 60.0


class Reporter:
    """Passes losses to `on_error`, or to stderr where the program gave none."""

    def __init__(self, on_error: OnError | None, *, debug: bool) -> None:
        self._on_error = on_error
        self._debug = debug
        self._lock = threading.RLock()
        self._said_at_s: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def lost(
        self, error: SayticsError, events: list[dict[str, Any]], *, count: int | None = None
    ) -> None:
        """Report events that were rejected or dropped. Called with no lock held.

        `count`: how many, where the events themselves are gone.
        """
        count = len(events) if count is None else count
        self.debug(f"{count} events lost: {error}")
        if self._on_error is None:
            self._say(error, count)
            return
        try:
            self._on_error(error, events)
        # The program's own function failed; its fault must not become the host's or the thread's.
        except Exception:
            self.write(f"on_error raised:\n{traceback.format_exc()}")

    def debug(self, text: str) -> None:
        """Write a line in debug mode."""
        if self._debug:
            self.write(text)

    def write(self, text: str) -> None:
        """Write a line to stderr, if there is one."""
        # A closed or missing stderr (daemons, pythonw, late exit) is no reason to fail.
        with contextlib.suppress(Exception):
            print(f"saytics: {text}", file=sys.stderr, flush=True)

    def restart_in_child(self) -> None:
        """Replace the lock: another thread may have held it at the fork."""
        self._lock = threading.RLock()

    def _say(self, error: SayticsError, count: int) -> None:
        now_s = time.monotonic()
        with self._lock:
            count += self._unsaid.pop(error.code, 0)
            said_at_s = self._said_at_s.get(error.code)
            if said_at_s is not None and now_s - said_at_s < REPEAT_AFTER_S:
                self._unsaid[error.code] = count
                return
            self._said_at_s[error.code] = now_s
        self.write(f"{count} event{'' if count == 1 else 's'} lost: {error}")
