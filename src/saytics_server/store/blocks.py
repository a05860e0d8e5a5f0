"""A block: the rows of the log's records as columns of the store's tables. Pure.

In: records in order. Out: one Arrow table per store table. A row's public id is its position, so
nothing is numbered here; equal records give equal blocks.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from typing import Any, TypeVar, cast

import msgspec
import pyarrow as pa

from saytics_server.event import CLAIM_BYTES, IdentifyRow, RejectedRow, Row, TrackRow, UnlinkRow

Numbered = tuple[int, Row]
Kind = TypeVar("Kind", TrackRow, IdentifyRow, RejectedRow, UnlinkRow)

_KEY_TYPES = ("write", "secret")
_MS_PER_DAY = 86_400_000
_TIME = pa.timestamp("ms", "UTC")


class _NoPandas:
    """Makes `import pandas` fail while it stands first among the finders of modules."""

    def find_spec(self, name: str, *_: object) -> None:
        if name == "pandas":
            raise ImportError(name)


# At its first conversion pyarrow looks whether pandas is there by importing it: a second of start
# and 60 MB for nothing used here. It remembers the answer, so it is asked while that is blocked.
sys.meta_path.insert(0, _NoPandas())
try:
    pa.array([0])
finally:
    sys.meta_path.pop(0)


def columns(rows: Sequence[Numbered]) -> dict[str, pa.Table]:
    """Return the tables, by name, that `rows` (position, row) add to the store."""
    kinds = {row.__class__ for _, row in rows}
    tracked = _of(TrackRow, rows, kinds)
    identified = _of(IdentifyRow, rows, kinds)
    tables = {
        "events": _events(tracked),
        "identifies": _identifies(identified),
        "traits": _traits(identified),
        "links": _links(tracked, identified),
        "unlinks": _unlinks(_of(UnlinkRow, rows, kinds)),
        "rejected_events": _rejected(_of(RejectedRow, rows, kinds)),
        # Last: an id that is stored while its event is not would turn a retry into a loss.
        "message_ids": _message_ids(rows),
    }
    return {name: table for name, table in tables.items() if table.num_rows}


def _of(
    kind: type[Kind], rows: Sequence[Numbered], kinds: Collection[type[Row]]
) -> Sequence[tuple[int, Kind]]:
    """Return the rows of one kind; most blocks hold no other than events."""
    if kind not in kinds:
        return ()
    if len(kinds) == 1:
        return cast("Sequence[tuple[int, Kind]]", rows)
    return [(position, row) for position, row in rows if isinstance(row, kind)]


def _events(rows: Sequence[tuple[int, TrackRow]]) -> pa.Table:
    events = [row for _, row in rows]
    return pa.table(
        {
            "workspace_id": pa.array([r.workspace_id for r in events], pa.uint32()),
            "day": pa.array([r.timestamp_ms // _MS_PER_DAY for r in events], pa.int32()).cast(
                pa.date32()
            ),
            "event": pa.array([r.event for r in events], pa.string()),
            "timestamp": pa.array([r.timestamp_ms for r in events], _TIME),
            "position": pa.array([position for position, _ in rows], pa.uint64()),
            "received_at": pa.array([r.received_ms for r in events], _TIME),
            "user_id": pa.array([r.user_id for r in events], pa.string()),
            "anonymous_id": pa.array([r.anonymous_id for r in events], pa.string()),
            "key_type": _key_types(events),
            "message_id": pa.array([r.message_id for r in events], pa.string()),
            "original_timestamp": pa.array([r.original_timestamp_ms for r in events], _TIME),
            "properties_text": pa.array([r.properties_text for r in events], pa.binary()),
            "context_text": pa.array([r.context_text for r in events], pa.binary()),
            "properties_column": pa.array([r.properties_column for r in events], pa.binary()),
            "context_column": pa.array([r.context_column for r in events], pa.binary()),
        }
    )


def _identifies(rows: Sequence[tuple[int, IdentifyRow]]) -> pa.Table:
    calls = [row for _, row in rows]
    return pa.table(
        {
            "workspace_id": pa.array([r.workspace_id for r in calls], pa.uint32()),
            "user_id": pa.array([r.user_id for r in calls], pa.string()),
            "timestamp": pa.array([r.timestamp_ms for r in calls], _TIME),
            "position": pa.array([position for position, _ in rows], pa.uint64()),
            "received_at": pa.array([r.received_ms for r in calls], _TIME),
            "key_type": _key_types(calls),
        }
    )


def _traits(rows: Sequence[tuple[int, IdentifyRow]]) -> pa.Table:
    traits = [
        (position, row, trait, value)
        for position, row in rows
        if row.traits_text != b"{}"
        for trait, value in msgspec.json.decode(row.traits_text, type=dict[str, Any]).items()
    ]
    calls = [row for _, row, _, _ in traits]
    return pa.table(
        {
            "workspace_id": pa.array([r.workspace_id for r in calls], pa.uint32()),
            "trait": pa.array([trait for _, _, trait, _ in traits], pa.string()),
            "user_id": pa.array([r.user_id for r in calls], pa.string()),
            "timestamp": pa.array([r.timestamp_ms for r in calls], _TIME),
            "message_id": pa.array([r.message_id for r in calls], pa.string()),
            "position": pa.array([position for position, _, _, _ in traits], pa.uint64()),
            "received_at": pa.array([r.received_ms for r in calls], _TIME),
            "key_type": _key_types(calls),
            "value": pa.array(
                [b"" if value is None else msgspec.json.encode(value) for _, _, _, value in traits],
                pa.binary(),
            ),
        }
    )


def _links(
    tracked: Sequence[tuple[int, TrackRow]], identified: Sequence[tuple[int, IdentifyRow]]
) -> pa.Table:
    """Return every statement that two ids are one person.

    None is left out, repeated or not: of A, A, A at three times the later ones decide what a B that
    arrives late, with a time in between, may take over.
    """
    causes: list[str] = []
    links: list[tuple[int, TrackRow | IdentifyRow]] = []
    for cause, rows in (("identify", identified), ("event", tracked)):
        stated = [
            (position, row)
            for position, row in rows
            if row.anonymous_id and row.user_id and row.links
        ]
        links += stated
        causes += [cause] * len(stated)
    said = [row for _, row in links]
    return pa.table(
        {
            "workspace_id": pa.array([r.workspace_id for r in said], pa.uint32()),
            "anonymous_id": pa.array([r.anonymous_id for r in said], pa.string()),
            "user_id": pa.array([r.user_id for r in said], pa.string()),
            "timestamp": pa.array([r.timestamp_ms for r in said], _TIME),
            "message_id": pa.array([r.message_id for r in said], pa.string()),
            "position": pa.array([position for position, _ in links], pa.uint64()),
            "received_at": pa.array([r.received_ms for r in said], _TIME),
            "key_type": _key_types(said),
            "cause": pa.array(causes, pa.string()),
        }
    )


def _unlinks(rows: Sequence[tuple[int, UnlinkRow]]) -> pa.Table:
    undone = [row for _, row in rows]
    return pa.table(
        {
            "workspace_id": pa.array([r.workspace_id for r in undone], pa.uint32()),
            "anonymous_id": pa.array([r.anonymous_id for r in undone], pa.string()),
            "user_id": pa.array([r.user_id for r in undone], pa.string()),
            "position": pa.array([position for position, _ in rows], pa.uint64()),
            "received_at": pa.array([r.received_ms for r in undone], _TIME),
        }
    )


def _rejected(rows: Sequence[tuple[int, RejectedRow]]) -> pa.Table:
    events = [row for _, row in rows]
    return pa.table(
        {
            "workspace_id": pa.array([r.workspace_id for r in events], pa.uint32()),
            "received_at": pa.array([r.received_ms for r in events], _TIME),
            "position": pa.array([position for position, _ in rows], pa.uint64()),
            "key_type": _key_types(events),
            "code": pa.array([r.code for r in events], pa.string()),
            "message": pa.array([r.message for r in events], pa.string()),
            "field": pa.array([r.field for r in events], pa.string()),
            "body": pa.array([r.body for r in events], pa.binary()),
        }
    )


def _message_ids(rows: Sequence[Numbered]) -> pa.Table:
    claimed = [row for _, row in rows if row.claim]
    return pa.table(
        {
            "id": pa.array([row.claim for row in claimed], pa.binary(CLAIM_BYTES)),
            "content": pa.array([row.content for row in claimed], pa.uint32()),
        }
    )


def _key_types(rows: Sequence[Row]) -> pa.Array:
    return pa.array([_KEY_TYPES[row.key_class] for row in rows], pa.string())
