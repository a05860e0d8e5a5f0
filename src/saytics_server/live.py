"""What has just arrived, per workspace: the tail of the log, kept in memory for the pages.

Fed by the log's writer after each commit, so what is shown is on disk. Seeded from the log at
start. Holds rows, and makes the EVENT shape of the contract only for those that are asked for.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from saytics_server.event import Row, TrackRow, event_id, iso
from saytics_server.log import Record

# A page shows fifty; the rest lets a paused one catch up.
ROWS_PER_WORKSPACE = 500


class Live:
    """The last events of each workspace. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[int, deque[tuple[int, TrackRow]]] = {}

    def seed(self, records: Iterable[Record]) -> None:
        """Take in records of an earlier process, oldest first."""
        for record in records:
            self.observe(record.first_position, record.rows)

    def observe(self, first_position: int, rows: Sequence[Row]) -> None:
        """Take in the rows of a committed record."""
        skipped = max(0, len(rows) - ROWS_PER_WORKSPACE)
        with self._lock:
            for place, row in enumerate(rows[skipped:], first_position + skipped):
                if row.__class__ is TrackRow:
                    kept = self._rows.get(row.workspace_id)
                    if kept is None:
                        kept = self._rows[row.workspace_id] = deque(maxlen=ROWS_PER_WORKSPACE)
                    kept.append((place, row))

    def recent(
        self, workspace_id: int, after_position: int = 0, limit: int = 50
    ) -> list[dict[str, Any]]:
        """Return up to `limit` events after a position, newest first, in the EVENT shape."""
        with self._lock:
            rows = list(self._rows.get(workspace_id, ()))
        newest = [item for item in reversed(rows) if item[0] > after_position][:limit]
        return [_event(position, row) for position, row in newest]

    def last_position(self, workspace_id: int) -> int:
        """Return the position of the workspace's last event known here, 0 if there is none."""
        with self._lock:
            rows = self._rows.get(workspace_id)
            return rows[-1][0] if rows else 0


def _event(position: int, row: TrackRow) -> dict[str, Any]:
    return {
        "id": event_id(position),
        "position": position,
        "event": row.event,
        "userId": row.user_id or None,
        "anonymousId": row.anonymous_id or None,
        "timestamp": iso(row.timestamp_ms),
        "receivedAt": iso(row.received_ms),
        "properties": msgspec.json.decode(row.properties_text),
        "context": msgspec.json.decode(row.context_text),
        "messageId": row.message_id or None,
        "keyType": ("write", "secret")[row.key_class],
    }
