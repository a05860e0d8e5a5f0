"""What a trend can count: for each metric the aggregates the store computes and what becomes of
them here. `users` and `per_person` need the column `person`, the others of a property the columns
`whole`, `natural` and `real` (one number by type, NULL elsewhere).

Sums are exact: every double is read as the shortest decimal that names it and added as a decimal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Context, Decimal
from typing import Any

import msgspec

from saytics_server.query.model import Reference, invalid
from saytics_server.query.values import event_value, parse_reference
from saytics_server.sql import Sql, joined, sql

Number = int | float | Decimal

# 25 decimals hold all 17 digits of a double down to 1e-8; the remaining 51 digits of a Decimal256
# hold 1e11 addends up to the limit beside it. Larger doubles have no fraction left to lose and are
# added as doubles.
_DECIMALS = 25
_DECIMAL_LIMIT = "1e40"

_ANY_NUMBER = "coalesce(real, toFloat64(whole), toFloat64(natural))"
_SMALL = f"toString(if(abs(real) < {_DECIMAL_LIMIT}, real, NULL))"
_DECIMAL = (
    f"coalesce(toDecimal256OrNull({_SMALL}, {_DECIMALS}),"
    f" toDecimal256(whole, {_DECIMALS}), toDecimal256(natural, {_DECIMALS}))"
)
_HUGE = f"if(abs(real) >= {_DECIMAL_LIMIT}, real, NULL)"
_EXACT_SUM = (("sum", _DECIMAL), ("sum", _HUGE), ("count", _ANY_NUMBER))
_RANKED_SUM = f"(toFloat64(ifNull(sum({_DECIMAL}), 0)) + ifNull(sum({_HUGE}), 0))"
# Python's own 28 digits are fewer than the store's 76.
_PRECISE = Context(prec=80)


class Metric(msgspec.Struct, frozen=True):
    """A metric as asked for: `text` is how it was written."""

    text: str
    kind: str
    reference: Reference | None = None

    @property
    def key(self) -> str:
        """Return the name its numbers have in an answer."""
        return "count" if self.kind in ("count", "users") else "value"

    @property
    def counts_persons(self) -> bool:
        """Return whether it needs to know who did an event."""
        return self.kind in ("users", "per_person")

    @property
    def aggregates(self) -> Sql:
        """Return the select list of a group."""
        return _listed(f"{function}({argument})" for function, argument in self._parts)

    @property
    def states(self) -> Sql:
        """Return the same as states, which `running` goes on adding to."""
        return _listed(
            f"{_with(function, 'State')}({argument}) AS part_{place}"
            for place, (function, argument) in enumerate(self._parts)
        )

    def running(self, window: str) -> Sql:
        """Return the select list over the groups up to each; `window` is written in code."""
        return _listed(
            f"{_with(function, 'Merge')}(part_{place}) OVER {window}"
            for place, (function, _) in enumerate(self._parts)
        )

    @property
    def takes_part(self) -> Sql:
        """Return the condition that an event counts: that there is a number to count."""
        return sql(f"isNotNull({_ANY_NUMBER})") if self.reference is not None else sql("true")

    @property
    def columns(self) -> dict[str, Sql]:
        """Return the columns of an event that the aggregates read, beside `person`."""
        if self.reference is None:
            return {}
        return dict(
            zip(("whole", "natural", "real"), event_value(self.reference).numbers, strict=True)
        )

    @property
    def _parts(self) -> tuple[tuple[str, str], ...]:
        return _KINDS[self.kind].aggregates

    @property
    def rank(self) -> Sql:
        """Return the expression by which values of a breakdown are the largest."""
        return _KINDS[self.kind].rank

    @property
    def rule(self) -> str:
        """Return in words what is counted."""
        return _KINDS[self.kind].rule

    def result(self, aggregates: Sequence[Any]) -> Number | None:
        """Return the metric of a group from its aggregates."""
        return tidy(_KINDS[self.kind].result(aggregates))

    def nothing(self) -> Number | None:
        """Return the metric of no events at all."""
        return 0 if self.kind in ("count", "users", "sum") else None


class _Kind(msgspec.Struct, frozen=True):
    # Aggregate functions, a level in parentheses included, and what they are computed of.
    aggregates: tuple[tuple[str, str], ...]
    rank: Sql
    result: Callable[[Sequence[Any]], Number | None]
    rule: str


def parse_metric(text: str, at: str = "metric") -> Metric:
    """Return the metric of `count`, `users`, `per_person` or `KIND:PROPERTY`.

    Raises Refused("invalid_parameter").
    """
    kind, colon, name = text.partition(":")
    if kind not in _KINDS or bool(colon) == (kind in _WITHOUT_PROPERTY):
        plain = ", ".join(f"`{kind}`" for kind in _KINDS if kind in _WITHOUT_PROPERTY)
        of = ", ".join(f"`{kind}:P`" for kind in _KINDS if kind not in _WITHOUT_PROPERTY)
        raise invalid(at, f"`metric` is one of {plain}, or of a property P: {of}.")
    if not colon:
        return Metric(text, kind)
    reference = parse_reference(name, at)
    if reference.source not in ("properties", "context"):
        raise invalid(at, "A metric is computed over a property of the event.")
    return Metric(text, kind, reference)


def _listed(parts: Iterable[str]) -> Sql:
    return joined(", ", map(sql, parts))


def _with(function: str, combinator: str) -> str:
    """Return `quantile(0.5)` with a combinator: `quantileState(0.5)`."""
    name, parenthesis, level = function.partition("(")
    return name + combinator + parenthesis + level


def tidy(number: Number | None) -> Number | None:
    """Return a number as JSON shows it best: without a fraction where it has none."""
    if number is None or isinstance(number, int):
        return number
    if isinstance(number, float):
        return int(number) if number.is_integer() and abs(number) < 2**53 else number
    if number == number.to_integral_value(context=_PRECISE):
        return int(number)
    return number.normalize(_PRECISE)


def _sum(row: Sequence[Any]) -> Number:
    exact, huge = row[0] or Decimal(0), row[1]
    return float(exact) + float(huge) if huge else exact


def _average(row: Sequence[Any]) -> Number | None:
    return float(_sum(row)) / row[2] if row[2] else None


def _extreme(choose: Callable[[list[Number]], Number]) -> Callable[[Sequence[Any]], Number | None]:
    def result(row: Sequence[Any]) -> Number | None:
        present = [number for number in row if number is not None]
        return choose(present) if present else None

    return result


def _quantile(level: str, rule: str) -> _Kind:
    exact = f"quantileExactInclusiveOrNull({level})"
    return _Kind(
        ((exact, _ANY_NUMBER),),
        sql(f"{exact}({_ANY_NUMBER})"),
        _first,
        rule + " by linear interpolation, exact",
    )


def _first(row: Sequence[Any]) -> Number | None:
    number: Number | None = row[0]
    return number


def _per_person(row: Sequence[Any]) -> Number | None:
    return row[0] / row[1] if row[1] else None


_KINDS = {
    "count": _Kind((("count", ""),), sql("count()"), _first, "events"),
    "users": _Kind(
        (("uniqExact", "person"),),
        sql("uniqExact(person)"),
        _first,
        "distinct persons; the total counts each once over the whole range",
    ),
    "per_person": _Kind(
        (("count", ""), ("uniqExact", "person")),
        sql("count() / uniqExact(person)"),
        _per_person,
        "events per distinct person",
    ),
    "sum": _Kind(_EXACT_SUM, sql(_RANKED_SUM), _sum, "decimal sum"),
    "avg": _Kind(
        _EXACT_SUM, sql(f"{_RANKED_SUM} / nullIf(count({_ANY_NUMBER}), 0)"), _average, "mean"
    ),
    "min": _Kind(
        (("min", "whole"), ("min", "natural"), ("min", "real")),
        sql(f"min({_ANY_NUMBER})"),
        _extreme(min),
        "least",
    ),
    "max": _Kind(
        (("max", "whole"), ("max", "natural"), ("max", "real")),
        sql(f"max({_ANY_NUMBER})"),
        _extreme(max),
        "greatest",
    ),
    "median": _quantile("0.5", "median"),
    "p90": _quantile("0.9", "90th percentile"),
    "p95": _quantile("0.95", "95th percentile"),
    "p99": _quantile("0.99", "99th percentile"),
}
_WITHOUT_PROPERTY = ("count", "users", "per_person")
METRICS = tuple(_KINDS)
