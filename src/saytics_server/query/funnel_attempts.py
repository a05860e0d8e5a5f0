"""The attempts of every person, and the one that counts, in SQL over arrays. Linear in the events.

A person is a sorted array of keys (funnel_events). For a step, "when would it be filled, starting
here" is a value at every place of the array, filled in from the right:

    events            A     B     A     X     B     C
    code = C ◄─       C     C     C     C     C     C       step 3, seen from anywhere
    code = B ◄─       C     C     C     C     C     -       from a step 2 on: what stands behind B
    code = A          C     -     C     -     -     -       ... of the attempt that A opens

Whole columns of arrays are worked through like this, one step and target at a time, so that
20 steps take 210 passes and one person may have a million events. The attempt that counts got
furthest, and is the earliest such; what else is asked is looked up for it alone.
"""

from __future__ import annotations

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


def counted_attempts(query: FunnelQuery, events: FunnelEvents) -> Sql:
    """Return a SELECT of (person, filled, broken), one row for each person with an attempt.

    `filled` holds the key that filled each step, 0 where none did (in any order: the k-th step
    filled); `broken` the key of the event of each exclusion that ended the attempt, else 0. With
    detailed events also `positions` and `value_codes` of the events, in the same places.
    """
    if query.order == "any":
        chosen = _chosen_in_any_order(query, events)
    else:
        chosen = _chosen_in_order(query, _arrays(events))
    if not events.detailed:
        return sql("SELECT person, filled, broken FROM ({chosen})", chosen=chosen)
    # In any order two steps can be filled by events of one key: they take them in turn.
    place = (
        "arrayMap((key, nth) -> if(key = 0, 0, indexOf(keys, key) + nth - 1),"
        " filled, arrayEnumerateUniq(filled))"
    )
    return sql(
        "SELECT person, filled, broken,"
        " arrayMap(place -> if(place = 0, 0, positions_of[place]), places) AS positions,"
        " arrayMap(place -> if(place = 0, 0, values_of[place]), places) AS value_codes"
        f" FROM (SELECT *, {place} AS places FROM ({{chosen}}))",
        chosen=chosen,
    )


def _arrays(events: FunnelEvents) -> Sql:
    """Return (person, keys, codes), in detail also positions_of and values_of, one row each."""
    codes = f"arrayMap(key -> toUInt8(bitAnd(key, {CODE_MASK})), keys) AS codes"
    if not events.detailed:
        return sql(
            f"SELECT person, arraySort(arrayPushBack(groupArray(key), {_NEVER})) AS keys, {codes}"
            " FROM ({rows}) GROUP BY person",
            rows=events.rows,
        )
    return sql(
        "SELECT person, found.1 AS keys, found.2 AS positions_of, found.3 AS values_of,"
        f" {codes} FROM (SELECT person, arraySort(arrayPushBack("
        f"groupArray((key, position, value)), ({_NEVER}, toUInt64(0), toUInt64(0)))) AS found"
        " FROM ({rows}) GROUP BY person)",
        rows=events.rows,
    )


_NEVER = f"toUInt64({NEVER})"
# The code of the step that opens an attempt.
_START = 1


def _time(key: str) -> str:
    return f"bitShiftRight({key}, {TIME_SHIFT})"


def _window_end(query: FunnelQuery, start: str) -> Sql:
    """Return the first key after a window, whose end is included."""
    return sql(
        f"(({_time(start)} + toUInt64({{window}}) + 1) * {1 << TIME_SHIFT})",
        window=int64(query.window_ms),
    )


# --- passes over a person's arrays: the text of an array, written in code ----------------------


def _seen_from(codes: tuple[int, ...], values: str) -> str:
    """Return at each place the value at the next place, itself included, of one of the codes."""
    wanted = " OR ".join(f"code = {code}" for code in (*codes, NO_CODE))
    return f"arrayReverseFill((value, code) -> {wanted}, {values}, codes)"


def _behind(values: str) -> str:
    """Return at each place the value at the next one."""
    return f"arrayPushBack(arrayPopFront({values}), {_NEVER})"


def _from_start(query: FunnelQuery, values: str, last: int) -> str:
    """Return, for each attempt, what `values` holds where it fills the required step `last`."""
    for level in range(last, -1, -1):
        if level < last:
            values = _behind(values)
        if level < last and query.order == "strict":
            values = f"arrayMap((value, on) -> if(on, value, {_NEVER}), {values}, goes_on_{level})"
        if level > 0:
            values = _seen_from((query.required[level] + 1,), values)
    return f"arrayFilter((value, code) -> code = {_START}, {values}, codes)"


def _chosen_in_order(query: FunnelQuery, arrays: Sql) -> Sql:
    """Return `arrays` with `filled` and `broken` of the attempt that counts."""
    passes = {
        f"reached_{level}": _from_start(query, "keys", level)
        for level in range(len(query.required))
    }
    for place, exclusion in enumerate(query.exclusions):
        # The next one from where a step stands is later than it: at equal times it stands first.
        following = _seen_from((EXCLUDED + place,), "keys")
        level = query.required.index(exclusion.from_step)
        passes[f"excluded_{place}"] = _from_start(query, following, level)
    attempts = sql(
        f"SELECT *, {', '.join(f'{array} AS {name}' for name, array in passes.items())}"
        f" FROM ({{arrays}}) WHERE has(codes, {_START})",
        arrays=_with_links(query, arrays) if query.order == "strict" else arrays,
    )
    best = sql(
        "SELECT *, arrayMap(({names}) -> {furthest}, {arrays}) AS furthest,"
        " arrayMax(furthest) AS level, indexOf(furthest, level) AS attempt"
        " FROM ({attempts})",
        names=sql(", ".join(f"{name}_key" for name in passes)),
        furthest=_furthest(query),
        arrays=sql(", ".join(passes)),
        attempts=attempts,
    )
    keys = sql(
        "SELECT *, "
        f"{', '.join(f'{name}[attempt] AS {name}_key' for name in passes)} FROM ({{best}})",
        best=best,
    )
    broken = [
        sql(f"if({{broken}}, excluded_{place}_key, 0)", broken=_is_broken(query, place, exclusion))
        for place, exclusion in enumerate(query.exclusions)
    ]
    filled = [
        f"if(level > {level}, reached_{level}_key, 0) AS filled_{place}"
        for level, place in enumerate(query.required)
    ]
    return _with_optional(
        query,
        sql(
            "SELECT *, {filled}, CAST([{broken}], 'Array(UInt64)') AS broken FROM ({keys})",
            filled=sql(", ".join(filled)),
            broken=joined(", ", broken),
            keys=keys,
        ),
    )


def _with_links(query: FunnelQuery, arrays: Sql) -> Sql:
    """Add, for each level, whether its next step follows a place with nothing between.

    It does if it comes at the same time or at the next at which the person did anything.
    """
    goes_on = [
        f"arrayMap((key, until) -> {_time('key')} <= until,"
        f" {_behind(_seen_from((place + 1,), 'keys'))}, until_times) AS goes_on_{level}"
        for level, place in enumerate(query.required[1:])
    ]
    return sql(
        f"SELECT *, {', '.join(goes_on)} FROM (SELECT *,"
        f" arrayMap(key -> {_time('key')}, keys) AS times,"
        f" arrayPushBack(arrayPopFront(times), {_time(_NEVER)}) AS next_times,"
        " arrayReverseFill((next, time) -> next != time, next_times, times) AS until_times"
        " FROM ({arrays}))",
        arrays=arrays,
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
    filled = ", ".join(f"filled_{place}" for place in range(len(query.steps)))
    return sql(
        f"SELECT *, CAST([{filled}], 'Array(UInt64)') AS filled FROM ({{chosen}})", chosen=chosen
    )


def _with_one_optional(query: FunnelQuery, place: int, chosen: Sql) -> Sql:
    before = max(required for required in query.required if required < place)
    after = min(required for required in query.required if required > place)
    # Where the next required step is missing, the window bounds instead, its end included.
    inside = f"{_time('key')} > begin_{place} AND {_time('key')} < end_{place}"
    touching = (
        f"{_time('key')} >= begin_{place} AND {_time('key')} < end_{place} + is_followed_{place}"
    )
    alone = touching if query.tie == "either" else inside
    open_ = f"filled_{before} > 0" + "".join(
        f" AND broken[{number}] = 0"
        for number, exclusion in enumerate(query.exclusions, start=1)
        if exclusion.from_step == before
    )
    earlier = ", ".join(f"filled_{step}" for step in range(place))
    bounds = (
        f"{_time(f'arrayMax([{earlier}])')} AS begin_{place},"
        f" filled_{after} > 0 AS is_followed_{place},"
        f" {_time(f'if(is_followed_{place}, filled_{after}, {{end}})')} AS end_{place}"
    )
    return sql(
        f"SELECT *, if({open_}, arrayFirst((key, code) -> (code = {place + 1} AND {alone})"
        f" OR (code = {SHARED_OPTIONAL + place} AND {inside}), keys, codes), 0) AS filled_{place}"
        f" FROM (SELECT *, {bounds} FROM ({{chosen}}))",
        end=_window_end(query, "filled_0"),
        chosen=chosen,
    )


def _chosen_in_any_order(query: FunnelQuery, events: FunnelEvents) -> Sql:
    """Return the arrays of persons with `filled`: the attempt that comes to the most steps."""
    passes = {
        f"next_{group}_{filled}": _greatest([_nth_from(count) for count in counts])
        for group, steps in enumerate(events.groups)
        for filled, counts in enumerate(steps)
    }
    found = sql(
        f"SELECT *, {', '.join(f'{array} AS {name}' for name, array in passes.items())}"
        " FROM ({arrays})",
        arrays=_arrays(events),
    )
    best = sql(
        "SELECT *,"
        " arrayMap(({names}) -> if(start < {starts_end}, {level}, 0), {arrays}) AS furthest,"
        " arrayMax(furthest) AS level, indexOf(furthest, level) AS attempt"
        " FROM ({found}) WHERE level > 0",
        names=sql(", ".join(["start", *(f"{name}_key" for name in passes)])),
        starts_end=sql(f"(toUInt64({{to}}) + 1) * {1 << TIME_SHIFT}", to=int64(query.span.to_ms)),
        level=sql(
            f"toUInt8({' + '.join(f'({name}_key < {{end}})' for name in passes)})",
            end=_window_end(query, "start"),
        ),
        arrays=sql(", ".join(["keys", *passes])),
        found=found,
    )
    return sql(
        "SELECT *, arrayResize(arraySlice(arraySort("
        f"[{', '.join(f'{n}[attempt]' for n in passes)}]),"
        f" 1, level), {len(query.steps)}, toUInt64(0)) AS filled,"
        " CAST([], 'Array(UInt64)') AS broken FROM ({best})",
        best=best,
    )


def _nth_from(count: Count) -> str:
    """Return at each place the key of the n-th event of some codes, itself included."""
    keys = _seen_from(count.masks, "keys")
    for _ in range(count.nth - 1):
        keys = _seen_from(count.masks, _behind(keys))
    return keys


def _greatest(passes: list[str]) -> str:
    if len(passes) == 1:
        return passes[0]
    names = ", ".join(f"key_{place}" for place in range(len(passes)))
    return f"arrayMap(({names}) -> greatest({names}), {', '.join(passes)})"
