"""The OpenAPI 3.1 document of the HTTP API, put together from the tables the code works by.

In: the address the server is reached at. Out: the document as one JSON-ready dictionary. Error
codes come from `errors.ERRORS`, limits from `event`, query parameters from the reports that read
them, so a code, a limit or a parameter that is added there appears here or fails at import.
Only what a rule of JSON Schema can say is said as one; the rest is in words beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from saytics_server import __version__, event
from saytics_server.errors import ERRORS
from saytics_server.query import active_users, event_list, profile, trends
from saytics_server.query.metrics import METRICS
from saytics_server.query.model import INTERVALS

Json = dict[str, Any]

# --- error codes, by the step that gives them ---------------------------------------------------

_KEY_CODES = ("missing_key", "invalid_key", "secret_key_exposed")
_ITEM_CODES = (
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
_TRACK_CODES = ("invalid_event", "invalid_event_name", "invalid_traits", "event_secret_only")
_SEND_CODES = (
    *_KEY_CODES,
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
_READ_CODES = (
    *_KEY_CODES,
    "insufficient_scope",
    "invalid_host",
    "query_too_large",
    "query_timeout",
    "queries_busy",
)
# What any address may answer: bytes that are no HTTP, and a bug.
_EVERYWHERE_CODES = ("invalid_http", "internal_error")

# What an accepted event may be told.
_WARNINGS = {
    "unknown_field": "A field nobody knows was left out.",
    "timestamp_without_offset": "The time named no offset and was read as UTC.",
    "value_truncated": f"A string was cut to {event.STRING_CHARACTERS_MAX} characters.",
    "array_truncated": f"An array was cut to {event.ARRAY_ELEMENTS_MAX} elements.",
    "key_too_long": f"A key of more than {event.KEY_CHARACTERS_MAX} characters was left out.",
    "too_many_keys": f"Keys after the first {event.KEYS_MAX} were left out.",
    "too_deep": f"A value nested deeper than {event.DEPTH_MAX} levels was left out.",
    "duplicate_differs": "The messageId was taken by an event with other content, which stays.",
    "link_limited": "Too many anonymous ids for one user; the event counts, the link does not.",
    "quota_exceeded": "The workspace is over its monthly events; they are accepted all the same.",
}


def document(server_url: str) -> Json:
    """Return the document, with the server at `server_url`."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Saytics",
            "version": __version__,
            "summary": "Events in, counted.",
            "description": (
                "An event is on disk before its answer leaves, and in every report about a second"
                " later. Event fields are camelCase, everything else is snake_case; times are"
                " UTC with milliseconds and `Z`."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": server_url}],
        "tags": [
            {"name": "send", "description": "Events and traits in. Secret or write key."},
            {"name": "read", "description": "Events, users and reports out. Secret key."},
            {"name": "server", "description": "About the server. No key."},
        ],
        "paths": _paths(),
        "components": {
            "securitySchemes": _SECURITY_SCHEMES,
            "schemas": _schemas(),
            "headers": _HEADERS,
        },
    }


def _paths() -> Json:
    return {
        "/v1/events": {"post": _send_event(), "get": _list_events()},
        "/v1/events/batch": {"post": _send_batch()},
        "/v1/users/identify": {"post": _identify()},
        "/v1/users/{id}": {"get": _get_user()},
        "/v1/reports/events": {"get": _report_events()},
        "/v1/reports/users": {"get": _report_users()},
        "/v1/openapi.json": {"get": _about("getOpenapi", "This document", {"type": "object"})},
        "/healthz": {"get": _about("getHealth", "Is the process alive?", _STATUS)},
        "/readyz": {
            "get": _about(
                "getReadiness",
                "Can the server take and count events?",
                _STATUS,
                ("starting", "shutting_down"),
            )
        },
    }


# --- keys -------------------------------------------------------------------------------------

_SECURITY_SCHEMES: Json = {
    "secretKey": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "sk_live_…",
        "description": "For servers: may do everything, or, with the scope `send`, only send.",
    },
    "writeKey": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "sk_write_…",
        "description": "For browsers: public, may send events and identify, and read nothing.",
    },
    "writeKeyInUrl": {
        "type": "apiKey",
        "in": "query",
        "name": "key",
        "description": "The write key, for `sendBeacon`, which cannot set headers.",
    },
}
_SENDERS: list[Json] = [{"secretKey": []}, {"writeKey": []}, {"writeKeyInUrl": []}]
_READERS: list[Json] = [{"secretKey": []}]

# --- operations that send -----------------------------------------------------------------------


def _send_event() -> Json:
    return {
        "operationId": "sendEvent",
        "tags": ["send"],
        "summary": "Send one event",
        "description": (
            "Answered when the event is on disk. With a `messageId`, in the body or as"
            " `Idempotency-Key`, a retry counts once, for ever."
        ),
        "security": _SENDERS,
        "parameters": [_CONTENT_ENCODING, _IDEMPOTENCY_KEY],
        "requestBody": _body("Event", _EXAMPLE_EVENT),
        "responses": {
            "200": _ok("Accepted", {"status": "ok", "received": 1}, "Received", rated=True),
            **_refusals(
                *_SEND_CODES, *_ITEM_CODES, *_TRACK_CODES, "idempotency_key_conflict", rated=True
            ),
        },
    }


def _send_batch() -> Json:
    refusals = _refusals(
        *_SEND_CODES,
        "invalid_json",
        "invalid_parameter",
        "batch_empty",
        "batch_too_large",
        "batch_rejected",
        rated=True,
    )
    refusals["400"]["content"]["application/json"]["schema"]["properties"].update(
        received={"const": 0, "description": "With `batch_rejected`."},
        rejected={"type": "array", "items": _ref("Rejection")},
    )
    return {
        "operationId": "sendBatch",
        "tags": ["send"],
        "summary": "Send up to 1,000 events",
        "description": (
            "Good events are stored, bad ones are listed with their index and kept aside;"
            " received and rejected together are what was sent. All bad: 400 `batch_rejected`."
        ),
        "security": _SENDERS,
        "parameters": [_CONTENT_ENCODING],
        "requestBody": _body("Batch", {"events": [_EXAMPLE_EVENT, _EXAMPLE_ITEM]}),
        "responses": {
            "200": _ok("Accepted, at least in part", _EXAMPLE_PARTIAL, "BatchReceived", rated=True),
            **refusals,
        },
    }


def _identify() -> Json:
    return {
        "operationId": "identify",
        "tags": ["send"],
        "summary": "Set traits of a user, link an anonymous id",
        "description": "Traits merge per key, the newest timestamp wins, null removes a trait.",
        "security": _SENDERS,
        "parameters": [_CONTENT_ENCODING, _IDEMPOTENCY_KEY],
        "requestBody": _body("Identify", _EXAMPLE_IDENTIFY),
        "responses": {
            "200": _ok("Accepted", {"status": "ok"}, "Identified", rated=True),
            **_refusals(
                *_SEND_CODES,
                *_ITEM_CODES,
                "invalid_event",
                "invalid_traits",
                "idempotency_key_conflict",
                rated=True,
            ),
        },
    }


_CONTENT_ENCODING: Json = {
    "name": "Content-Encoding",
    "in": "header",
    "description": "How the body is compressed. 16 MiB at most, as sent and unpacked.",
    "schema": {"enum": ["identity", "gzip", "deflate", "zstd", "br"]},
}
_IDEMPOTENCY_KEY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Stands for `messageId`. Both, and different, is an error.",
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": event.MESSAGE_ID_CHARACTERS_MAX,
    },
}

# --- operations that read -----------------------------------------------------------------------


def _list_events() -> Json:
    return _reading(
        "listEvents",
        "List events",
        _parameters(event_list.PARAMETERS),
        "EventList",
        ("invalid_parameter", "invalid_cursor"),
        "By time, newest first. With `cursor` the filters need not be repeated.",
    )


def _get_user() -> Json:
    identity: Json = {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "The userId, percent-encoded.",
        "schema": {"type": "string", "minLength": 1, "maxLength": event.ID_CHARACTERS_MAX},
    }
    return _reading(
        "getUser",
        "What is known of one user",
        [identity],
        "User",
        ("user_not_found",),
        f"With the latest {profile.EVENTS_MAX} events that resolve to the user now.",
    )


def _report_events() -> Json:
    metric: Json = {
        "description": (
            "What to count: "
            + ", ".join(f"`{name}`" for name in METRICS)
            + ". Those after `per_person` are of a property P, as in `sum:mrr`."
        ),
        "schema": {"type": "string", "default": "count"},
        "examples": {"events": {"value": "count"}, "revenue": {"value": "sum:mrr"}},
    }
    return _reading(
        "reportEvents",
        "Events, persons or numbers of a property over time",
        _parameters(trends.PARAMETERS, metric=metric),
        "EventsReport",
        ("invalid_parameter", "range_too_large"),
        "Every bucket is present, zeros too.",
    )


def _report_users() -> Json:
    metric: Json = {
        "description": "Persons of the bucket, or of the 7 or 30 days that end with it.",
        "schema": {"enum": ["dau", "wau", "mau"], "default": "dau"},
    }
    return _reading(
        "reportUsers",
        "Active persons over time",
        _parameters(active_users.PARAMETERS, metric=metric),
        "UsersReport",
        ("invalid_parameter", "range_too_large"),
        "Every bucket is present, zeros too.",
    )


def _reading(  # noqa: PLR0913 - one argument for each thing in which the operations differ
    operation: str,
    summary: str,
    parameters: list[Json],
    answer: str,
    codes: Sequence[str],
    description: str,
) -> Json:
    return {
        "operationId": operation,
        "tags": ["read"],
        "summary": summary,
        "description": description,
        "security": _READERS,
        "parameters": parameters,
        "responses": {
            "200": _ok("The answer", _EXAMPLES[answer], answer),
            **_refusals(*_READ_CODES, *codes),
        },
    }


def _parameters(names: Sequence[str], **special: Json) -> list[Json]:
    return [
        {"name": name, "in": "query", **(special.get(name) or _QUERY_PARAMETERS[name])}
        for name in names
    ]


_ANY_TIME: Json = {"type": "string"}
_QUERY_PARAMETERS: dict[str, Json] = {
    "event": {"description": "Only events of this name.", "schema": {"type": "string"}},
    "userId": {"description": "Only events sent with this userId.", "schema": {"type": "string"}},
    "anonymousId": {
        "description": "Only events sent with this anonymousId.",
        "schema": {"type": "string"},
    },
    "from": {
        "description": "First date or time, included. Dates are local days of the workspace.",
        "schema": _ANY_TIME,
        "examples": {"date": {"value": "2024-01-01"}, "time": {"value": "2024-01-01T10:00:00Z"}},
    },
    "to": {
        "description": "Last date or time, included.",
        "schema": _ANY_TIME,
        "examples": {"date": {"value": "2024-01-31"}},
    },
    "interval": {
        "description": "Length of a bucket.",
        "schema": {"enum": list(INTERVALS), "default": "day"},
    },
    "filter": {
        "description": (
            "A condition such as `plan=pro`; all of them must hold. Operators: `=` `!=` `>` `>="
            "` `<` `<=` `~` (contains). `user.T` is a trait, `context.C` of the context, dots lead"
            " into objects, a backslash takes the meaning from a special character."
        ),
        "schema": {"type": "array", "items": {"type": "string"}},
        "style": "form",
        "explode": True,
        "examples": {"one": {"value": ["plan=pro"]}},
    },
    "breakdown": {
        "description": "A property or `user.TRAIT`: the 25 largest values, and the rest.",
        "schema": {"type": "string"},
    },
    "limit": {
        "description": "Events per page.",
        "schema": {
            "type": "integer",
            "minimum": 1,
            "maximum": event_list.LIMIT_MAX,
            "default": event_list.LIMIT_DEFAULT,
        },
    },
    "cursor": {"description": "`next_cursor` of the page before.", "schema": {"type": "string"}},
    "order": {
        "description": "Newest or oldest first.",
        "schema": {"enum": ["desc", "asc"], "default": "desc"},
    },
}

# --- operations about the server ----------------------------------------------------------------


def _about(operation: str, summary: str, schema: Json, codes: Sequence[str] = ()) -> Json:
    return {
        "operationId": operation,
        "tags": ["server"],
        "summary": summary,
        "security": [],
        "responses": {
            "200": {"description": "Yes" if schema is _STATUS else "It", "content": _json(schema)},
            **_refusals("invalid_host", *codes),
        },
    }


# --- answers and refusals -----------------------------------------------------------------------


def _refusals(*codes: str, rated: bool = False) -> Json:
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
        "content": _json(
            {"type": "object", "required": ["error"], "properties": {"error": detail}},
            {"error": {"code": codes[0], "message": ERRORS[codes[0]].meaning}},
        ),
    }
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        refusal["headers"] = {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}}
    if rated and status == HTTPStatus.TOO_MANY_REQUESTS:
        refusal["headers"] |= _RATE_HEADERS
    return refusal


def _ok(description: str, example: Any, schema: str, *, rated: bool = False) -> Json:
    answer: Json = {"description": description, "content": _json(_ref(schema), example)}
    if rated:
        answer["headers"] = _RATE_HEADERS
    return answer


def _body(schema: str, example: Json) -> Json:
    text: Json = {"type": "string", "contentMediaType": "application/json"}
    return {
        "required": True,
        "content": {
            **_json(_ref(schema), example),
            # What `sendBeacon` sends; it is read as JSON all the same.
            "text/plain": {"schema": {**text, "contentSchema": _ref(schema)}},
        },
    }


def _json(schema: Json, example: Any = None) -> Json:
    content: Json = {"schema": schema}
    if example is not None:
        content["example"] = example
    return {"application/json": content}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


_SECONDS: Json = {"type": "integer", "minimum": 0}
_HEADERS: Json = {
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
_RATE_HEADERS: Json = {
    "RateLimit-Limit": {"$ref": "#/components/headers/RateLimitLimit"},
    "RateLimit-Remaining": {"$ref": "#/components/headers/RateLimitRemaining"},
    "RateLimit-Reset": {"$ref": "#/components/headers/RateLimitReset"},
}

# --- schemas ------------------------------------------------------------------------------------

_STATUS: Json = {
    "type": "object",
    "required": ["status"],
    "properties": {"status": {"const": "ok"}},
}
_TIME: Json = {
    "type": "string",
    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
    "examples": ["2024-01-15T10:30:00.000Z"],
}
_COUNT: Json = {"type": "integer", "minimum": 0}


def _schemas() -> Json:
    warnings: Json = {"type": "array", "items": _ref("Warning")}
    duplicates: Json = {**_COUNT, "description": "Of received: ids that had counted before."}
    return {
        "Event": _event_sent(),
        "Identify": _identify_sent(),
        "Batch": {
            "type": "object",
            "required": ["events"],
            "properties": {
                "events": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 1000,
                    "description": "Checked one by one; a plan may allow fewer.",
                    "items": {"anyOf": [_ref("Event"), _ref("Identify")]},
                }
            },
        },
        "Received": _answer({"received": {"const": 1}}, duplicates=duplicates, warnings=warnings),
        "BatchReceived": _answer(
            {"received": {**_COUNT, "minimum": 1}},
            duplicates=duplicates,
            rejected={"type": "array", "items": _ref("Rejection")},
            warnings=warnings,
        ),
        "Identified": _answer({}, duplicates=duplicates, warnings=warnings),
        "Warning": _warning(),
        "Rejection": _rejection(),
        "ErrorCode": {
            "enum": list(ERRORS),
            "description": "Every code there is:\n\n"
            + "\n".join(
                f"- `{kind.code}` ({kind.status}{', retry' if kind.is_retryable else ''}):"
                f" {kind.meaning}"
                for kind in ERRORS.values()
            ),
        },
        "StoredEvent": _event_stored(),
        "EventList": _answer(
            {
                "data": {"type": "array", "items": _ref("StoredEvent")},
                "next_cursor": {"type": ["string", "null"]},
            }
        ),
        "User": _user(),
        "EventsReport": _events_report(),
        "UsersReport": _users_report(),
        "Definition": _definition(),
    }


def _answer(required: Json, **optional: Json) -> Json:
    return {
        "type": "object",
        "required": ["status", *required],
        "properties": {"status": {"const": "ok"}, **required, **optional},
    }


def _optional(schema: Json) -> Json:
    """Return the schema of a field that may be null, which is the same as absent."""
    return {**schema, "type": [schema["type"], "null"]}


def _id_sent(whose: str) -> Json:
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": event.ID_CHARACTERS_MAX,
        "description": f"{whose} Not a placeholder such as `null`, `0` or `anonymous`.",
    }


_TIME_SENT: Json = {
    "type": "string",
    "description": (
        "ISO 8601. Without it, the time of receipt. From 1970 (write key: 7 days ago) to 24 hours"
        " ahead."
    ),
    "examples": ["2024-01-15T10:30:00Z"],
}
_MESSAGE_ID: Json = {
    "type": "string",
    "minLength": 1,
    "maxLength": event.MESSAGE_ID_CHARACTERS_MAX,
    "description": "What makes a retry count once, such as a payment provider's event id.",
}
_VALUES: Json = {
    "type": "object",
    "description": (
        f"Any JSON. Strings keep {event.STRING_CHARACTERS_MAX} characters, arrays"
        f" {event.ARRAY_ELEMENTS_MAX} elements, objects {event.DEPTH_MAX} levels; the event at"
        f" most {event.KEYS_MAX} keys and {event.EVENT_BYTES_MAX:,} bytes."
    ),
}


def _event_sent() -> Json:
    return {
        "type": "object",
        "required": ["event"],
        "description": "One of `userId` and `anonymousId` is required, too.",
        "properties": {
            "event": {
                "type": "string",
                "minLength": 1,
                # Control characters at the ends are not counted, so more may arrive.
                "description": f"1 to {event.EVENT_NAME_CHARACTERS_MAX} characters.",
            },
            "userId": _optional(_id_sent("Who did it.")),
            "anonymousId": _optional(_id_sent("A device or visitor before login.")),
            "properties": _optional(_VALUES),
            "timestamp": _optional(_TIME_SENT),
            "messageId": _optional(_MESSAGE_ID),
            "context": _optional({"type": "object", "description": "Device, page, campaign …"}),
            "sentAt": _optional(
                {
                    "type": "string",
                    "description": "The sender's clock at sending; corrects `timestamp` if the"
                    " clock is more than 60 s off.",
                }
            ),
            "type": {"enum": ["track", "identify", None]},
        },
    }


def _identify_sent() -> Json:
    return {
        "type": "object",
        "required": ["userId"],
        "properties": {
            "type": {"enum": ["identify", None], "description": "Required in a batch."},
            "userId": _id_sent("Who it is."),
            "anonymousId": _optional(_id_sent("What they were called before; makes a link.")),
            "traits": _optional(_VALUES),
            "timestamp": _optional(_TIME_SENT),
            "messageId": _optional(_MESSAGE_ID),
        },
    }


def _warning() -> Json:
    return {
        "type": "object",
        "required": ["code", "field"],
        "properties": {
            "code": {
                "enum": list(_WARNINGS),
                "description": " ".join(f"`{code}`: {said}" for code, said in _WARNINGS.items()),
            },
            "field": {"type": "string"},
            "index": {**_COUNT, "description": "Which item of the batch."},
        },
    }


def _rejection() -> Json:
    return {
        "type": "object",
        "required": ["index", "code", "message"],
        "properties": {
            "index": {**_COUNT, "description": "Which item of the batch."},
            "code": {"enum": [*_ITEM_CODES, *_TRACK_CODES]},
            "message": {"type": "string"},
            "field": {"type": "string"},
        },
    }


def _event_stored() -> Json:
    known: Json = {
        "id": {"type": "string", "pattern": "^evt_[0-9a-hjkmnp-tv-z]{13}$"},
        "event": {"type": "string"},
        "userId": {"type": ["string", "null"]},
        "anonymousId": {"type": ["string", "null"]},
        "timestamp": _TIME,
        "receivedAt": _TIME,
        "properties": {"type": "object"},
        "context": {"type": "object"},
        "messageId": {"type": ["string", "null"]},
        "keyType": {"enum": ["secret", "write"]},
    }
    return {"type": "object", "required": list(known), "properties": known}


def _user() -> Json:
    known: Json = {
        "id": {"type": "string"},
        "traits": {"type": "object"},
        "created_at": {**_TIME, "description": "First event or identify."},
        "last_seen": {**_TIME, "description": "Latest event or identify."},
        "events": {
            "type": "array",
            "maxItems": profile.EVENTS_MAX,
            "items": _ref("StoredEvent"),
        },
        "anonymous_ids": {"type": "array", "items": {"type": "string"}},
    }
    return {"type": "object", "required": list(known), "properties": known}


def _buckets(number: Json) -> Json:
    return {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["date"],
            "properties": {
                "date": {
                    "type": "string",
                    "description": "Local date the bucket begins on; by hour, time and offset.",
                },
                **number,
                "complete": {"const": False, "description": "The bucket is still running."},
            },
        },
    }


def _report(asked: Json, number: Json, total: Json) -> Json:
    counted: Json = {"data": _buckets(number), "total": total}
    one_value: Json = {
        "type": "object",
        "required": ["value", *counted],
        "properties": {
            "value": {"description": "As it was sent; null where it is absent."},
            "other": {"const": True, "description": "All values beyond the largest."},
            **counted,
        },
    }
    required = {**asked, **counted, "definition": _ref("Definition")}
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, "breakdown": {"type": "array", "items": one_value}},
    }


def _events_report() -> Json:
    number: Json = {"type": ["number", "null"]}
    return _report(
        {
            "event": {"type": ["string", "null"], "description": "null: events of any name."},
            "interval": {"enum": list(INTERVALS)},
            "metric": {"type": "string"},
        },
        {
            "count": {**_COUNT, "description": "With the metrics `count` and `users`."},
            "value": {**number, "description": "With every other metric; null of nothing."},
        },
        number,
    )


def _users_report() -> Json:
    return _report(
        {
            "metric": {"enum": ["dau", "wau", "mau"]},
            "interval": {"enum": list(INTERVALS)},
        },
        {"count": _COUNT},
        {**_COUNT, "description": "Distinct persons of the range."},
    )


def _definition() -> Json:
    known: Json = {
        "timezone": {"type": "string"},
        "week_start": {"type": "string"},
        "range": {
            "type": "object",
            "required": ["from", "to"],
            "properties": {"from": _TIME, "to": _TIME},
        },
        "filters": _COUNT,
        "rules": {"type": "array", "items": {"type": "string"}},
    }
    return {
        "type": "object",
        "description": "The rules the numbers were computed by.",
        "required": list(known),
        "properties": known,
    }


# --- examples -----------------------------------------------------------------------------------

_EXAMPLE_EVENT: Json = {
    "userId": "user_456",
    "event": "Subscription Upgraded",
    "properties": {"plan": "pro", "mrr": 49.99},
}
_EXAMPLE_IDENTIFY: Json = {"userId": "user_456", "traits": {"plan": "pro", "city": "Zürich"}}
_EXAMPLE_ITEM: Json = {"type": "identify", **_EXAMPLE_IDENTIFY}
_EXAMPLE_PARTIAL: Json = {
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
_EXAMPLE_STORED: Json = {
    "id": "evt_01hm5xkq8c2f0",
    **_EXAMPLE_EVENT,
    "anonymousId": None,
    "timestamp": "2024-01-15T10:30:00.000Z",
    "receivedAt": "2024-01-15T10:30:00.214Z",
    "context": {},
    "messageId": None,
    "keyType": "secret",
}
_EXAMPLE_DEFINITION: Json = {
    "timezone": "UTC",
    "week_start": "monday",
    "range": {"from": "2024-01-14T00:00:00.000Z", "to": "2024-01-15T23:59:59.999Z"},
    "filters": 0,
    "rules": ["count: events."],
}
_EXAMPLE_DAYS: list[Json] = [
    {"date": "2024-01-14", "count": 0},
    {"date": "2024-01-15", "count": 1, "complete": False},
]
_EXAMPLES: dict[str, Json] = {
    "EventList": {"status": "ok", "data": [_EXAMPLE_STORED], "next_cursor": None},
    "User": {
        "id": "user_456",
        "traits": {"plan": "pro"},
        "created_at": "2024-01-15T10:30:00.000Z",
        "last_seen": "2024-01-15T10:30:00.000Z",
        "events": [_EXAMPLE_STORED],
        "anonymous_ids": [],
    },
    "EventsReport": {
        "event": "Subscription Upgraded",
        "interval": "day",
        "metric": "count",
        "data": _EXAMPLE_DAYS,
        "total": 1,
        "definition": _EXAMPLE_DEFINITION,
    },
    "UsersReport": {
        "metric": "dau",
        "interval": "day",
        "data": _EXAMPLE_DAYS,
        "total": 1,
        "definition": _EXAMPLE_DEFINITION,
    },
}
