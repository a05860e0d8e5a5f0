"""Breakdown: the largest values of a property or trait, the rest as `other`, absent as null."""

from __future__ import annotations

from typing import Any

import msgspec

from saytics_server.query.model import Reference, invalid
from saytics_server.query.reading import Reader
from saytics_server.query.scan import OTHER, Scan
from saytics_server.query.values import parse_reference
from saytics_server.sql import Sql, int64, sql

# As many as a chart's legend can hold.
BREAKDOWN_VALUES = 25


BREAKDOWN_VALUES_MAX = 200


def parse_breakdown(text: str | None) -> Reference | None:
    """Return what `breakdown` names: a value, or `cohort=ID`. Raises Refused."""
    if text is None:
        return None
    if text.startswith("cohort="):
        return Reference("cohort", (text.removeprefix("cohort="),))
    reference = parse_reference(text, "breakdown")
    if reference.source == "cohort":
        raise invalid("breakdown", "A cohort is named by its id: `cohort=ID`.")
    return reference


def parse_limit(limit: int | None) -> int:
    """Return how many values a breakdown shows. Raises Refused("invalid_parameter")."""
    if limit is None:
        return BREAKDOWN_VALUES
    if not 1 <= limit <= BREAKDOWN_VALUES_MAX:
        raise invalid("breakdown_limit", f"`breakdown_limit` is from 1 to {BREAKDOWN_VALUES_MAX}.")
    return limit


def largest_values(
    reader: Reader,
    scan: Scan,
    columns: dict[str, Sql],
    rank: Sql,
    most: int = BREAKDOWN_VALUES,
) -> tuple[str, ...]:
    """Return the JSON texts of the values with the largest `rank`, largest first."""
    statement = sql(
        "SELECT breakdown FROM ({events}) GROUP BY breakdown"
        " ORDER BY {rank} DESC NULLS LAST, breakdown LIMIT {most}",
        events=scan.select(columns),
        rank=rank,
        most=int64(most),
    )
    return tuple(row[0] for row in reader.rows(statement))


def shown(value: str) -> dict[str, Any]:
    """Return how an answer names a breakdown value: as sent, and `other` marked as none."""
    if value == OTHER:
        return {"value": OTHER, "other": True}
    return {"value": msgspec.json.decode(value)}
