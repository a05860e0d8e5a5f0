"""The most frequent event names of a range, with how many persons did each."""

from __future__ import annotations

from typing import Any

from saytics_server.query.model import Frame, Range, Selection
from saytics_server.query.reading import Reader
from saytics_server.sql import int64, sql
from saytics_server.store import Store


def run(
    store: Store, frame: Frame, from_ms: int, to_ms: int, limit: int = 10
) -> list[dict[str, Any]]:
    """Return event, count and users of the `limit` most frequent events; both ends included."""
    span = Range(from_ms, to_ms)
    reader = Reader(store, frame)
    scan = reader.scan(Selection(), span, persons=True)
    statement = sql(
        "SELECT event_name, count() AS events, uniqExact(person) FROM ({scanned})"
        " GROUP BY event_name ORDER BY events DESC, event_name LIMIT {limit}",
        scanned=scan.select({"event_name": sql("event")}),
        limit=int64(limit),
    )
    return [
        {"event": event, "count": count, "users": users}
        for event, count, users in reader.rows(statement)
    ]
