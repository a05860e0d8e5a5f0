"""The attempts of every person, and the one that counts, in SQL over arrays. Linear in the events.

A person is a sorted array of keys (funnel_events). For a step, "when would it be filled, starting
here" is a value at every place of the array, filled in from the right:

    events             A     B     A     X     B     C
    step 3             C     C     C     C     C     C      the next C, seen from anywhere
    ... after step 2   C     C     C     C     C     -      what stands behind the next B
    ... after step 1   C     -     C     -     -     -      what stands behind each A: its attempts

Whole columns of arrays are worked through like this, one step and target at a time, so that
20 steps take 210 passes and one person may have a million events. The attempt that counts got
furthest, and is the earliest such; what else is asked is looked up for it alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from saytics_server.query.funnel_events import (
    CODE_MASK,
    EXCLUDED,
    NEVER,
    NO_CODE,
    SHARED_OPTIONAL,
    TIME_SHIFT,
    FunnelEvents,
)
from saytics_server.query.funnel_question import Exclusion, FunnelQuery
from saytics_server.query.funnel_shared import Count
from saytics_server.sql import Sql, int64, joined, sql

_NEVER = f"toUInt64({NEVER})"
# The code of the step that opens an attempt.
_START = 1


def counted_attempts(query: FunnelQuery, events: FunnelEvents) -> Sql:
    """Return a SELECT of (person, filled, broken), one row for each person with an attempt.

    `filled` holds the key that filled each step, 0 where none did (in any order: the k-th step
    filled); `broken` the key of the event of each exclusion that ended the attempt, else 0. With
    detailed events also `positions` and `value_codes` of the events, in the same places.
    """
    chosen = (
        _chosen_in_any_order(query, events)
        if query.order == "any"
        else _with_optional(query, _chosen_in_order(query, _arrays(events)))
    )
    if not events.detailed:
        return sql("SELECT person, filled, broken FROM ({chosen})", chosen=chosen)
    # Written out, because a lambda would copy a person's arrays once for each step.
    steps = range(1, len(query.steps) + 1)
    places = {f"place_{step}": f"indexOf(keys, filled[{step}])" for step in steps}
    if query.order == "any":
        # Two steps can be filled by events of one key: they take them in turn.
        for step in steps:
            places[f"place_{step}"] += f" + if(filled[{step}] = 0, 0, turns[{step}] - 1)"
    return sql(
        "SELECT person, filled, broken, [{positions}] AS positions, [{values}] AS value_codes"
        " FROM (SELECT *, arrayEnumerateUniq(filled) AS turns, {places} FROM ({chosen}))",
        positions=_text(f"positions_of[{place}]" for place in places),
        values=_text(f"values_of[{place}]" for place in places),
        places=_named(places),
        chosen=chosen,
    )


def _arrays(events: FunnelEvents) -> Sql:
    """Return (person, keys, codes), in detail also positions_of and values_of, one row each."""
    found = "arraySort(arrayPushBack(groupArray({key}), {end}))"
    codes = _named({"codes": f"arrayMap(key -> toUInt8(bitAnd(key, {CODE_MASK})), keys)"})
    if not events.detailed:
        return sql(
            "SELECT person, {found} AS keys, {codes} FROM ({rows}) GROUP BY person",
            found=sql(found, key=sql("key"), end=sql(_NEVER)),
            codes=codes,
            rows=events.rows,
        )
    end = sql(f"({_NEVER}, toUInt64(0), toUInt64(0))")
    return sql(
        "SELECT person, found.1 AS keys, found.2 AS positions_of, found.3 AS values_of, {codes}"
        " FROM (SELECT person, {found} AS found FROM ({rows}) GROUP BY person)",
        codes=codes,
        found=sql(found, key=sql("(key, position, value)"), end=end),
        rows=events.rows,
    )


def _text(parts: Iterable[str]) -> Sql:
    """Return a list of expressions written in code."""
    return sql(", ".join(parts))


def _named(passes: Mapping[str, str]) -> Sql:
    return _text(f"{array} AS {name}" for name, array in passes.items())


def _time(key: str) -> str:
    return f"bitShiftRight({key}, {TIME_SHIFT})"


def _window_end(query: FunnelQuery, start: str) -> Sql:
    """Return the first key after a window, whose end is included."""
    return sql(
        f"(({_time(start)} + toUInt64({{window}}) + 1) * {1 << TIME_SHIFT})",
        window=int64(query.window_ms),
    )


# --- passes over a person's arrays: each the text of an array, written in code -----------------


def _where(codes: Iterable[int]) -> str:
    """Return at which places one of the codes stands; at the end all do."""
    wanted = " OR ".join(f"code = {code}" for code in (*codes, NO_CODE))
    return f"arrayMap(code -> {wanted}, codes)"


def _seen_from(where: str, values: str) -> str:
    """Return at each place the value at the next one, itself included, of those in `where`."""
    return f"arrayReverseFill((value, here) -> here, {values}, {where})"


def _behind(values: str) -> str:
    """Return at each place the value at the next one."""
    return f"arrayShiftLeft({values}, 1, {_NEVER})"


def _from_start(query: FunnelQuery, values: str, last: int) -> str:
    """Return, for each attempt, what `values` holds where it fills the required step `last`."""
    for level in range(last, -1, -1):
        if level < last:
            values = _behind(values)
        if level < last and query.order == "strict":
            values = f"arrayMap((value, on) -> if(on, value, {_NEVER}), {values}, goes_on_{level})"
        if level > 0:
            values = _seen_from(f"where_{level}", values)
    return f"arrayFilter((value, code) -> code = {_START}, {values}, codes)"


def _chosen_in_order(query: FunnelQuery, arrays: Sql) -> Sql:
    """Return `arrays` with `filled_K` for each required step and `broken`, of what counts."""
    passes = {
        f"reached_{level}": _from_start(query, "keys", level)
        for level in range(len(query.required))
    }
    for place, exclusion in enumerate(query.exclusions):
        # The next one from where a step stands is later than it: at equal times it stands first.
        following = _seen_from(_where([EXCLUDED + place]), "keys")
        level = query.required.index(exclusion.from_step)
        passes[f"excluded_{place}"] = _from_start(query, following, level)
    best = sql(
        "SELECT *, arrayMap(({keys}) -> {furthest}, {names}) AS furthest,"
        " arrayMax(furthest) AS level, indexOf(furthest, level) AS attempt"
        " FROM (SELECT *, {passes} FROM ({arrays}))",
        keys=_text(f"{name}_key" for name in passes),
        furthest=_furthest(query),
        names=_text(passes),
        passes=_named(passes),
        arrays=_with_places(query, arrays),
    )
    broken = [
        sql(f"if({{broken}}, excluded_{place}_key, 0)", broken=_is_broken(query, place, exclusion))
        for place, exclusion in enumerate(query.exclusions)
    ]
    filled = {
        f"filled_{place}": f"if(level > {level}, reached_{level}_key, 0)"
        for level, place in enumerate(query.required)
    }
    return sql(
        "SELECT *, {filled}, CAST([{broken}], 'Array(UInt64)') AS broken"
        " FROM (SELECT *, {keys} FROM ({best}))",
        filled=_named(filled),
        broken=joined(", ", broken),
        keys=_named({f"{name}_key": f"{name}[attempt]" for name in passes}),
        best=best,
    )


def _with_places(query: FunnelQuery, arrays: Sql) -> Sql:
    """Add where each required step stands; in strict order also where an attempt goes on."""
    where = {f"where_{level}": _where([place + 1]) for level, place in enumerate(query.required)}
    placed = sql(
        "SELECT *, {where} FROM ({arrays}) WHERE has(codes, {start})",
        where=_named(where),
        arrays=arrays,
        start=sql(str(_START)),
    )
    return _with_links(query, placed) if query.order == "strict" else placed


def _with_links(query: FunnelQuery, placed: Sql) -> Sql:
    """Add, for each level, whether its next step follows a place with nothing between.

    It does if it comes at the same time or at the next at which the person did anything.
    """
    goes_on = {
        f"goes_on_{level}": f"arrayMap((key, until) -> {_time('key')} <= until,"
        f" {_behind(_seen_from(f'where_{level + 1}', 'keys'))}, until_times)"
        for level in range(len(query.required) - 1)
    }
    times = {
        "times": f"arrayMap(key -> {_time('key')}, keys)",
        "next_times": f"arrayShiftLeft(times, 1, {_time(_NEVER)})",
        "until_times": "arrayReverseFill((next, time) -> next != time, next_times, times)",
    }
    return sql(
        "SELECT *, {goes_on} FROM (SELECT *, {times} FROM ({placed}))",
        goes_on=_named(goes_on),
        times=_named(times),
        placed=placed,
    )


def _furthest(query: FunnelQuery) -> Sql:
    """Return how many required steps an attempt fills."""
    levels = range(1, len(query.required))
    within = " + ".join(["1", *(f"(reached_{level}_key < {{end}})" for level in levels)])
    bounds = [sql(f"toUInt8({within})", end=_window_end(query, "reached_0_key"))]
    for place, exclusion in enumerate(query.exclusions):
        level = query.required.index(exclusion.from_step) + 1
        bounds.append(
            sql(
                f"if({{broken}}, toUInt8({level}), toUInt8({len(query.steps)}))",
                broken=_is_broken(query, place, exclusion),
            )
        )
    return bounds[0] if len(bounds) == 1 else sql("least({all})", all=joined(", ", bounds))


def _is_broken(query: FunnelQuery, place: int, exclusion: Exclusion) -> Sql:
    """Return whether an exclusion happens within the window and before the step it concerns."""
    until = f"reached_{query.required.index(exclusion.to_step)}_key"
    found = f"excluded_{place}_key"
    return sql(
        f"{found} < {{end}} AND {_time(found)} < {_time(until)}",
        end=_window_end(query, "reached_0_key"),
    )


def _with_optional(query: FunnelQuery, chosen: Sql) -> Sql:
    """Add `filled`: optional steps take the first event that is left between those around them.

    An event that fits several steps is left only strictly between the times around it.
    """
    for place, step in enumerate(query.steps):
        if step.optional:
            chosen = _with_one_optional(query, place, chosen)
    return sql(
        "SELECT *, CAST([{filled}], 'Array(UInt64)') AS filled FROM ({chosen})",
        filled=_text(f"filled_{place}" for place in range(len(query.steps))),
        chosen=chosen,
    )


def _with_one_optional(query: FunnelQuery, place: int, chosen: Sql) -> Sql:
    before = max(required for required in query.required if required < place)
    after = min(required for required in query.required if required > place)
    # Where the next required step is missing, the window bounds instead, its end included.
    bounds = {
        f"begin_{place}": _time(f"greatest({', '.join(f'filled_{i}' for i in range(place))}, 0)"),
        f"touch_{place}": f"filled_{after} > 0",
        f"end_{place}": _time(f"if(touch_{place}, filled_{after}, {{window_end}})"),
    }
    inside = f"{_time('key')} > begin_{place} AND {_time('key')} < end_{place}"
    touching = f"{_time('key')} >= begin_{place} AND {_time('key')} < end_{place} + touch_{place}"
    alone = touching if query.tie == "either" else inside
    ended = [
        f"broken[{number}] > 0"
        for number, exclusion in enumerate(query.exclusions, start=1)
        if exclusion.from_step == before
    ]
    found = (
        f"if({' OR '.join([f'filled_{before} = 0', *ended])}, 0, arrayFirst((key, code) ->"
        f" (code = {place + 1} AND {alone})"
        f" OR (code = {SHARED_OPTIONAL + place} AND {inside}), keys, codes))"
    )
    return sql(
        "SELECT *, {found} FROM (SELECT *, {bounds} FROM ({chosen}))",
        found=_named({f"filled_{place}": found}),
        bounds=sql(
            ", ".join(f"{bound} AS {name}" for name, bound in bounds.items()),
            window_end=_window_end(query, "filled_0"),
        ),
        chosen=chosen,
    )


def _chosen_in_any_order(query: FunnelQuery, events: FunnelEvents) -> Sql:
    """Return the arrays of persons with `filled`: the attempt that comes to the most steps."""
    passes = {
        f"next_{group}_{filled}": _latest([_nth_from(count) for count in counts])
        for group, steps in enumerate(events.groups)
        for filled, counts in enumerate(steps)
    }
    best = sql(
        "SELECT *, arrayMap(({keys}) -> if(start < {range_end}, {level}, 0), {names}) AS furthest,"
        " arrayMax(furthest) AS level, indexOf(furthest, level) AS attempt"
        " FROM (SELECT *, {passes} FROM ({arrays})) WHERE level > 0",
        keys=_text(["start", *(f"{name}_key" for name in passes)]),
        range_end=sql(f"(toUInt64({{to}}) + 1) * {1 << TIME_SHIFT}", to=int64(query.span.to_ms)),
        level=sql(
            f"toUInt8({' + '.join(f'({name}_key < {{end}})' for name in passes)})",
            end=_window_end(query, "start"),
        ),
        names=_text(["keys", *passes]),
        passes=_named(passes),
        arrays=_arrays(events),
    )
    return sql(
        "SELECT *, arrayResize(arraySlice(arraySort([{keys}]), 1, level), {steps}, toUInt64(0))"
        " AS filled, CAST([], 'Array(UInt64)') AS broken FROM ({best})",
        keys=_text(f"{name}[attempt]" for name in passes),
        steps=sql(str(len(query.steps))),
        best=best,
    )


def _nth_from(count: Count) -> str:
    """Return at each place the key of the n-th event of some codes, itself included."""
    where = _where(count.masks)
    keys = _seen_from(where, "keys")
    for _ in range(count.nth - 1):
        keys = _seen_from(where, _behind(keys))
    return keys


def _latest(passes: list[str]) -> str:
    """Return at each place the latest key of several passes."""
    if len(passes) == 1:
        return passes[0]
    names = ", ".join(f"key_{place}" for place in range(len(passes)))
    return f"arrayMap(({names}) -> greatest({names}), {', '.join(passes)})"
