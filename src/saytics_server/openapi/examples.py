"""Examples for the OpenAPI document. The tests hold them to its schemas."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

EVENT: Json = {
    "userId": "user_456",
    "event": "Subscription Upgraded",
    "properties": {"plan": "pro", "mrr": 49.99},
}
IDENTIFY: Json = {"userId": "user_456", "traits": {"plan": "pro", "city": "Zürich"}}
IDENTIFY_ITEM: Json = {"type": "identify", **IDENTIFY}
PARTLY_RECEIVED: Json = {
    "status": "ok",
    "received": 1,
    "rejected": [
        {
            "index": 1,
            "code": "missing_id",
            "message": "Give `userId`, `anonymousId` or both.",
            "field": "userId",
        }
    ],
}
_STORED: Json = {
    "id": "evt_01hm5xkq8c2f0",
    **EVENT,
    "anonymousId": None,
    "timestamp": "2024-01-15T10:30:00.000Z",
    "receivedAt": "2024-01-15T10:30:00.214Z",
    "context": {},
    "messageId": None,
    "keyType": "secret",
}
_DEFINITION: Json = {
    "timezone": "UTC",
    "week_start": "monday",
    "range": {"from": "2024-01-14T00:00:00.000Z", "to": "2024-01-15T23:59:59.999Z"},
    "filters": 0,
    "rules": ["count: events."],
}
_DAYS: list[Json] = [
    {"date": "2024-01-14", "count": 0},
    {"date": "2024-01-15", "count": 1, "complete": False},
]
ANSWERS: dict[str, Json] = {
    "EventList": {"status": "ok", "data": [_STORED], "next_cursor": None},
    "User": {
        "id": "user_456",
        "traits": {"plan": "pro"},
        "created_at": "2024-01-15T10:30:00.000Z",
        "last_seen": "2024-01-15T10:30:00.000Z",
        "events": [_STORED],
        "anonymous_ids": [],
    },
    "Usage": {
        "status": "ok",
        "month": "2024-01",
        "events": 48_211,
        "dropped": [
            {
                "date": "2024-01-15",
                "key": {"name": "Checkout", "prefix": "sk_live_4f3a", "class": "secret"},
                "library": "saytics-python",
                "events": 3,
            }
        ],
    },
    "EventsReport": {
        "event": "Subscription Upgraded",
        "interval": "day",
        "metric": "count",
        "data": _DAYS,
        "total": 1,
        "definition": _DEFINITION,
    },
    "UsersReport": {
        "metric": "dau",
        "interval": "day",
        "data": _DAYS,
        "total": 1,
        "definition": _DEFINITION,
    },
}
