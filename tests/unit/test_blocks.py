"""Rows of the log as columns of the store's tables."""

from __future__ import annotations

from typing import Any

from factories import RECEIVED_MS, claim, identify_row, rejected_row, track_row
from saytics_server.event import SECRET, WRITE, Row
from saytics_server.store.blocks import columns


def tables(rows: list[Row], first: int = 100) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of every table that a block of `rows` makes."""
    made = columns(list(enumerate(rows, first)))
    return {name: table.to_pylist() for name, table in made.items()}


def test_each_kind_of_row_goes_to_its_tables():
    """A block of everything, and nothing for tables that get nothing."""
    made = tables(
        [
            track_row("m-1", anonymous_id="anon"),
            identify_row(anonymous_id="anon", traits_text=b'{"a":1,"b":null,"c":[1.0,"x"]}'),
            rejected_row(),
        ]
    )
    assert list(made) == [
        "events", "identifies", "traits", "links", "rejected_events", "message_ids",
    ]  # fmt: skip
    assert [row["position"] for name in list(made)[:-1] for row in made[name]] == [
        100, 101, 101, 101, 101, 101, 100, 102,
    ]  # fmt: skip
    assert [(row["trait"], row["value"]) for row in made["traits"]] == [
        ("a", b"1"),
        ("b", b""),
        ("c", b'[1.0,"x"]'),
    ]
    assert made["message_ids"] == [{"id": claim("m-1"), "content": 0}]
    assert tables([track_row()]).keys() == {"events"}
    assert tables([rejected_row()]).keys() == {"rejected_events"}
    assert tables([]) == {}


def test_an_event_keeps_its_times_texts_and_class():
    """The day is the UTC day of its own time, also before today and at its last millisecond."""
    day_ms = 86_400_000
    (row,) = tables(
        [track_row(timestamp_ms=20 * day_ms - 1, original_timestamp_ms=5, key_class=WRITE)]
    )["events"]
    assert row["day"].isoformat() == "1970-01-20"
    assert row["timestamp"].isoformat() == "1970-01-20T23:59:59.999000+00:00"
    assert row["original_timestamp"].isoformat() == "1970-01-01T00:00:00.005000+00:00"
    assert row["received_at"].timestamp() * 1000 == RECEIVED_MS
    assert row["key_type"] == "write"
    assert row["properties_text"] == track_row().properties_text


def test_huge_numbers_in_traits_pass():
    """Every digit that was sent is kept."""
    (row,) = tables([identify_row(traits_text=b'{"n":%d}' % 10**300)])["traits"]
    assert row["value"] == b"%d" % 10**300


def test_every_link_of_a_block_is_kept():
    """Repeated links stay: what arrives late may lie between them."""
    said = [
        ("a", "u", 1),
        ("a", "u", 2),
        ("a", "v", 3),
        ("a", "u", 4),
        ("b", "u", 5),
        ("a", "u", 0),
    ]
    rows: list[Row] = [
        track_row(anonymous_id=anonymous, user_id=user, timestamp_ms=at)
        for anonymous, user, at in said
    ]
    rows.append(track_row(anonymous_id="a", user_id="u", timestamp_ms=2, key_class=WRITE))
    rows.append(track_row(anonymous_id="a", user_id="never", timestamp_ms=2, links=False))
    rows.append(identify_row(anonymous_id="b", user_id="u", timestamp_ms=4))
    rows.append(track_row(anonymous_id="", user_id="alone"))
    rows.append(track_row(anonymous_id="alone", user_id=""))
    found = {
        (
            link["anonymous_id"],
            link["user_id"],
            link["timestamp"].microsecond // 1000,
            link["key_type"],
            link["cause"],
        )
        for link in tables(rows)["links"]
    }
    assert found == {
        *((anonymous, user, at, "secret", "event") for anonymous, user, at in said),
        ("a", "u", 2, "write", "event"),
        ("b", "u", 4, "secret", "identify"),
    }


def test_equal_rows_give_equal_blocks():
    """A block made again after a crash is the same block, whatever process makes it."""
    rows: list[Row] = [track_row(f"m-{n}", anonymous_id=f"a-{n % 3}") for n in range(50)]
    assert columns(list(enumerate(rows, 1))) == columns(list(enumerate(rows, 1)))
    assert SECRET == 1
