"""GET /v1/reports/paths: what persons do after an event, or on their way to it, step by step.

A person's events stand in arrays, in order; with `end` the order is turned round, so that one
statement serves both. Every array below has one element per event and is made from arrays of the
same length: a lambda that reached into another array would copy that array once per element.

    events    v a a b │ a c          │: half an hour without an event
    anchors     ^     │ ^            `start` = a; the first of each session opens a path
    runs      1 2 2 3 │ 4 5          repeats are one run (unless they stay apart)
    step      - 1 1 2 │ 1 2          run - run of the path's anchor + 1, as far as the path reaches
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from saytics_server.people import Person
from saytics_server.query.answer import PERSON_RULE, definition
from saytics_server.query.cell import Cell
from saytics_server.query.document import ReportDocument, StepDocument, shared_fields
from saytics_server.query.evidence import (
    EVIDENCE,
    EVIDENCE_COLUMNS,
    Evidence,
    length_text,
    shown_event,
    shown_links,
)
from saytics_server.query.filters import filters_of, selection_of
from saytics_server.query.model import Frame, Parameters, Range, Selection, invalid
from saytics_server.query.periods import HOUR_MS, LATEST_MS, parse_length, parse_range
from saytics_server.query.reading import Reader
from saytics_server.query.scan import OTHER, TIMESTAMP_MS, utc_day
from saytics_server.sql import (
    Sql,
    any_of,
    int64,
    sql,
    strings,
    uint32,
    uint32s,
    uint64,
    uint64s,
)
from saytics_server.sql import day as bind_day
from saytics_server.store import Row

PARAMETERS = (
    "start", "end", "from", "to", "depth", "filter", "window", "session", "collapse", "top",
    "exclude",
)  # fmt: skip

# A picture of more columns than these does not fit a screen; twenty is what a funnel has, too.
DEPTH_DEFAULT, DEPTH_MAX = 5, 20
# Lines between two columns that an eye can follow, and that a table can list.
TOP_DEFAULT, TOP_MAX = 25, 200
SESSION_DEFAULT, SESSION_MAX = "30m", "24h"
WINDOW_MAX = "366d"
# How far from its anchor a path within a session goes: days without half an hour of rest are a
# machine's, and what is read beyond the range must end somewhere.
SESSION_REACH_MS = 24 * HOUR_MS
# One of these is a button pressed on many screens; more are a property, not a list of names.
NAMES_MAX = 50
# Paths of one person in an explanation: nobody reads on.
EXPLAINED_PATHS_MAX = 50

# Longer than there can be between two events.
_FOREVER_MS = 2**62

# Names and items travel as numbers, so that a million events of one person are arrays of numbers.
# A step takes 5 bits and a name 26; 0 is no name, 1 the rest, the others stand in order.
_CODE_BITS = 26
_CODE_MASK = 2**_CODE_BITS - 1
_NO_NAME, _REST, _FIRST_NAME = 0, 1, 2
_EVERYBODY = 0
# Below the time stand the position, which a log would take 500 years to fill at 10 million events
# per second, the name and two flags.
_TIME_SHIFT = 57 + _CODE_BITS + 2


class Document(ReportDocument, frozen=True):
    """The JSON form of the question."""

    start: str | StepDocument | None = None
    end: str | StepDocument | None = None
    depth: int = DEPTH_DEFAULT
    window: str | None = None
    session: str | None = None
    collapse: bool = True
    top: int = TOP_DEFAULT
    exclude: list[str] = msgspec.field(default_factory=list)


class PathsQuery(msgspec.Struct, frozen=True):
    """The question, typed. The anchor is the start or end event; `gap_ms` ends a session."""

    frame: Frame
    selection: Selection
    span: Range
    anchor: Selection
    backward: bool
    depth: int
    gap_ms: int
    reach_ms: int
    collapse: bool
    top: int
    exclude: tuple[str, ...]

    @property
    def in_sessions(self) -> bool:
        """Return whether a path ends with its session; else with a window."""
        return self.gap_ms < _FOREVER_MS

    @property
    def reading(self) -> Range:
        """Return the range with as much beside it as a path can reach."""
        if self.backward:
            return Range(max(self.span.from_ms - self.reach_ms, 0), self.span.to_ms)
        return Range(self.span.from_ms, min(self.span.to_ms + self.reach_ms, LATEST_MS))

    def shown_step(self, step: int) -> int:
        """Return the column of a step counted from the anchor: the anchor is first, or last."""
        return self.depth + 1 - step if self.backward else step


def document_of(parameters: Sequence[tuple[str, str]]) -> Document:
    """Return what decoded query parameters ask. Raises Refused("invalid_parameter")."""
    given = Parameters(parameters, PARAMETERS, repeatable=("filter", "exclude"))
    return Document(
        start=given.one("start"),
        end=given.one("end"),
        depth=given.whole_number("depth", DEPTH_DEFAULT, most=DEPTH_MAX),
        window=given.one("window"),
        session=given.one("session"),
        collapse=given.choice("collapse", ("true", "false"), "true") == "true",
        top=given.whole_number("top", TOP_DEFAULT, most=TOP_MAX),
        exclude=list(given.every("exclude")),
        **shared_fields(given),
    )


def question(document: Document, frame: Frame) -> PathsQuery:
    """Return the question, checked. Raises Refused("invalid_parameter")."""
    backward = document.start is None
    if backward == (document.end is None):
        raise invalid("start", "Paths have one of `start` and `end`, the name of an event.")
    at = "end" if backward else "start"
    anchor = _anchor(document.end if backward else document.start, at)
    if document.window is not None and document.session is not None:
        raise invalid("window", "Paths end with a session or with a window, not both.")
    if not 2 <= document.depth <= DEPTH_MAX:
        raise invalid("depth", f"`depth` is a whole number from 2 to {DEPTH_MAX}.")
    if not 1 <= document.top <= TOP_MAX:
        raise invalid("top", f"`top` is a whole number from 1 to {TOP_MAX}.")
    if len(document.exclude) > NAMES_MAX:
        raise invalid("exclude", f"`exclude` holds more than {NAMES_MAX} names.")
    if set(document.exclude) & set(anchor.events):
        raise invalid("exclude", f"`exclude` names the event of `{at}`.")
    gap_ms, reach_ms = _FOREVER_MS, SESSION_REACH_MS
    if document.window is not None:
        reach_ms = parse_length(document.window, "window", WINDOW_MAX)
    else:
        gap_ms = parse_length(document.session or SESSION_DEFAULT, "session", SESSION_MAX)
    return PathsQuery(
        frame=frame,
        selection=Selection((), filters_of(document.filter)),
        span=parse_range(document.from_, document.to, frame),
        anchor=anchor,
        backward=backward,
        depth=document.depth,
        gap_ms=gap_ms,
        reach_ms=reach_ms,
        collapse=document.collapse,
        top=document.top,
        exclude=tuple(document.exclude),
    )


def parse(parameters: Sequence[tuple[str, str]], frame: Frame) -> PathsQuery:
    """Return the question that decoded query parameters ask."""
    return question(document_of(parameters), frame)


def _anchor(step: str | StepDocument | None, at: str) -> Selection:
    if step is None or isinstance(step, str):
        step = StepDocument(event=step)
    if (step.event is None) == (not step.events):
        raise invalid(at, f"`{at}` has a name, `event`, or alternatives, `events`.")
    return selection_of(step, at)


# --- the answer -------------------------------------------------------------------------------


def run(reader: Reader, query: PathsQuery) -> dict[str, Any]:
    """Return nodes, edges, and how many persons have a path at all."""
    names = _names(reader, query)
    rows = reader.rows(statement_of(reader, query, names, None))
    kept = _kept(query, rows)
    if kept is not None:
        rows = reader.rows(statement_of(reader, query, names, kept))
    total = 0
    nodes: list[tuple[Place, int]] = []
    edges: list[tuple[Place, Place, int]] = []
    for item, count in rows:
        step, near, far = _unpacked(item)
        if item == _EVERYBODY:
            total = count
        elif near == _NO_NAME:
            nodes.append((names.place(step, far), count))
        else:
            edges.append((names.place(step - 1, near), names.place(step, far), count))
    return {
        "total": total,
        "nodes": [
            {"id": _id(query, place), **_shown(query, place), "count": count}
            for place, count in sorted(nodes, key=lambda node: _order(query, *node))
        ],
        "edges": [
            _shown_edge(query, *edge)
            for edge in sorted(edges, key=lambda edge: _edge_order(query, *edge))
        ],
        "definition": definition(query.frame, query.span, query.selection, _rules(query)),
    }


def _kept(query: PathsQuery, rows: Sequence[Row]) -> frozenset[int] | None:
    """Return the edges that are shown as such; None where that is all of them."""
    per_step: dict[int, list[int]] = {}
    for item, _ in rows:
        step, near, _ = _unpacked(item)
        if near != _NO_NAME:
            per_step.setdefault(step, []).append(item)
    if all(len(items) <= query.top for items in per_step.values()):
        return None
    return frozenset(item for items in per_step.values() for item in items[: query.top])


def statement_of(
    reader: Reader, query: PathsQuery, names: Names, kept: frozenset[int] | None
) -> Sql:
    """Return the SELECT of (item, persons): everybody, nodes, and of each step its largest edges,
    one more than are shown, equal ones in order of their names."""
    return sql(
        "SELECT item, count() AS persons FROM (SELECT arrayJoin(arrayDistinct("
        "  arrayConcat(edges, {nodes}))) AS item FROM ({paths}))"
        " GROUP BY item ORDER BY persons DESC, item"
        " LIMIT {most} BY {step}, {near}",
        nodes=_NODES,
        paths=_relabelled(_paths(reader, query, names), kept),
        most=int64(max(query.top, NAMES_MAX) + 1),
        step=sql(f"bitShiftRight(item, {2 * _CODE_BITS})"),
        near=sql(f"bitAnd(item, {_CODE_MASK << _CODE_BITS}) = 0"),
    )


def persons(reader: Reader, query: PathsQuery, cell: Mapping[str, Any]) -> Sql:
    """Return a SELECT of the persons of a node (`node`) or an edge (`source` and `target`).

    They are named by the ids of the answer; an empty cell is everybody who has a path.
    """
    asked = Cell(cell, ("node", "source", "target"))
    names = _names(reader, query)
    item = _EVERYBODY
    if asked.has("node"):
        if asked.has("source") or asked.has("target"):
            raise invalid("cell.node", "A cell is a `node`, or a `source` with a `target`.")
        node = _place_of(query, "node", cell)
        item = _packed(node.step, _NO_NAME, names.code(node))
    elif asked.has("source") or asked.has("target"):
        ends = [_place_of(query, name, cell) for name in ("source", "target")]
        near, far = reversed(ends) if query.backward else ends
        if far.step != near.step + 1 or near.event is None:
            raise invalid("cell.target", "An edge leads from a node to one of the next step.")
        item = _packed(far.step, names.code(near), names.code(far))
    kept = _kept(query, reader.rows(statement_of(reader, query, names, None)))
    return sql(
        "SELECT person FROM ({paths}) WHERE has(arrayConcat(edges, {nodes}), {item})",
        paths=_relabelled(_paths(reader, query, names), kept),
        nodes=_NODES,
        item=uint64(item),
    )


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
            return _REST
        found = bisect_left(self.names, place.event)
        is_known = self.names[found : found + 1] == (place.event,)
        return _FIRST_NAME + found if is_known else _CODE_MASK

    def place(self, step: int, code: int) -> Place:
        """Return the node of a number."""
        return Place(step, None if code == _REST else self.names[code - _FIRST_NAME])


def _names(reader: Reader, query: PathsQuery) -> Names:
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


def _packed(step: int, near: int, far: int) -> int:
    """Return what is counted as a number: an edge, or, without `near`, a node."""
    return (step << _CODE_BITS | near) << _CODE_BITS | far


def _unpacked(item: int) -> tuple[int, int, int]:
    return item >> 2 * _CODE_BITS, item >> _CODE_BITS & _CODE_MASK, item & _CODE_MASK


# The same in SQL, of one edge and of all the nodes of `steps` and `codes`.
_EDGE = sql(
    f"bitOr(bitShiftLeft(toUInt64(step), {2 * _CODE_BITS}),"
    f" bitOr(bitShiftLeft(toUInt64(near), {_CODE_BITS}), toUInt64(far)))"
)
_NODES = sql(
    "arrayMap((step, code) ->"
    f" bitOr(bitShiftLeft(toUInt64(step), {2 * _CODE_BITS}), toUInt64(code)), steps, codes)"
)


# --- arrays -----------------------------------------------------------------------------------


def _paths(
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
    f" bitOr(bitShiftLeft(toUInt128(place), {_CODE_BITS + 2}),"
    " toUInt128(bitOr(bitShiftLeft(code, 2), bitOr(bitShiftLeft(toUInt32(left_out), 1),"
    " toUInt32(anchors))))))"
)
_TIME = sql(f"toInt64(bitShiftRight(element, {_TIME_SHIFT}))")
_FLAGS = sql(f"toUInt32(bitAnd(element, {4 * _CODE_MASK + 3}))")


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


def _relabelled(paths: Sql, kept: frozenset[int] | None) -> Sql:
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
        rest=sql(f"toUInt64({_REST})"),
        mask=sql(f"toUInt64({_CODE_MASK})"),
        followed=_only(("steps", "codes", "edges", "lost"), "followed", lost),
    )


# --- names of nodes, and the words ------------------------------------------------------------


def _id(query: PathsQuery, place: Place) -> str:
    """Return a node's id. An event may be called `other`: the sign tells it from the rest."""
    step = query.shown_step(place.step)
    return f"{step}~{OTHER}" if place.event is None else f"{step}:{place.event}"


def _place_of(query: PathsQuery, name: str, cell: Mapping[str, Any]) -> Place:
    """Return the node of an id. Raises Refused("invalid_parameter")."""
    text = cell.get(name)
    found = (
        re.fullmatch(r"(\d{1,2})(?:~other|:(.+))", text, re.DOTALL | re.ASCII)
        if isinstance(text, str)
        else None
    )
    if found is None or not 1 <= int(found[1]) <= query.depth:
        raise invalid(f"cell.{name}", f"`{name}` is the id of a node of the answer.")
    return Place(query.shown_step(int(found[1])), found[2])


def _shown(query: PathsQuery, place: Place) -> dict[str, Any]:
    step = query.shown_step(place.step)
    if place.event is None:
        return {"step": step, "event": OTHER, "other": True}
    return {"step": step, "event": place.event}


def _order(query: PathsQuery, place: Place, count: int) -> tuple[int, bool, int, str]:
    return query.shown_step(place.step), place.event is None, -count, place.event or ""


def _edge_order(query: PathsQuery, near: Place, far: Place, count: int) -> tuple[Any, ...]:
    step = query.shown_step(near.step)
    return step, -count, near.event, far.event is None, far.event or ""


def _shown_edge(query: PathsQuery, near: Place, far: Place, count: int) -> dict[str, Any]:
    source, target = (far, near) if query.backward else (near, far)
    return {"source": _id(query, source), "target": _id(query, target), "count": count}


def _rules(query: PathsQuery) -> list[str]:
    anchor = "end" if query.backward else "start"
    far = "before" if query.backward else "after"
    if query.in_sessions:
        extent = [
            f"A session ends where {length_text(query.gap_ms)} or more pass without an event that"
            " the filter keeps.",
            f"In each session with a {anchor} event in the range the path is taken at the first"
            f" such event, and follows the session up to {length_text(query.reach_ms)} {far} it,"
            " also beyond the range.",
        ]
    else:
        extent = [
            f"Each person has one path, at their first {anchor} event in the range; it holds what"
            f" happened up to {length_text(query.reach_ms)} {far} it, inclusive, also beyond the"
            " range.",
        ]
    left_out = [
        "Events left out are no steps, but they keep a session going."
        if query.in_sessions
        else "Events left out are no steps."
    ]
    return [
        *extent,
        f"The {anchor} event is step {query.shown_step(1)} of {query.depth}; events in order of"
        " their time, equal times in the order they were received.",
        "Repeats of an event one after the other are one step."
        if query.collapse
        else "Repeats of an event are steps of their own.",
        *(left_out if query.exclude else []),
        f"Of the edges between two steps the {query.top} with the most persons are shown, equal"
        " ones by name; a path that takes another one goes on to `other` and is not followed"
        " further.",
        "Counts are persons: a person with several paths counts once per node and per edge.",
        PERSON_RULE,
    ]


# --- one person -------------------------------------------------------------------------------

_POSITION = f"toUInt64(bitAnd(bitShiftRight(element, {_CODE_BITS + 2}), {2**57 - 1}))"
_STEPS = (
    f"paths, steps, edges, arrayMap(element -> {_POSITION}, elements),"
    f" arrayMap(element -> {_POSITION}, next_elements), continues"
)


class Taken(msgspec.Struct, frozen=True):
    """One step of one person: its event, and what came next."""

    path: int
    step: int
    edge: int
    position: int
    next_position: int
    continues: bool


def explain(reader: Reader, query: PathsQuery, person: Person) -> dict[str, Any]:
    """Return every path of one person, event by event, and why each ends where it does."""
    names = _names(reader, query)
    taken = _taken(reader, query, names, person)
    events = _events_at(
        reader, query, person, {p for step in taken for p in (step.position, step.next_position)}
    )
    kept = _kept(query, reader.rows(statement_of(reader, query, names, None)))
    paths: dict[int, list[Taken]] = {}
    for step in taken:
        paths.setdefault(step.path, []).append(step)
    shown = list(paths.values())[:EXPLAINED_PATHS_MAX]
    if query.backward:
        shown.reverse()
    return {
        "counts": bool(taken),
        "paths_total": len(paths),
        "paths": [_explained(query, path, events, kept) for path in shown],
        **({} if taken else {"missing": _missing(reader, query, person)}),
        "links": shown_links(reader, person, events.values()),
        "definition": definition(query.frame, query.span, query.selection, _rules(query)),
    }


def _taken(reader: Reader, query: PathsQuery, names: Names, person: Person) -> list[Taken]:
    rows = reader.rows(
        sql(
            "SELECT {steps} FROM ({paths})",
            steps=sql(_STEPS),
            paths=_paths(reader, query, names, person=person),
        )
    )
    return [Taken(*values) for row in rows for values in zip(*row, strict=True)]


def _events_at(
    reader: Reader, query: PathsQuery, person: Person, positions: set[int]
) -> dict[int, Evidence]:
    scan = reader.scan(query.selection, query.reading, persons=True, person=person)
    rows = reader.rows(
        sql(
            "SELECT {evidence} FROM ({events}) WHERE position IN {positions}",
            evidence=EVIDENCE,
            events=scan.select(EVIDENCE_COLUMNS),
            positions=uint64s(sorted(positions)),
        )
    )
    return {row[0][1]: row[0] for row in rows}


def _explained(
    query: PathsQuery,
    path: list[Taken],
    events: Mapping[int, Evidence],
    kept: frozenset[int] | None,
) -> dict[str, Any]:
    """Return the steps with their nodes (null where the path is not followed any more)."""
    steps = []
    is_followed = True
    for taken in path:
        event = events[taken.position]
        is_lost = kept is not None and taken.step > 1 and taken.edge not in kept
        node = _id(query, Place(taken.step, None if is_lost else event[2]))
        shown = {"step": query.shown_step(taken.step), "node": node if is_followed else None}
        steps.append({**shown, **shown_event(event)})
        is_followed = is_followed and not is_lost
    if query.backward:
        steps.reverse()
    return {"steps": steps, "ended": _ended(query, path, events)}


def _ended(query: PathsQuery, path: list[Taken], events: Mapping[int, Evidence]) -> dict[str, Any]:
    """Return why a path has no further step: its depth, the session, the reach, or nothing more."""
    last = path[-1]
    if last.step == query.depth:
        return {"by": "depth"}
    following = events.get(last.next_position)
    if following is None:
        return {"by": "no_event"}
    shown = {"next": shown_event(following)}
    if not last.continues:
        rest = abs(following[0] - events[last.position][0])
        return {"by": "session", "after": length_text(rest), **shown}
    passed = abs(following[0] - events[path[0].position][0]) - query.reach_ms
    return {"by": "window", "passed_by": length_text(passed), **shown}


def _missing(reader: Reader, query: PathsQuery, person: Person) -> dict[str, Any]:
    """Return what a person without a path did do in the range."""
    scan = reader.scan(
        query.selection,
        query.span,
        persons=True,
        marks={"is_anchor": query.anchor},
        person=person,
    )
    rows = reader.rows(
        sql("SELECT count() FROM ({events})", events=scan.select({"place": sql("position")}))
    )
    anchor = "end" if query.backward else "start"
    return {
        "what": f"no {anchor} event in the range",
        "events": list(query.anchor.events),
        "other_events_in_range": rows[0][0],
    }
