r"""Filter strings, and the conditions they stand for.

`plan=pro`, `amount>=5`, `user.country!=DE`, `path~checkout`, `a\.b=1`: the first operator splits,
a backslash takes the meaning from `= ! > < ~ . \`, in names and in values. Numbers compare with
numbers, ISO 8601 times with times, everything else as text by code point. `=` also holds where the
value is a string of just this text; `!=` holds wherever `=` does not, so where the value is absent.
`~` holds for a string that contains the text and for an array that has it as an element.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from saytics_server.query.model import OPERATORS, Filter, Frame, Operator, Parameters, invalid
from saytics_server.query.periods import (
    ISO_DATE,
    ISO_TIME,
    day_start_ms,
    instant_ms,
    local_date,
    parse_time,
)
from saytics_server.query.values import ESCAPABLE, Value, parse_reference
from saytics_server.sql import Sql, all_of, any_of, float64, int64, sql, string, uint64

# A filter is one condition of a query; more than this is a program, not a question.
FILTERS_MAX = 50

_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


def parse_filters(parameters: Parameters, name: str = "filter") -> tuple[Filter, ...]:
    """Return the filters of a repeatable parameter. Raises Refused("invalid_parameter")."""
    texts = parameters.every(name)
    if len(texts) > FILTERS_MAX:
        raise invalid(name, f"`{name}` may be given up to {FILTERS_MAX} times.")
    return tuple(parse_filter(text, name) for text in texts)


def parse_filter(text: str, parameter: str = "filter") -> Filter:
    """Return the condition a filter string stands for. Raises Refused("invalid_parameter")."""
    found = _first_operator(text)
    if found is None:
        raise invalid(
            parameter,
            f"`{text}` has no operator; write `plan=pro`, with one of {' '.join(OPERATORS)}.",
        )
    start, operator = found
    reference = parse_reference(text[:start], parameter)
    value = re.sub(rf"\\([{re.escape(ESCAPABLE)}])", r"\1", text[start + len(operator) :])
    return Filter(reference, operator, value)


def _first_operator(text: str) -> tuple[int, Operator] | None:
    position = 0
    while position < len(text):
        if text[position] == "\\" and text[position + 1 : position + 2] in tuple(ESCAPABLE):
            position += 2
            continue
        for operator in OPERATORS:
            if text.startswith(operator, position):
                return position, operator
        position += 1
    return None


def condition(filter_: Filter, value: Value, frame: Frame) -> Sql:
    """Return the SQL condition, never NULL, that `value` fulfils the filter."""
    if filter_.operator == "!=":
        return sql("NOT {equal}", equal=_holds("=", filter_.value, value, frame))
    return _holds(filter_.operator, filter_.value, value, frame)


def is_negative(filter_: Filter) -> bool:
    """Return whether the filter holds where the value is absent."""
    return filter_.operator == "!="


def _holds(operator: Operator, text: str, value: Value, frame: Frame) -> Sql:
    if operator == "~":
        return sql("ifNull({contains}, false)", contains=_contains(text, value))
    cases = []
    if _NUMBER.fullmatch(text):
        number = _bind_number(text)
        cases += [sql(f"{{n}} {operator} {{number}}", n=n, number=number) for n in value.numbers]
    elif (moment := parse_time(text)) is not None:
        cases += _time_cases(operator, moment, value, frame)
    elif operator != "=":
        cases.append(sql(f"{{text}} {operator} {{wanted}}", text=value.text, wanted=string(text)))
    if operator == "=":
        cases.append(sql("{text} = {wanted}", text=value.text, wanted=string(text)))
        if text in ("true", "false") and value.truth is not None:
            cases.append(sql(f"{{truth}} = {text}", truth=value.truth))
    return sql("ifNull({either}, false)", either=any_of(cases))


def _contains(text: str, value: Value) -> Sql:
    return sql(
        "(ifNull(position({text}, {wanted}) > 0, false)"
        " OR (startsWith(ifNull({json}, ''), '[')"
        " AND has(JSONExtract(assumeNotNull({json}), 'Array(Nullable(String))'), {wanted})))",
        text=value.text,
        json=value.json,
        wanted=string(text),
    )


def _bind_number(text: str) -> Sql:
    """Bind a number exactly where it is an integer the store has a type for."""
    if re.fullmatch(r"-?\d+", text):
        whole = int(text)
        if -(2**63) <= whole < 2**63:
            return int64(whole)
        if 0 <= whole < 2**64:
            return uint64(whole)
    return float64(float(text))


def _time_cases(
    operator: Operator, moment: date | datetime, value: Value, frame: Frame
) -> list[Sql]:
    """Return the conditions for strings that are times, and for those that are dates alone.

    A date stands for its local midnight. So that the store needs no time zone, the first date
    whose midnight is at or after, and after, the moment are computed here; ISO dates then compare
    as text.
    """
    zone = ZoneInfo(frame.timezone)
    wanted_ms = instant_ms(moment) if isinstance(moment, datetime) else day_start_ms(moment, zone)
    day = local_date(wanted_ms, zone)
    at_or_after = day if day_start_ms(day, zone) >= wanted_ms else day + timedelta(days=1)
    after = day + timedelta(days=1)
    bounds = {
        "=": [(">=", at_or_after), ("<", after)],
        ">": [(">=", after)],
        ">=": [(">=", at_or_after)],
        "<": [("<", at_or_after)],
        "<=": [("<", after)],
    }[operator]
    as_date = [sql("match({text}, {iso})", text=value.text, iso=string(ISO_DATE))]
    as_date.append(sql("toString(toDate32OrNull({text})) = {text}", text=value.text))
    as_date += [
        sql(f"{{text}} {compare} {{day}}", text=value.text, day=string(bound.isoformat()))
        for compare, bound in bounds
    ]
    as_time = sql(
        "match({text}, {iso}) AND toUnixTimestamp64Milli("
        f"parseDateTime64BestEffortOrNull({{text}}, 3, 'UTC')) {operator} {{wanted}}",
        text=value.text,
        iso=string(ISO_TIME),
        wanted=int64(wanted_ms),
    )
    return [sql("({case})", case=all_of(as_date)), sql("({case})", case=as_time)]
