"""The events a report reads, as one SELECT: range, event name, filters, persons, breakdown.

A report names the columns it computes from an event; what concerns persons is joined around them
only when asked for, because resolving persons costs more than all the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import msgspec

from saytics_server.people import Links, latest_traits, links_of
from saytics_server.query.filters import condition, is_negative
from saytics_server.query.model import Filter, Frame, Range, Reference, Selection
from saytics_server.query.values import dynamic_value, event_value, trait_column
from saytics_server.sql import (
    Sql,
    all_of,
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
from saytics_server.store import Store

# Breakdown values are JSON texts; these two are told from every value by being none, or being null.
OTHER = "other"
ABSENT = "null"

_EPOCH_DAY = date(1970, 1, 1)
TIMESTAMP_MS = sql("toUnixTimestamp64Milli(timestamp)")


class Scan(msgspec.Struct, frozen=True):
    """Which events are read, and what is known of them; `links` where persons are needed."""

    frame: Frame
    selection: Selection
    span: Range
    breakdown: Reference | None = None
    links: Links | None = None

    def select(self, columns: Mapping[str, Sql], *, values: tuple[str, ...] | None = None) -> Sql:
        """Return a SELECT of `columns`, of `breakdown` (JSON text) if there is one, and, with
        links, of `person`.

        Breakdown values outside `values` become OTHER; None keeps all.
        """
        wanted = {**columns}
        if self.breakdown is not None and self.breakdown.source != "user":
            wanted["breakdown"] = _kept(event_value(self.breakdown).json, values)
        events = sql(
            "SELECT user_id, anonymous_id, key_type, timestamp{comma}{columns}"
            " FROM events WHERE {conditions}",
            comma=sql(", " if wanted else ""),
            columns=named(wanted),
            conditions=self._event_conditions(),
        )
        if self.links is None:
            return events
        persons = sql(
            "SELECT * FROM ({persons}) WHERE {conditions}",
            persons=self.links.resolve(events),
            conditions=all_of([self._trait_condition(f) for f in self._filters(of_user=True)]),
        )
        if self.breakdown is None or self.breakdown.source != "user":
            return persons
        return sql(
            "SELECT event.*, {breakdown} AS breakdown FROM ({persons}) AS event"
            " LEFT ANY JOIN (SELECT user_id AS trait_user, {json} AS trait_json FROM ({traits}))"
            " AS of_user ON event.known_user = of_user.trait_user",
            breakdown=_kept(sql("of_user.trait_json"), values),
            persons=persons,
            json=dynamic_value(sql("trait")).json,
            traits=_trait(self.frame, self.breakdown),
        )

    def _filters(self, *, of_user: bool) -> list[Filter]:
        return [f for f in self.selection.filters if (f.reference.source == "user") == of_user]

    def _event_conditions(self) -> Sql:
        conditions = [*in_range(self.frame, self.span)]
        if self.selection.event is not None:
            conditions.append(sql("event = {event}", event=string(self.selection.event)))
        conditions += [
            condition(filter_, event_value(filter_.reference), self.frame)
            for filter_ in self._filters(of_user=False)
        ]
        return all_of(conditions)

    def _trait_condition(self, filter_: Filter) -> Sql:
        """Return the condition on `known_user`. A person without the trait is in no set."""
        negative = is_negative(filter_)
        positive = msgspec.structs.replace(filter_, operator="=") if negative else filter_
        return sql(
            "known_user {among} (SELECT user_id FROM ({traits}) WHERE {condition})",
            among=sql("NOT IN" if negative else "IN"),
            traits=_trait(self.frame, filter_.reference),
            condition=condition(positive, dynamic_value(sql("trait")), self.frame),
        )


def scan_of(  # noqa: PLR0913 - it is the constructor that knows when links are needed
    store: Store,
    frame: Frame,
    selection: Selection,
    span: Range,
    *,
    breakdown: Reference | None = None,
    persons: bool = False,
) -> Scan:
    """Return the scan, with links if `persons`, a filter or the breakdown needs them."""
    references = [filter_.reference for filter_ in selection.filters]
    if breakdown is not None:
        references.append(breakdown)
    needed = persons or any(reference.source == "user" for reference in references)
    links = links_of(store, frame.workspace_id) if needed else None
    return Scan(frame, selection, span, breakdown, links)


def in_range(frame: Frame, span: Range) -> list[Sql]:
    """Return the conditions of a workspace and a range; the day narrows what is read at all."""
    return [
        sql("workspace_id = {workspace}", workspace=uint32(frame.workspace_id)),
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
        latest=latest_traits(frame.workspace_id, trait=reference.keys[0]),
    )
