"""Paths: what persons do after an event, or on their way to it, step by step."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec

from saytics_server.dashboard import wording
from saytics_server.dashboard.chart import encoded
from saytics_server.dashboard.reports.builder import Select, Shared, select, shared
from saytics_server.dashboard.reports.given import Given, shared_document
from saytics_server.dashboard.reports.report_page import Known, ReportPage
from saytics_server.dashboard.reports.result import (
    Column,
    Headline,
    Result,
    Row,
    Table,
    cell_text,
    count_entry,
    share_entry,
)

_DEPTH_DEFAULT = 5
# As many nodes a column as can be read; what is less frequent is one node, `other`.
_FLOWS_PER_STEP = 12
_DIRECTIONS = {"start": "starting with", "end": "leading to"}
_DEPTHS = {str(depth): f"{depth} steps" for depth in (3, 4, 5, 6, 8)}
_WITHIN = {
    "": "in one session",
    "1d": "within 1 day",
    "7d": "within 7 days",
    "30d": "within 30 days",
}
_REPEATS = {"": "repeats are one step", "false": "repeats are steps of their own"}
# Colours that tell events apart; that of the rest, and that of lines of the period before.
_COLOURS, _QUIET = 8, 9


class Builder(msgspec.Struct, frozen=True):
    """The controls of the page."""

    direction: Select
    event: str
    depth: Select
    within: Select
    repeats: Select
    exclude: list[str]
    shared: Shared


class Node(msgspec.Struct, frozen=True):
    """An event at a step, as the chart draws it."""

    id: str
    name: str
    label: str
    told: str
    column: int
    colour: int


class Flow(msgspec.Struct, frozen=True):
    """How many persons went from one node to the next."""

    source: str
    target: str
    value: int
    label: str
    told: str


class Flows(msgspec.Struct, frozen=True):
    """What `charts.js` draws of paths."""

    kind: str
    nodes: list[Node]
    flows: list[Flow]


def builder(given: Given) -> Builder:
    """Return the controls as the address sets them."""
    return Builder(
        direction=select("direction", "Direction", _DIRECTIONS, given.one("direction", "start")),
        event=given.one("event"),
        depth=select("depth", "Steps", _DEPTHS, given.one("depth", str(_DEPTH_DEFAULT))),
        within=select("window", "How far", _WITHIN, given.one("window")),
        repeats=select("collapse", "Repeats", _REPEATS, given.one("collapse")),
        exclude=[name for name in given.every("exclude") if name],
        shared=shared(given, breakdown=False),
    )


def missing(given: Given) -> str:
    """Say what the question still lacks."""
    if given.one("event"):
        return ""
    return "Choose above the event that the paths start with, or lead to."


def starter(events: list[str]) -> list[tuple[str, str]]:
    """Return the paths that begin with the most frequent event."""
    return [("event", event) for event in events[:1]]


def document(given: Given, today: date) -> dict[str, Any]:
    """Return the question as JSON."""
    side = "end" if given.one("direction") == "end" else "start"
    exclude = [name for name in given.every("exclude") if name]
    return {
        side: given.one("event"),
        "depth": given.whole_number("depth", _DEPTH_DEFAULT),
        "top": _FLOWS_PER_STEP,
        **({"window": given.one("window")} if given.one("window") else {}),
        **({"collapse": False} if given.one("collapse") == "false" else {}),
        **({"exclude": exclude} if exclude else {}),
        **shared_document(given, today),
    }


def result(answer: dict[str, Any], known: Known) -> Result:
    """Return the answer as it is shown."""
    total = answer["total"]
    nodes = _nodes(answer)
    names = {node.id: node.label for node in nodes}
    flows = [
        Flow(
            edge["source"],
            edge["target"],
            edge["count"],
            f"{names[edge['source']]} \N{RIGHTWARDS ARROW} {names[edge['target']]}",
            _told(edge["count"]),
        )
        for edge in answer["edges"]
    ]
    side = "lead to" if known.given.one("direction") == "end" else "start with"
    return Result(
        headlines=[
            Headline(
                wording.number(total).short,
                f"{total:,}",
                f"{wording.counted(total, 'person')} with paths that {side}"
                f" {known.given.one('event')}",
                cell=cell_text() if total else "",
            )
        ],
        chart=encoded(Flows("flows", nodes, flows)) if flows else "",
        summary=f"{len(flows)} flows between {len(nodes)} nodes. The table below has every number.",
        tables=[_flow_table(flows, total), _node_table(answer, nodes, total)],
        rules=answer["definition"]["rules"],
        is_empty=not total,
    )


def _told(count: int) -> str:
    return f"{count:,} {wording.counted(count, 'person')}"


def _nodes(answer: dict[str, Any]) -> list[Node]:
    colours: dict[str, int] = {}
    first = min((node["step"] for node in answer["nodes"]), default=1)
    nodes = []
    for node in answer["nodes"]:
        is_rest = node.get("other", False)
        name = "other events" if is_rest else node["event"]
        colour = _QUIET if is_rest else colours.setdefault(name, len(colours) % _COLOURS + 1)
        label = f"{node['step']}. {name}"
        column = node["step"] - first
        nodes.append(Node(node["id"], name, label, _told(node["count"]), column, colour))
    return nodes


def _flow_table(flows: list[Flow], total: int) -> Table:
    rows = [
        Row(
            flow.label,
            [
                count_entry(
                    flow.value,
                    cell_text(source=flow.source, target=flow.target),
                    point=f"flow-{place}",
                ),
                share_entry(flow.value / total if total else None),
            ],
        )
        for place, flow in enumerate(flows)
    ]
    columns = [Column("Persons"), Column("Of all with a path")]
    return Table("From step to step", "Flow", columns, rows)


def _node_table(answer: dict[str, Any], nodes: list[Node], total: int) -> Table:
    rows = [
        Row(
            node.label,
            [
                count_entry(found["count"], cell_text(node=node.id), point=f"node-{place}"),
                share_entry(found["count"] / total if total else None),
            ],
        )
        for place, (node, found) in enumerate(zip(nodes, answer["nodes"], strict=True))
    ]
    columns = [Column("Persons"), Column("Of all with a path")]
    return Table("At each step", "Step", columns, rows)


PAGE = ReportPage(
    name="paths",
    title="Paths",
    purpose="What persons do next, or did on their way to something.",
    would_be="A picture of the ways persons take from one event to the next.",
    report="paths",
    builder=builder,
    document=document,
    result=result,
    missing=missing,
    starter=starter,
)
