"""GET /v1/reports/paths: what persons do after an event, or on their way to it, step by step.

Document ─► PathsQuery             path_question
events   ─► every person's paths   path_steps
paths    ─► the table              path_table
a person ─► why                    path_verdict
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from saytics_server.query.answer import definition
from saytics_server.query.cell import Cell
from saytics_server.query.model import Frame, invalid
from saytics_server.query.path_question import Document, PathsQuery, document_of, question
from saytics_server.query.path_steps import (
    EVERYBODY,
    NO_NAME,
    NODES,
    Place,
    names_of,
    packed,
    paths_of,
    relabelled,
    unpacked,
)
from saytics_server.query.path_table import (
    edge_order,
    kept_edges,
    node_id,
    node_order,
    place_of,
    rules_of,
    shown_edge,
    shown_node,
    statement_of,
)
from saytics_server.query.path_verdict import explain
from saytics_server.query.reading import Reader
from saytics_server.sql import Sql, sql, uint64

__all__ = ["Document", "document_of", "explain", "parse", "persons", "question", "run"]


def parse(parameters: Sequence[tuple[str, str]], frame: Frame) -> PathsQuery:
    """Return the question that decoded query parameters ask."""
    return question(document_of(parameters), frame)


def run(reader: Reader, query: PathsQuery) -> dict[str, Any]:
    """Return nodes, edges, and how many persons have a path at all."""
    names = names_of(reader, query)
    rows = reader.rows(statement_of(reader, query, names, None))
    kept = kept_edges(query, rows)
    if kept is not None:
        rows = reader.rows(statement_of(reader, query, names, kept))
    total = 0
    nodes: list[tuple[Place, int]] = []
    edges: list[tuple[Place, Place, int]] = []
    for item, count in rows:
        step, near, far = unpacked(item)
        if item == EVERYBODY:
            total = count
        elif near == NO_NAME:
            nodes.append((names.place(step, far), count))
        else:
            edges.append((names.place(step - 1, near), names.place(step, far), count))
    return {
        "total": total,
        "nodes": [
            {"id": node_id(query, place), **shown_node(query, place), "count": count}
            for place, count in sorted(nodes, key=lambda node: node_order(query, *node))
        ],
        "edges": [
            shown_edge(query, *edge)
            for edge in sorted(edges, key=lambda edge: edge_order(query, *edge))
        ],
        "definition": definition(query.frame, query.span, query.selection, rules_of(query)),
    }


def persons(reader: Reader, query: PathsQuery, cell: Mapping[str, Any]) -> Sql:
    """Return a SELECT of the persons of a node (`node`) or an edge (`source` and `target`).

    They are named by the ids of the answer; an empty cell is everybody who has a path.
    """
    asked = Cell(cell, ("node", "source", "target"))
    names = names_of(reader, query)
    item = EVERYBODY
    if asked.has("node"):
        if asked.has("source") or asked.has("target"):
            raise invalid("cell.node", "A cell is a `node`, or a `source` with a `target`.")
        node = place_of(query, "node", cell)
        item = packed(node.step, NO_NAME, names.code(node))
    elif asked.has("source") or asked.has("target"):
        ends = [place_of(query, name, cell) for name in ("source", "target")]
        near, far = reversed(ends) if query.backward else ends
        if far.step != near.step + 1 or near.event is None:
            raise invalid("cell.target", "An edge leads from a node to one of the next step.")
        item = packed(far.step, names.code(near), names.code(far))
    kept = kept_edges(query, reader.rows(statement_of(reader, query, names, None)))
    return sql(
        "SELECT person FROM ({paths}) WHERE has(arrayConcat(edges, {nodes}), {item})",
        paths=relabelled(paths_of(reader, query, names), kept),
        nodes=NODES,
        item=uint64(item),
    )
