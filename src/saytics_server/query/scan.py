"""The events a report reads, as one SELECT: range, event names, filters, persons, breakdown.

A report names the columns it computes from an event; what concerns persons is joined around them
only when asked for, because resolving persons costs more than all the rest. `Reader.scan` makes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta

import msgspec

from saytics_server.people import Links, Person, latest_traits, received_by
from saytics_server.query.filters import condition
from saytics_server.query.model import (
    NEGATIONS,
    Condition,
    Filter,
    Frame,
    Group,
    Range,
    Reference,
    Selection,
)
from saytics_server.query.values import dynamic_value, event_value, trait_column
from saytics_server.sql import (
    Sql,
    all_of,
    any_of,
    int64,
    int64s,
    named,
    sql,
    string,
    strings,
    uint32,
    uint32s,
)
from saytics_server.sql import day as bind_day

# Breakdown values are JSON texts; these two are told from every value by being none, or being null.
OTHER = "other"
ABSENT = "null"

# What is known of the person, not of the event.
PERSONAL = ("user", "cohort")

_EPOCH_DAY = date(1970, 1, 1)
TIMESTAMP_MS = sql("toUnixTimestamp64Milli(timestamp)")


class Scan(msgspec.Struct, frozen=True):
    """Which events are read, and what is known of them.

    `links` where persons are needed. `marks` are selections by name: each becomes a column that
    says of an event whether it is one of them; with `only_marked` other events are left out.
    `cohorts` holds, by id, conditions on `person` and `known_user`. `person` narrows to one.
    """

    frame: Frame
    selection: Selection
    span: Range
    breakdown: Reference | None = None
    links: Links | None = None
    marks: tuple[tuple[str, Selection], ...] = ()
    only_marked: bool = False
    cohorts: Mapping[str, Sql] = msgspec.field(default_factory=dict)
    person: Person | None = None

    def select(self, columns: Mapping[str, Sql], *, values: tuple[str, ...] | None = None) -> Sql:
        """Return a SELECT of `columns`, of a UInt8 column per mark, of `breakdown` (JSON text) if
        there is one, and, with links, of `person` and `known_user`.

        `columns` are expressions over the columns of `events`. Breakdown values outside `values`
        become OTHER; None keeps all.
        """
        reading = _Reading(self, dict(columns))
        kept = [*in_range(self.frame, self.span), *_named(self.selection.events)]
        sought = [reading.place(filter_) for filter_ in self.selection.filters]
        kept += [place.condition for place in sought if place.inner]
        outer = [place.condition for place in sought if not place.inner]
        late: dict[str, Sql] = {}
        for name, selection in self.marks:
            mark = reading.mark(selection)
            (reading.columns if mark.inner else late)[name] = mark.condition
        if self.only_marked:
            kept.append(any_of([reading.likely(selection) for _, selection in self.marks]))
        if self.breakdown is not None and self.breakdown.source not in PERSONAL:
            reading.columns["breakdown"] = _kept(event_value(self.breakdown).json, values)
        if self.person is not None:
            kept.append(may_be_of(self.frame, self.person))
            outer.append(sql("person = {person}", person=string(self.person.key)))
        events = sql(
            "SELECT user_id, anonymous_id, key_type, timestamp{comma}{columns}"
            " FROM events WHERE {conditions}",
            comma=sql(", " if reading.columns else ""),
            columns=named(reading.columns),
            conditions=all_of(kept),
        )
        if self.links is None:
            assert not outer, "a condition on persons needs links"
            return events
        persons = sql(
            "SELECT *{comma}{late} FROM ({persons}) WHERE {conditions}",
            comma=sql(", " if late else ""),
            late=named(late),
            persons=self._with_cohorts(self.links.resolve(events)),
            conditions=all_of(outer),
        )
        return self._with_personal_breakdown(persons, values)

    def _with_cohorts(self, persons: Sql) -> Sql:
        """Return `persons` with a column for each cohort: written once, however often it is used.

        A cohort is a query of its own, and planning it takes longer than reading its column.
        """
        if not self.cohorts:
            return persons
        inside = {f"in_cohort_{n}": holds for n, holds in enumerate(self.cohorts.values())}
        return sql("SELECT *, {inside} FROM ({persons})", inside=named(inside), persons=persons)

    def cohort_column(self, cohort_id: str) -> Sql:
        """Return the name of the column that tells whether a person is in a cohort."""
        return sql(f"in_cohort_{list(self.cohorts).index(cohort_id)}")

    def _with_personal_breakdown(self, persons: Sql, values: tuple[str, ...] | None) -> Sql:
        if self.breakdown is None or self.breakdown.source not in PERSONAL:
            return persons
        if self.breakdown.source == "cohort":
            inside = sql(
                "toJSONString({inside})", inside=self.cohort_column(self.breakdown.keys[0])
            )
            return sql(
                "SELECT *, {breakdown} AS breakdown FROM ({persons})",
                breakdown=_kept(inside, values),
                persons=persons,
            )
        return sql(
            "SELECT event.*, {breakdown} AS breakdown FROM ({persons}) AS event"
            " LEFT ANY JOIN (SELECT user_id AS trait_user, {json} AS trait_json FROM ({traits}))"
            " AS of_user ON event.known_user = of_user.trait_user",
            breakdown=_kept(sql("of_user.trait_json"), values),
            persons=persons,
            json=dynamic_value(sql("trait")).json,
            traits=_trait(self.frame, self.breakdown),
        )


class _Placed(msgspec.Struct, frozen=True):
    """A condition, and whether it can be judged before persons are known."""

    condition: Sql
    inner: bool


class _Reading:
    """The columns read from events; grows by what conditions on persons must look back to."""

    def __init__(self, scan: Scan, columns: dict[str, Sql]) -> None:
        self._scan = scan
        self.columns = columns

    def place(self, filter_: Filter) -> _Placed:
        """Return a filter as a condition: on events if it can be, else on persons."""
        if not is_personal(filter_):
            return _Placed(self._inner(filter_), inner=True)
        return _Placed(self._outer(filter_), inner=False)

    def mark(self, selection: Selection) -> _Placed:
        """Return the condition that an event is of a selection."""
        names = _named(selection.events)
        if not any(map(is_personal, selection.filters)):
            return _Placed(all_of([*names, *map(self._inner, selection.filters)]), inner=True)
        parts = [self._column(all_of(names))] if names else []
        return _Placed(all_of([*parts, *map(self._outer, selection.filters)]), inner=False)

    def likely(self, selection: Selection) -> Sql:
        """Return a condition on events that every event of a selection fulfils."""
        known = [self._inner(f) for f in selection.filters if not is_personal(f)]
        return all_of([*_named(selection.events), *known])

    def _inner(self, filter_: Filter) -> Sql:
        if isinstance(filter_, Group):
            return grouped(filter_, [self._inner(part) for part in filter_.parts])
        return condition(filter_, event_value(filter_.reference), self._scan.frame)

    def _outer(self, filter_: Filter) -> Sql:
        if not is_personal(filter_):
            return self._column(self._inner(filter_))
        if isinstance(filter_, Group):
            return grouped(filter_, [self._outer(part) for part in filter_.parts])
        if filter_.reference.source == "cohort":
            return self._cohort(filter_)
        return trait_condition(self._scan.frame, filter_)

    def _column(self, condition_: Sql) -> Sql:
        name = f"holds_{len(self.columns)}"
        self.columns[name] = condition_
        return sql(name)

    def _cohort(self, asked: Condition) -> Sql:
        inside = any_of([self._scan.cohort_column(cohort_id) for cohort_id in asked.values])
        return sql("NOT {inside}", inside=inside) if asked.operator in NEGATIONS else inside


def is_personal(filter_: Filter) -> bool:
    """Return whether it takes the person to judge a filter."""
    if isinstance(filter_, Group):
        return any(map(is_personal, filter_.parts))
    return filter_.reference.source in PERSONAL


def trait_condition(frame: Frame, asked: Condition) -> Sql:
    """Return the condition on `known_user`. A person without the trait is in no set of users."""
    counterpart = NEGATIONS.get(asked.operator)
    positive = msgspec.structs.replace(asked, operator=counterpart or asked.operator)
    return sql(
        "known_user {among} (SELECT user_id FROM ({traits}) WHERE {condition})",
        among=sql("NOT IN" if counterpart else "IN"),
        traits=_trait(frame, asked.reference),
        condition=condition(positive, dynamic_value(sql("trait")), frame),
    )


def grouped(group: Group, conditions: list[Sql]) -> Sql:
    """Return the conditions of a group's parts as one."""
    return sql("({all})", all=all_of(conditions)) if group.every else any_of(conditions)


def references_in(filters: Iterable[Filter]) -> Iterator[Condition]:
    """Yield every condition in a tree of filters."""
    for filter_ in filters:
        if isinstance(filter_, Group):
            yield from references_in(filter_.parts)
        else:
            yield filter_


def may_be_of(frame: Frame, person: Person) -> Sql:
    """Return a condition that every event of a person fulfils, and few others."""
    if person.kind == "anonymous":
        return sql("user_id = '' AND anonymous_id = {id}", id=string(person.id))
    return sql(
        "(user_id = {id} OR (user_id = '' AND anonymous_id IN (SELECT anonymous_id FROM links"
        " WHERE workspace_id = {workspace} AND user_id = {id})))",
        id=string(person.id),
        workspace=uint32(frame.workspace_id),
    )


def _named(events: tuple[str, ...]) -> list[Sql]:
    if len(events) == 1:
        return [sql("event = {event}", event=string(events[0]))]
    return [sql("event IN {events}", events=strings(events))] if events else []


def in_range(frame: Frame, span: Range) -> list[Sql]:
    """Return the conditions of a workspace and a range; the day narrows what is read at all."""
    return [
        sql("workspace_id = {workspace}", workspace=uint32(frame.workspace_id)),
        received_by(frame.as_of_ms),
        sql("day >= {day}", day=bind_day(utc_day(span.from_ms))),
        sql("day <= {day}", day=bind_day(utc_day(span.to_ms))),
        sql("timestamp >= fromUnixTimestamp64Milli({ms}, 'UTC')", ms=int64(span.from_ms)),
        sql("timestamp <= fromUnixTimestamp64Milli({ms}, 'UTC')", ms=int64(span.to_ms)),
    ]


def utc_day(instant_ms: int) -> date:
    """Return the UTC day of an instant as the column `day` holds it, 1970 at the earliest."""
    day = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=instant_ms)).date()
    return max(day, _EPOCH_DAY)


def place_in(starts_ms: tuple[int, ...]) -> Sql:
    """Return the index, from 0, of the last of the ascending `starts_ms` at or before an event."""
    return sql(
        "transform(roundDown({ms}, {starts}), {starts}, {places}, toUInt32(0))",
        ms=TIMESTAMP_MS,
        starts=int64s(starts_ms),
        places=uint32s(range(len(starts_ms))),
    )


def _kept(json: Sql, values: tuple[str, ...] | None) -> Sql:
    present = sql("ifNull({json}, {absent})", json=json, absent=string(ABSENT))
    if values is None:
        return present
    return sql(
        "if({value} IN {values}, {value}, {other})",
        value=present,
        values=strings(values),
        other=string(OTHER),
    )


def _trait(frame: Frame, reference: Reference) -> Sql:
    return sql(
        "SELECT user_id, {trait} AS trait FROM ({latest})",
        trait=trait_column(reference),
        latest=latest_traits(frame.workspace_id, trait=reference.keys[0], as_of_ms=frame.as_of_ms),
    )
