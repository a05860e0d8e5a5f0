"""From everybody's paths to the table: persons per node and edge, which edges are shown, the words.

Of the edges between two steps only the largest are shown; a path over another one goes on to the
rest. So the table is asked for once, and once more where there is a rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from saytics_server.query.answer import PERSON_RULE
from saytics_server.query.evidence import length_text
from saytics_server.query.model import invalid
from saytics_server.query.path_question import NAMES_MAX, PathsQuery
from saytics_server.query.path_steps import (
    CODE_BITS,
    CODE_MASK,
    NO_NAME,
    NODES,
    Names,
    Place,
    paths_of,
    relabelled,
    unpacked,
)
from saytics_server.query.reading import Reader
from saytics_server.query.scan import OTHER
from saytics_server.sql import Sql, int64, sql
from saytics_server.store import Row


def kept_edges(query: PathsQuery, rows: Sequence[Row]) -> frozenset[int] | None:
    """Return the edges that are shown as such; None where that is all of them."""
    per_step: dict[int, list[int]] = {}
    for item, _ in rows:
        step, near, _ = unpacked(item)
        if near != NO_NAME:
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
        nodes=NODES,
        paths=relabelled(paths_of(reader, query, names), kept),
        most=int64(max(query.top, NAMES_MAX) + 1),
        step=sql(f"bitShiftRight(item, {2 * CODE_BITS})"),
        near=sql(f"bitAnd(item, {CODE_MASK << CODE_BITS}) = 0"),
    )


def node_id(query: PathsQuery, place: Place) -> str:
    """Return a node's id. An event may be called `other`: the sign tells it from the rest."""
    step = query.shown_step(place.step)
    return f"{step}~{OTHER}" if place.event is None else f"{step}:{place.event}"


def place_of(query: PathsQuery, name: str, cell: Mapping[str, Any]) -> Place:
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


def shown_node(query: PathsQuery, place: Place) -> dict[str, Any]:
    """Return a node as answers show it."""
    step = query.shown_step(place.step)
    if place.event is None:
        return {"step": step, "event": OTHER, "other": True}
    return {"step": step, "event": place.event}


def node_order(query: PathsQuery, place: Place, count: int) -> tuple[int, bool, int, str]:
    """Return what nodes are sorted by: the largest of a step first, the rest last."""
    return query.shown_step(place.step), place.event is None, -count, place.event or ""


def edge_order(query: PathsQuery, near: Place, far: Place, count: int) -> tuple[Any, ...]:
    """Return what edges, from near to far, are sorted by."""
    step = query.shown_step(near.step)
    return step, -count, near.event, far.event is None, far.event or ""


def shown_edge(query: PathsQuery, near: Place, far: Place, count: int) -> dict[str, Any]:
    """Return an edge as answers show it: in the direction of time."""
    source, target = (far, near) if query.backward else (near, far)
    return {"source": node_id(query, source), "target": node_id(query, target), "count": count}


def rules_of(query: PathsQuery) -> list[str]:
    """Return the rules of the definition, in words."""
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
