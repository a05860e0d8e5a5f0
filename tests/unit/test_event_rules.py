"""The rules of one event, as tables: what is sent, and what becomes of it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import RECEIVED_MS, edge, wire_event
from saytics_server import event as events
from saytics_server.errors import ERRORS, Rejection
from saytics_server.event import SECRET, WRITE, Accepted, IdentifyRow, TrackRow, Warned

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000


def decided(sent: Any, **edge_fields: Any) -> Accepted | Rejection:
    """Return what becomes of one item, by the way a single event takes."""
    item, _, found = events.decode_item(json.dumps(sent).encode())
    if item is None:
        assert isinstance(found, Rejection)
        return found
    accepted = events.normalise(item, edge(**edge_fields))
    if isinstance(accepted, Accepted):
        accepted.warnings = [*found, *accepted.warnings]
    return accepted


def row_of(sent: Any, **edge_fields: Any) -> Any:
    """Return the row of an item that must be accepted without a warning."""
    accepted = decided(sent, **edge_fields)
    assert isinstance(accepted, Accepted), accepted
    assert list(accepted.warnings) == []
    return accepted.row


def refusal(sent: Any, **edge_fields: Any) -> tuple[str, str | None]:
    """Return code and field of the rejection of an item that must be rejected."""
    rejection = decided(sent, **edge_fields)
    assert isinstance(rejection, Rejection), rejection
    assert rejection.code in ERRORS
    assert rejection.message
    return rejection.code, rejection.field


def test_a_full_event_becomes_a_row_with_everything_it_said():
    """Every field of the contract reaches the row; texts are kept as they were sent."""
    sent = {
        "event": "Subscription Upgraded",
        "userId": "user_456",
        "anonymousId": "anon-1",
        "properties": {"plan": "pro", "größe": 1.5},
        "context": {"page": "/start"},
        "timestamp": "2024-01-15T10:30:00Z",
        "messageId": "m-1",
        "type": "track",
    }
    row = row_of(sent)
    assert row == TrackRow(
        workspace_id=1,
        key_class=SECRET,
        received_ms=RECEIVED_MS,
        event="Subscription Upgraded",
        user_id="user_456",
        anonymous_id="anon-1",
        timestamp_ms=1_705_314_600_000,
        original_timestamp_ms=None,
        message_id="m-1",
        claim=row.claim,
        content=row.content,
        properties_text='{"plan":"pro","größe":1.5}'.encode(),
        context_text=b'{"page":"/start"}',
        properties_column=b'{"plan":"pro","gr%C3%B6%C3%9Fe":1.5}',
        context_column=b"",
        links=True,
    )
    assert len(row.claim) == events.CLAIM_BYTES


def test_an_identify_item_becomes_a_row_with_its_traits():
    """An identify keeps traits as sent, a null included: it removes a trait."""
    sent = {
        "type": "identify",
        "userId": "user_456",
        "anonymousId": "anon-1",
        "traits": {"plan": None, "stadt": "Köln"},
        "timestamp": "2024-01-15T10:30:00+02:00",
        "messageId": "m-1",
    }
    row = row_of(sent)
    assert row == IdentifyRow(
        workspace_id=1,
        key_class=SECRET,
        received_ms=RECEIVED_MS,
        user_id="user_456",
        anonymous_id="anon-1",
        timestamp_ms=1_705_307_400_000,
        message_id="m-1",
        claim=row.claim,
        content=row.content,
        traits_text='{"plan":null,"stadt":"Köln"}'.encode(),
        links=True,
    )


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("X", "X"),
        ("x" * 200, "x" * 200),
        ("🚀" * 200, "🚀" * 200),
        ("\n\tSigned Up\x00\x7f", "Signed Up"),
        ("\x85Signed Up\x9f", "Signed Up"),
        (" Signed Up ", " Signed Up "),
        ("signed up", "signed up"),
        ("\x00" + "x" * 200, "x" * 200),
        ("a\nb", "a\nb"),
    ],
)
def test_event_names_are_kept_but_for_control_characters_around_them(sent: str, kept: str):
    """1 to 200 code points after trimming control characters; case and spaces stay."""
    assert row_of(wire_event(event=sent)).event == kept


@pytest.mark.parametrize("name", ["", " ", "\n", "\x00\x01", "\t \t", "x" * 201, "🚀" * 201])
def test_event_names_that_say_nothing_or_too_much_are_rejected(name: str):
    """An empty or over-long name is its own code."""
    assert refusal(wire_event(event=name)) == ("invalid_event_name", "event")


PLACEHOLDERS = [
    "", "null", "NULL", "undefined", "Undefined", "nan", "NaN", "none", "None", "0",
    "anonymous", "ANONYMOUS", "guest", "[object Object]", "[OBJECT OBJECT]", " ",
    " null ", "\tNaN\n", " " * 256,
]  # fmt: skip


@pytest.mark.parametrize("field", ["userId", "anonymousId"])
@pytest.mark.parametrize("value", [*PLACEHOLDERS, "x" * 257])
def test_placeholder_ids_are_rejected_in_any_case(field: str, value: str):
    """What a bug in the sender writes for "nobody" never becomes a person of a million events."""
    ids = {"userId": None, "anonymousId": None, field: value}
    assert refusal(wire_event(**ids)) == ("invalid_id", field)
    assert refusal(wire_event(**{"userId": "user_1", "anonymousId": "a_1", field: value})) == (
        "invalid_id",
        field,
    )


@pytest.mark.parametrize(
    "value", ["x", "00", "-", "nullable", "guest1", "x" * 256, "🚀" * 256, "a b"]
)
def test_ids_of_up_to_256_characters_are_kept_as_they_are(value: str):
    """An id is an opaque text."""
    assert row_of(wire_event(userId=value)).user_id == value
    assert row_of(wire_event(userId=None, anonymousId=value)).anonymous_id == value


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"event": "X"}, ("missing_id", "userId")),
        ({"event": "X", "userId": None, "anonymousId": None}, ("missing_id", "userId")),
        ({"userId": "u"}, ("invalid_event", "event")),
        ({"event": None, "userId": "u"}, ("invalid_event", "event")),
        ({"event": 5, "userId": "u"}, ("invalid_event", "event")),
        ({"event": ["X"], "userId": "u"}, ("invalid_event", "event")),
        ({"event": "X", "userId": 5}, ("invalid_id", "userId")),
        ({"event": "X", "userId": True}, ("invalid_id", "userId")),
        ({"event": "X", "anonymousId": {}}, ("invalid_id", "anonymousId")),
        ({"event": "X", "userId": "u", "properties": []}, ("invalid_event", "properties")),
        ({"event": "X", "userId": "u", "properties": "a"}, ("invalid_event", "properties")),
        ({"event": "X", "userId": "u", "context": 1}, ("invalid_event", "context")),
        ({"event": "X", "userId": "u", "traits": 1}, ("invalid_traits", "traits")),
        ({"event": "X", "userId": "u", "messageId": 1}, ("invalid_message_id", "messageId")),
        ({"event": "X", "userId": "u", "messageId": ""}, ("invalid_message_id", "messageId")),
        ({"event": "X", "userId": "u", "messageId": "m" * 129},
         ("invalid_message_id", "messageId")),
        ({"event": "X", "userId": "u", "timestamp": 1705314}, ("invalid_timestamp", "timestamp")),
        ({"event": "X", "userId": "u", "timestamp": 1.5}, ("invalid_timestamp", "timestamp")),
        ({"event": "X", "userId": "u", "sentAt": 1}, ("invalid_timestamp", "sentAt")),
        ({"event": "X", "userId": "u", "sentAt": "soon"}, ("invalid_timestamp", "sentAt")),
        ({"event": "X", "userId": "u", "type": "page"}, ("invalid_type", "type")),
        ({"event": "X", "userId": "u", "type": 1}, ("invalid_type", "type")),
        ({"type": "identify"}, ("missing_id", "userId")),
        ({"type": "identify", "anonymousId": "a"}, ("missing_id", "userId")),
        ({"type": "identify", "userId": "u", "traits": []}, ("invalid_traits", "traits")),
        ({"type": "identify", "userId": "null"}, ("invalid_id", "userId")),
        (None, ("invalid_event", None)),
        (True, ("invalid_event", None)),
        (5, ("invalid_event", None)),
        ("event", ("invalid_event", None)),
        ([], ("invalid_event", None)),
        ([[]], ("invalid_event", None)),
        ({}, ("missing_id", "userId")),
    ],
)  # fmt: skip
def test_what_is_missing_or_of_the_wrong_type_is_named(sent: Any, expected: tuple[str, str | None]):
    """A rejection says with its code which rule was broken and with its field where."""
    if sent == {}:
        expected = ("invalid_event", "event")
    assert refusal(sent) == expected


@pytest.mark.parametrize("length", [1, 128])
def test_message_ids_have_1_to_128_characters(length: int):
    """Code points are counted, not bytes."""
    assert row_of(wire_event(messageId="ü" * length)).message_id == "ü" * length


# --- time -------------------------------------------------------------------------------------

JANUARY_15 = 1_705_314_600_000  # 2024-01-15T10:30:00Z


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("2024-01-15T10:30:00Z", JANUARY_15),
        ("2024-01-15t10:30:00z", JANUARY_15),
        ("2024-01-15T10:30Z", JANUARY_15),
        ("2024-01-15T10:30:00.123Z", JANUARY_15 + 123),
        ("2024-01-15T10:30:00.123999Z", JANUARY_15 + 123),
        ("2024-01-15T10:30:00.1239999999Z", JANUARY_15 + 123),
        ("2024-01-15T10:30:00,5Z", JANUARY_15 + 500),
        ("2024-01-15T10:30:00+00:00", JANUARY_15),
        ("2024-01-15T10:30:00-00:00", JANUARY_15),
        ("2024-01-15T05:30:00-05:00", JANUARY_15),
        ("2024-01-15T16:00:00+05:30", JANUARY_15),
        ("2024-01-15T16:00:00+0530", JANUARY_15),
        ("20240115T103000Z", JANUARY_15),
        ("2024-01-15 10:30:00Z", JANUARY_15),
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.001+00:00", 1),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000),
        ("2000-01-01T00:00:00.999Z", 946_684_800_999),
    ],
)
def test_iso_times_are_read_to_the_millisecond(text: str, expected_ms: int):
    """Any offset is understood; what is finer than a millisecond is cut, never rounded."""
    row = row_of(wire_event(timestamp=text))
    assert (row.timestamp_ms, row.original_timestamp_ms) == (expected_ms, None)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "now", "yesterday", "2024", "2024-01", "2024-13-01", "2024-02-30", "2023-02-29",
        "20240115", "1705314600", "1705314600000", "1705314600.5", "17050112345678", "-1",
        "2024-01-15T25:00:00Z", "2024-01-15T10:60:00Z", "2024-01-15T10:30:61Z",
        "2024-01-15T10:30:00 Europe/Rome", "2024-01-15T10:30:00+25:00", "10:30:00",
        "Mon, 15 Jan 2024 10:30:00 GMT", "15.01.2024", "01/15/2024", "2024-01-15T", "T10:30",
        "\uff12\uff10\uff12\uff14-01-15", "x" * 100_000,
        "+2024-01-15T10:30:00Z", "12024-01-15T10:30:00Z",
    ],
)  # fmt: skip
def test_what_is_no_iso_time_is_rejected(text: str):
    """Numbers and half dates are refused rather than guessed at."""
    assert refusal(wire_event(timestamp=text)) == ("invalid_timestamp", "timestamp")
    assert refusal(wire_event(sentAt=text)) == ("invalid_timestamp", "sentAt")


@pytest.mark.parametrize("text", ["2024-01-15T10:30:00Z\x00", "2024-01-15T10:30:00Z\x00later"])
def test_a_time_with_a_nul_in_it_is_no_time(text: str):
    """What follows a NUL is not ignored."""
    assert refusal(wire_event(timestamp=text)) == ("invalid_timestamp", "timestamp")


@pytest.mark.parametrize("text", ["2024-01-15T10:30:00", "2024-01-15 10:30", "20240115T103000"])
def test_a_time_without_offset_is_utc_with_a_warning(text: str):
    """The sender learns that its clock's zone was assumed."""
    accepted = decided(wire_event(timestamp=text))
    assert isinstance(accepted, Accepted)
    assert accepted.row.timestamp_ms == JANUARY_15
    assert accepted.warnings == [Warned("timestamp_without_offset", "timestamp")]


@pytest.mark.parametrize(
    ("timezone", "midnight_ms"),
    [
        ("UTC", 1_705_276_800_000),
        ("Asia/Kathmandu", 1_705_276_800_000 - 345 * MINUTE_MS),
        ("America/New_York", 1_705_276_800_000 + 5 * HOUR_MS),
    ],
)
def test_a_date_alone_is_midnight_in_the_workspaces_zone(timezone: str, midnight_ms: int):
    """No warning: a date is a complete statement."""
    assert row_of(wire_event(timestamp="2024-01-15"), timezone=timezone).timestamp_ms == midnight_ms


@pytest.mark.parametrize(
    ("key_class", "distance_ms", "is_accepted"),
    [
        (SECRET, 0, True),
        (SECRET, DAY_MS, True),
        (SECRET, DAY_MS + 1, False),
        (SECRET, -8 * DAY_MS, True),
        (SECRET, -RECEIVED_MS, True),
        (SECRET, -RECEIVED_MS - 1, False),
        (WRITE, 0, True),
        (WRITE, DAY_MS, True),
        (WRITE, DAY_MS + 1, False),
        (WRITE, -7 * DAY_MS, True),
        (WRITE, -7 * DAY_MS - 1, False),
    ],
)
def test_how_far_a_timestamp_may_be_from_its_receipt(
    key_class: int, distance_ms: int, is_accepted: bool
):
    """A day ahead for all; back to 1970 for servers, seven days for the public key."""
    when = RECEIVED_MS + distance_ms
    text = events.iso(when) if when >= 0 else "1969-12-31T23:59:59.999Z"
    sent = wire_event(timestamp=text)
    if is_accepted:
        assert row_of(sent, key_class=key_class).timestamp_ms == when
    else:
        assert refusal(sent, key_class=key_class) == ("invalid_timestamp", "timestamp")


@pytest.mark.parametrize(
    "text",
    ["0001-01-01T00:00:00+23:59", "0001-01-01", "9999-12-31T23:59:59-23:59", "9999-12-31"],
)
@pytest.mark.parametrize("timezone", ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_times_at_the_ends_of_the_calendar_are_rejected_like_others(text: str, timezone: str):
    """Arithmetic beyond year 1 or 9999 is a rejection, not an error."""
    assert refusal(wire_event(timestamp=text), timezone=timezone)[0] == "invalid_timestamp"
    sent = wire_event(timestamp="2024-01-15T10:30:00Z", sentAt=text)
    assert isinstance(decided(sent, timezone=timezone), (Accepted, Rejection))


@pytest.mark.parametrize(
    ("skew_ms", "moved_ms"),
    [
        (0, 0),
        (MINUTE_MS, 0),
        (MINUTE_MS + 1, MINUTE_MS + 1),
        (HOUR_MS, HOUR_MS),
        (-MINUTE_MS, 0),
        (-MINUTE_MS - 1, -MINUTE_MS - 1),
    ],
)
def test_a_clock_that_is_off_by_more_than_a_minute_is_corrected(skew_ms: int, moved_ms: int):
    """The timestamp moves by what the sender's clock is off; the one sent is kept."""
    sent_at, happened = RECEIVED_MS - skew_ms, RECEIVED_MS - skew_ms - 10 * MINUTE_MS
    sent = wire_event(timestamp=events.iso(happened), sentAt=events.iso(sent_at))
    row = row_of(sent)
    assert row.timestamp_ms == happened + moved_ms
    assert row.original_timestamp_ms == (happened if moved_ms else None)


def test_sent_at_without_a_timestamp_leaves_the_time_of_receipt():
    """There is nothing to correct."""
    sent = wire_event(sentAt=events.iso(RECEIVED_MS - HOUR_MS))
    assert row_of(sent).timestamp_ms == RECEIVED_MS


def test_limits_hold_for_the_corrected_time():
    """A wrong clock is no way around what a timestamp may be."""
    sent_at = events.iso(RECEIVED_MS - 2 * DAY_MS)
    ahead = wire_event(timestamp=events.iso(RECEIVED_MS), sentAt=sent_at)
    assert refusal(ahead) == ("invalid_timestamp", "timestamp")
    behind = wire_event(
        timestamp=events.iso(RECEIVED_MS - 8 * DAY_MS),
        sentAt=events.iso(RECEIVED_MS - 2 * DAY_MS),
    )
    assert row_of(behind, key_class=WRITE).timestamp_ms == RECEIVED_MS - 6 * DAY_MS


# --- properties -------------------------------------------------------------------------------


def cleaned(properties: Any) -> tuple[Any, list[tuple[str, str]]]:
    """Return the properties kept and the warnings (code, field)."""
    accepted = decided(wire_event(properties=properties))
    assert isinstance(accepted, Accepted), accepted
    warnings = [(warned.code, warned.field) for warned in accepted.warnings]
    return msgspec.json.decode(accepted.row.properties_text), warnings


def nested(depth: int, value: Any = 1) -> Any:
    """Return an object whose value lies at `depth`; 1 is a value directly inside it."""
    for _ in range(depth):
        value = {"k": value}
    return value


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"a": None},
        {"a": True, "b": False},
        {"a": -(2**63), "b": 2**64 - 1, "c": 2**63},
        {"a": 1.0, "b": -0.0, "c": 5e-324, "d": 1.7976931348623157e308},
        {"a": "x" * 256, "b": "🚀" * 256, "": "empty key", "k" * 128: 1},
        {"a": list(range(25)), "b": [[1, [2, [3]]]], "c": [{"d": [1]}]},
        {"a": {}, "b": [], "c": {"d": {}}},
        {"with.dot": 1, "$ref": 2, "50%": 3, "größe": 4, 'quote"': 5, "a b": 6, "\x00": 7},
        {"user": {"x": 1}, "cohort": 1, "__proto__": 1, "constructor": 1},
        {f"k{number}": number for number in range(255)},
        nested(5),
        nested(4, [{"deepest": 1}]),
        {"when": "2024-01-15T10:30:00Z"},
    ],
)
def test_properties_within_the_limits_stay_as_they_are(properties: Any):
    """Nothing is converted, renamed or reordered."""
    kept, warnings = cleaned(properties)
    assert (kept, warnings) == (properties, [])
    assert json.dumps(kept) == json.dumps(properties)


LONG_KEY = "k" * 129


@pytest.mark.parametrize(
    ("properties", "kept", "warnings"),
    [
        ({"a": "x" * 257}, {"a": "x" * 256}, [("value_truncated", "properties.a")]),
        ({"a": "🚀" * 300}, {"a": "🚀" * 256}, [("value_truncated", "properties.a")]),
        ({"a": list(range(26))}, {"a": list(range(25))}, [("array_truncated", "properties.a")]),
        ({"a": ["x" * 257]}, {"a": ["x" * 256]}, [("value_truncated", "properties.a")]),
        ({LONG_KEY: 1, "b": 2}, {"b": 2}, [("key_too_long", "properties." + "k" * 128)]),
        (nested(6), nested(4, {}), [("too_deep", "properties.k.k.k.k.k")]),
        (nested(5, [[1]]), nested(5, []), [("too_deep", "properties.k.k.k.k.k")]),
        (nested(5, [{"a": 1}, 2]), nested(5, [2]), [("too_deep", "properties.k.k.k.k.k")]),
        ({"a": {LONG_KEY: 1}}, {"a": {}}, [("key_too_long", "properties.a." + "k" * 128)]),
        (
            {f"k{number}": 1 for number in range(256)},
            {f"k{number}": 1 for number in range(255)},
            [("too_many_keys", "properties.k255")],
        ),
    ],
)
def test_properties_over_a_limit_are_cut_with_a_warning(
    properties: Any, kept: Any, warnings: list[tuple[str, str]]
):
    """The event is kept, the value cut, and the sender told where."""
    assert cleaned(properties) == (kept, warnings)


def test_keys_are_counted_over_all_levels():
    """255 keys are an event's, not an object's; over-long keys do not count."""
    properties = {LONG_KEY: 0, "a": {f"k{number}": 1 for number in range(300)}, "last": 1}
    kept, warnings = cleaned(properties)
    assert 1 + len(kept["a"]) == 255
    assert {code for code, _ in warnings} == {"key_too_long", "too_many_keys"}


def test_the_size_is_checked_after_values_are_cut():
    """A long text is cut to 256 characters and fits; many texts do not."""
    kept, warnings = cleaned({"a": "x" * 100_000})
    assert (len(kept["a"]), len(warnings)) == (256, 1)
    large = {f"key number {number}": "🚀" * 256 for number in range(40)}
    assert refusal(wire_event(properties=large)) == ("event_too_large", None)


def test_an_event_of_exactly_32_kib_is_kept():
    """The limit counts name, ids and both objects as they are kept."""
    count = 200
    fixed = wire_event(event="X", userId="u", properties={f"k{n:03}": "" for n in range(count)})
    spare = 32 * 1024 - len(json.dumps(fixed["properties"], separators=(",", ":"))) - 2 - 2
    texts = {f"k{n:03}": "x" * (spare // count + (n < spare % count)) for n in range(count)}
    fits = wire_event(event="X", userId="u", properties=texts)
    assert isinstance(decided(fits), Accepted)
    assert refusal({**fits, "userId": "uu"}) == ("event_too_large", None)


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 10**300, -(10**300)])
def test_integers_beyond_64_bits_are_kept_as_sent_and_asked_as_doubles(value: int):
    """The text holds every digit, the column the nearest double."""
    row = row_of(wire_event(properties={"a": value}))
    assert json.loads(row.properties_text) == {"a": value}
    assert json.loads(row.properties_column) == {"a": float(value)}


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1" + "0" * 309, "9" * 5000]
)
@pytest.mark.parametrize("place", ['{"a":%s}', '{"a":[%s]}', '{"a":{"b":[1,%s]}}'])
def test_numbers_that_are_none_are_rejected_wherever_they_stand(number: str, place: str):
    """NaN, Infinity and what no double holds would be silently wrong in every sum."""
    body = b'{"event":"X","userId":"u","properties":%s}' % (place % number).encode()
    item, _, found = events.decode_item(body)
    if item is not None:
        found = events.normalise(item, edge())
    assert isinstance(found, Rejection)
    assert found.code == "invalid_number"


@pytest.mark.parametrize(
    "body",
    [
        rb'{"event":"X\ud800","userId":"u"}',
        rb'{"event":"X","userId":"\udfff"}',
        rb'{"event":"X","userId":"u","properties":{"a":"\ud800"}}',
        rb'{"event":"X","userId":"u","properties":{"\udc00\ud800":1}}',
        rb'{"event":"X","userId":"u","context":{"a":[["\ud800x"]]}}',
        rb'{"type":"identify","userId":"u","traits":{"a":"\ud800"}}',
    ],
)
def test_lone_surrogates_are_rejected(body: bytes):
    """They are no characters; no UTF-8 file, column or answer could hold them."""
    item, _, found = events.decode_item(body)
    assert item is None
    assert isinstance(found, Rejection)
    assert found.code == "invalid_text"


def test_unknown_fields_are_named_and_not_stored():
    """A misspelt field is noticed by its sender; long and odd names are printed safely."""
    sent = {**wire_event(), "user_id": "u", "x" * 200: 1}
    accepted = decided(sent)
    assert isinstance(accepted, Accepted)
    assert accepted.warnings == [
        Warned("unknown_field", "user_id"),
        Warned("unknown_field", "x" * 128),
    ]


@pytest.mark.parametrize(
    ("sent", "fields"),
    [
        (wire_event(traits={"a": 1}), ["traits"]),
        (
            {"type": "identify", "userId": "u", "event": "X", "properties": {}, "context": {}},
            ["event", "properties", "context"],
        ),
    ],
)
def test_fields_of_the_other_kind_of_item_are_warned_about(sent: Any, fields: list[str]):
    """Traits on an event, properties on an identify: accepted, not stored, said."""
    accepted = decided(sent)
    assert isinstance(accepted, Accepted)
    assert [(w.code, w.field) for w in accepted.warnings] == [("unknown_field", f) for f in fields]


# --- what depends on the key -----------------------------------------------------------------


def test_context_is_filled_from_the_request_for_write_keys_alone():
    """A browser's address is its user's; a backend's is nobody's. What was sent stays."""
    request = {"client_ip": "203.0.113.7", "client_user_agent": "Mozilla/5.0 " + "x" * 300}
    browser = row_of(wire_event(context={"ip": "198.51.100.1"}), key_class=WRITE, **request)
    assert json.loads(browser.context_text) == {
        "ip": "198.51.100.1",
        "userAgent": ("Mozilla/5.0 " + "x" * 300)[:256],
    }
    backend = row_of(wire_event(), key_class=SECRET, **request)
    assert backend.context_text == b"{}"


def test_an_event_for_secret_keys_only_is_refused_to_the_write_key():
    """The name is compared after trimming, so a control character is no way around."""
    named = frozenset({"Payment Received"})
    for name in ("Payment Received", "Payment Received\x00"):
        sent = wire_event(event=name)
        assert refusal(sent, key_class=WRITE, secret_only_events=named) == (
            "event_secret_only",
            "event",
        )
        assert row_of(sent, secret_only_events=named).event == "Payment Received"


def test_claims_are_separate_per_workspace_and_key_class():
    """What a browser guesses never meets what a server sent."""
    claims = {
        (workspace_id, key_class): row_of(
            wire_event(messageId="m-1"), workspace_id=workspace_id, key_class=key_class
        ).claim
        for workspace_id in (1, 2)
        for key_class in (WRITE, SECRET)
    }
    assert len(set(claims.values())) == 4


def test_content_tells_a_repeat_from_another_event_under_the_same_id():
    """Equal content gives an equal fingerprint; any difference that counts another."""
    first = wire_event(messageId="m", timestamp="2024-01-15T10:30:00Z")
    same = row_of(dict(reversed(first.items())))
    assert same.content == row_of(first).content
    for change in (
        {"event": "Y"},
        {"userId": "other"},
        {"anonymousId": "a"},
        {"properties": {"plan": "pro", "mrr": 50}},
        {"timestamp": "2024-01-15T10:30:01Z"},
    ):
        assert row_of({**first, **change}).content != row_of(first).content, change
    assert row_of(first, received_ms=RECEIVED_MS + 1).content == row_of(first).content


@pytest.mark.parametrize(
    ("message_id", "idempotency_key", "expected"),
    [
        (None, "k-1", "k-1"),
        ("k-1", "k-1", "k-1"),
        ("k-1", None, "k-1"),
        (None, None, ""),
        ("k-1", "k-2", "idempotency_key_conflict"),
        (None, "k" * 129, "invalid_message_id"),
        (None, "", "invalid_message_id"),
    ],
)
def test_the_idempotency_key_header_is_another_way_to_send_the_message_id(
    message_id: str | None, idempotency_key: str | None, expected: str
):
    """Both and different is a contradiction only the sender can resolve."""
    item = events.WireItem(event="X", userId="u", messageId=message_id)
    result = events.normalise(item, edge(), idempotency_key=idempotency_key)
    if isinstance(result, Rejection):
        assert (result.code, result.field) == (expected, "messageId")
    else:
        assert result.row.message_id == expected


# --- names of keys and events ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "column"),
    [
        ("plan", "plan"),
        ("billing cycle", "billing cycle"),
        ("$ref-1_A", "$ref-1_A"),
        ("", "%"),
        ("%", "%25"),
        ("a.b", "a%2Eb"),
        ("größe", "gr%C3%B6%C3%9Fe"),
        ("🚀", "%F0%9F%9A%80"),
        ("a\n", "a%0A"),
        ("\x00", "%00"),
        ("a:Int64", "a%3AInt64"),
    ],
)
def test_keys_are_encoded_for_the_column(key: str, column: str):
    """Letters, digits, `_-$` and space stay; every other byte becomes %XX."""
    assert events.column_key(key) == column


@given(st.text(max_size=20), st.text(max_size=20))
def test_two_keys_never_share_a_column(one: str, other: str):
    """The encoding can be undone, so it is injective, and holds no dot."""
    if one == other:
        return
    assert events.column_key(one) != events.column_key(other)
    assert "." not in events.column_key(one)
    assert events.column_path([one, other]).count(".") == 1


@given(st.integers(0, 2**64 - 1))
def test_an_event_id_is_its_position_and_back(position: int):
    """The public id holds all 64 bits and sorts as positions do."""
    public = events.event_id(position)
    assert events.position_of(public) == position
    assert len(public) == 17
    assert public < events.event_id(position + 1)


@pytest.mark.parametrize(
    "text",
    ["", "evt_", "evt_0", "0000000000000", "evt_000000000000u", "evt_00000000000000",
     "EVT_0000000000000", "evt_000000000000é", "evt_evt_00000000000"],
)  # fmt: skip
def test_what_is_no_event_id_is_a_value_error(text: str):
    """Nothing but what `event_id` gives is read back."""
    with pytest.raises(ValueError):  # noqa: PT011 - it is the face: ValueError, whatever it says
        events.position_of(text)


def test_an_event_id_beyond_64_bits_is_a_value_error():
    """Thirteen base-32 digits could hold one bit more than a position has."""
    with pytest.raises(ValueError):  # noqa: PT011
        events.position_of("evt_zzzzzzzzzzzzz")


@given(st.integers(0, 253_402_300_799_999))
def test_iso_shows_milliseconds_and_z(ms: int):
    """What is shown is read back as the same millisecond."""
    text = events.iso(ms)
    assert text.endswith("Z")
    assert len(text) == len("2024-01-15T10:30:00.000Z")
    row = events.normalise(
        events.WireItem(event="X", userId="u", timestamp=text), edge(received_ms=ms)
    )
    assert isinstance(row, Accepted)
    assert row.row.timestamp_ms == ms
