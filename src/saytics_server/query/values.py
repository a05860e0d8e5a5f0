"""Values of events and persons in SQL: what a name refers to, read once per type.

A property keeps every value as it was sent, so one name can hold a number here and a string there.
A `Value` offers each type as an expression that is NULL where the value has another type or is
absent. JSON null and an object count as absent: a path leads into an object, not to it.
"""

from __future__ import annotations

import msgspec

from saytics_server.event import column_path
from saytics_server.query.model import Reference, Source, invalid
from saytics_server.sql import Sql, identifier, joined, sql, string

ESCAPABLE = r"=!><~.\\"
# Names without a prefix that mean the event itself; `properties.event` reaches a property.
_FIELDS = {
    "event": sql("event"),
    "userId": sql("nullIf(user_id, '')"),
    "anonymousId": sql("nullIf(anonymous_id, '')"),
}
_SOURCES: dict[str, Source] = {"user": "user", "context": "context", "properties": "properties"}


class Value(msgspec.Struct, frozen=True):
    """A value by type: `text` Nullable(String), `numbers` Nullable integers and doubles, `truth`
    Nullable(Bool), and `json`: its JSON text, one text per value, NULL where absent."""

    text: Sql
    numbers: tuple[Sql, ...]
    truth: Sql | None
    json: Sql


def parse_reference(text: str, parameter: str) -> Reference:
    """Return what a name such as `plan`, `cart.total`, `user.plan` or `a\\.b` refers to.

    Raises Refused("invalid_parameter").
    """
    keys = _split_path(text)
    if keys == ("",):
        raise invalid(parameter, "A property's name is missing; `properties.` names the empty key.")
    if len(keys) > 1 and keys[0] in _SOURCES:
        return Reference(_SOURCES[keys[0]], keys[1:])
    if len(keys) == 1 and keys[0] == "cohort":
        return Reference("cohort", ())
    if len(keys) == 1 and keys[0] in _FIELDS:
        return Reference("field", keys)
    return Reference("properties", keys)


def _split_path(text: str) -> tuple[str, ...]:
    """Return the keys between unescaped dots, unescaped."""
    keys = [""]
    position = 0
    while position < len(text):
        character = text[position]
        if character == "\\" and text[position + 1 : position + 2] in tuple(ESCAPABLE):
            keys[-1] += text[position + 1]
            position += 1
        elif character == ".":
            keys.append("")
        else:
            keys[-1] += character
        position += 1
    return tuple(keys)


def event_value(reference: Reference) -> Value:
    """Return the value in terms of the columns of `events`. Not for traits."""
    if reference.source == "field":
        text = _FIELDS[reference.keys[0]]
        return Value(text, (), None, sql("toJSONString({text})", text=text))
    assert reference.source in ("properties", "context"), reference
    path = identifier(column_path(reference.keys))
    return dynamic_value(sql(f"{reference.source}.{{path}}", path=path))


def dynamic_value(dynamic: Sql) -> Value:
    """Return the value in an expression of the store's Dynamic type."""

    def typed(kind: str) -> Sql:
        return sql(f"dynamicElement({{dynamic}}, '{kind}')", dynamic=dynamic)

    # A number has one text: 1.0 is written 1 as the integer is, and -0 is 0.
    json = sql(
        "nullIf(multiIf({raw} = '-0', '0', startsWith({raw}, '{{'), '', {raw}), '')",
        raw=sql("ifNull(toJSONString({dynamic}), '')", dynamic=dynamic),
    )
    return Value(
        typed("String"),
        (typed("Int64"), typed("UInt64"), typed("Float64")),
        typed("Bool"),
        json,
    )


def trait_column(reference: Reference) -> Sql:
    """Return the Dynamic of a trait, in terms of the `value` of people.latest_traits.

    Read through a JSON column of its own: `JSONExtract` to Dynamic takes a number for whatever kind
    of number an earlier row had, and integers beyond 2**53 would lose their last digits.
    """
    raw = sql("value")
    if reference.keys[1:]:
        path = joined(", ", [sql("value"), *map(string, reference.keys[1:])])
        raw = sql("JSONExtractRaw({path})", path=path)
    return sql(
        "getSubcolumn(CAST(concat('{{\"v\":', if({raw} = '', 'null', {raw}), '}}')"
        " AS JSON(max_dynamic_paths = 1)), 'v')",
        raw=raw,
    )
