"""The three sending endpoints as a client sees them: answers, warnings, rejections, duplicates."""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import brotli
import pytest
from refusals import error

from factories import unique, wire_event
from serving import Serving

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

OK = {"status": "ok", "received": 1}


# --- one event --------------------------------------------------------------------------------


def test_the_event_of_the_seed_page_is_taken_and_found_as_it_was_sent(server: Serving):
    """The page's own curl body, unchanged."""
    user = unique("user")
    sent = {
        "userId": user,
        "event": "Subscription Upgraded",
        "properties": {"plan": "pro", "mrr": 49.99},
        "timestamp": "2024-01-15T10:30:00Z",
    }
    answer = server.track(sent)
    assert (answer.status_code, answer.json()) == (200, OK)
    server.wait_visible()
    (event,) = server.events(userId=user)
    assert event == {
        "id": event["id"],
        "event": "Subscription Upgraded",
        "userId": user,
        "anonymousId": None,
        "timestamp": "2024-01-15T10:30:00.000Z",
        "receivedAt": event["receivedAt"],
        "properties": {"plan": "pro", "mrr": 49.99},
        "context": {},
        "messageId": None,
        "keyType": "secret",
    }


def test_without_a_timestamp_the_time_of_receipt_holds(server: Serving):
    """To the millisecond, both the same."""
    user = unique("user")
    server.track(wire_event(userId=user))
    server.wait_visible()
    (event,) = server.events(userId=user)
    assert event["timestamp"] == event["receivedAt"]
    received = datetime.fromisoformat(event["receivedAt"])
    assert abs(datetime.now(UTC) - received) < timedelta(minutes=1)


def test_values_over_a_limit_are_cut_and_the_answer_says_where(server: Serving):
    """Kept, cut, warned: 200."""
    answer = server.track(
        wire_event(properties={"a": "x" * 300}, timestamp="2024-01-15T10:30:00", extra=1)
    )
    assert answer.status_code == 200
    assert answer.json() == {
        **OK,
        "warnings": [
            {"code": "unknown_field", "field": "extra"},
            {"code": "timestamp_without_offset", "field": "timestamp"},
            {"code": "value_truncated", "field": "properties.a"},
        ],
    }


REFUSED_EVENTS: dict[str, tuple[Any, str, str | None]] = {
    "no event": ({"userId": "u"}, "invalid_event", "event"),
    "an array": ([], "invalid_event", None),
    "empty name": (wire_event(event=""), "invalid_event_name", "event"),
    "no id": ({"event": "X"}, "missing_id", "userId"),
    "placeholder": (wire_event(userId="undefined"), "invalid_id", "userId"),
    "long id": (wire_event(anonymousId="x" * 257), "invalid_id", "anonymousId"),
    "number as time": (wire_event(timestamp=1705314600), "invalid_timestamp", "timestamp"),
    "future": (wire_event(timestamp="2999-01-01T00:00:00Z"), "invalid_timestamp", "timestamp"),
    "before 1970": (wire_event(timestamp="1969-12-31"), "invalid_timestamp", "timestamp"),
    "long messageId": (wire_event(messageId="m" * 129), "invalid_message_id", "messageId"),
    "wrong type": (wire_event(type="page"), "invalid_type", "type"),
    "traits": ({"type": "identify", "userId": "u", "traits": 1}, "invalid_traits", "traits"),
    "NaN": (b'{"event":"X","userId":"u","properties":{"a":NaN}}', "invalid_number", "properties"),
    "surrogate": (
        rb'{"event":"X","userId":"u","properties":{"a":"\ud800"}}',
        "invalid_text",
        "properties",
    ),
    "too large": (
        wire_event(properties={f"k{n}": "x" * 256 for n in range(200)}),
        "event_too_large",
        None,
    ),
    "no JSON": (b"event=X&userId=u", "invalid_json", None),
    "empty body": (b"", "invalid_json", None),
    "wrong charset": ('{"event":"ü","userId":"u"}'.encode("latin-1"), "invalid_json", None),
    "utf-16": ('{"event":"X","userId":"u"}'.encode("utf-16"), "invalid_json", None),
}


@pytest.mark.parametrize(("sent", "code", "field"), REFUSED_EVENTS.values(), ids=REFUSED_EVENTS)
def test_every_rule_has_its_code(server: Serving, sent: Any, code: str, field: str | None):
    """400, the code that says what to fix, the field that says where."""
    assert error(server.track(sent)) == (400, code, field)


@pytest.mark.parametrize(
    ("header", "message_id", "answer"),
    [
        ("key", None, (200, OK)),
        ("key", "key", (200, OK)),
        ("key", "other", (400, "idempotency_key_conflict", "messageId")),
        ("k" * 129, None, (400, "invalid_message_id", "messageId")),
    ],
)
def test_the_idempotency_key_header_is_a_message_id(
    server: Serving, header: str, message_id: str | None, answer: Any
):
    """Both and different is refused; with `messageId` later, the same event is a duplicate."""
    prefix = unique("m")
    header = header if len(header) > 100 else prefix + header
    event = wire_event(messageId=message_id and prefix + message_id)
    got = server.track(event, Idempotency_Key=header)
    if answer[0] == 200:
        assert (got.status_code, got.json()) == answer
        again = server.track({**event, "messageId": header})
        assert again.json() == {**OK, "duplicates": 1}
    else:
        assert error(got) == answer


# --- batches ----------------------------------------------------------------------------------


def test_a_batch_keeps_its_good_events_and_names_its_bad_ones(server: Serving):
    """received + rejected = sent; order, indexes and warnings per item."""
    name = unique("Batch")
    sent = [
        wire_event(event=name, userId="a"),
        {"event": name},
        wire_event(event=name, userId="b", properties={"x": "x" * 300}),
        {"type": "identify", "userId": "c", "traits": {"plan": "pro"}},
        "nonsense",
        wire_event(event=name, userId="d", timestamp="2024-01-15"),
    ]
    answer = server.batch(sent)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["received"]) == ("ok", 4)
    rejected = [(r["index"], r["code"], r.get("field")) for r in body["rejected"]]
    assert rejected == [(1, "missing_id", "userId"), (4, "invalid_event", None)]
    assert body["warnings"] == [{"code": "value_truncated", "field": "properties.x", "index": 2}]
    server.wait_visible()
    stored = server.events(event=name)
    assert [event["userId"] for event in stored] == ["d", "a", "b"]  # by their own times


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"events": []}, "batch_empty", "events"),
        ({"events": [wire_event()] * 1001}, "batch_too_large", "events"),
        ({"events": None}, "invalid_json", "events"),
        ({}, "invalid_json", "events"),
        ([wire_event()], "invalid_json", None),
        (b"", "invalid_json", None),
        (b'{"events":[{"event":"X","userId":"u"}]', "invalid_json", None),
    ],
)
def test_a_batch_that_is_none_is_refused_whole(server: Serving, body: Any, code: str, field: Any):
    """Nothing of it is stored."""
    before = server.status()["last_position"]
    assert error(server.post("/v1/events/batch", body)) == (400, code, field)
    assert server.status()["last_position"] == before


def test_a_batch_of_bad_events_alone_is_a_400_that_lists_them(server: Serving):
    """They are kept among the rejected events all the same."""
    before = server.status()["last_position"]
    answer = server.batch([{"event": "X"}, {"userId": "u"}, 5])
    assert error(answer) == (400, "batch_rejected", None)
    assert answer.json()["received"] == 0
    assert [r["index"] for r in answer.json()["rejected"]] == [0, 1, 2]
    assert server.status()["last_position"] == before + 3


def test_a_thousand_events_are_a_batch(server: Serving):
    """The contract's own numbers: 999 received, one rejected."""
    sent: list[Any] = [wire_event(event=unique("k")) for _ in range(999)]
    sent.insert(3, {"event": "X"})
    body = server.batch(sent).json()
    assert body["received"] == 999
    assert [(r["index"], r["code"]) for r in body["rejected"]] == [(3, "missing_id")]


def test_a_batch_takes_no_idempotency_key(server: Serving):
    """Which of its events would it be?"""
    answer = server.batch([wire_event()], Idempotency_Key=unique("k"))
    assert error(answer) == (400, "invalid_parameter", "Idempotency-Key")


# --- identify ----------------------------------------------------------------------------------


def test_identify_answers_ok_and_makes_a_user_known(server: Serving):
    """Traits merge per key; null removes one."""
    user = unique("user")
    first = server.post(
        "/v1/users/identify", {"userId": user, "traits": {"plan": "free", "stadt": "Köln", "x": 1}}
    )
    assert (first.status_code, first.json()) == (200, {"status": "ok"})
    server.post("/v1/users/identify", {"userId": user, "traits": {"plan": "pro", "x": None}})
    server.wait_visible()
    profile = server.get(f"/v1/users/{user}").json()
    assert profile["traits"] == {"plan": "pro", "stadt": "Köln"}


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"traits": {}}, "missing_id", "userId"),
        ({"anonymousId": "a"}, "missing_id", "userId"),
        ({"userId": "guest"}, "invalid_id", "userId"),
        ({"userId": "u", "traits": []}, "invalid_traits", "traits"),
        (b"x", "invalid_json", None),
    ],
)
def test_identify_has_codes_of_its_own(server: Serving, body: Any, code: str, field: str | None):
    """As for events: code and field."""
    assert error(server.post("/v1/users/identify", body)) == (400, code, field)


def test_an_identify_repeated_under_its_message_id_counts_once(server: Serving):
    """Its answer has no `received`, but tells of the duplicate."""
    call = {"userId": unique("user"), "traits": {"a": 1}, "messageId": unique("m")}
    assert server.post("/v1/users/identify", call).json() == {"status": "ok"}
    again = server.post("/v1/users/identify", call).json()
    assert again == {"status": "ok", "duplicates": 1}


# --- duplicates -------------------------------------------------------------------------------


def test_one_batch_sent_fifty_times_in_parallel_counts_once(server: Serving):
    """Every sender is told ok, 49 of them of duplicates, and every event is there once."""
    name = unique("Parallel")
    sent = [wire_event(event=name, userId=f"u{n}", messageId=unique("m")) for n in range(40)]
    with ThreadPoolExecutor(50) as senders:
        answers = list(senders.map(lambda _: server.batch(sent), range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["received"] for answer in answers} == {40}
    assert sum(answer.json().get("duplicates", 0) for answer in answers) == 49 * 40
    server.wait_visible()
    assert sorted(e["messageId"] for e in server.events(event=name)) == sorted(
        e["messageId"] for e in sent
    )


def test_other_content_under_a_taken_id_is_counted_once_and_said(server: Serving):
    """The first stays; in a batch the warning names the item."""
    event = wire_event(event=unique("Differs"), messageId=unique("m"), timestamp="2024-01-15")
    other = {**event, "userId": "somebody else"}
    assert server.track(event).json() == OK
    assert server.track(event).json() == {**OK, "duplicates": 1}
    warned = {"code": "duplicate_differs", "field": "messageId"}
    assert server.track(other).json() == {**OK, "duplicates": 1, "warnings": [warned]}
    body = server.batch([wire_event(), event, other, other]).json()
    assert body == {
        "status": "ok",
        "received": 4,
        "duplicates": 3,
        "warnings": [{**warned, "index": 2}, {**warned, "index": 3}],
    }
    server.wait_visible()
    assert [e["userId"] for e in server.events(event=event["event"])] == [event["userId"]]


def test_duplicates_within_a_batch_count_once(server: Serving):
    """`duplicates` is a part of `received`."""
    event = wire_event(messageId=unique("m"))
    assert server.batch([event, event, event]).json() == {
        "status": "ok",
        "received": 3,
        "duplicates": 2,
    }


def test_a_browser_that_guesses_a_servers_message_id_changes_nothing(server: Serving):
    """Before or after the server's own event: both are counted, each in its class."""
    name, early, late = unique("Payment"), unique("m"), unique("m")
    assert server.track(wire_event(event=name, messageId=early), server.write_key).json() == OK
    assert server.track(wire_event(event=name, messageId=early)).json() == OK
    assert server.track(wire_event(event=name, messageId=late)).json() == OK
    assert server.track(wire_event(event=name, messageId=late), server.write_key).json() == OK
    server.wait_visible()
    found = sorted((e["messageId"], e["keyType"]) for e in server.events(event=name))
    assert found == sorted((m, k) for m in (early, late) for k in ("secret", "write"))


def test_a_rejected_event_may_come_again_repaired_under_its_id(server: Serving):
    """Its id was not taken."""
    message_id = unique("m")
    assert error(server.track({"event": "X", "messageId": message_id}))[1] == "missing_id"
    assert server.track(wire_event(messageId=message_id)).json() == OK


# --- encodings and sizes -----------------------------------------------------------------------

PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd.compress,
    "br": brotli.compress,
    "identity": bytes,
}


@pytest.mark.parametrize("encoding", PACK)
@pytest.mark.parametrize("path", ["/v1/events", "/v1/events/batch", "/v1/users/identify"])
def test_every_endpoint_takes_every_encoding(server: Serving, path: str, encoding: str):
    """The answer is the same as without."""
    body: Any = wire_event(properties={"text": "ü" * 200})
    if path.endswith("batch"):
        body = {"events": [body]}
    if path.endswith("identify"):
        body = {"userId": unique("user"), "traits": {"text": "ü" * 200}}
    packed = PACK[encoding](json.dumps(body).encode())
    answer = server.post(path, packed, Content_Encoding=encoding.upper())
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    if encoding != "identity":
        cut = server.post(path, packed[:-5], Content_Encoding=encoding)
        assert error(cut) == (400, "invalid_encoding", None)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd", "br"])
def test_a_bomb_is_refused_by_its_unpacked_size(server: Serving, encoding: str):
    """A small body that unpacks to 17 MiB is too large; the server lives on."""
    bomb = PACK[encoding](bytes(17 * 1024 * 1024)) if encoding != "br" else brotli.compress(
        bytes(17 * 1024 * 1024), quality=3
    )  # fmt: skip
    assert len(bomb) < 100_000
    answer = server.post("/v1/events/batch", bomb, Content_Encoding=encoding)
    assert error(answer) == (413, "body_too_large", None)


@pytest.mark.parametrize("encoding", ["compress", "gzip, br", "x" * 500, "aes128gcm"])
def test_an_unknown_encoding_is_415(server: Serving, encoding: str):
    """Said with the ones that are known."""
    answer = server.track(wire_event(), Content_Encoding=encoding)
    assert error(answer) == (415, "unsupported_encoding", None)


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ('application/json; charset="UTF-8"', 200),
        ("text/plain;charset=UTF-8", 200),
        ("text/plain; charset=us-ascii", 200),
        ("application/x-www-form-urlencoded", 200),
        ("", 200),
        ("application/json; charset=iso-8859-1", 415),
        ("application/json; charset=utf-16", 415),
    ],
)
def test_the_type_is_not_asked_for_but_the_charset_is(
    server: Serving, content_type: str, status: int
):
    """The body decides whether it is JSON; a charset that is not UTF-8 is said so."""
    answer = server.track(wire_event(), Content_Type=content_type)
    assert answer.status_code == status
    if status == 415:
        assert error(answer) == (415, "unsupported_encoding", None)


def test_a_body_over_16_mib_is_413_and_one_below_is_read(server: Serving):
    """A string of 10 MB is cut like any other; 17 MiB are refused by their length."""
    ten = server.track(wire_event(properties={"a": "x" * 10_000_000}))
    assert ten.json()["warnings"] == [{"code": "value_truncated", "field": "properties.a"}]
    assert error(server.track(b"x" * (16 * 1024 * 1024 + 1))) == (413, "body_too_large", None)
