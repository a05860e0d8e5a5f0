"""The paths of every person, in SQL over arrays, names and items as numbers. Linear in the events.

A person's events stand in arrays, in order; with `end` the order is turned round, so that one
statement serves both. Every array below has one element per event and is made from arrays of the
same length: a lambda that reached into another array would copy that array once per element.

    events    v a a b │ a c          │: half an hour without an event
    anchors     ^     │ ^            `start` = a; the first of each session opens a path
    runs      1 2 2 3 │ 4 5          repeats are one run (unless they stay apart)
    step      - 1 1 2 │ 1 2          run - run of the path's anchor + 1, as far as the path reaches
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import msgspec

from saytics_server.people import Person
from saytics_server.query.path_question import PathsQuery
from saytics_server.query.reading import Reader
from saytics_server.query.scan import TIMESTAMP_MS, utc_day
from saytics_server.sql import Sql, any_of, int64, sql, strings, uint32, uint32s, uint64s
from saytics_server.sql import day as bind_day

# Names and items travel as numbers, so that a million events of one person are arrays of numbers.
# A step takes 5 bits and a name 26; 0 is no name, 1 the rest, the others stand in order.
CODE_BITS = 26
CODE_MASK = 2**CODE_BITS - 1
NO_NAME, REST, _FIRST_NAME = 0, 1, 2
EVERYBODY = 0
# Below the time stand the position, which a log would take 500 years to fill at 10 million events
# per second, the name and two flags.
_TIME_SHIFT = 57 + CODE_BITS + 2


# --- names and items as numbers ---------------------------------------------------------------


class Place(msgspec.Struct, frozen=True):
    """A node: an event's name at a step, counted from the anchor; None is the rest."""

    step: int
    event: str | None


class Names(msgspec.Struct, frozen=True):
    """The names there are, in order, and so the number that stands for each."""

    names: tuple[str, ...]

    def codes(self) -> range:
        """Return the numbers, in order of the names."""
        return range(_FIRST_NAME, _FIRST_NAME + len(self.names))

    def code(self, place: Place) -> int:
        """Return the number of a node's name; one that no event has where there is none."""
        if place.event is None:
            return REST
        found = bisect_left(self.names, place.event)
        is_known = self.names[found : found + 1] == (place.event,)
        return _FIRST_NAME + found if is_known else CODE_MASK

    def place(self, step: int, code: int) -> Place:
        """Return the node of a number."""
        return Place(step, None if code == REST else self.names[code - _FIRST_NAME])


def names_of(reader: Reader, query: PathsQuery) -> Names:
    """Return the names of the events that can be on a path; read off the sort key."""
    rows = reader.rows(
        sql(
            "SELECT DISTINCT event FROM events WHERE workspace_id = {workspace}"
            " AND day >= {first} AND day <= {last} ORDER BY event",
            workspace=uint32(query.frame.workspace_id),
            first=bind_day(utc_day(query.reading.from_ms)),
            last=bind_day(utc_day(query.reading.to_ms)),
        )
    )
    return Names(tuple(row[0] for row in rows))


def packed(step: int, near: int, far: int) -> int:
    """Return what is counted as a number: an edge, or, without `near`, a node."""
    return (step << CODE_BITS | near) << CODE_BITS | far


def unpacked(item: int) -> tuple[int, int, int]:
    """Return (step, near, far) of an item."""
    return item >> 2 * CODE_BITS, item >> CODE_BITS & CODE_MASK, item & CODE_MASK


# The same in SQL, of one edge and of all the nodes of `steps` and `codes`.
_EDGE = sql(
    f"bitOr(bitShiftLeft(toUInt64(step), {2 * CODE_BITS}),"
    f" bitOr(bitShiftLeft(toUInt64(near), {CODE_BITS}), toUInt64(far)))"
)
NODES = sql(
    "arrayMap((step, code) ->"
    f" bitOr(bitShiftLeft(toUInt64(step), {2 * CODE_BITS}), toUInt64(code)), steps, codes)"
)


# --- arrays -----------------------------------------------------------------------------------


def paths_of(
    reader: Reader,
    query: PathsQuery,
    names: Names,
    *,
    person: Person | None = None,
) -> Sql:
    """Return a SELECT of each person's paths, one after the other, as arrays of equal length.

    `paths` is the number of the path, `steps` counts from 1, `codes` are names, `edges` the items
    of the edges that lead there (0 at the anchor); `elements` are the events, `next_elements` the
    ones after them, and `continues` tells whether these are of the same session.
    """
    events = _in_sessions(query, _events(reader, query, names, person))
    steps = _stepped(query, _opened(query, events))
    within = sql(
        "arrayMap((path, session, base_session, step, at, base_at) -> path > 0"
        " AND session = base_session AND step <= {depth} AND abs(at - base_at) <= {reach},"
        " paths, sessions, base_sessions, steps, times, base_times)",
        depth=int64(query.depth),
        reach=int64(query.reach_ms),
    )
    found = _only(
        ("paths", "steps", "codes", "elements", "next_elements", "continues"),
        "within",
        sql("SELECT *, {within} AS within FROM ({steps})", within=within, steps=steps),
    )
    return sql(
        "SELECT *, arrayMap((step, near, far) -> if(step = 1, toUInt64(0), {edge}),"
        " steps, arrayPopBack(arrayPushFront(codes, toUInt32(0))), codes) AS edges"
        " FROM ({found}) WHERE notEmpty(steps)",
        edge=_EDGE,
        found=found,
    )


def _only(names: Sequence[str], flags: str, events: Sql) -> Sql:
    """Return a SELECT of these arrays without the elements whose flag is not set."""
    kept = (f"arrayFilter((x, flag) -> flag, {name}, {flags}) AS {name}_kept" for name in names)
    return sql(
        "SELECT person, {renamed} FROM (SELECT person, {kept} FROM ({events}))",
        renamed=sql(", ".join(f"{name}_kept AS {name}" for name in names)),
        kept=sql(", ".join(kept)),
        events=events,
    )


# An event as one number, of which the order is that of events:
#     time 43 │ position 57 │ name 26 │ left out 1 │ anchor 1
_ELEMENT = sql(
    f"bitOr(bitShiftLeft(toUInt128(ms), {_TIME_SHIFT}),"
    f" bitOr(bitShiftLeft(toUInt128(place), {CODE_BITS + 2}),"
    " toUInt128(bitOr(bitShiftLeft(code, 2), bitOr(bitShiftLeft(toUInt32(left_out), 1),"
    " toUInt32(anchors))))))"
)
_TIME = sql(f"toInt64(bitShiftRight(element, {_TIME_SHIFT}))")
_FLAGS = sql(f"toUInt32(bitAnd(element, {4 * CODE_MASK + 3}))")


def _events(reader: Reader, query: PathsQuery, names: Names, person: Person | None) -> Sql:
    """Return the events in order of each person who has an anchor."""
    scan = reader.scan(
        query.selection,
        query.reading,
        persons=True,
        marks={"is_anchor": query.anchor},
        person=person,
    )
    left_out = [sql("event IN {names}", names=strings(query.exclude))] if query.exclude else []
    columns = {
        "ms": TIMESTAMP_MS,
        "place": sql("position"),
        "code": sql(
            "transform(event, {names}, {codes}, toUInt32(0))",
            names=strings(names.names),
            codes=uint32s(names.codes()),
        ),
        "left_out": any_of(left_out),
    }
    return sql(
        "SELECT person, {turned}(arraySort(groupArray(element))) AS elements FROM ("
        " SELECT person, is_anchor AND NOT left_out AND ms >= {from_} AND ms <= {to} AS anchors,"
        "  {element} AS element"
        " FROM ({events}) WHERE code != 0) GROUP BY person HAVING max(anchors)",
        element=_ELEMENT,
        turned=sql("arrayReverse" if query.backward else ""),
        from_=int64(query.span.from_ms),
        to=int64(query.span.to_ms),
        events=scan.select(columns),
    )


def _in_sessions(query: PathsQuery, events: Sql) -> Sql:
    """Add the number of each event's session; then what is left out has done its part."""
    numbered = sql(
        "SELECT person, elements,"
        " arrayMap(element -> {time}, elements) AS times,"
        " arrayMap(element -> {flags}, elements) AS flags,"
        " arrayMap(number -> toInt64(number), arrayCumSum(arrayMap("
        "  (at, before) -> abs(at - before) >= {gap}, times,"
        "  arrayPopBack(arrayPushFront(times, times[1]))))) AS sessions"
        " FROM ({events})",
        time=_TIME,
        flags=_FLAGS,
        gap=int64(query.gap_ms),
        events=events,
    )
    if not query.exclude:
        return numbered
    seen = "SELECT *, arrayMap(flag -> NOT bitTest(flag, 1), flags) AS seen FROM ({numbered})"
    return _only(("elements", "times", "flags", "sessions"), "seen", sql(seen, numbered=numbered))


def _opened(query: PathsQuery, events: Sql) -> Sql:
    """Add which event opens a path and which a run, and drop those that do neither.

    A session's path opens at its first anchor; read backwards that is the last one met.
    """
    fill, other = (
        ("arrayReverseFill", "arrayPopFront(arrayPushBack(anchored, toInt64(-1)))")
        if query.backward
        else ("arrayFill", "arrayPopBack(arrayPushFront(anchored, toInt64(-1)))")
    )
    opens_run = "code != code_before OR session != session_before" if query.collapse else "true"
    flagged = sql(
        "SELECT person, elements, times, sessions,"
        " arrayMap(flag -> bitShiftRight(flag, 2), flags) AS codes,"
        " {fill}(session -> session >= 0, arrayMap((session, flag) ->"
        "  if(bitTest(flag, 0), session, toInt64(-1)), sessions, flags)) AS anchored,"
        " arrayMap((session, flag, other) -> bitTest(flag, 0) AND other != session,"
        "  sessions, flags, {other}) AS opens_path,"
        " arrayMap((code, code_before, session, session_before) -> {opens_run}, codes,"
        "  arrayPopBack(arrayPushFront(codes, toUInt32(0))), sessions,"
        "  arrayPopBack(arrayPushFront(sessions, toInt64(-1)))) AS opens_run,"
        " arrayMap((run, path) -> run OR path, opens_run, opens_path) AS opens,"
        " arrayCumSum(opens_run) AS runs"
        " FROM ({events})",
        fill=sql(fill),
        other=sql(other),
        opens_run=sql(opens_run),
        events=events,
    )
    return _only(("elements", "codes", "times", "sessions", "runs", "opens_path"), "opens", flagged)


def _stepped(query: PathsQuery, events: Sql) -> Sql:
    """Add each event's path, its step on it, and what the path's anchor decides."""
    base = "arrayFill((x, opens) -> opens, {}, opens_path)"
    return sql(
        "SELECT person, elements, codes, times, sessions, arrayCumSum(opens_path) AS paths,"
        " arrayMap((run, first) -> toInt64(run) - toInt64(first) + 1, runs, {run}) AS steps,"
        " {time} AS base_times, {session} AS base_sessions,"
        " arrayPopFront(arrayPushBack(elements, toUInt128(0))) AS next_elements,"
        " arrayMap((session, following) -> session = following, sessions,"
        "  arrayPopFront(arrayPushBack(sessions, toInt64(-1)))) AS continues"
        " FROM ({events})",
        run=sql(base.format("runs")),
        time=sql(base.format("times")),
        session=sql(base.format("sessions")),
        events=events,
    )


def relabelled(paths: Sql, kept: frozenset[int] | None) -> Sql:
    """Return the same paths with a step over an edge that is not kept as the rest, and the last."""
    if kept is None:
        return paths
    lost = sql(
        "SELECT person, steps, codes, edges,"
        " arrayMap(edge -> edge != 0 AND edge NOT IN {kept}, edges) AS lost,"
        " arrayCumSum(lost) AS losses,"
        " arrayMap((number, first, lost) -> number = first OR (number = first + 1 AND lost),"
        "  losses, arrayFill((x, edge) -> edge = 0, losses, edges), lost) AS followed"
        " FROM ({paths})",
        kept=uint64s(sorted(kept)),
        paths=paths,
    )
    return sql(
        "SELECT person, followed.steps AS steps,"
        " arrayMap((code, lost) -> if(lost, {rest}, code), followed.codes, followed.lost) AS codes,"
        " arrayMap((edge, lost) -> if(lost, bitOr(bitAnd(edge, bitNot({mask})), {rest}), edge),"
        "  followed.edges, followed.lost) AS edges FROM ({followed}) AS followed",
        rest=sql(f"toUInt64({REST})"),
        mask=sql(f"toUInt64({CODE_MASK})"),
        followed=_only(("steps", "codes", "edges", "lost"), "followed", lost),
    )
