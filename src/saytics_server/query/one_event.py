"""One event by its place: as it was sent, and as the columns that reports read hold it."""

from __future__ import annotations

from typing import Any

import msgspec

from saytics_server.query import event_row
from saytics_server.query.model import Frame
from saytics_server.query.periods import utc_text
from saytics_server.sql import sql, uint32, uint64
from saytics_server.store import Store


class StoredEvent(msgspec.Struct, frozen=True):
    """An event in the shape of the API, and what is kept beside.

    `sent_timestamp` is there where the sender's clock was off and the time was moved. The columns
    are JSON texts; their keys are percent-encoded where the engine would read them otherwise.
    """

    shown: dict[str, Any]
    sent_timestamp: str | None
    properties_column: str
    context_column: str


def find(store: Store, frame: Frame, position: int) -> StoredEvent | None:
    """Return the workspace's event at a position of the log; None if the store has none there."""
    statement = sql(
        "SELECT {columns}, original_timestamp, toJSONString(properties), toJSONString(context)"
        " FROM events WHERE workspace_id = {workspace} AND position = {position} LIMIT 1",
        columns=event_row.COLUMNS,
        workspace=uint32(frame.workspace_id),
        position=uint64(position),
    )
    rows = store.query(*statement.render())
    if not rows:
        return None
    *columns, original, properties, context = rows[0]
    sent = None if original is None else utc_text(event_row.row_ms(original))
    return StoredEvent(event_row.shown(columns), sent, properties, context)
