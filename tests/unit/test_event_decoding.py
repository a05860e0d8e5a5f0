"""Bytes to items: the fast way and the careful way agree, nothing raises, no neighbour is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from factories import edge, wire_event
from saytics_server import event as events
from saytics_server.errors import ERRORS, Rejection
from saytics_server.event import DROPPED_MAX, Accepted, SentBatch, TrackRow, WireItem

GOOD = b'{"event":"X","userId":"u"}'


class _Never:
    """A decoder that takes nothing, so that every body goes the careful way."""

    def decode(self, _: bytes) -> Any:
        raise msgspec.DecodeError("not today")


@contextmanager
def only_the_careful_way() -> Iterator[None]:
    """Switch the fast decoders off while it lasts."""
    fast = events._item_decoder, events._batch_decoder
    events._item_decoder = events._batch_decoder = _Never()  # type: ignore[assignment]
    try:
        yield
    finally:
        events._item_decoder, events._batch_decoder = fast


def outcome(item: WireItem | None, found: Any) -> Any:
    """Return everything the world sees of one item: its row and warnings, or its rejection."""
    if item is None:
        assert isinstance(found, Rejection)
        assert found.code in ERRORS
        msgspec.json.encode(found)
        return found
    accepted = events.normalise(item, edge())
    if isinstance(accepted, Rejection):
        msgspec.json.encode(accepted)
        assert events.sent_text(events.sent_again(item))
        return accepted
    return msgspec.msgpack.encode(accepted.row), [*found, *accepted.warnings]


def outcomes(body: bytes) -> list[Any]:
    """Return the outcome of a body as a single event and as the only item of a batch."""
    item, sent, found = events.decode_item(body)
    if item is None:
        events.sent_text(sent)
    results = [outcome(item, found)]
    batch = events.decode_batch(b'{"events":[' + body + b"]}")
    if isinstance(batch, Rejection):
        results.append(batch)
    else:
        results += [outcome(item, found) for item, _, found in batch.items]
    return results


# --- what is generated -----------------------------------------------------------------------

numbers = st.one_of(
    st.integers(-(2**70), 2**70), st.floats(), st.sampled_from([2**63, 2**64, 10**308, 10**309])
)
texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["", "null", "0", "a.b", "\ud800", "x" * 257, "k" * 129, "2024-01-15", "\x00"]),
    st.text(st.characters(), max_size=5),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(texts, inner, max_size=3),
    ),
    max_leaves=12,
)
fields = st.sampled_from([*events._FIELD_TYPES, "unknown", "user_id"])
times = st.one_of(
    st.datetimes().map(lambda moment: moment.isoformat()),
    st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
    st.dates().map(str),
    st.from_regex(r"\d{4}-?\d\d-?\d\d[T ]?\d\d:?\d\d(:?\d\d([.,]\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)?",
                  fullmatch=True),
)  # fmt: skip
likely = st.fixed_dictionaries(
    {},
    optional={
        "event": texts,
        "userId": texts,
        "anonymousId": texts,
        "properties": st.dictionaries(texts, values, max_size=6),
        "context": st.dictionaries(texts, values, max_size=3),
        "traits": st.dictionaries(texts, values, max_size=3),
        "timestamp": times,
        "sentAt": times,
        "messageId": texts,
        "type": st.sampled_from(["track", "identify", "page", None]),
        "unknown": values,
    },
)
items = st.one_of(likely, st.dictionaries(fields, values, max_size=8), values)


@st.composite
def json_texts(draw: st.DrawFn) -> bytes:
    """Return any JSON text of any value, escapes and spaces varied, with what JSON forbids too."""
    text = json.dumps(
        draw(items),
        ensure_ascii=draw(st.booleans()),
        separators=draw(st.sampled_from([(",", ":"), (" , ", "\t:\n")])),
    )
    return text.encode("utf-8", "surrogatepass")


@settings(max_examples=200)
@given(json_texts())
@example(b'{"event":"X","userId":"u","properties":{"a":18446744073709551616}}')
@example(b'{"event":"X","event":"Y","userId":"u"}')
@example(b'{"event":"X","userId":"u","properties":{"a":1,"a":2,"\\u0061":3}}')
@example(b'{"event":"X","userId":"u","properties":{"a":-0,"b":-0.0,"c":1E5,"d":1e-400}}')
@example(b'{"event":"X","userId":"u","properties":{"a":123456789012345678901234567890.5}}')
@example(b'{"event":"X","userId":"u","properties":null,"context":null,"type":null}')
@example(b'{"type":"identify","userId":"u","traits":null}')
def test_the_fast_way_and_the_careful_way_give_the_same(body: bytes):
    """Which decoder reads an item never shows: same row, same warnings, same rejection."""
    fast = outcomes(body)
    with only_the_careful_way():
        careful = outcomes(body)
    assert fast == careful
    assert _kind(fast[0]) == _kind(fast[1])


@settings(max_examples=100)
@given(json_texts(), st.data())
def test_a_damaged_text_is_read_alike_both_ways_or_refused(body: bytes, data: st.DataObject):
    """Cut, doubled and overwritten bytes: both ways agree on what is JSON at all."""
    place = data.draw(st.integers(0, len(body)))
    damage = data.draw(st.binary(max_size=3))
    until = data.draw(st.integers(place, min(len(body), place + 4)))
    damaged = body[:place] + damage + body[until:]
    fast = outcomes(damaged)
    with only_the_careful_way():
        careful = outcomes(damaged)
    assert [_kind(result) for result in fast] == [_kind(result) for result in careful]


def _kind(result: Any) -> Any:
    return result.code if isinstance(result, Rejection) else result


@given(st.binary(max_size=200))
def test_bytes_that_are_no_json_are_refused_and_never_raise(body: bytes):
    """Whatever arrives, the answer is a rejection with a code of the table."""
    for result in outcomes(body):
        assert isinstance(result, Rejection)


NEST = b"[" * 3_000 + b"]" * 3_000
BAD_ITEMS = {
    "nothing": b"null",
    "a number": b"5",
    "an array": b"[]",
    "no event": b'{"userId":"u"}',
    "wrong type": b'{"event":5,"userId":"u"}',
    "NaN": b'{"event":"X","userId":"u","properties":{"a":NaN}}',
    "NaN as item": b"NaN",
    "Infinity": b'{"event":"X","userId":"u","properties":{"a":[-Infinity]}}',
    "huge": b'{"event":"X","userId":"u","properties":{"a":1e999}}',
    "endless integer": b'{"event":"X","userId":"u","properties":{"a":' + b"9" * 10_000 + b"}}",
    "surrogate": rb'{"event":"X","userId":"u","properties":{"a":"\ud800"}}',
    "surrogate key": rb'{"event":"X","userId":"u","properties":{"\udc00":1}}',
    "surrogate field": rb'{"event":"\ud800","userId":"u","\ud800":1}',
    "too large": b'{"event":"X","userId":"u","properties":{%s}}'
    % b",".join(b'"k%d":"%s"' % (n, b"x" * 256) for n in range(200)),
    "unknown type": b'{"type":"page","userId":"u"}',
    "deep array": b'{"event":"X","userId":"u","properties":{"a":%s}}' % NEST,
    "deep object": b'{"event":"X","properties":' + b'{"a":' * 3_000 + b"1" + b"}" * 3_000 + b"}",
    "deep item": b"[" * 100_000 + b"]" * 100_000,
    "deep, brackets in text": b'{"event":"]}[{\\"","x":["]",%s]}' % NEST,
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD_ITEMS.values(), ids=BAD_ITEMS)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_bad_item_costs_its_neighbours_nothing(bad: bytes, place: int):
    """Before and behind it events are accepted; its own place says why it is not."""
    parts = [GOOD, b' {"event":"Y]}[","userId":"\\"{[,u"} ']
    parts.insert(place, bad)
    batch = events.decode_batch(b'{ "events" : [' + b",".join(parts) + b"] }")
    assert isinstance(batch, SentBatch), batch
    results = [outcome(item, found) for item, _, found in batch.items]
    assert [isinstance(result, Rejection) for result in results] == [
        index == place for index in range(3)
    ]


@pytest.mark.parametrize("depth", [*range(900, 1010, 3), 2_000, 100_000])
@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
@pytest.mark.parametrize("is_complete", [True, False])
def test_any_depth_is_answered(depth: int, opening: bytes, is_complete: bool):
    """Around the parser's own limit too: what one step can read the next ones can handle."""
    closing = b"]" if opening == b"[" else b"}"
    deep = opening * depth + b"1" + closing * depth
    event = b'"event":"X",' if is_complete else b""
    body = b'{%s"userId":"u","properties":{"a":%s}}' % (event, deep)
    item, sent, found = events.decode_item(body)
    if item is None:
        assert isinstance(found, Rejection)
        assert isinstance(events.sent_text(sent), bytes)
    else:
        result = events.normalise(item, edge())
        if isinstance(result, Rejection):
            assert isinstance(events.sent_text(events.sent_again(item)), bytes)
        else:
            assert [warned.code for warned in result.warnings] == ["too_deep"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"{}", "invalid_json"),
        (b"[]", "invalid_json"),
        (b"null", "invalid_json"),
        (b'"events"', "invalid_json"),
        (b'{"events":null}', "invalid_json"),
        (b'{"events":{}}', "invalid_json"),
        (b'{"events":"a"}', "invalid_json"),
        (b'{"events":[', "invalid_json"),
        (b'{"events":[{}]', "invalid_json"),
        (b'{"events":[{}]}}', "invalid_json"),
        (b'{"events":[{},]}', "invalid_json"),
        (b'{"events":[' + GOOD + b"]} x", "invalid_json"),
        (b"\xef\xbb\xbf" + b'{"events":[]}', "invalid_json"),
        (b'{"events":[{"event":"\xff"}]}', "invalid_json"),
        ('{"events":[]}'.encode("utf-16"), "invalid_json"),
        (b"[" * 100_000, "invalid_json"),
        (b'{"a":' * 100_000, "invalid_json"),
        (b"[" * 100_000 + b"]" * 100_000, "invalid_json"),
        (b'{"a":[' + b"[" * 3_000 + b"]" * 3_000 + b"]}", "invalid_json"),
        (b'{"events":' + b"[" * 100_000, "invalid_json"),
        (b'{"events":{"a":' + b"[" * 3_000 + b"]" * 3_000 + b"}}", "invalid_json"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_batch_is_refused_whole(body: bytes, code: str):
    """There are no items to be saved."""
    batch = events.decode_batch(body)
    assert isinstance(batch, Rejection), batch
    assert batch.code == code


def test_only_the_events_array_holds_items_however_deep_one_of_them_nests():
    """Other arrays of the envelope are unknown fields, before and behind."""
    deep = b"[" * 3_000 + b"]" * 3_000
    body = b'{"meta":[1,2],"events":[%s,%s],"more":[3]}' % (GOOD, deep)
    batch = events.decode_batch(body)
    assert isinstance(batch, SentBatch)
    assert [item is None for item, _, _ in batch.items] == [False, True]


def test_an_empty_batch_is_a_batch_of_nothing():
    """Refusing it is the collector's word."""
    assert events.decode_batch(b'{"events":[]}') == SentBatch([])


def test_unknown_fields_beside_events_are_warned_about_once():
    """The warning comes with the first item."""
    batch = events.decode_batch(b'{"sentAt":1,"events":[%s,%s]}' % (GOOD, GOOD))
    assert isinstance(batch, SentBatch)
    assert [[warned.field for warned in found] for _, _, found in batch.items] == [["sentAt"], []]


@pytest.mark.parametrize("sent", [0, 1, DROPPED_MAX])
@pytest.mark.parametrize("item", [b"", b"7,"], ids=["fast", "careful"])
def test_what_the_sender_has_lost_is_read_beside_the_events(sent: int, item: bytes):
    """The same number, whichever way the batch is read."""
    batch = events.decode_batch(b'{"events":[%s%s],"dropped":%d}' % (item, GOOD, sent))
    assert isinstance(batch, SentBatch)
    assert batch.dropped == sent


@pytest.mark.parametrize("sent", [b"-1", b"1.5", b"true", b'"3"', b"null", b"1e400", b"1000000001"])
def test_a_loss_that_is_no_number_of_events_is_an_unknown_field(sent: bytes):
    """Nothing is counted, and the events are read all the same."""
    batch = events.decode_batch(b'{"events":[%s],"dropped":%s}' % (GOOD, sent))
    assert isinstance(batch, SentBatch)
    ((item, _, warned),) = batch.items
    assert (batch.dropped, item is None) == (0, False)
    assert [(warning.code, warning.field) for warning in warned] == [("unknown_field", "dropped")]


@settings(max_examples=50)
@given(st.lists(items, min_size=1, max_size=4))
def test_items_of_a_batch_are_judged_as_if_each_came_alone(sent: list[Any]):
    """The outcome of an item never depends on its neighbours."""
    alone = [
        outcome(item, found)
        for item, _, found in (
            events.decode_item(json.dumps(one).encode("utf-8", "surrogatepass")) for one in sent
        )
    ]
    batch = events.decode_batch(json.dumps({"events": sent}).encode("utf-8", "surrogatepass"))
    assert isinstance(batch, SentBatch)
    assert [outcome(item, found) for item, _, found in batch.items] == alone


@given(likely)
def test_an_accepted_row_survives_the_log(sent: Any):
    """What the log writes is what it reads, whatever the event said."""
    item, _, _ = events.decode_item(json.dumps(sent).encode("utf-8", "surrogatepass"))
    accepted = events.normalise(item, edge()) if item else None
    if isinstance(accepted, Accepted):
        packed = msgspec.msgpack.encode([accepted.row])
        assert msgspec.msgpack.decode(packed, type=list[events.Row]) == [accepted.row]


def test_rejected_bodies_are_kept_up_to_32_kib():
    """A rejected event takes no more room than an accepted one."""
    text = events.sent_text({"event": "ü" * 100_000})
    assert len(text) == events.REJECTED_BYTES_MAX
    assert events.sent_text({"event": "ü", "a": [1, None]}) == (
        b'{"event": "\\u00fc", "a": [1, null]}'
    )


def test_defaults_of_the_factory_make_an_accepted_event():
    """The tests' own default is good, so what they change is what they test."""
    item, _, found = events.decode_item(json.dumps(wire_event()).encode())
    assert item is not None
    accepted = events.normalise(item, edge())
    assert isinstance(accepted, Accepted)
    assert isinstance(accepted.row, TrackRow)
    assert [*found, *accepted.warnings] == []
