"""Looks whether the store holds what it must, once, and nothing that belongs to nothing.

In: the store and rows of the log. Out: what is wrong, a sentence each. The rows that the log still
has are compared value by value; of older ones every position must be in just one of the tables
below. All of it goes by ranges of positions, so that memory stays flat.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from saytics_server.errors import STORE_REFUSED
from saytics_server.store import Store
from saytics_server.store.blocks import Numbered, columns
from saytics_server.store.schema import TABLES, VIEWS

# Each row of the log is a row of one of these.
_PRIMARY = ("events", "identifies", "unlinks", "rejected_events")
# Each row of these comes with one in `events` or `identifies`.
_SECONDARY = ("links", "traits")
# Positions looked at together: about 200 MB in the engine.
_RANGE_POSITIONS = 2_000_000
_DEADLINE_S = 3_600
# Columns that are not stored, only what others are made of.
_EPHEMERAL = {"properties_column", "context_column"}
_PLAIN_TYPES = (
    (pa.types.is_timestamp, pa.int64()),
    (pa.types.is_date32, pa.int32()),
    (pa.types.is_binary, pa.string()),
)
_KINDS = {
    "missing": "rows of the log are missing",
    "doubled": "rows are there more than once",
    "different": "rows are not what the log says",
}


class Tally:
    """What is wrong, by table and kind: how often, and where first."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[int, int]] = {}

    def add(self, table: str, kind: str, positions: Sequence[int]) -> None:
        """Note rows at these positions."""
        if positions:
            count, first = self._found.get((table, kind), (0, min(positions)))
            self._found[table, kind] = (count + len(positions), min(first, *positions))

    def lines(self) -> Iterator[str]:
        """Yield one sentence per table and kind."""
        for (table, kind), (count, first) in self._found.items():
            where = f", the first at position {first}" if table != "message_ids" else ""
            yield f"store: {table}: {count} {_KINDS[kind]}{where}"


class Ranges(msgspec.Struct):
    """What all tables say of the positions looked at so far."""

    gaps: list[tuple[int, int]] = []
    doubled: list[int] = []
    last: int | None = None


def part_faults(store: Store) -> Iterator[tuple[str, bool]]:
    """Yield tables that are missing and parts that are damaged; and whether the rest reads."""
    there = store.table_names()
    for table in TABLES:
        if table not in there:
            yield f"store: table {table} is missing", False
            continue
        for part, message, is_aside in store.faulty_parts(table):
            yield f"store: {table}: part {part}: {message}", is_aside


def compare(store: Store, block: Sequence[Numbered], tally: Tally) -> None:
    """Note what of a block of the log's rows the store lacks, has twice or otherwise."""
    first, last = block[0][0], block[-1][0]
    refused = _refused(store, first, last)
    for name, table in columns(block).items():
        if name == "message_ids":
            _compare_ids(store, table, tally)
        else:
            _compare_rows(store, name, table, refused, tally)


def _compare_rows(
    store: Store, name: str, table: pa.Table, refused: set[int], tally: Tally
) -> None:
    wanted = Counter(_plain_rows(table))
    stored = [field for field in table.schema if field.name not in _EPHEMERAL]
    shown = ", ".join(_as_plain(field) for field in stored)
    positions = table["position"].to_pylist()
    found = Counter(
        tuple(row)
        for row in store.query(
            f"SELECT {shown} FROM {name}"  # noqa: S608 - names of the schema
            " WHERE position BETWEEN {first:UInt64} AND {last:UInt64}"
            + (" AND code != {code:String}" if name == "rejected_events" else ""),
            {"first": min(positions), "last": max(positions), "code": STORE_REFUSED},
            deadline_s=_DEADLINE_S,
        )
    )
    if wanted == found:
        return
    place = [field.name for field in stored].index("position")
    lacking = {row[place] for row in wanted if row not in found} - refused
    strange = {row[place] for row in found if row not in wanted}
    tally.add(name, "doubled", [row[place] for row in found if 0 < wanted[row] < found[row]])
    tally.add(name, "different", sorted(lacking & strange) or sorted(strange - lacking))
    fewer = {row[place] for row in wanted if 0 < found[row] < wanted[row]}
    tally.add(name, "missing", sorted((lacking | fewer) - strange))


def _plain_rows(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """Return rows as the store is asked for them: times as numbers, text as text."""
    plain = []
    for field, column in zip(table.schema, table.columns, strict=True):
        if field.name not in _EPHEMERAL:
            wanted = next((plain for is_of, plain in _PLAIN_TYPES if is_of(field.type)), field.type)
            plain.append(column.cast(wanted).to_pylist())
    return zip(*plain, strict=True)


def _as_plain(field: pa.Field) -> str:
    if pa.types.is_timestamp(field.type):
        return f"toUnixTimestamp64Milli({field.name})"
    if pa.types.is_date32(field.type):
        return f"toInt32({field.name})"
    return str(field.name)


def _refused(store: Store, first: int, last: int) -> set[int]:
    """Return the positions whose rows a table refused, so that they were put aside."""
    rows = store.query(
        "SELECT position FROM rejected_events WHERE code = {code:String}"
        " AND position BETWEEN {first:UInt64} AND {last:UInt64}",
        {"code": STORE_REFUSED, "first": first, "last": last},
    )
    return {int(row[0]) for row in rows}


def _compare_ids(store: Store, table: pa.Table, tally: Tally) -> None:
    wanted = dict(zip(table["id"].to_pylist(), table["content"].to_pylist(), strict=True))
    found = store.find_message_ids(list(wanted))
    tally.add("message_ids", "missing", [0] * len(wanted.keys() - found.keys()))
    other = [id_ for id_, content in found.items() if wanted[id_] != content]
    tally.add("message_ids", "different", [0] * len(other))


def range_faults(
    store: Store, *, log_first: int, through: int, begins_anew: Callable[[int, int], bool]
) -> Iterator[str]:
    """Yield positions up to `through` that no table has, or more than one row, and orphaned rows.

    Doubles are told of rows before `log_first` only: `compare` tells the others.
    """
    ranges = Ranges()
    orphans: Counter[str] = Counter()
    while (span := _next_range(store, ranges.last, through)) is not None:
        first, last = span
        _look_for_holes(store, first, last, ranges, begins_anew)
        for table in _SECONDARY:
            orphans[table] += _orphans(store, table, first, last)
        # A range that ends in a hole is done all the same.
        ranges.last = max(last, ranges.last or 0) if last < through else through
    for before, after in ranges.gaps:
        yield f"store: positions {before + 1} to {after - 1} are in no table"
    old = [position for position in ranges.doubled if position < log_first]
    if old:
        yield f"store: {len(old)} positions have more than one row, the first is {min(old)}"
    for table, count in orphans.items():
        if count:
            yield f"store: {table}: {count} rows belong to no event and no identify call"


def _next_range(store: Store, after: int | None, through: int) -> tuple[int, int] | None:
    found = [
        int(row[0])
        for table in (*_PRIMARY, *_SECONDARY)
        for row in store.query(
            f"SELECT min(position) FROM {table}"  # noqa: S608 - names of the schema
            " WHERE position > {after:UInt64} AND position <= {through:UInt64}"
            " HAVING count() > 0",
            {"after": after or 0, "through": through},
            deadline_s=_DEADLINE_S,
        )
    ]
    if not found:
        return None
    return min(found), min(min(found) + _RANGE_POSITIONS - 1, through)


def _look_for_holes(
    store: Store,
    first: int,
    last: int,
    ranges: Ranges,
    begins_anew: Callable[[int, int], bool],
) -> None:
    # What was put aside counts as being there, but not as a second row.
    union = " UNION ALL ".join(
        f"SELECT position, {'code != {code:String}' if table == 'rejected_events' else '1'} AS n"  # noqa: S608
        f" FROM {table} WHERE position BETWEEN {{first:UInt64}} AND {{last:UInt64}}"
        for table in _PRIMARY
    )
    bounds = {"first": first, "last": last, "code": STORE_REFUSED}
    rows = store.query(
        "SELECT position, lagInFrame(position, 1, 0) OVER (ORDER BY position"  # noqa: S608
        " ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS before, n,"
        " max(position) OVER () AS greatest"
        f" FROM (SELECT position, sum(n) AS n FROM ({union}) GROUP BY position)"
        " QUALIFY position != before + 1 OR n > 1 OR position = greatest ORDER BY position",
        bounds,
        deadline_s=_DEADLINE_S,
    )
    for position, before_here, count, _ in rows:
        before = before_here or ranges.last
        if before and position != before + 1 and not begins_anew(before, position):
            ranges.gaps.append((before, position))
        if count > 1:
            ranges.doubled.append(position)
        ranges.last = position


def _orphans(store: Store, table: str, first: int, last: int) -> int:
    owners = " UNION ALL ".join(
        f"SELECT position FROM {owner}"  # noqa: S608 - names of the schema
        " WHERE position BETWEEN {first:UInt64} AND {last:UInt64}"
        for owner in ("events", "identifies", "rejected_events")
    )
    rows = store.query(
        f"SELECT count() FROM {table} WHERE position BETWEEN {{first:UInt64}} AND {{last:UInt64}}"  # noqa: S608
        f" AND position NOT IN ({owners})",
        {"first": first, "last": last},
        deadline_s=_DEADLINE_S,
    )
    return int(rows[0][0])


def id_faults(store: Store, *, through: int) -> Iterator[str]:
    """Yield ids that are stored twice, and that there are fewer than the events up to `through`
    need; a block's ids go in after its events."""
    doubled = store.query(
        "SELECT count() FROM (SELECT id FROM message_ids GROUP BY id HAVING count() > 1"
        " SETTINGS optimize_aggregation_in_order = 1)",
        deadline_s=_DEADLINE_S,
    )[0][0]
    if doubled:
        yield f"store: message_ids: {doubled} ids are there more than once"
    named, known = store.query(
        "SELECT (SELECT countIf(message_id != '' AND position <= {through:UInt64}) FROM events),"
        " (SELECT count() FROM message_ids)",
        {"through": through},
        deadline_s=_DEADLINE_S,
    )[0]
    if named > known:
        yield f"store: message_ids: {named} events have an id and only {known} ids are known"


# What of a view's table says which row of it a group of the source's rows needs.
_VIEW_KEYS = {
    "property_keys": "workspace_id, month, toString(source), event, path, type",
    "link_heads": "workspace_id, anonymous_id, toString(key_type)",
}


def view_faults(store: Store, *, through: int) -> Iterator[str]:
    """Yield what the views' tables lack of rows up to a position, or have without any row."""
    for name, view in VIEWS.items():
        keys = _VIEW_KEYS[view.target]
        rows = f"(SELECT * FROM {view.source} WHERE position <= {{through:UInt64}})"  # noqa: S608
        needed = f"SELECT {keys} FROM ({view.select.format(rows=rows)})"  # noqa: S608
        lacking = store.query(
            f"SELECT count() FROM ({needed} EXCEPT DISTINCT SELECT {keys} FROM {view.target})",  # noqa: S608
            {"through": through},
            deadline_s=_DEADLINE_S,
        )[0][0]
        if lacking:
            yield f"store: {view.target}: {lacking} rows that {name} makes are missing"
    for target, keys in _VIEW_KEYS.items():
        made = " UNION ALL ".join(
            f"SELECT {keys} FROM ({view.select.format(rows=view.source)})"  # noqa: S608
            for view in VIEWS.values()
            if view.target == target
        )
        orphaned = store.query(
            f"SELECT count() FROM (SELECT DISTINCT {keys} FROM {target} EXCEPT ({made}))",  # noqa: S608
            deadline_s=_DEADLINE_S,
        )[0][0]
        if orphaned:
            yield f"store: {target}: {orphaned} rows belong to nothing that is stored"
