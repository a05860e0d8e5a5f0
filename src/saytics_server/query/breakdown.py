"""Breakdown: the largest values of a property or trait, the rest as `other`, absent as null."""

from __future__ import annotations

from typing import Any

import msgspec

from saytics_server.query.model import Parameters, Reference
from saytics_server.query.scan import OTHER, Scan
from saytics_server.query.values import parse_reference
from saytics_server.sql import Sql, int64, sql
from saytics_server.store import Store

# As many as a chart's legend can hold.
BREAKDOWN_VALUES = 25


def parse_breakdown(parameters: Parameters) -> Reference | None:
    """Return what `breakdown` names. Raises Refused("invalid_parameter")."""
    text = parameters.one("breakdown")
    return None if text is None else parse_reference(text, "breakdown")


def largest_values(store: Store, scan: Scan, columns: dict[str, Sql], rank: Sql) -> tuple[str, ...]:
    """Return the JSON texts of the values with the largest `rank`, largest first."""
    statement = sql(
        "SELECT breakdown FROM ({events}) GROUP BY breakdown"
        " ORDER BY {rank} DESC NULLS LAST, breakdown LIMIT {most}",
        events=scan.select(columns),
        rank=rank,
        most=int64(BREAKDOWN_VALUES),
    )
    return tuple(row[0] for row in store.query(*statement.render()))


def shown(value: str) -> dict[str, Any]:
    """Return how an answer names a breakdown value: as sent, and `other` marked as none."""
    if value == OTHER:
        return {"value": OTHER, "other": True}
    return {"value": msgspec.json.decode(value)}
