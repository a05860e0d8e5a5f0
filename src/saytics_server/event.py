"""What arrives on the wire and what is kept: the rules of one event, and nothing else.

In: the JSON of a request. Out: rows ready for the log, or a `Rejection` that says what to fix.
Everything here is pure: the time, the key's class and the workspace come in as an `Edge`.

    body ── decode ──► WireItem ── normalise ──► TrackRow | IdentifyRow   (+ warnings)
                           └──────────────────► Rejection

This is the only module that knows both the camelCase of the wire and the rows of the log.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NoReturn
from zlib import crc32
from zoneinfo import ZoneInfo

import msgspec

from saytics_server.errors import Rejection

# --- limits, each with its reason -----------------------------------------------------------

EVENT_NAME_CHARACTERS_MAX = 200
ID_CHARACTERS_MAX = 256
MESSAGE_ID_CHARACTERS_MAX = 128
STRING_CHARACTERS_MAX = 256
ARRAY_ELEMENTS_MAX = 25
# A value directly in `properties` is at depth 1, so a dotted path has at most five keys.
DEPTH_MAX = 5
KEYS_MAX = 255
KEY_CHARACTERS_MAX = 128
EVENT_BYTES_MAX = 32 * 1024
# Below this, names and ids, of at most four bytes a character, cannot make an event too large.
_SIZE_IN_DOUBT = EVENT_BYTES_MAX - 4 * (
    EVENT_NAME_CHARACTERS_MAX + 2 * ID_CHARACTERS_MAX + MESSAGE_ID_CHARACTERS_MAX
)
FUTURE_MS_MAX = 24 * 3_600_000
# The public key may not write history: what a browser queued offline is younger than this.
WRITE_KEY_PAST_MS_MAX = 7 * 24 * 3_600_000
# Below this a difference between two clocks is network and queueing, and moving the timestamp by
# it would reorder one client's events.
SKEW_MS_MIN = 60_000
# A rejected event is kept up to the size an accepted one could have had.
REJECTED_BYTES_MAX = EVENT_BYTES_MAX
# What one batch may say its sender has lost: an hour at 300,000 events a second. Billions of such
# batches still fit into the 64 bits of their sum.
DROPPED_MAX = 1_000_000_000

_PLACEHOLDER_IDS = frozenset(
    {"", "null", "undefined", "nan", "none", "0", "anonymous", "guest", "[object object]"}
)
_PLACEHOLDER_CHARACTERS_MAX = max(map(len, _PLACEHOLDER_IDS))
# Names already found to be good as they are: a program has a few, and a set look-up is 30 ns.
_plain_names: set[str] = set()
_PLAIN_NAMES_MAX = 50_000
_CONTROL_CHARACTERS = "".join(map(chr, [*range(0x20), 0x7F, *range(0x80, 0xA0)]))

WRITE, SECRET = 0, 1

# --- rows: what the log keeps ---------------------------------------------------------------


class TrackRow(msgspec.Struct, array_like=True, tag=0, gc=False):
    """One accepted event. Absent ids are ''; texts are UTF-8 JSON objects.

    `claim` is the keyed hash that makes its messageId count once, b'' without one; `content` the
    fingerprint by which a repeated messageId with other content is noticed. The `_column` texts
    are b'' where the JSON column takes the text as it was sent. `links` is False where the two
    ids it may carry must not be joined.
    """

    workspace_id: int
    key_class: int
    received_ms: int
    event: str
    user_id: str
    anonymous_id: str
    timestamp_ms: int
    original_timestamp_ms: int | None
    message_id: str
    claim: bytes
    content: int
    properties_text: bytes
    context_text: bytes
    properties_column: bytes
    context_column: bytes
    links: bool


class IdentifyRow(msgspec.Struct, array_like=True, tag=1, gc=False):
    """One accepted identify call. `traits_text` is a UTF-8 JSON object; null removes a trait."""

    workspace_id: int
    key_class: int
    received_ms: int
    user_id: str
    anonymous_id: str
    timestamp_ms: int
    message_id: str
    claim: bytes
    content: int
    traits_text: bytes
    links: bool


class RejectedRow(msgspec.Struct, array_like=True, tag=2, gc=False):
    """One event that was sent and not accepted, with the reason and what was sent.

    It claims no messageId: a repaired event may come again under the same one.
    """

    workspace_id: int
    key_class: int
    received_ms: int
    code: str
    message: str
    field: str
    body: bytes
    claim: bytes = b""
    content: int = 0


class UnlinkRow(msgspec.Struct, array_like=True, tag=3, gc=False):
    """One undoing: every link between the two ids that was received before this row is void.

    It is a row like the others, so that a store made anew from the log undoes it again. Made by
    the API alone, never sent as an event.
    """

    workspace_id: int
    key_class: int
    received_ms: int
    anonymous_id: str
    user_id: str
    claim: bytes = b""
    content: int = 0


Row = TrackRow | IdentifyRow | RejectedRow | UnlinkRow

# --- the wire --------------------------------------------------------------------------------


class WireItem(msgspec.Struct, forbid_unknown_fields=True):
    """One item as sent, its types right and nothing else checked."""

    event: str | None = None
    userId: str | None = None  # noqa: N815 - the wire's own spelling
    anonymousId: str | None = None  # noqa: N815
    properties: dict[str, Any] | None = None
    timestamp: str | None = None
    messageId: str | None = None  # noqa: N815
    context: dict[str, Any] | None = None
    sentAt: str | None = None  # noqa: N815
    type: Literal["track", "identify"] | None = None
    traits: dict[str, Any] | None = None


class WireBatch(msgspec.Struct, forbid_unknown_fields=True):
    """A batch whose every item has the right types.

    `dropped` is how many events its sender has lost since the batch before; nobody's activity.
    """

    events: list[WireItem]
    dropped: Annotated[int, msgspec.Meta(ge=0, le=DROPPED_MAX)] = 0


class SentBatch(msgspec.Struct, frozen=True):
    """A decoded batch: each item as `decode_item` returns it, and the events its sender lost."""

    items: list[tuple[WireItem | None, Any, Any]]
    dropped: int = 0


class Warned(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something about an accepted event its sender should know."""

    code: str
    field: str
    index: int | None = None


Claims = Callable[[], Any]


class Edge(msgspec.Struct, frozen=True):
    """What the server knows about a request before it reads the body."""

    workspace_id: int
    key_class: int
    received_ms: int
    timezone: str
    # Makes the hash under which a messageId counts once; see `claims_of`.
    claims: Claims
    secret_only_events: frozenset[str] = frozenset()
    # Filled into `context` for write keys only: a backend's address is nobody's.
    client_ip: str | None = None
    client_user_agent: str | None = None


class Accepted(msgspec.Struct):
    """A row for the log and what its sender should know about it."""

    row: TrackRow | IdentifyRow
    warnings: Sequence[Warned] = ()


class _Reject(Exception):  # noqa: N818 - carried within this module only, out of nested cleaning
    def __init__(self, code: str, message: str, field: str | None = None) -> None:
        super().__init__(code)
        self.rejection = Rejection(code, message, field)


_item_decoder = msgspec.json.Decoder(WireItem)
_batch_decoder = msgspec.json.Decoder(WireBatch)
fromisoformat = datetime.fromisoformat
_json_encode = msgspec.json.Encoder().encode

# Errors a decoder raises for bad input: bad JSON or types, bad UTF-8, nesting beyond the stack.
_DECODE_ERRORS = (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError)


def decode_item(body: bytes) -> tuple[WireItem, Any, list[Warned]] | tuple[None, Any, Rejection]:
    """Return (item, None, warnings), or (None, what was sent, why not) for a single event."""
    try:
        return _item_decoder.decode(body), None, []
    except _DECODE_ERRORS:
        pass  # the careful way finds out what is wrong
    try:
        sent = _parse_carefully(body)
    except _Reject as reject:
        return None, None, reject.rejection
    try:
        item, warnings = _item_from(sent)
    except _Reject as reject:
        return None, sent, reject.rejection
    return item, None, warnings


def decode_batch(body: bytes) -> SentBatch | Rejection:
    """Return the items and the losses of a batch, or why the body is no batch at all.

    One bad item never costs its neighbours: NaN, a lone surrogate or endless nesting in one of
    them leaves the others as they are.
    """
    try:
        batch = _batch_decoder.decode(body)
        return SentBatch([(item, None, ()) for item in batch.events], batch.dropped)
    except _DECODE_ERRORS:
        pass
    try:
        envelope = _parse_carefully(body)
    except _Reject as reject:
        return reject.rejection
    if not isinstance(envelope, dict):
        return Rejection("invalid_json", "The body must be an object with an `events` array.")
    events = envelope.get("events")
    if not isinstance(events, list):
        return Rejection("invalid_json", "`events` must be an array of events.", "events")
    dropped = envelope.pop("dropped", 0)
    is_count = type(dropped) is int and 0 <= dropped <= DROPPED_MAX
    unknown = [Warned("unknown_field", name) for name in envelope if name != "events"]
    if not is_count:
        unknown.append(Warned("unknown_field", "dropped"))
    results: list[tuple[WireItem | None, Any, Any]] = []
    for sent in events:
        try:
            item, warnings = _item_from(sent)
            results.append((item, None, [*unknown, *warnings]))
        except _Reject as reject:
            results.append((None, sent, reject.rejection))
        unknown = []
    return SentBatch(results, dropped if is_count else 0)


# --- the careful way: slower, and able to say what is wrong -----------------------------------


class _Unreadable:
    """Stands where the JSON held something that is no value: NaN, an endless number or nesting."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message


# More digits than any double has; the conversion of longer ones costs quadratic time.
_INTEGER_DIGITS_MAX = 310


def _parse_float(text: str) -> float | _Unreadable:
    value = float(text)
    if math.isfinite(value):
        return value
    return _Unreadable(
        "invalid_number", f"The number {text[:40]} is outside the range of a double."
    )


def _parse_int(text: str) -> int | _Unreadable:
    if len(text) > _INTEGER_DIGITS_MAX:
        return _Unreadable("invalid_number", "An integer has more digits than a double can hold.")
    return int(text)


def _parse_constant(text: str) -> _Unreadable:
    return _Unreadable("invalid_number", f"{text} is not JSON; leave the value out or send null.")


def _parse_carefully(body: bytes) -> Any:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Reject(
            "invalid_json", f"The body is not valid UTF-8 (byte {error.start})."
        ) from None
    try:
        return _loads(text)
    except RecursionError:
        return _loads_apart(text)
    except ValueError as error:
        raise _Reject("invalid_json", f"The body is not valid JSON: {error}.") from None


def _loads(text: str) -> Any:
    return json.loads(
        text, parse_float=_parse_float, parse_int=_parse_int, parse_constant=_parse_constant
    )


_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},]', re.DOTALL)
_ITEM_DEPTH = 2  # {"events": [ ← here the items begin


def _loads_apart(text: str) -> Any:
    """Parse a batch item by item, when one of them nests deeper than the parser goes."""
    spans = list(_item_spans(text))
    if not spans:
        raise _Reject("invalid_json", "The body is nested too deeply.")
    items: list[Any] = []
    for start, end in spans:
        try:
            items.append(_loads(text[start:end]))
        except RecursionError:
            items.append(_Unreadable("invalid_event", "The event is nested too deeply."))
        except ValueError as error:
            raise _Reject("invalid_json", f"The body is not valid JSON: {error}.") from None
    return {"events": items}


def _item_spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each item of the `events` array of the outermost object stands in `text`."""
    depth, key, start = 0, "", None
    for token in _JSON_TOKEN.finditer(text):
        character = token.group()[0]
        if character == '"':
            key = token.group() if depth == 1 else key
        elif character in "[{":
            depth += 1
            if depth == 1 and character == "[":
                return
            if depth == _ITEM_DEPTH and character == "[" and key == '"events"':
                start = token.end()
        else:
            if depth == _ITEM_DEPTH and start is not None:
                if text[start : token.start()].strip():
                    yield start, token.start()
                start = token.end() if character == "," else None
            depth -= character != ","


_FIELD_TYPES: dict[str, tuple[type, str]] = {
    "event": (str, "a string"),
    "userId": (str, "a string"),
    "anonymousId": (str, "a string"),
    "properties": (dict, "an object"),
    "timestamp": (str, "an ISO 8601 string"),
    "messageId": (str, "a string"),
    "context": (dict, "an object"),
    "sentAt": (str, "an ISO 8601 string"),
    "type": (str, "`track` or `identify`"),
    "traits": (dict, "an object"),
}
_FIELD_CODES = {
    "timestamp": "invalid_timestamp",
    "sentAt": "invalid_timestamp",
    "messageId": "invalid_message_id",
    "traits": "invalid_traits",
    "type": "invalid_type",
    "userId": "invalid_id",
    "anonymousId": "invalid_id",
}
_JSON_TYPES: dict[type, str] = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


def _item_from(sent: Any) -> tuple[WireItem, list[Warned]]:
    if isinstance(sent, _Unreadable):
        raise _Reject(sent.code, sent.message)
    if not isinstance(sent, dict):
        raise _Reject("invalid_event", f"An event must be an object, not {_type_name(sent)}.")
    known: dict[str, Any] = {}
    warnings: list[Warned] = []
    for name, value in sent.items():
        if name not in _FIELD_TYPES:
            warnings.append(Warned("unknown_field", _printable(name)))
            continue
        expected, words = _FIELD_TYPES[name]
        if value is not None and not isinstance(value, expected):
            if isinstance(value, _Unreadable):
                raise _Reject(value.code, value.message, name)
            code = _FIELD_CODES.get(name, "invalid_event")
            raise _Reject(code, f"`{name}` must be {words}, not {_type_name(value)}.", name)
        _refuse_unreadable(value, name)
        known[name] = value
    if known.get("type") not in (None, "track", "identify"):
        raise _Reject("invalid_type", "`type` must be `track` or `identify`.", "type")
    return WireItem(**known), warnings


def _refuse_unreadable(value: Any, field: str) -> None:
    """Raise for a lone surrogate or a number that is none, however deep; no recursion."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            if not _is_text(item):
                raise _Reject("invalid_text", "A string holds a lone UTF-16 surrogate.", field)
        elif isinstance(item, _Unreadable):
            raise _Reject(item.code, item.message, field)
        elif isinstance(item, dict):
            waiting.extend(item)
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _printable(name: str) -> str:
    return name[:KEY_CHARACTERS_MAX].encode(errors="replace").decode()


def _type_name(value: Any) -> str:
    return _JSON_TYPES.get(type(value), "something unreadable")


def sent_again(item: WireItem) -> dict[str, Any]:
    """Return an item as it was sent, without the fields it did not have."""
    fields = {name: getattr(item, name) for name in item.__struct_fields__}
    return {name: value for name, value in fields.items() if value is not None}


def sent_text(sent: Any) -> bytes:
    """Return what was sent as JSON text for the rejected-events table, cut to its limit."""
    try:
        text = json.dumps(sent, ensure_ascii=True, default=lambda unreadable: unreadable.message)
    except RecursionError:
        text = '"nested too deeply to be kept"'
    return text.encode()[:REJECTED_BYTES_MAX]


# --- the rules --------------------------------------------------------------------------------


def normalise(
    item: WireItem, edge: Edge, idempotency_key: str | None = None
) -> Accepted | Rejection:
    """Apply every rule of one event or identify call; return its row, or why there is none."""
    try:
        if item.type == "identify":
            return _identify(item, edge, idempotency_key)
        return _track(item, edge, idempotency_key)
    except _Reject as reject:
        return reject.rejection


def _track(item: WireItem, edge: Edge, idempotency_key: str | None) -> Accepted:
    warnings: list[Warned] = []
    event = _event_name(item.event, edge)
    user_id, anonymous_id = _ids(item)
    timestamp_ms, original_ms = _times(item, edge, warnings)
    message_id = _message_id(item, idempotency_key)
    properties, properties_column = _clean(item.properties, "properties", warnings)
    sent_context = item.context if edge.key_class == SECRET else _with_request(item.context, edge)
    context, context_column = _clean(sent_context, "context", warnings)
    size = len(properties) + len(context)
    if size > _SIZE_IN_DOUBT:
        _check_size(size, event, user_id, anonymous_id, message_id)
    if item.traits is not None:
        warnings.append(Warned("unknown_field", "traits"))
    claim, content = b"", 0
    if message_id:
        claim = _claim(edge, message_id)
        said = f"{event}\0{user_id}\0{anonymous_id}\0{item.timestamp}"
        content = crc32(properties, crc32(said.encode()))
    row = TrackRow(
        edge.workspace_id,
        edge.key_class,
        edge.received_ms,
        event,
        user_id,
        anonymous_id,
        timestamp_ms,
        original_ms,
        message_id,
        claim,
        content,
        properties,
        context,
        properties_column,
        context_column,
        True,
    )
    return Accepted(row, warnings)


def _identify(item: WireItem, edge: Edge, idempotency_key: str | None) -> Accepted:
    warnings: list[Warned] = []
    if item.userId is None:
        raise _Reject("missing_id", "`userId` is required.", "userId")
    user_id, anonymous_id = _ids(item)
    timestamp_ms, _ = _times(item, edge, warnings)
    message_id = _message_id(item, idempotency_key)
    traits, _ = _clean(item.traits, "traits", warnings)
    if len(traits) > _SIZE_IN_DOUBT:
        _check_size(len(traits), user_id, anonymous_id, message_id)
    for name in ("event", "properties", "context"):
        if getattr(item, name) is not None:
            warnings.append(Warned("unknown_field", name))
    claim, content = b"", 0
    if message_id:
        claim = _claim(edge, message_id)
        said = f"\0{user_id}\0{anonymous_id}\0{item.timestamp}"
        content = crc32(traits, crc32(said.encode()))
    row = IdentifyRow(
        edge.workspace_id,
        edge.key_class,
        edge.received_ms,
        user_id,
        anonymous_id,
        timestamp_ms,
        message_id,
        claim,
        content,
        traits,
        True,
    )
    return Accepted(row, warnings)


def _event_name(sent: str | None, edge: Edge) -> str:
    if sent is None:
        raise _Reject("invalid_event", "`event` is required.", "event")
    if sent in _plain_names:
        name = sent
    else:
        name = sent.strip(_CONTROL_CHARACTERS)
        if not name or name.isspace() or len(name) > EVENT_NAME_CHARACTERS_MAX:
            raise _Reject(
                "invalid_event_name",
                f"`event` must have 1 to {EVENT_NAME_CHARACTERS_MAX} characters.",
                "event",
            )
        if name == sent and len(_plain_names) < _PLAIN_NAMES_MAX:
            _plain_names.add(name)
    if edge.key_class == WRITE and name in edge.secret_only_events:
        raise _Reject("event_secret_only", "Only secret keys may send this event.", "event")
    return name


def _ids(item: WireItem) -> tuple[str, str]:
    """Return (userId, anonymousId), '' where absent."""
    user_id, anonymous_id = item.userId, item.anonymousId
    if user_id is not None:
        _check_id(user_id, "userId")
    elif anonymous_id is None:
        raise _Reject("missing_id", "Give `userId`, `anonymousId` or both.", "userId")
    if anonymous_id is not None:
        _check_id(anonymous_id, "anonymousId")
    return user_id or "", anonymous_id or ""


def _check_id(value: str, field: str) -> None:
    length = len(value)
    if length > _PLACEHOLDER_CHARACTERS_MAX:
        if length > ID_CHARACTERS_MAX:
            raise _Reject(
                "invalid_id",
                f"`{field}` has {length} characters; at most {ID_CHARACTERS_MAX}.",
                field,
            )
        if not value.isspace():
            return
    if value.strip().lower() in _PLACEHOLDER_IDS:
        raise _Reject(
            "invalid_id", f"`{field}` is {value!r}, which names nobody; leave it out.", field
        )


def _check_size(size: int, *texts: str) -> None:
    for text in texts:
        size += len(text) if text.isascii() else len(text.encode())
    if size > EVENT_BYTES_MAX:
        raise _Reject("event_too_large", f"The event has {size} bytes; at most {EVENT_BYTES_MAX}.")


def _message_id(item: WireItem, idempotency_key: str | None) -> str:
    message_id = item.messageId
    if idempotency_key is not None:
        if message_id not in (None, idempotency_key):
            raise _Reject(
                "idempotency_key_conflict",
                "The Idempotency-Key header and `messageId` differ; send one of them.",
                "messageId",
            )
        message_id = idempotency_key
    if message_id is None:
        return ""
    if not 0 < len(message_id) <= MESSAGE_ID_CHARACTERS_MAX:
        raise _Reject(
            "invalid_message_id",
            f"`messageId` must have 1 to {MESSAGE_ID_CHARACTERS_MAX} characters.",
            "messageId",
        )
    return message_id


# --- time -------------------------------------------------------------------------------------


def _times(item: WireItem, edge: Edge, warnings: list[Warned]) -> tuple[int, int | None]:
    """Return (timestamp, the one sent if skew moved it), in milliseconds."""
    skew_ms, original_ms = 0, None
    if item.sentAt is not None:
        skew_ms = edge.received_ms - _parse_time(item.sentAt, "sentAt", edge, warnings)
    if item.timestamp is None:
        return edge.received_ms, None
    timestamp_ms = _parse_time(item.timestamp, "timestamp", edge, warnings)
    if abs(skew_ms) > SKEW_MS_MIN:
        original_ms, timestamp_ms = timestamp_ms, timestamp_ms + skew_ms
    if timestamp_ms > edge.received_ms + FUTURE_MS_MAX:
        raise _Reject(
            "invalid_timestamp", "`timestamp` is more than 24 hours in the future.", "timestamp"
        )
    if timestamp_ms < 0:
        raise _Reject("invalid_timestamp", "`timestamp` is before 1970.", "timestamp")
    if edge.key_class == WRITE and timestamp_ms < edge.received_ms - WRITE_KEY_PAST_MS_MAX:
        raise _Reject(
            "invalid_timestamp",
            "`timestamp` is more than 7 days ago; send history with a secret key.",
            "timestamp",
        )
    return timestamp_ms, original_ms


_DATE_CHARACTERS = len("2024-01-15")


def _parse_time(text: str, field: str, edge: Edge, warnings: list[Warned]) -> int:
    try:
        moment = fromisoformat(text)
    except ValueError:
        moment = _parse_time_carefully(text, field)
    if "\0" in text:  # CPython's parser stops there and takes what came before
        _refuse_time(field)
    if moment.tzinfo is not UTC:
        if text.isdigit():
            _refuse_time(field)
        if moment.tzinfo is None:
            moment = _with_zone(moment, text, field, edge, warnings)
    # Integer arithmetic: a float of seconds would round the last millisecond.
    since = moment - _EPOCH
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


def _parse_time_carefully(text: str, field: str) -> datetime:
    try:
        return fromisoformat(text.upper())  # a small t or z is ISO 8601 too
    except ValueError:
        _refuse_time(field)


def _refuse_time(field: str) -> NoReturn:
    raise _Reject(
        "invalid_timestamp",
        f"`{field}` is not an ISO 8601 time such as 2024-01-15T10:30:00Z.",
        field,
    )


def _with_zone(
    moment: datetime, text: str, field: str, edge: Edge, warnings: list[Warned]
) -> datetime:
    """Return a time without offset as UTC, a date alone as midnight in the workspace's zone."""
    if len(text) <= _DATE_CHARACTERS and "T" not in text.upper():
        return moment.replace(tzinfo=ZoneInfo(edge.timezone))
    warnings.append(Warned("timestamp_without_offset", field))
    return moment.replace(tzinfo=UTC)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso(ms: int) -> str:
    """Return a time in milliseconds as the wire shows it: UTC with milliseconds and `Z`."""
    seconds, rest = divmod(ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"


# --- properties, context and traits -----------------------------------------------------------

_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_\-$ ]+\Z")
# Keys already found to be plain: real programs send few, and a set look-up is 30 ns.
_plain_keys: set[str] = set()
_PLAIN_KEYS_MAX = 50_000
_NOTHING = b"{}"


def _clean(sent: dict[str, Any] | None, field: str, warnings: list[Warned]) -> tuple[bytes, bytes]:
    """Return (JSON text to keep, text for the JSON column or b'' if it is the same)."""
    if not sent:
        return _NOTHING, b""
    if _is_plain(sent):
        return _json_encode(sent), b""
    cleaning = _Cleaning(warnings)
    kept = cleaning.object(sent, field, 1)
    text = _json_encode(kept)
    if cleaning.needs_encoding:
        return text, _json_encode(_for_column(kept))
    return text, b""


def _is_plain(sent: dict[str, Any]) -> bool:
    """Tell whether every key and value may stay as it is; the common case, kept fast."""
    if len(sent) > KEYS_MAX:
        return False
    for key, value in sent.items():
        if key not in _plain_keys and not _learn_plain(key):
            return False
        kind = type(value)
        if kind is str:
            if len(value) > STRING_CHARACTERS_MAX:
                return False
        elif kind is int:
            if not _INT64_MIN <= value <= _UINT64_MAX:
                return False
        elif kind is dict or kind is list:
            return False
    return True


def _learn_plain(key: str) -> bool:
    if len(key) > KEY_CHARACTERS_MAX or not _PLAIN_KEY.match(key):
        return False
    if len(_plain_keys) < _PLAIN_KEYS_MAX:
        _plain_keys.add(key)
    return True


class _Cleaning:
    """Cuts one object to the limits, key by key, and says what it cut."""

    def __init__(self, warnings: list[Warned]) -> None:
        self.warnings = warnings
        self.keys = 0
        self.needs_encoding = False

    def object(self, sent: dict[str, Any], path: str, depth: int) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, value in sent.items():
            if len(key) > KEY_CHARACTERS_MAX:
                self._warn("key_too_long", f"{path}.{key[:KEY_CHARACTERS_MAX]}")
                continue
            if self.keys == KEYS_MAX:
                self._warn("too_many_keys", f"{path}.{key}")
                break
            place = f"{path}.{key}"
            if depth > DEPTH_MAX or (depth == DEPTH_MAX and type(value) is dict):
                self._warn("too_deep", place)
                continue
            self.keys += 1
            if not _PLAIN_KEY.match(key):
                self.needs_encoding = True
            kept[key] = self._value(value, place, depth)
        return kept

    def _value(self, value: Any, place: str, depth: int) -> Any:
        if isinstance(value, str):
            if len(value) > STRING_CHARACTERS_MAX:
                self._warn("value_truncated", place)
                return value[:STRING_CHARACTERS_MAX]
        elif isinstance(value, bool) or value is None:
            pass
        elif isinstance(value, int):
            self._check_integer(value, place)
        elif isinstance(value, dict):
            return self.object(value, place, depth + 1)
        elif isinstance(value, list):
            return self._array(value, place, depth)
        return value

    def _array(self, sent: list[Any], place: str, depth: int) -> list[Any]:
        if len(sent) > ARRAY_ELEMENTS_MAX:
            self._warn("array_truncated", place)
            sent = sent[:ARRAY_ELEMENTS_MAX]
        kept = []
        for element in sent:
            if isinstance(element, (dict, list)) and depth >= DEPTH_MAX:
                self._warn("too_deep", place)
                continue
            if isinstance(element, list):
                kept.append(self._array(element, place, depth + 1))
            else:
                kept.append(self._value(element, place, depth))
        return kept

    def _check_integer(self, value: int, place: str) -> None:
        if not _INT64_MIN <= value <= _UINT64_MAX:
            self.needs_encoding = True
            try:
                float(value)
            except OverflowError:
                raise _Reject(
                    "invalid_number", "A number is outside the range of a double.", place
                ) from None

    def _warn(self, code: str, field: str) -> None:
        self.warnings.append(Warned(code, field))


def _for_column(value: Any) -> Any:
    if isinstance(value, dict):
        return {column_key(key): _for_column(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_for_column(item) for item in value]
    if type(value) is int and not _INT64_MIN <= value <= _UINT64_MAX:
        return float(value)
    return value


def _with_request(context: dict[str, Any] | None, edge: Edge) -> dict[str, Any] | None:
    if edge.key_class != WRITE or (edge.client_ip is None and edge.client_user_agent is None):
        return context
    filled = dict(context or {})
    if edge.client_ip is not None:
        filled.setdefault("ip", edge.client_ip)
    if edge.client_user_agent is not None:
        filled.setdefault("userAgent", edge.client_user_agent[:STRING_CHARACTERS_MAX])
    return filled


def column_key(key: str) -> str:
    """Return `key` as the JSON column names it: ASCII letters, digits, `_-$ ` and %XX bytes.

    A key with a dot would otherwise read as a path, one with a type suffix as a type.
    """
    if _PLAIN_KEY.match(key):
        return key
    encoded = "".join(
        chr(byte) if _PLAIN_KEY.match(chr(byte)) else f"%{byte:02X}" for byte in key.encode()
    )
    return encoded or "%"


def column_path(keys: Sequence[str]) -> str:
    """Return the dotted path of nested keys in the JSON column."""
    return ".".join(column_key(key) for key in keys)


# --- identity of an event ---------------------------------------------------------------------

CLAIM_BYTES = 12


def claims_of(claim_key: bytes, workspace_id: int, key_class: int) -> Claims:
    """Return what makes the keyed 96-bit hashes of one workspace's and key class's messageIds.

    Separate per workspace and key class: what a browser guesses never meets what a server sent.
    96 bits: among 10^9 ids the chance that any two share a hash is 10^18 / 2 / 2^96 < 10^-11.
    """
    started = hashlib.blake2b(digest_size=CLAIM_BYTES, key=claim_key)
    started.update(workspace_id.to_bytes(4, "big") + bytes((key_class,)))
    return started.copy


def _claim(edge: Edge, message_id: str) -> bytes:
    digest = edge.claims()
    digest.update(message_id.encode())
    claim: bytes = digest.digest()
    return claim


_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_ID_DIGITS = 13  # 65 bits hold a 64-bit position


def event_id(position: int) -> str:
    """Return the public id of the event at a log position: `evt_` and 13 base-32 digits."""
    return "evt_" + "".join(_ALPHABET[position >> shift & 31] for shift in range(60, -1, -5))


def position_of(public_id: str) -> int:
    """Return the log position of a public event id; ValueError if it is none."""
    digits = public_id.removeprefix("evt_")
    if len(digits) != _ID_DIGITS or len(public_id) != _ID_DIGITS + 4:
        raise ValueError(public_id)
    position = 0
    for digit in digits:
        position = position << 5 | _ALPHABET.index(digit)
    if position >> 64:
        raise ValueError(public_id)
    return position
