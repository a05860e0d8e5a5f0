"""What is sent and what is answered, as JSON Schemas, with the limits `event` works by."""

from __future__ import annotations

from saytics_server import event
from saytics_server.errors import ERRORS
from saytics_server.openapi.refusals import ITEM_CODES, TRACK_CODES, Json, ref
from saytics_server.openapi.report_operations import document_schemas
from saytics_server.query import profile
from saytics_server.query.model import INTERVALS

# What an accepted event may be told.
WARNINGS = {
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


STATUS: Json = {
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


def schemas() -> Json:
    """Return every schema of the document by name."""
    warnings: Json = {"type": "array", "items": ref("Warning")}
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
                    "items": {"anyOf": [ref("Event"), ref("Identify")]},
                },
                "dropped": {
                    # Of any type: no event is refused for a number that is only a report.
                    "description": "Events the sender has lost since the batch before: a whole"
                    f" number up to {event.DROPPED_MAX:,}. Anything else counts for nothing and is"
                    " answered with the warning `unknown_field`.",
                    "examples": [3],
                },
            },
        },
        "Received": _answer({"received": {"const": 1}}, duplicates=duplicates, warnings=warnings),
        "BatchReceived": _answer(
            {"received": {**_COUNT, "minimum": 1}},
            duplicates=duplicates,
            rejected={"type": "array", "items": ref("Rejection")},
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
                "data": {"type": "array", "items": ref("StoredEvent")},
                "next_cursor": {"type": ["string", "null"]},
            }
        ),
        "User": _user(),
        "Usage": _usage(),
        "EventsReport": _events_report(),
        "UsersReport": _users_report(),
        "Definition": _definition(),
        **document_schemas(),
    }


def _usage() -> Json:
    text: Json = {"type": "string"}
    key: Json = {
        "type": "object",
        "required": ["name", "prefix", "class"],
        "properties": {"name": text, "prefix": text, "class": {"enum": ["secret", "write"]}},
    }
    lost: Json = {
        "type": "object",
        "required": ["date", "key", "library", "events"],
        "properties": {
            "date": {"type": "string", "format": "date"},
            "key": key,
            "library": {**text, "description": "What the sender calls itself; may be empty."},
            "events": {**_COUNT, "minimum": 1},
        },
    }
    return _answer(
        {
            "month": {**text, "pattern": r"^\d{4}-\d\d$"},
            "events": _COUNT,
            "dropped": {"type": "array", "items": lost},
        }
    )


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
                "enum": list(WARNINGS),
                "description": " ".join(f"`{code}`: {said}" for code, said in WARNINGS.items()),
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
            "code": {"enum": [*ITEM_CODES, *TRACK_CODES]},
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
            "items": ref("StoredEvent"),
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
    required = {**asked, **counted, "definition": ref("Definition")}
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
