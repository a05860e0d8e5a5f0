"""Events, rows and edges with full defaults, one of them non-ASCII. Name what a test is about."""

from __future__ import annotations

import itertools
import uuid
from typing import Any

from saytics_server import event as events
from saytics_server.event import SECRET, Edge, IdentifyRow, RejectedRow, TrackRow

# 2026-11-23T07:00:00Z, far from any turn of month, so that usage counts stay in one.
RECEIVED_MS = 1_795_417_200_000
CLAIM_KEY = b"k" * 32

_numbers = itertools.count(1)


def unique(prefix: str) -> str:
    """Return a text no other test has; for ids, names and messageIds on a shared server."""
    return f"{prefix}-{next(_numbers)}-{uuid.uuid4().hex[:8]}"


def wire_event(**fields: Any) -> dict[str, Any]:
    """Return an event as a client sends it; None leaves a field out."""
    event = {
        "event": "Größe gewählt",
        "userId": "user_456",
        "properties": {"plan": "pro", "mrr": 49.99},
        **fields,
    }
    return {name: value for name, value in event.items() if value is not None}


def edge(**fields: Any) -> Edge:
    """Return what a server knows about a request of a secret key."""
    workspace_id = fields.get("workspace_id", 1)
    key_class = fields.get("key_class", SECRET)
    defaults: dict[str, Any] = {
        "workspace_id": workspace_id,
        "key_class": key_class,
        "received_ms": RECEIVED_MS,
        "timezone": "Asia/Kathmandu",
        "claims": events.claims_of(CLAIM_KEY, workspace_id, key_class),
    }
    return Edge(**{**defaults, **fields})


def claim(message_id: str, workspace_id: int = 1, key_class: int = SECRET) -> bytes:
    """Return the claim of a messageId under the tests' claim key."""
    digest = events.claims_of(CLAIM_KEY, workspace_id, key_class)()
    digest.update(message_id.encode())
    taken: bytes = digest.digest()
    return taken


def track_row(message_id: str = "", **fields: Any) -> TrackRow:
    """Return an accepted event as the log keeps it."""
    defaults: dict[str, Any] = {
        "workspace_id": 1,
        "key_class": SECRET,
        "received_ms": RECEIVED_MS,
        "event": "Größe gewählt",
        "user_id": "user_456",
        "anonymous_id": "",
        "timestamp_ms": RECEIVED_MS,
        "original_timestamp_ms": None,
        "message_id": message_id,
        "claim": b"",
        "content": 0,
        "properties_text": '{"größe":"ß","mrr":49.99}'.encode(),
        "context_text": b"{}",
        "properties_column": b'{"gr%C3%B6%C3%9Fe":"\xc3\x9f","mrr":49.99}',
        "context_column": b"",
        "links": True,
    }
    values = {**defaults, **fields}
    if message_id and not values["claim"]:
        values["claim"] = claim(message_id, values["workspace_id"], values["key_class"])
    return TrackRow(**values)


def identify_row(message_id: str = "", **fields: Any) -> IdentifyRow:
    """Return an accepted identify call as the log keeps it."""
    defaults: dict[str, Any] = {
        "workspace_id": 1,
        "key_class": SECRET,
        "received_ms": RECEIVED_MS,
        "user_id": "user_456",
        "anonymous_id": "",
        "timestamp_ms": RECEIVED_MS,
        "message_id": message_id,
        "claim": b"",
        "content": 0,
        "traits_text": '{"plan":"pro","Straße":"Ötztal"}'.encode(),
        "links": True,
    }
    values = {**defaults, **fields}
    if message_id and not values["claim"]:
        values["claim"] = claim(message_id, values["workspace_id"], values["key_class"])
    return IdentifyRow(**values)


def rejected_row(**fields: Any) -> RejectedRow:
    """Return a rejected event as the log keeps it."""
    defaults: dict[str, Any] = {
        "workspace_id": 1,
        "key_class": SECRET,
        "received_ms": RECEIVED_MS,
        "code": "missing_id",
        "message": "Give `userId`, `anonymousId` or both.",
        "field": "userId",
        "body": b'{"event":"X"}',
    }
    return RejectedRow(**{**defaults, **fields})
