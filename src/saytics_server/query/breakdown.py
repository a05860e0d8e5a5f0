"""Breakdown: the largest values of a property or trait, the rest as `other`, absent as null."""

from __future__ import annotations

from typing import Any

import msgspec

from saytics_server.query.model import Parameters, Range, Reference, Selection, invalid
from saytics_server.query.reading import Reader
from saytics_server.query.scan import ABSENT, OTHER, Scan
from saytics_server.query.values import dynamic_value, parse_reference
from saytics_server.sql import Sql, int64, sql, string

# As many as a chart's legend can hold.
BREAKDOWN_VALUES = 25
# As many as a table's reader scrolls through.
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


def breakdown_fields(given: Parameters) -> dict[str, Any]:
    """Return the fields of a breakdown that a query string gives. Raises Refused."""
    return {
        "breakdown": given.one("breakdown"),
        "breakdown_limit": given.whole_number(
            "breakdown_limit", BREAKDOWN_VALUES, most=BREAKDOWN_VALUES_MAX
        ),
    }


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


def few_values(
    reader: Reader,
    selection: Selection,
    span: Range,
    breakdown: Reference,
    most: int = BREAKDOWN_VALUES,
) -> tuple[str, ...] | None:
    """Return every value in order of its text, None where there are more than `most`.

    Where they all fit, nobody needs to know which are the largest before everything is counted.
    None also where it takes persons to tell: resolving them costs more than it saves.
    """
    scan = reader.scan(selection, span, breakdown=breakdown)
    if scan.links is not None:
        return None
    statement = sql(
        "SELECT DISTINCT breakdown FROM ({events}) LIMIT {beyond}",
        events=scan.select({}),
        beyond=int64(most + 1),
    )
    values = sorted(row[0] for row in reader.rows(statement))
    return tuple(values) if len(values) <= most else None


def shown(value: str) -> dict[str, Any]:
    """Return how an answer names a breakdown value: as sent, and `other` marked as none."""
    if value == OTHER:
        return {"value": OTHER, "other": True}
    return {"value": msgspec.json.decode(value)}


def value_text(reader: Reader, value: Any) -> str:
    """Return the text that a breakdown value, as an answer names it, has in the column `breakdown`.

    The store is asked, because it writes some numbers and characters in its own way.
    """
    if value is None:
        return ABSENT
    written = string(msgspec.json.encode(value).decode())
    dynamic = dynamic_value(sql("JSONExtract({written}, 'Dynamic')", written=written))
    text: str | None = reader.rows(sql("SELECT {json}", json=dynamic.json))[0][0]
    return text or ""  # an object, say, is the value of no event
