r"""Filters: how they are written, and the conditions they stand for.

`plan=pro`, `amount>=5`, `user.country!=DE`, `path~checkout`, `a\.b=1`: the first operator splits,
a backslash takes the meaning from `= ! > < ~ . \`, in names and in values. Numbers compare with
numbers, ISO 8601 times with times, everything else as text by code point. `=` also holds where the
value is a string of just this text; `!=` holds wherever `=` does not, so where the value is absent.
`contains` (`~`) holds for a string that contains the text and for an array that has it as an
element, `matches` for a string in which the RE2 pattern is found. A document says the same with
`property`, `operator` and `value`, and can group with `and` and `or`.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from saytics_server.query.document import FilterDocument, FilterInput, StepDocument
from saytics_server.query.model import (
    NEGATIONS,
    OPERATORS,
    Condition,
    Filter,
    Frame,
    Group,
    Operator,
    Parameters,
    Reference,
    Selection,
    invalid,
)
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

# More conditions than this are a program, not a question.
FILTERS_MAX = 50
IN_VALUES_MAX = 1_000
# One of these is a button pressed on many screens; more are a property, not a list of names.
ALTERNATIVES_MAX = 50
# RE2 takes time linear in the text; this bounds the size of what it compiles.
PATTERN_CHARACTERS_MAX = 500

# Signs of the short form; the first that fits is taken, so the longer stand before the shorter.
_SIGNS: dict[str, Operator] = {
    "!=": "!=", ">=": ">=", "<=": "<=", "=": "=", ">": ">", "<": "<", "~": "contains",
}  # fmt: skip

_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


def parse_filters(parameters: Parameters, name: str = "filter") -> tuple[Filter, ...]:
    """Return the filters of a repeatable parameter. Raises Refused("invalid_parameter")."""
    return filters_of(list(parameters.every(name)), name)


def filters_of(written: FilterInput, at: str = "filter") -> tuple[Filter, ...]:
    """Return the filters that all must hold. `at` is where they stand, for the refusal.

    Raises Refused("invalid_parameter").
    """
    single = isinstance(written, str | FilterDocument)
    parts = [written] if isinstance(written, str | FilterDocument) else list(written)
    filters = tuple(
        _filter(part, at if single or isinstance(part, str) else f"{at}[{place}]")
        for place, part in enumerate(parts)
    )
    if sum(map(_size, filters)) > FILTERS_MAX:
        raise invalid(at, f"`{at}` holds more than {FILTERS_MAX} conditions.")
    return filters


def selection_of(step: StepDocument, at: str, *, most: int = ALTERNATIVES_MAX) -> Selection:
    """Return the events of a step: of its name, of one of up to `most` names, or any.

    Raises Refused("invalid_parameter").
    """
    if step.event is not None and step.events:
        raise invalid(f"{at}.events", "An event has a name or alternatives, not both.")
    if len(step.events) > most:
        raise invalid(f"{at}.events", f"`events` holds more than {most} names.")
    names = tuple(dict.fromkeys(step.events)) if step.event is None else (step.event,)
    if not all(names):
        raise invalid(at, "An event's name is not empty.")
    return Selection(names, filters_of(step.filter, f"{at}.filter"))


def _size(filter_: Filter) -> int:
    return 1 if isinstance(filter_, Condition) else sum(map(_size, filter_.parts))


def _filter(written: str | FilterDocument, at: str) -> Filter:
    if isinstance(written, str):
        return parse_filter(written, at)
    groups = [group for group in (written.and_, written.or_) if group is not None]
    if len(groups) + (written.property is not None) != 1:
        raise invalid(at, "A filter has one of `property`, `and` and `or`.")
    if not groups:
        return _condition(written, at)
    name = "and" if written.and_ is not None else "or"
    if not groups[0]:
        raise invalid(f"{at}.{name}", f"`{name}` holds at least one filter.")
    parts = (_filter(part, f"{at}.{name}[{place}]") for place, part in enumerate(groups[0]))
    return Group(name == "and", tuple(parts))


def _condition(written: FilterDocument, at: str) -> Condition:
    assert written.property is not None
    if written.operator not in OPERATORS:
        known = ", ".join(f"`{operator}`" for operator in OPERATORS)
        raise invalid(f"{at}.operator", f"`operator` is one of {known}.")
    reference = parse_reference(written.property, f"{at}.property")
    return _checked(reference, written.operator, _texts(written, at), at)


def _texts(written: FilterDocument, at: str) -> tuple[str, ...]:
    """Return the values as texts: a filter's number 5 is its text 5, as in a filter string."""
    value = written.value
    place = f"{at}.value"
    if written.operator in ("is_set", "is_not_set"):
        if value is not None:
            raise invalid(place, f"`{written.operator}` takes no value.")
        return ()
    if written.operator in ("in", "not_in"):
        if not isinstance(value, list) or not 1 <= len(value) <= IN_VALUES_MAX:
            raise invalid(place, f"`{written.operator}` takes a list of 1 to {IN_VALUES_MAX:,}.")
        return tuple(map(_text, value))
    if value is None or isinstance(value, list):
        raise invalid(place, f"`{written.operator}` takes one value.")
    return (_text(value),)


def _text(value: str | float | bool) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _checked(
    reference: Reference, operator: Operator, values: tuple[str, ...], at: str
) -> Condition:
    if reference.source == "cohort" and operator not in ("=", "!=", "in", "not_in"):
        raise invalid(at, "A cohort is compared with `=`, `!=`, `in` or `not_in`.")
    if operator == "matches":
        if len(values[0]) > PATTERN_CHARACTERS_MAX:
            raise invalid(at, f"A pattern has at most {PATTERN_CHARACTERS_MAX} characters.")
        try:
            re.compile(values[0])
        except (re.error, OverflowError, RecursionError):
            raise invalid(at, f"`{values[0]}` is not a regular expression.") from None
    return Condition(reference, operator, values)


def parse_filter(text: str, parameter: str = "filter") -> Condition:
    """Return the condition a filter string stands for. Raises Refused("invalid_parameter")."""
    found = _first_operator(text)
    if found is None:
        raise invalid(
            parameter,
            f"`{text}` has no operator; write `plan=pro`, with one of {' '.join(_SIGNS)}.",
        )
    start, sign = found
    value = re.sub(rf"\\([{re.escape(ESCAPABLE)}])", r"\1", text[start + len(sign) :])
    reference = (
        Reference("cohort", ())
        if text[:start] == "cohort"
        else parse_reference(text[:start], parameter)
    )
    return _checked(reference, _SIGNS[sign], (value,), parameter)


def _first_operator(text: str) -> tuple[int, str] | None:
    position = 0
    while position < len(text):
        if text[position] == "\\" and text[position + 1 : position + 2] in tuple(ESCAPABLE):
            position += 2
            continue
        for sign in _SIGNS:
            if text.startswith(sign, position):
                return position, sign
        position += 1
    return None


def condition(asked: Condition, value: Value, frame: Frame) -> Sql:
    """Return the SQL condition, never NULL, that `value` fulfils what is asked of it."""
    if positive := NEGATIONS.get(asked.operator):
        return sql("NOT {holds}", holds=_holds(positive, asked.values, value, frame))
    return _holds(asked.operator, asked.values, value, frame)


def _holds(operator: Operator, texts: tuple[str, ...], value: Value, frame: Frame) -> Sql:
    if operator == "is_set":
        return sql("isNotNull({json})", json=value.json)
    if operator == "in":
        return any_of([_compared("=", text, value, frame) for text in texts])
    if operator == "contains":
        return sql("ifNull({contains}, false)", contains=_contains(texts[0], value))
    if operator == "matches":
        found = sql("match({text}, {pattern})", text=value.text, pattern=string(texts[0]))
        return sql("ifNull({found}, false)", found=found)
    return _compared(operator, texts[0], value, frame)


def _compared(operator: Operator, text: str, value: Value, frame: Frame) -> Sql:
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
