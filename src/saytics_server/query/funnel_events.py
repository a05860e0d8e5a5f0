"""What a funnel reads, as numbers that sort: one row per event and what it may be to an attempt.

    key = milliseconds | order | code        43, 8 and 6 bits, so that an array of keys is sorted
                                             by time, then as equal times are to be walked through

The code of a step at place k is k + 1; of an optional one that the event shares with other steps
21 + k; of an exclusion 41 + its place; 0 is any other event (`order=strict` sees them). Equal times
are walked through in the order of the steps, or, where each step demands a later time, against it.
Where one event fits several steps (funnel_shared) the runs of its time take its place, which are
found for every combination of masks that occurs. In any order a code stands for a mask instead.
"""

from __future__ import annotations

from itertools import accumulate

import msgspec

from saytics_server.errors import Refused
from saytics_server.people import Person
from saytics_server.query.funnel_question import STEPS_MAX, FunnelQuery
from saytics_server.query.funnel_shared import Group, groups_of, is_shared, lead, may_share
from saytics_server.query.model import Selection, invalid
from saytics_server.query.reading import Reader
from saytics_server.query.scan import ABSENT, TIMESTAMP_MS
from saytics_server.sql import Sql, int64, joined, sql, string, uint32s, uint64s

CODE_BITS, TIME_SHIFT = 6, 14
CODE_MASK = (1 << CODE_BITS) - 1
# Ends every array of keys: later than all, and of no code that occurs.
NO_CODE = CODE_MASK
NEVER = (1 << 64) - 1
OTHER_EVENT = 0
SHARED_OPTIONAL = STEPS_MAX + 1
EXCLUDED = 2 * STEPS_MAX + 1
# Breakdown values travel as hashes; these two are none.
ABSENT_VALUE, OTHER_VALUE = 0, 1

# Codes end at 62. Steps that need more masks share events in ways nobody can follow.
MASKS_MAX = NO_CODE - 1
# Combinations of masks at equal times, a few dozen where data has whole seconds, and the events in
# all of them: one is resolved in some 10 microseconds, among hundreds of its time in 1,000.
SHAPES_MAX = 5_000
SHAPED_EVENTS_MAX = 20_000


class FunnelEvents(msgspec.Struct, frozen=True):
    """`rows` is a SELECT of (person, key, position, value), the last two only if `detailed`.

    `groups` tells, in any order, which codes fill how many steps.
    """

    rows: Sql
    detailed: bool
    groups: tuple[Group, ...] = ()


def events_of(
    reader: Reader,
    query: FunnelQuery,
    *,
    detailed: bool = False,
    person: Person | None = None,
) -> FunnelEvents:
    """Return the events of a funnel. Asks the store how they overlap where steps may share some.

    Raises Refused("invalid_parameter" | "query_too_large").
    """
    scan = reader.scan(
        query.selection,
        query.reach,
        breakdown=query.breakdown if detailed else None,
        persons=True,
        marks=marks_of(query),
        only_marked=query.order != "strict",
        person=person,
    )
    columns = {"ms": TIMESTAMP_MS}
    if detailed:
        columns["position"] = sql("position")
    events = sql(
        "SELECT *{value} FROM ({events})",
        value=_value(query) if detailed else sql(""),
        events=scan.select(columns),
    )
    masks = _masks(reader, query, person)
    if query.order == "any":
        return _in_any_order(query, events, masks, detailed)
    if not any(map(is_shared, masks)):
        return FunnelEvents(_apart(query, events, detailed), detailed)
    if query.tie == "strict":
        rows = _joined(events, _every_code(query), _walk_order(query), detailed)
        return FunnelEvents(rows, detailed)
    return FunnelEvents(_walked(reader, query, events, detailed), detailed)


def marks_of(query: FunnelQuery) -> dict[str, Selection]:
    """Return the columns that say what an event is to the funnel."""
    steps = {f"step_{place}": step.selection for place, step in enumerate(query.steps)}
    return steps | {
        f"exclusion_{place}": exclusion.selection
        for place, exclusion in enumerate(query.exclusions)
    }


def _value(query: FunnelQuery) -> Sql:
    if query.breakdown is None:
        return sql(f", toUInt64({ABSENT_VALUE}) AS value")
    return sql(", {value} AS value", value=value_code(sql("breakdown")))


def value_code(text: Sql) -> Sql:
    """Return the number that stands for a breakdown value's text."""
    return sql(
        f"if({{text}} = {{absent}}, toUInt64({ABSENT_VALUE}), bitOr(sipHash64({{text}}), 2))",
        text=text,
        absent=string(ABSENT),
    )


def _masks(reader: Reader, query: FunnelQuery, person: Person | None) -> tuple[int, ...]:
    """Return the masks of the steps that occur; without asking where no event can have two."""
    selections = [step.selection for step in query.steps]
    apart = tuple(1 << place for place in range(len(selections)))
    if not may_share(selections):
        return apart
    marks = {name: mark for name, mark in marks_of(query).items() if name.startswith("step_")}
    scan = reader.scan(query.selection, query.reach, marks=marks, only_marked=True, person=person)
    statement = sql(
        "SELECT DISTINCT {mask} AS mask FROM ({events}) WHERE mask > 0 ORDER BY mask LIMIT {most}",
        mask=_mask(range(len(query.steps))),
        events=scan.select({}),
        most=int64(SHAPES_MAX + 1),
    )
    found = tuple(int(row[0]) for row in reader.rows(statement))
    if len(found) > SHAPES_MAX:
        raise _too_many()
    return found or apart


def _mask(places: range | tuple[int, ...]) -> Sql:
    """Return the mask of an event over some steps, which take the bits from 0 on."""
    bits = (f"if(step_{place}, {1 << bit}, 0)" for bit, place in enumerate(places))
    return sql(f"toUInt32({' + '.join(bits)})")


def _apart(query: FunnelQuery, events: Sql, detailed: bool) -> Sql:
    """Return the rows where no event fits two steps: each is of one code or of none."""
    steps = range(len(query.steps))
    cases = [
        f"step_{place}{' AND ms <= {to}' if place == 0 else ''}, {place + 1}" for place in steps
    ]
    code = sql(f"toUInt8(multiIf({', '.join(cases)}, {OTHER_EVENT}))", to=int64(query.span.to_ms))
    # One that came after the masks were asked for is as if it came after this question.
    alone = sql(" + ".join(f"step_{place}" for place in steps))
    events = sql("SELECT * FROM ({events}) WHERE {alone} <= 1", events=events, alone=alone)
    if query.exclusions:
        codes = sql(
            "arrayFilter(code -> code > 0, [{codes}])",
            codes=joined(", ", [code, *_excluded(query)]),
        )
        codes = _with_others(query, codes)
        return _joined(events, codes, _walk_order(query), detailed)
    return sql(
        "SELECT person, {key} AS key{details} FROM (SELECT *, {code} AS code FROM ({events}))"
        "{only}",
        key=_key(_walk_order(query)),
        details=_details(detailed),
        code=code,
        events=events,
        only=sql("" if query.order == "strict" else " WHERE code > 0"),
    )


def _every_code(query: FunnelQuery) -> Sql:
    """Return the codes of an event, one for each step that it fits."""
    steps = [
        sql(
            f"toUInt8(if(step_{place}{' AND ms <= {to}' if place == 0 else ''}, {place + 1}, 0))",
            to=int64(query.span.to_ms),
        )
        for place in range(len(query.steps))
    ]
    filtered = sql(
        "arrayFilter(code -> code > 0, [{codes}])",
        codes=joined(", ", [*steps, *_excluded(query)]),
    )
    return _with_others(query, filtered)


def _excluded(query: FunnelQuery) -> list[Sql]:
    return [
        sql(f"toUInt8(if(exclusion_{place}, {EXCLUDED + place}, 0))")
        for place in range(len(query.exclusions))
    ]


def _with_others(query: FunnelQuery, codes: Sql) -> Sql:
    if query.order != "strict":
        return codes
    return sql(f"arrayPushBack({{codes}}, toUInt8({OTHER_EVENT}))", codes=codes)


def _walk_order(query: FunnelQuery) -> str:
    """Return how a row of a code is ordered among those of its time.

    Exclusions stand first, so that the next one after a step is later than it.
    """
    step = "code" if query.tie == "either" else f"{EXCLUDED} - code"
    return f"if(code = {OTHER_EVENT} OR code >= {EXCLUDED}, 0, {step})"


def _key(order: str) -> Sql:
    return sql(f"toUInt64(ms) * {1 << TIME_SHIFT} + toUInt64({order}) * {1 << CODE_BITS} + code")


def _details(detailed: bool) -> Sql:
    return sql(", position, value" if detailed else "")


def _joined(events: Sql, codes: Sql, order: str, detailed: bool) -> Sql:
    return sql(
        "SELECT person, {key} AS key{details} FROM ({events}) ARRAY JOIN {codes} AS code",
        key=_key(order),
        details=_details(detailed),
        events=events,
        codes=codes,
    )


def _in_any_order(
    query: FunnelQuery, events: Sql, masks: tuple[int, ...], detailed: bool
) -> FunnelEvents:
    if len(masks) > MASKS_MAX:
        raise invalid("steps", "In any order these steps share events in too many ways.")
    rows = sql(
        "SELECT person, {key} AS key{details} FROM (SELECT *, toUInt64(transform({mask}, {masks},"
        " {codes}, toUInt32(0))) AS code FROM ({events})) WHERE code > 0",
        key=_key("0"),
        details=_details(detailed),
        mask=_mask(range(len(query.steps))),
        masks=uint32s(masks),
        codes=uint32s(range(1, len(masks) + 1)),
        events=events,
    )
    code_of = {mask: code for code, mask in enumerate(masks, start=1)}
    groups = tuple(
        tuple(
            tuple(
                msgspec.structs.replace(count, masks=tuple(code_of[mask] for mask in count.masks))
                for count in counts
            )
            for counts in group
        )
        for group in groups_of(masks, len(query.steps))
    )
    return FunnelEvents(rows, detailed, groups)


def _walked(reader: Reader, query: FunnelQuery, events: Sql, detailed: bool) -> Sql:
    """Return the rows of events that share steps: what is walked through at each time."""
    rows = _runs(reader, query, _by_time(query, events, detailed), detailed)
    others = len(query.required) < len(query.steps) or query.exclusions or query.order == "strict"
    if not others:
        return rows
    beside = _joined(events, _beside(query), "0", detailed)
    return sql("{rows} UNION ALL {beside}", rows=rows, beside=beside)


def _by_time(query: FunnelQuery, events: Sql, detailed: bool) -> Sql:
    """Return (person, ms, fitting, masks, shape): the events of a person at one time.

    Of each mask over the required steps only as many as it can fill; `shape` stands for the masks.
    In detail `fitting` has (ms, position, mask, value) in order of position. Without it the order
    does not matter, and one number sorts four times as fast: ms and mask.
    """
    entry, ms, mask = "(ms, position, mask, value)", "event.1", "event.3"
    if not detailed:
        entry = f"toUInt64(ms) * {1 << STEPS_MAX} + mask"
        ms, mask = f"bitShiftRight(event, {STEPS_MAX})", f"bitAnd(event, {(1 << STEPS_MAX) - 1})"
    people = sql(
        "SELECT person, arraySort(groupArray({entry})) AS entries,"
        " arrayMap(event -> {ms}, entries) AS times FROM (SELECT *, {fits} AS mask FROM ({events}))"
        " WHERE mask > 0 GROUP BY person",
        entry=sql(entry),
        ms=sql(ms),
        fits=sql(
            "bitAnd({mask}, if(ms <= {to}, {all}, {all} - 1))",
            mask=_mask(query.required),
            to=int64(query.span.to_ms),
            all=sql(f"toUInt32({(1 << len(query.required)) - 1})"),
        ),
        events=events,
    )
    return sql(
        "SELECT person, arrayFilter((event, nth) -> nth <= bitCount({mask}), found,"
        " arrayEnumerateUniq(arrayMap(event -> {mask}, found))) AS fitting,"
        " arrayMap(event -> toUInt32({mask}), fitting) AS masks, sipHash64(masks) AS shape,"
        " arrayElement(arrayMap(event -> {ms}, found), 1) AS ms"
        " FROM (SELECT person, arrayJoin(arraySplit((event, time, before) -> time != before,"
        " entries, times, arrayShiftRight(times, 1))) AS found FROM ({people}))",
        mask=sql(mask),
        ms=sql(ms),
        people=people,
    )


def _runs(reader: Reader, query: FunnelQuery, by_time: Sql, detailed: bool) -> Sql:
    """Return the rows of the runs that take the place of the events of each time.

    A combination that came after they were asked for is as if it came after this question.
    """
    asked = sql(
        "SELECT shape, any(masks) FROM ({by_time}) GROUP BY shape ORDER BY shape LIMIT {most}",
        by_time=by_time,
        most=int64(SHAPES_MAX + 1),
    )
    shapes = reader.rows(asked)
    if len(shapes) > SHAPES_MAX or sum(len(masks) for _, masks in shapes) > SHAPED_EVENTS_MAX:
        raise _too_many()
    # The first is that of an unknown combination.
    runs = [[], *(lead(masks, len(query.required)) for _, masks in shapes)]
    ends = list(accumulate(map(len, runs)))
    return sql(
        "SELECT person, {key} AS key{details} FROM (SELECT person, ms, fitting,"
        " arraySlice({runs}, {starts}[place], {lengths}[place]) AS walk"
        " FROM (SELECT *, transform(shape, {shapes}, {places}, toUInt32(1)) AS place"
        " FROM ({by_time}))) ARRAY JOIN walk AS run, arrayEnumerate(walk) AS nth",
        key=sql(
            f"toUInt64(ms) * {1 << TIME_SHIFT} + nth * {1 << CODE_BITS} + bitAnd(run, {CODE_MASK})"
        ),
        details=sql(
            f", fitting[bitShiftRight(run, {CODE_BITS})].2 AS position,"
            f" fitting[bitShiftRight(run, {CODE_BITS})].4 AS value"
            if detailed
            else ""
        ),
        runs=uint32s(
            [0]  # an empty list has no type to slice
            + [
                (event + 1 << CODE_BITS) + query.required[step] + 1
                for run in runs
                for step, event in run
            ]
        ),
        starts=uint32s(2 + end - len(run) for end, run in zip(ends, runs, strict=True)),
        lengths=uint32s(map(len, runs)),
        shapes=uint64s([0, *(shape for shape, _ in shapes)]),
        places=uint32s(range(1, len(runs) + 1)),
        by_time=by_time,
    )


def _beside(query: FunnelQuery) -> Sql:
    """Return the codes of an event beside those of the required steps."""
    alone = " + ".join(f"step_{place}" for place in range(len(query.steps)))
    optional = [
        sql(
            f"toUInt8(if(step_{place}, if({alone} > 1, {SHARED_OPTIONAL + place}, {place + 1}), 0))"
        )
        for place, step in enumerate(query.steps)
        if step.optional
    ]
    codes = joined(", ", [*optional, *_excluded(query), sql("toUInt8(0)")])
    return _with_others(query, sql("arrayFilter(code -> code > 0, [{codes}])", codes=codes))


def _too_many() -> Refused:
    return Refused(
        "query_too_large",
        "The steps share events in too many ways. Narrow them with names or filters.",
    )
