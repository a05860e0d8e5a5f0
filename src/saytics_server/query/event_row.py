"""An event as the API shows it: the columns read, and the JSON object made of a row."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from saytics_server.event import event_id
from saytics_server.query.periods import instant_ms, utc_text
from saytics_server.sql import sql
from saytics_server.store import Row

COLUMNS = sql(
    "position, event, user_id, anonymous_id, timestamp, received_at,"
    " properties_text, context_text, message_id, key_type"
)


def shown(row: Row) -> dict[str, Any]:
    """Return the EVENT of a row of COLUMNS; properties and context are what was sent."""
    position, event, user_id, anonymous_id, timestamp, received_at, *rest = row
    properties, context, message_id, key_type = rest
    return {
        "id": event_id(position),
        "event": event,
        "userId": user_id or None,
        "anonymousId": anonymous_id or None,
        "timestamp": utc_text(row_ms(timestamp)),
        "receivedAt": utc_text(row_ms(received_at)),
        "properties": msgspec.json.decode(properties),
        "context": msgspec.json.decode(context),
        "messageId": message_id or None,
        "keyType": key_type,
    }


def row_ms(moment: datetime) -> int:
    """Return a time of the store, which comes without its zone, UTC, in milliseconds."""
    return instant_ms(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
