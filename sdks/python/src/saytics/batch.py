"""A batch: events that travel in one request, and stay together over its retries."""

from __future__ import annotations

import json
import zlib
from typing import Any

# Measured as the body is before compression. The server's own limit is 16 MiB; 500 kB keeps a
# request short on slow lines and within the limits proxies are usually set to.
BATCH_BYTES_MAX = 500_000

# Below this, compressing costs more time than it saves in bytes on the line.
GZIP_FROM_BYTES = 1024

_HEAD = b'{"events":['
_TAIL = b"]}"
ENVELOPE_BYTES = len(_HEAD) + len(_TAIL)


class Batch:
    """Serialised events, and how often sending them has been tried without an end."""

    def __init__(self, events: list[bytes]) -> None:
        self._events = events
        self.failed_tries = 0

    def __len__(self) -> int:
        return len(self._events)

    def body(self) -> bytes:
        """Return the request body: the same bytes on every try."""
        return _HEAD + b",".join(self._events) + _TAIL

    def halves(self) -> tuple[Batch, Batch]:
        """Return two batches of the same events in the same order. Only for two or more."""
        middle = len(self._events) // 2
        return Batch(self._events[:middle]), Batch(self._events[middle:])

    def event(self, index: int) -> dict[str, Any]:
        """Return one event as it was sent."""
        event: dict[str, Any] = json.loads(self._events[index])
        return event

    def events(self) -> list[dict[str, Any]]:
        """Return all events as they were sent."""
        return [self.event(index) for index in range(len(self._events))]


def compress(body: bytes) -> bytes:
    """Return `body` as gzip. Level 6 unpacks like level 1 and is a fifth smaller."""
    packer = zlib.compressobj(level=6, wbits=31)
    return packer.compress(body) + packer.flush()
