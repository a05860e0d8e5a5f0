"""From a call's arguments to the JSON one event has on the wire.

The only place that knows the wire's camelCase names. Rules here are the ones of the server that can
be told from one event alone, under the server's codes; sizes and time ranges are left to the
server, which cuts with a warning rather than refuses.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import time
import uuid
from collections.abc import Callable, Mapping
from json import encoder as json_encoder
from typing import Any

from saytics.errors import SayticsError
from saytics.message_id import MessageIds
from saytics.version import __version__

EVENT_NAME_MAX = 200  # characters
ID_MAX = 256  # characters
MESSAGE_ID_MAX = 128  # characters

# What a program sends when it has no id: one "person" made of everybody, never what was meant.
PLACEHOLDER_IDS = frozenset(
    {"null", "undefined", "nan", "none", "0", "anonymous", "guest", "[object object]"}
)

_PLACEHOLDER_MAX = max(map(len, PLACEHOLDER_IDS))

# Names a program uses again and again are checked once; a program that makes up names must not fill
# the memory with them.
KNOWN_NAMES_MAX = 1000

LIBRARY = {"name": "saytics-python", "version": __version__}

_CONTROL_CHARACTERS = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0)]))

Id = str | int | uuid.UUID
Timestamp = str | dt.datetime | dt.date


class EventWriter:
    """Builds and serialises events; holds the message ids and the clock's last second."""

    def __init__(self) -> None:
        self._message_ids = MessageIds()
        self._second = (0, "")
        self._known_names: set[str] = set()

    def restart_in_child(self) -> None:
        """Make sure that a forked child makes other message ids, without its parent's locks."""
        self._message_ids.restart_in_child()

    def track(  # noqa: PLR0913, PLR0917 - one value for each field of the wire
        self,
        event: object,
        user_id: object,
        anonymous_id: object,
        properties: object,
        timestamp: object,
        message_id: object,
        context: object,
    ) -> dict[str, Any]:
        """Return the wire form of one event; SayticsError if it breaks a rule."""
        wire: dict[str, Any] = {"event": event}
        if type(event) is not str or event not in self._known_names:
            self._learn(_event_name(event))
        self._identity(wire, user_id, anonymous_id)
        if properties is not None:
            wire["properties"] = _object("properties", properties, "invalid_event")
        self._stamp(wire, timestamp, message_id)
        if context is not None:
            wire["context"] = {"library": LIBRARY, **_object("context", context, "invalid_event")}
        return wire

    def identify(
        self,
        user_id: object,
        traits: object,
        anonymous_id: object,
        timestamp: object,
        message_id: object,
    ) -> dict[str, Any]:
        """Return the wire form of one identify; SayticsError if it breaks a rule."""
        if user_id is None:
            raise SayticsError("missing_id", "identify needs a user_id.", field="userId")
        wire: dict[str, Any] = {"type": "identify"}
        self._identity(wire, user_id, anonymous_id)
        wire["traits"] = {} if traits is None else _object("traits", traits, "invalid_traits")
        self._stamp(wire, timestamp, message_id)
        return wire

    def _learn(self, name: str) -> None:
        if len(self._known_names) < KNOWN_NAMES_MAX:
            self._known_names.add(name)

    def _identity(self, wire: dict[str, Any], user_id: object, anonymous_id: object) -> None:
        if user_id is not None:
            wire["userId"] = _id("userId", user_id)
        if anonymous_id is not None:
            wire["anonymousId"] = _id("anonymousId", anonymous_id)
        elif user_id is None:
            raise SayticsError("missing_id", "Give user_id or anonymous_id.", field="userId")

    def _stamp(self, wire: dict[str, Any], timestamp: object, message_id: object) -> None:
        now_ms = time.time_ns() // 1_000_000
        wire["timestamp"] = self._now(now_ms) if timestamp is None else _timestamp(timestamp)
        wire["messageId"] = (
            self._message_ids.next(now_ms) if message_id is None else _message_id(message_id)
        )

    def _now(self, now_ms: int) -> str:
        # Formatting the calendar part costs a microsecond and changes once a second. The pair is
        # replaced whole, so threads see an old one or a new one, both right.
        second, text = self._second
        if now_ms // 1000 != second:
            second = now_ms // 1000
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = (second, text)
        return f"{text}.{now_ms % 1000:03d}Z"


def encode(wire: dict[str, Any]) -> bytes:
    """Return one event as JSON in UTF-8; SayticsError if a value has no JSON form.

    Events without a context of their own get the library's, spliced in already serialised.
    """
    try:
        text = _json(wire)
        if "context" not in wire and "event" in wire:
            text = text[:-1] + _LIBRARY_CONTEXT
        return text.encode()
    except UnicodeEncodeError as problem:
        raise SayticsError("invalid_text", "A string holds a lone surrogate.") from problem
    except (ValueError, OverflowError) as problem:
        raise SayticsError("invalid_number", "A number is NaN, infinite or too long.") from problem
    except TypeError as problem:
        raise SayticsError("invalid_event", str(problem)) from problem
    except RecursionError as problem:
        raise SayticsError("invalid_event", "A value contains itself.") from problem


def _event_name(value: object) -> str:
    if not isinstance(value, str):
        raise SayticsError("invalid_event", "event must be a string.", field="event")
    if not 1 <= len(value.strip(_CONTROL_CHARACTERS)) <= EVENT_NAME_MAX:
        raise SayticsError(
            "invalid_event_name",
            f"event must have 1 to {EVENT_NAME_MAX} characters.",
            field="event",
        )
    return value


def _id(field: str, value: object) -> str:
    # Ids are numbers or UUIDs in most programs; on the wire they are strings.
    if isinstance(value, str):
        text = value
    elif isinstance(value, int | uuid.UUID) and not isinstance(value, bool):
        text = str(value)
    else:
        raise SayticsError("invalid_event", f"{field} must be a string.", field=field)
    if not 1 <= len(text) <= ID_MAX:
        raise SayticsError(
            "invalid_id", f"{field} must have 1 to {ID_MAX} characters.", field=field
        )
    if len(text) <= _PLACEHOLDER_MAX and text.lower() in PLACEHOLDER_IDS:
        raise SayticsError("invalid_id", f"{field} is a placeholder, not an id.", field=field)
    return text


def _message_id(value: object) -> str:
    if isinstance(value, uuid.UUID):
        return str(value)
    if not isinstance(value, str):
        raise SayticsError("invalid_event", "message_id must be a string.", field="messageId")
    if not 1 <= len(value) <= MESSAGE_ID_MAX:
        raise SayticsError(
            "invalid_message_id",
            f"message_id must have 1 to {MESSAGE_ID_MAX} characters.",
            field="messageId",
        )
    return value


def _object(field: str, value: object, code: str) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    if isinstance(value, Mapping):
        return dict(value)
    raise SayticsError(code, f"{field} must be a mapping.", field=field)


def _timestamp(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dt.date):
        return _iso(value)
    raise SayticsError(
        "invalid_timestamp",
        "timestamp must be a datetime, a date or an ISO 8601 string.",
        field="timestamp",
    )


def _iso(value: dt.date) -> str:
    """Write a moment in UTC; a datetime without time zone as it is, for the server to judge."""
    if not isinstance(value, dt.datetime):
        return value.isoformat()
    if value.tzinfo is None:
        return value.isoformat(timespec="milliseconds")
    return value.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json_value(value: object) -> object:
    """Give values JSON has no word for the nearest one it has."""
    match value:
        case dt.date():
            return _iso(value)
        case decimal.Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case uuid.UUID():
            return str(value)
        case enum.Enum():
            return value.value
        case set() | frozenset():
            return list(value)
        case Mapping():
            return dict(value)
        case _:
            raise TypeError(f"A value of type {type(value).__name__} has no JSON form.")


def _make_json() -> Callable[[object], str]:
    # JSONEncoder.encode makes a new C encoder for each call, which is half of its time (8 against
    # 5 µs for the README's event); this one is made once. It takes, in order: markers of the
    # circularity check (off: recursion ends such values), default, string encoder, indent,
    # separators, sort_keys, skipkeys, allow_nan. Interpreters without it have None there.
    make_encoder: Any = getattr(json_encoder, "c_make_encoder", None)
    if make_encoder is None:
        return json.JSONEncoder(
            ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_json_value
        ).encode
    encode_chunks = make_encoder(
        None, _json_value, json_encoder.encode_basestring, None, ":", ",", False, False, False
    )
    return lambda value: "".join(encode_chunks(value, 0))


_json = _make_json()
_LIBRARY_CONTEXT = f',"context":{json.dumps({"library": LIBRARY}, separators=(",", ":"))}}}'
