"""The operations: every address of the API, who may use it, what it takes and answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from saytics_server import event
from saytics_server.openapi import examples, report_operations
from saytics_server.openapi.refusals import (
    ITEM_CODES,
    KEPT_HEADERS,
    RATE_HEADERS,
    READ_CODES,
    SEND_CODES,
    TRACK_CODES,
    Json,
    as_json,
    ref,
    refusals,
)
from saytics_server.openapi.schemas import STATUS
from saytics_server.query import active_users, event_list, profile, trends
from saytics_server.query.metrics import METRICS
from saytics_server.query.model import INTERVALS


def paths() -> Json:
    """Return every address with its operations."""
    return {
        "/v1/events": {"post": _send_event(), "get": _list_events()},
        "/v1/events/batch": {"post": _send_batch()},
        "/v1/users/identify": {"post": _identify()},
        "/v1/users/{id}": {"get": _get_user()},
        "/v1/usage": {"get": _usage()},
        "/v1/reports/events": {"get": _report_events()},
        "/v1/reports/users": {"get": _report_users()},
        **report_operations.paths(),
        "/v1/openapi.json": {"get": _about("getOpenapi", "This document", {"type": "object"})},
        "/healthz": {"get": _about("getHealth", "Is the process alive?", STATUS)},
        "/readyz": {
            "get": _about(
                "getReadiness",
                "Can the server take and count events?",
                STATUS,
                ("starting", "shutting_down", "storage_full", "overloaded", "clock_invalid"),
            )
        },
    }


# --- keys -------------------------------------------------------------------------------------

SECURITY_SCHEMES: Json = {
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
        "requestBody": _body("Event", examples.EVENT),
        "responses": {
            "200": _ok("Accepted", {"status": "ok", "received": 1}, "Received", rated=True),
            **refusals(
                *SEND_CODES, *ITEM_CODES, *TRACK_CODES, "idempotency_key_conflict", rated=True
            ),
        },
    }


def _send_batch() -> Json:
    refused = refusals(
        *SEND_CODES,
        "invalid_json",
        "invalid_parameter",
        "batch_empty",
        "batch_too_large",
        "batch_rejected",
        rated=True,
    )
    refused["400"]["content"]["application/json"]["schema"]["properties"].update(
        received={"const": 0, "description": "With `batch_rejected`."},
        rejected={"type": "array", "items": ref("Rejection")},
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
        "requestBody": _body("Batch", {"events": [examples.EVENT, examples.IDENTIFY_ITEM]}),
        "responses": {
            "200": _ok(
                "Accepted, at least in part", examples.PARTLY_RECEIVED, "BatchReceived", rated=True
            ),
            **refused,
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
        "requestBody": _body("Identify", examples.IDENTIFY),
        "responses": {
            "200": _ok("Accepted", {"status": "ok"}, "Identified", rated=True),
            **refusals(
                *SEND_CODES,
                *ITEM_CODES,
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
    "schema": {"enum": ["", "identity", "gzip", "x-gzip", "deflate", "zstd", "br"]},
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
        parameters=_parameters(event_list.PARAMETERS),
        answer="EventList",
        codes=("invalid_parameter", "invalid_cursor"),
        description="By time, newest first. With `cursor` the filters need not be repeated.",
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
        parameters=[identity],
        answer="User",
        codes=("user_not_found",),
        description=f"With the latest {profile.EVENTS_MAX} events that resolve to the user now.",
    )


def _usage() -> Json:
    return _reading(
        "getUsage",
        "Accepted events of this month, and what senders say they have lost",
        parameters=[],
        answer="Usage",
        codes=(),
        description="The month and the days are those of UTC. Losses of the last 90 days.",
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
        parameters=_parameters(trends.PARAMETERS, metric=metric),
        answer="EventsReport",
        codes=("invalid_parameter", "range_too_large"),
        description="Every bucket is present, zeros too.",
    )


def _report_users() -> Json:
    metric: Json = {
        "description": "Persons of the bucket, or of the 7 or 30 days that end with it.",
        "schema": {"enum": ["dau", "wau", "mau"], "default": "dau"},
    }
    return _reading(
        "reportUsers",
        "Active persons over time",
        parameters=_parameters(active_users.PARAMETERS, metric=metric),
        answer="UsersReport",
        codes=("invalid_parameter", "range_too_large"),
        description="Every bucket is present, zeros too.",
    )


def _reading(  # noqa: PLR0913 - one argument for each thing in which the operations differ
    operation: str,
    summary: str,
    *,
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
            "200": {
                **_ok("The answer", examples.ANSWERS[answer], answer),
                "headers": KEPT_HEADERS,
            },
            **refusals(*READ_CODES, *codes),
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
    "breakdown_limit": {
        "description": "How many values of the breakdown are shown.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 200, "default": 25},
    },
    "compare": {
        "description": "Also the period of equal length before, as `previous`.",
        "schema": {"enum": ["previous_period"]},
    },
    "cumulative": {
        "description": "Each bucket adds to the ones before.",
        "schema": {"enum": ["true", "false"], "default": "false"},
    },
    "as_of": {
        "description": "Leave out what was received later than this date or time.",
        "schema": _ANY_TIME,
        "examples": {"date": {"value": "2024-01-31"}},
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
            "200": {"description": "Yes" if schema is STATUS else "It", "content": as_json(schema)},
            **refusals("invalid_host", *codes),
        },
    }


def _ok(description: str, example: Any, schema: str, *, rated: bool = False) -> Json:
    answer: Json = {"description": description, "content": as_json(ref(schema), example)}
    if rated:
        answer["headers"] = RATE_HEADERS
    return answer


def _body(schema: str, example: Json) -> Json:
    text: Json = {"type": "string", "contentMediaType": "application/json"}
    return {
        "required": True,
        "content": {
            **as_json(ref(schema), example),
            # What `sendBeacon` sends; it is read as JSON all the same.
            "text/plain": {"schema": {**text, "contentSchema": ref(schema)}},
        },
    }
