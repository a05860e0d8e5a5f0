"""Wire-like events, identifies and links as blocks of the store's tables.

A test says what a client would send; `insert_history` turns it into rows as the loader would.
Left-out fields take defaults, one of them non-ASCII.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa

from saytics_server.event import column_key
from saytics_server.store import Store

Wire = Mapping[str, Any]

_MILLISECONDS = pa.timestamp("ms", tz="UTC")
_KEY_TYPE = {"write": 0, "secret": 1}
_CAUSE = {"identify": 0, "event": 1}
_token = itertools.count()
# Apart from the numbers of the fixture `workspace_id`: one test may need many workspaces.
_workspaces = itertools.count(1_000_000)


def fresh_workspace_id() -> int:
    """Return the number of a workspace that no other test or example has."""
    return next(_workspaces)


def instant_ms(value: str | int) -> int:
    """Return an ISO time or a number of milliseconds as milliseconds since the epoch."""
    if isinstance(value, int):
        return value
    moment = datetime.fromisoformat(value)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def column_value(value: Any) -> Any:
    """Return a JSON value as the JSON column takes it: keys encoded, huge integers as floats."""
    if isinstance(value, dict):
        return {column_key(key): column_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [column_value(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return value if -(2**63) <= value < 2**64 else float(value)
    return value


def insert_history(store: Store, workspace_id: int, history: Iterable[Wire]) -> None:
    """Store a history: items of `"type": "track"` (the default) or `"identify"`, in this order.

    Beside the wire's fields an item may carry `position`, `receivedAt` and `keyType` (`secret`).
    An item with both ids also makes a link, as it does in the server.
    """
    items = [
        {"position": position, "keyType": "secret", "messageId": "", **item}
        for position, item in enumerate(history, start=1)
    ]
    tracks = [item for item in items if item.get("type", "track") == "track"]
    identifies = [item for item in items if item.get("type") == "identify"]
    blocks = {
        "events": _table(workspace_id, tracks, _EVENT_COLUMNS),
        "identifies": _table(workspace_id, identifies, {}),
        "traits": _table(
            workspace_id,
            [
                {**item, "trait": trait, "value": value}
                for item in identifies
                for trait, value in item.get("traits", {}).items()
            ],
            _TRAIT_COLUMNS,
        ),
        "links": _table(
            workspace_id,
            [item for item in items if item.get("userId") and item.get("anonymousId")],
            _LINK_COLUMNS,
        ),
    }
    for table, rows in blocks.items():
        wanted = rows.drop_columns(["message_id"]) if table == "identifies" else rows
        store.insert(table, wanted, token=f"test-{workspace_id}-{next(_token)}")


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _day(item: Wire) -> date:
    return datetime.fromtimestamp(instant_ms(item["timestamp"]) / 1000, UTC).date()


# Column -> (Arrow type, value of an item), beyond the columns that every table has.
_EVENT_COLUMNS = {
    "day": (pa.date32(), _day),
    "event": (pa.string(), lambda item: item["event"]),
    "anonymous_id": (pa.string(), lambda item: item.get("anonymousId") or ""),
    "original_timestamp": (_MILLISECONDS, lambda item: None),
    "properties_text": (pa.string(), lambda item: _text(item.get("properties") or {})),
    "context_text": (pa.string(), lambda item: _text(item.get("context") or {})),
    "properties_column": (
        pa.string(),
        lambda item: _text(column_value(item.get("properties") or {})),
    ),
    "context_column": (pa.string(), lambda item: _text(column_value(item.get("context") or {}))),
}
_TRAIT_COLUMNS = {
    "trait": (pa.string(), lambda item: item["trait"]),
    "value": (pa.string(), lambda item: "" if item["value"] is None else _text(item["value"])),
}
_LINK_COLUMNS = {
    "anonymous_id": (pa.string(), lambda item: item["anonymousId"]),
    "cause": (pa.int8(), lambda item: _CAUSE["identify" if "type" in item else "event"]),
}
_SHARED_COLUMNS = {
    "user_id": (pa.string(), lambda item: item.get("userId") or ""),
    "timestamp": (_MILLISECONDS, lambda item: instant_ms(item["timestamp"])),
    "position": (pa.uint64(), lambda item: item["position"]),
    "received_at": (
        _MILLISECONDS,
        lambda item: instant_ms(item.get("receivedAt", item["timestamp"])),
    ),
    "key_type": (pa.int8(), lambda item: _KEY_TYPE[item["keyType"]]),
    "message_id": (pa.string(), lambda item: item["messageId"] or ""),
}


def _table(workspace_id: int, items: list[Any], columns: Mapping[str, Any]) -> pa.Table:
    arrays = {"workspace_id": pa.array([workspace_id] * len(items), pa.uint32())}
    for name, (kind, value) in {**_SHARED_COLUMNS, **columns}.items():
        arrays[name] = pa.array([value(item) for item in items], kind)
    return pa.table(arrays)
