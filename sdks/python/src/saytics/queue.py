"""Events waiting to be sent, oldest first, within bounds of count and bytes.

Not locked: its owner holds the lock. What does not fit here is for the spool, or dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from saytics.batch import BATCH_BYTES_MAX, ENVELOPE_BYTES, Batch

# Bounds memory when events are large: `queue_max` events of the server's 32 KiB limit would be
# gigabytes. Ordinary events of 400 bytes reach `queue_max` first.
QUEUE_BYTES_MAX = 64 * 1024 * 1024


class EventQueue:
    """A bounded first-in, first-out queue of serialised events and the time each came."""

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._waiting: deque[tuple[bytes, float]] = deque()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, event: bytes, now_s: float) -> bool:
        """Append an event; False if there is no room for it."""
        size = len(event)
        if len(self._waiting) >= self._count_max or self.bytes + size > QUEUE_BYTES_MAX:
            return False
        self._waiting.append((event, now_s))
        self.bytes += size
        return True

    def put_anyway(self, event: bytes) -> None:
        """Append an event read from disk, due at once; its reader has kept the bounds."""
        self._waiting.append((event, 0.0))
        self.bytes += len(event)

    def events(self) -> Iterator[bytes]:
        """Yield what is waiting, oldest first."""
        return (event for event, _ in self._waiting)

    def clear(self) -> None:
        """Forget everything."""
        self._waiting.clear()
        self.bytes = 0

    def is_news(self, flush_at: int, last_bytes: int) -> bool:
        """Return whether the event just put, of `last_bytes`, is the first or fills a batch."""
        waiting = len(self._waiting)
        if waiting in (1, flush_at):
            return True
        return self.bytes >= BATCH_BYTES_MAX > self.bytes - last_bytes

    def oldest_s(self) -> float:
        """Return when the oldest event came. Only for a queue that is not empty."""
        return self._waiting[0][1]

    def cut(self, count_max: int, bytes_max: int) -> Batch:
        """Take the oldest events that fit into one batch: at least one, whatever its size."""
        events: list[bytes] = []
        size = ENVELOPE_BYTES
        while self._waiting and len(events) < count_max:
            event = self._waiting[0][0]
            if events and size + len(event) + 1 > bytes_max:
                break
            self._waiting.popleft()
            self.bytes -= len(event)
            size += len(event) + 1
            events.append(event)
        return Batch(events)
