"""Which error codes an operation may answer, and the responses made of them.

Codes are grouped by the step that gives them; status and meaning come from `errors.ERRORS`, so a
code that is renamed there fails here at import.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from saytics_server.errors import ERRORS

Json = dict[str, Any]

KEY_CODES = ("missing_key", "invalid_key", "secret_key_exposed")
ITEM_CODES = (
    "invalid_json",
    "missing_id",
    "invalid_id",
    "invalid_timestamp",
    "invalid_message_id",
    "invalid_number",
    "invalid_text",
    "invalid_type",
    "event_too_large",
)
TRACK_CODES = ("invalid_event", "invalid_event_name", "invalid_traits", "event_secret_only")
SEND_CODES = (
    *KEY_CODES,
    "invalid_encoding",
    "request_timeout",
    "body_too_large",
    "unsupported_encoding",
    "rate_limited",
    "quota_exceeded",
    "overloaded",
    "storage_full",
    "shutting_down",
    "clock_invalid",
)
READ_CODES = (
    *KEY_CODES,
    "insufficient_scope",
    "invalid_host",
    "query_too_large",
    "query_timeout",
    "queries_busy",
)
# What any address may answer: bytes that are no HTTP, and a bug.
_EVERYWHERE_CODES = ("invalid_http", "internal_error")

_SECONDS: Json = {"type": "integer", "minimum": 0}
HEADERS: Json = {
    "RetryAfter": {
        "required": True,
        "description": "Seconds to wait before the same request is sent again.",
        "schema": _SECONDS,
    },
    "RateLimitLimit": {
        "description": "Requests the key may send a minute. Absent for keys without a limit.",
        "schema": _SECONDS,
    },
    "RateLimitRemaining": {
        "description": "Requests it may still send in this one.",
        "schema": _SECONDS,
    },
    "RateLimitReset": {"description": "Seconds until it may again.", "schema": _SECONDS},
}
KEPT_HEADERS: Json = {
    "X-Saytics-Cache": {
        "description": (
            "`hit` where nothing that the answer depends on was written since it was last worked"
            " out, so that it was not worked out again. Absent where the store is not asked."
        ),
        "schema": {"enum": ["hit", "miss"]},
    }
}
RATE_HEADERS: Json = {
    "RateLimit-Limit": {"$ref": "#/components/headers/RateLimitLimit"},
    "RateLimit-Remaining": {"$ref": "#/components/headers/RateLimitRemaining"},
    "RateLimit-Reset": {"$ref": "#/components/headers/RateLimitReset"},
}


def refusals(*codes: str, rated: bool = False) -> Json:
    """Return one response per status that these codes have, each naming its codes.

    `rated` tells that the answers carry the rate limit of the key, where it has one.
    """
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys((*codes, *_EVERYWHERE_CODES)):
        by_status.setdefault(ERRORS[code].status, []).append(code)
    return {str(status): _refusal(status, by_status[status], rated) for status in sorted(by_status)}


def _refusal(status: int, codes: list[str], rated: bool) -> Json:
    detail: Json = {
        "type": "object",
        "required": ["code", "message"],
        "properties": {
            "code": {"enum": codes},
            "message": {"type": "string"},
            "field": {"type": "string", "description": "The field or parameter at fault."},
        },
    }
    refusal: Json = {
        "description": f"{HTTPStatus(status).phrase}: "
        + " ".join(f"`{code}`: {ERRORS[code].meaning}" for code in codes),
        "content": as_json(
            {"type": "object", "required": ["error"], "properties": {"error": detail}},
            {"error": {"code": codes[0], "message": ERRORS[codes[0]].meaning}},
        ),
    }
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        refusal["headers"] = {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}}
    if rated and status == HTTPStatus.TOO_MANY_REQUESTS:
        refusal["headers"] |= RATE_HEADERS
    return refusal


def as_json(schema: Json, example: Any = None) -> Json:
    """Return the `content` of an answer or body in JSON."""
    content: Json = {"schema": schema}
    if example is not None:
        content["example"] = example
    return {"application/json": content}


def ref(name: str) -> Json:
    """Return the reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}
