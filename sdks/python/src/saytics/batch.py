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
ENVELOPE_BYTES = len(_HEAD) + len(_TAIL) + len(b',"dropped":') + 19  # of a 64-bit number


class Batch:
    """Serialised events, and how often sending them has been tried without an end.

    `dropped` is the number of other events, given up since the batch before, that the server is
    told of with this one.
    """

    def __init__(self, events: list[bytes], dropped: int = 0) -> None:
        self.serialised = events
        self.dropped = dropped
        self.failed_tries = 0

    def __len__(self) -> int:
        return len(self.serialised)

    def body(self) -> bytes:
        """Return the request body: the same bytes on every try."""
        tail = b'],"dropped":%d}' % self.dropped if self.dropped else _TAIL
        return _HEAD + b",".join(self.serialised) + tail

    def halves(self) -> tuple[Batch, Batch]:
        """Return two batches of the same events in the same order. Only for two or more."""
        middle = len(self.serialised) // 2
        return Batch(self.serialised[:middle], self.dropped), Batch(self.serialised[middle:])

    def event(self, index: int) -> dict[str, Any]:
        """Return one event as it was sent."""
        event: dict[str, Any] = json.loads(self.serialised[index])
        return event

    def events(self) -> list[dict[str, Any]]:
        """Return all events as they were sent."""
        return [self.event(index) for index in range(len(self.serialised))]


def compress(body: bytes) -> bytes:
    """Return `body` as gzip. Level 6 unpacks like level 1 and is a fifth smaller."""
    packer = zlib.compressobj(level=6, wbits=31)
    return packer.compress(body) + packer.flush()
