"""SQL built by parts that carry their own parameters, so that no value is ever pasted into text.

A part is a template written in code and named pieces: `sql("position > {last}", last=int64(5))`.
Pieces are bound values (`string`, `int64`, `identifier` …) or other parts. `render` gives the text
with the store's `{name:Type}` places and the values that go there; equal values share one place.
"""

from __future__ import annotations

import string as _string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any


@dataclass(frozen=True, slots=True)
class Bound:
    """A value on its way to the store, with the store's name of its type."""

    kind: str
    value: Any


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of SQL: text and bound values in order."""

    pieces: tuple[str | Bound, ...]

    def render(self) -> tuple[str, dict[str, Any]]:
        """Return the text with `{p0:Type}` places and the values of these places."""
        names: dict[Bound, str] = {}
        text: list[str] = []
        for piece in self.pieces:
            if isinstance(piece, str):
                text.append(piece)
            else:
                name = names.setdefault(piece, f"p{len(names)}")
                text.append(f"{{{name}:{piece.kind}}}")
        return "".join(text), {name: _plain(bound.value) for bound, name in names.items()}


_TEMPLATE = _string.Formatter()


def sql(template: str, /, **parts: Sql) -> Sql:
    """Return `template` with each `{name}` replaced by that part. Templates are written in code."""
    pieces: list[str | Bound] = []
    for literal, name, _, _ in _TEMPLATE.parse(template):
        if literal:
            pieces.append(literal)
        if name is not None:
            pieces.extend(parts[name].pieces)
    return Sql(tuple(pieces))


def joined(separator: str, parts: Iterable[Sql]) -> Sql:
    """Return the parts with `separator`, SQL text written in code, between them."""
    pieces: list[str | Bound] = []
    for index, part in enumerate(parts):
        if index:
            pieces.append(separator)
        pieces.extend(part.pieces)
    return Sql(tuple(pieces))


def all_of(conditions: Sequence[Sql]) -> Sql:
    """Return a condition that holds where each of `conditions` does; none at all always holds."""
    return joined(" AND ", conditions) if conditions else sql("true")


def any_of(conditions: Sequence[Sql]) -> Sql:
    """Return a condition that holds where one of `conditions` does; none at all never holds."""
    return sql("({either})", either=joined(" OR ", conditions)) if conditions else sql("false")


def named(columns: dict[str, Sql]) -> Sql:
    """Return a select list. The names are written in code."""
    return joined(", ", (sql("{column} AS " + name, column=sql_) for name, sql_ in columns.items()))


def string(value: str) -> Sql:
    """Bind text."""
    return _bound("String", value)


def uint32(value: int) -> Sql:
    """Bind an unsigned number below 2**32."""
    return _bound("UInt32", value)


def int64(value: int) -> Sql:
    """Bind a signed number of 64 bits."""
    return _bound("Int64", value)


def uint64(value: int) -> Sql:
    """Bind an unsigned number of 64 bits."""
    return _bound("UInt64", value)


def float64(value: float) -> Sql:
    """Bind a double."""
    return _bound("Float64", value)


def day(value: date) -> Sql:
    """Bind a calendar day from 1970 on."""
    return _bound("Date", value)


def identifier(name: str) -> Sql:
    """Bind the name of a column or of a path in one."""
    return _bound("Identifier", name)


def strings(values: Iterable[str]) -> Sql:
    """Bind a list of texts."""
    return _bound("Array(String)", tuple(values))


def int64s(values: Iterable[int]) -> Sql:
    """Bind a list of signed numbers."""
    return _bound("Array(Int64)", tuple(values))


def uint32s(values: Iterable[int]) -> Sql:
    """Bind a list of unsigned numbers below 2**32."""
    return _bound("Array(UInt32)", tuple(values))


def uint64s(values: Iterable[int]) -> Sql:
    """Bind a list of unsigned numbers of 64 bits."""
    return _bound("Array(UInt64)", tuple(values))


def _bound(kind: str, value: Any) -> Sql:
    return Sql((Bound(kind, value),))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
