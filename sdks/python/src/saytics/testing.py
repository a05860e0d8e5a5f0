"""A client for tests: it checks and records what is tracked, and sends nothing.

recorder = RecordingSaytics()
saytics.use(recorder)
buy_something()
assert recorder.names() == ["Order Completed"]
"""

from __future__ import annotations

import threading
from typing import Any, Unpack

from saytics.batch import Batch
from saytics.client import DEFAULT_TIMEOUT_S, Saytics
from saytics.errors import SayticsError
from saytics.event import encode
from saytics.ledger import Counts
from saytics.options import OptionValues


class RecordingSaytics(Saytics):
    """A `Saytics` without network, thread and spool.

    `events` are what a server would get, in order, JSON values only; `errors` are the refusals,
    which a client in production would give to `on_error`. `before_send` is applied.
    """

    def __init__(self, **options: Unpack[OptionValues]) -> None:
        given = options.get("on_error")
        self.events: list[dict[str, Any]] = []
        self.errors: list[SayticsError] = []
        self._recording = threading.Lock()

        def on_error(error: SayticsError, events: list[dict[str, Any]]) -> None:
            self.errors.append(error)
            if given is not None:
                given(error, events)

        quiet: OptionValues = {**options, "on_error": on_error, "enabled": False, "spool": "off"}
        super().__init__("", **quiet)
        self._is_enabled = True

    def names(self) -> list[str]:
        """Return the names of the events; "identify" for an identify."""
        return [event.get("event", "identify") for event in self.events]

    def clear(self) -> None:
        """Forget what was recorded."""
        self.events.clear()
        self.errors.clear()

    def flush(self, timeout: float = DEFAULT_TIMEOUT_S) -> Counts:
        """Return the counts: everything recorded counts as delivered."""
        return self.counts()

    def shutdown(self, timeout: float = DEFAULT_TIMEOUT_S) -> Counts:
        """Return the counts; the recorder goes on."""
        return self.counts()

    def counts(self) -> Counts:
        """Return the counts of what was recorded."""
        lost = self._sender.counts()
        count = len(self.events)
        return Counts(count + lost.tracked, count, 0, lost.rejected, lost.dropped, 0, 0)

    def _send(self, wire: dict[str, Any]) -> None:
        recorded = Batch([encode(wire)]).event(0)
        with self._recording:
            self.events.append(recorded)
