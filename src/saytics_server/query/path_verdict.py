"""The paths of one person, event by event, and why each ends where it does.

They are those the report counts, by the same statement narrowed to the person; nodes are named as
in the answer, the rest among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from saytics_server.people import Person
from saytics_server.query.answer import definition
from saytics_server.query.evidence import (
    EVIDENCE,
    EVIDENCE_COLUMNS,
    Evidence,
    length_text,
    shown_event,
    shown_links,
)
from saytics_server.query.path_question import PathsQuery
from saytics_server.query.path_steps import CODE_BITS, Names, Place, names_of, paths_of
from saytics_server.query.path_table import kept_edges, node_id, rules_of, statement_of
from saytics_server.query.reading import Reader
from saytics_server.sql import sql, uint64s

# Paths of one person in an explanation: nobody reads on.
EXPLAINED_PATHS_MAX = 50

_POSITION = f"toUInt64(bitAnd(bitShiftRight(element, {CODE_BITS + 2}), {2**57 - 1}))"
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
    names = names_of(reader, query)
    taken = _taken(reader, query, names, person)
    events = _events_at(
        reader, query, person, {p for step in taken for p in (step.position, step.next_position)}
    )
    kept = kept_edges(query, reader.rows(statement_of(reader, query, names, None)))
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
        "definition": definition(query.frame, query.span, query.selection, rules_of(query)),
    }


def _taken(reader: Reader, query: PathsQuery, names: Names, person: Person) -> list[Taken]:
    rows = reader.rows(
        sql(
            "SELECT {steps} FROM ({paths})",
            steps=sql(_STEPS),
            paths=paths_of(reader, query, names, person=person),
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
        node = node_id(query, Place(taken.step, None if is_lost else event[2]))
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
