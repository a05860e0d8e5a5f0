"""Cohorts: saved groups of persons, by traits, behaviour or list, and what is made of those.

A definition is a JSON object with exactly one of these fields:

    {"traits": ["user.plan=pro"]}                                  filters on traits alone
    {"did": {"event": "Order", "at_least": 3, "last_days": 30}}    or with `from` and `to`
    {"did_not": {"event": "Login", "filter": ["method=sso"]}}      exactly who did not do that
    {"list": {"user_ids": ["u1"], "anonymous_ids": ["a1"]}}
    {"cohort": "7"}                                                another saved cohort
    {"and": [...]}   {"or": [...]}   {"not": {...}}

In: definitions, saved or to be. Out: what to refuse before one is saved, and a condition in SQL on
the columns `person` and `known_user` of a scan. Who is in a cohort is found out when it is asked,
by the links and traits as they stand (with `as_of`: stood), and so is never out of date; the
definition used is always the present one. The last d days are d times 24 hours up to now.
A listed anonymous id stands for whom an event of it would belong to now, with either class of key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import msgspec

from saytics_server.event import ID_CHARACTERS_MAX
from saytics_server.people import Links, received_by
from saytics_server.query.document import FilterInput, StepDocument, read_document
from saytics_server.query.filters import filters_of, selection_of
from saytics_server.query.model import (
    Condition,
    Filter,
    Frame,
    Group,
    Range,
    Selection,
    invalid,
)
from saytics_server.query.periods import LATEST_MS, parse_bounds
from saytics_server.query.scan import Scan, grouped, references_in, trait_condition
from saytics_server.sql import Sql, all_of, any_of, int64, sql, strings, uint32

# A group of more parts is a program; each part is a query of its own inside the report's.
PARTS_MAX = 20
# With the cohorts it is made of. At 2 kB of SQL each this stays below what the store parses.
PARTS_EXPANDED_MAX = 50
# `and` in `or` in `not` …: nobody reads more.
DEPTH_MAX = 8
# 400 kB of UUIDs; more are a trait that somebody should send.
LIST_IDS_MAX = 10_000
COUNT_MAX = 1_000_000
# A hundred years: reaches every event.
LAST_DAYS_MAX = 36_500

DAY_MS = 86_400_000
# Every event there can be.
EVER = Range(0, LATEST_MS - 1)


class DidDocument(StepDocument, frozen=True):
    """How often somebody must have done which events, and when. No window means ever."""

    at_least: int = 1
    last_days: int | None = None
    from_: str | None = msgspec.field(name="from", default=None)
    to: str | None = None


class ListDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Persons by id."""

    user_ids: list[str] = msgspec.field(default_factory=list)
    anonymous_ids: list[str] = msgspec.field(default_factory=list)


class CohortDocument(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """The JSON form of a definition: exactly one of the fields."""

    traits: FilterInput | None = None
    did: DidDocument | None = None
    did_not: DidDocument | None = None
    list_: ListDocument | None = msgspec.field(name="list", default=None)
    cohort: str | None = None
    and_: list[CohortDocument] | None = msgspec.field(name="and", default=None)
    or_: list[CohortDocument] | None = msgspec.field(name="or", default=None)
    not_: CohortDocument | None = msgspec.field(name="not", default=None)


# --- the definition, typed ------------------------------------------------------------------------


class Traits(msgspec.Struct, frozen=True):
    """Persons whose traits fulfil every filter."""

    filters: tuple[Filter, ...]


class Did(msgspec.Struct, frozen=True):
    """Persons with at least so many of the selected events in a span of time."""

    selection: Selection
    span: Range
    at_least: int


class Listed(msgspec.Struct, frozen=True):
    """Persons named one by one."""

    user_ids: tuple[str, ...]
    anonymous_ids: tuple[str, ...]


class Named(msgspec.Struct, frozen=True):
    """The persons of another cohort."""

    cohort_id: str


class Joint(msgspec.Struct, frozen=True):
    """Persons in every part, or in at least one."""

    every: bool
    parts: tuple[Definition, ...]


class Not(msgspec.Struct, frozen=True):
    """Whoever is not in it."""

    part: Definition


Definition = Traits | Did | Listed | Named | Joint | Not


def parse(content: Any, frame: Frame, at: str = "definition") -> Definition:
    """Return a decoded definition, checked. Raises Refused("invalid_parameter") naming the field.

    What the cohorts named in it are is not looked at here.
    """
    try:
        document = read_document(content, CohortDocument, f"{at}.")
        return _definition(document, frame, at, DEPTH_MAX)
    except RecursionError:
        raise invalid(at, "The definition is nested too deeply.") from None


def _definition(document: CohortDocument, frame: Frame, at: str, depth: int) -> Definition:
    given = [
        field.encode_name
        for field in msgspec.structs.fields(document)
        if getattr(document, field.name) is not None
    ]
    if len(given) != 1:
        known = ", ".join(f"`{f.encode_name}`" for f in msgspec.structs.fields(document))
        raise invalid(at, f"A definition has exactly one of {known}.")
    place = f"{at}.{given[0]}"
    if depth == 0:
        raise invalid(place, f"A definition is at most {DEPTH_MAX} deep.")
    if document.traits is not None:
        return Traits(_trait_filters(document.traits, place))
    if document.did is not None:
        return _did(document.did, frame, place)
    if document.did_not is not None:
        return Not(_did(document.did_not, frame, place))
    if document.list_ is not None:
        return _listed(document.list_, place)
    if document.cohort is not None:
        return Named(document.cohort)
    if document.not_ is not None:
        return Not(_definition(document.not_, frame, place, depth - 1))
    parts = document.and_ if document.and_ is not None else document.or_
    assert parts is not None
    if not 1 <= len(parts) <= PARTS_MAX:
        raise invalid(place, f"`{given[0]}` has 1 to {PARTS_MAX} parts.")
    return Joint(
        document.and_ is not None,
        tuple(
            _definition(part, frame, f"{place}[{number}]", depth - 1)
            for number, part in enumerate(parts)
        ),
    )


def _trait_filters(written: FilterInput, at: str) -> tuple[Filter, ...]:
    filters = filters_of(written, at)
    if not filters:
        raise invalid(at, "`traits` has at least one filter.")
    if any(asked.reference.source != "user" for asked in references_in(filters)):
        raise invalid(at, "`traits` has filters on traits alone: `user.plan=pro`.")
    return filters


def _did(document: DidDocument, frame: Frame, at: str) -> Did:
    if not 1 <= document.at_least <= COUNT_MAX:
        raise invalid(f"{at}.at_least", f"`at_least` is from 1 to {COUNT_MAX:,}.")
    return Did(
        selection_of(document, at),
        _span(document, frame, at),
        document.at_least,
    )


def _span(document: DidDocument, frame: Frame, at: str) -> Range:
    """Return when it must have been done; an end that is not given is open."""
    if document.last_days is not None:
        if document.from_ is not None or document.to is not None:
            raise invalid(f"{at}.last_days", "Give `last_days`, or `from` and `to`.")
        if not 1 <= document.last_days <= LAST_DAYS_MAX:
            raise invalid(f"{at}.last_days", f"`last_days` is from 1 to {LAST_DAYS_MAX:,}.")
        return Range(max(0, frame.now_ms - document.last_days * DAY_MS), frame.now_ms)
    from_ms, to_ms = parse_bounds(document.from_, document.to, frame)
    span = Range(
        EVER.from_ms if from_ms is None else from_ms, EVER.to_ms if to_ms is None else to_ms
    )
    if span.from_ms > span.to_ms:
        raise invalid(f"{at}.from", "`from` is later than `to`.")
    return span


def _listed(document: ListDocument, at: str) -> Listed:
    ids = [*document.user_ids, *document.anonymous_ids]
    if not 1 <= len(ids) <= LIST_IDS_MAX:
        raise invalid(at, f"A list has 1 to {LIST_IDS_MAX:,} ids.")
    if not all(1 <= len(each) <= ID_CHARACTERS_MAX for each in ids):
        raise invalid(at, f"An id has 1 to {ID_CHARACTERS_MAX} characters.")
    return Listed(tuple(document.user_ids), tuple(document.anonymous_ids))


# --- saved cohorts of each other ------------------------------------------------------------------


class Saved(msgspec.Struct, frozen=True):
    """A cohort as its workspace keeps it: what people call it, and its definition in JSON."""

    name: str
    definition: Mapping[str, Any]


def check(cohorts: Mapping[str, Saved], cohort_id: str, frame: Frame) -> None:
    """Refuse a cohort that cannot be worked out, among all that would be saved with it.

    Raises Refused("invalid_parameter"): a field of its definition is wrong, a cohort it names does
    not exist, it leads back to itself, or it or one made of it grows too large.
    """
    definition = parse(cohorts[cohort_id].definition, frame)
    for named in _named_in(definition):
        if named not in cohorts:
            raise invalid("definition", f"There is no cohort `{named}`.")
    sizes: dict[str, int] = {}
    for each in (cohort_id, *cohorts):
        _size(each, cohorts, frame, sizes, ())


def users_of(cohorts: Mapping[str, Saved], cohort_id: str, frame: Frame) -> list[str]:
    """Return the names of the cohorts that are made of this one, in order."""
    return sorted(
        saved.name
        for other, saved in cohorts.items()
        if other != cohort_id and cohort_id in _named_in(parse(saved.definition, frame))
    )


def _size(
    cohort_id: str,
    cohorts: Mapping[str, Saved],
    frame: Frame,
    sizes: dict[str, int],
    path: tuple[str, ...],
) -> int:
    """Return how many parts a cohort has with those it is made of. `path` led here."""
    if cohort_id in sizes:
        return sizes[cohort_id]
    if cohort_id in path:
        circle = (*path[path.index(cohort_id) :], cohort_id)
        names = " → ".join(f"`{cohorts[each].name}`" for each in circle)
        raise invalid("definition", f"A cohort cannot be made of itself: {names}.")
    definition = parse(cohorts[cohort_id].definition, frame)
    size = sum(1 for _ in _conditions_in(definition))
    for named in _named_in(definition):
        if named in cohorts:
            size += _size(named, cohorts, frame, sizes, (*path, cohort_id))
    if size > PARTS_EXPANDED_MAX:
        raise invalid(
            "definition",
            f"The cohort `{cohorts[cohort_id].name}` has more than {PARTS_EXPANDED_MAX} conditions,"
            " those of the cohorts it is made of included.",
        )
    sizes[cohort_id] = size
    return size


def _conditions_in(definition: Definition) -> Iterator[Condition | Did | Listed | Named]:
    if isinstance(definition, Joint):
        for part in definition.parts:
            yield from _conditions_in(part)
    elif isinstance(definition, Not):
        yield from _conditions_in(definition.part)
    elif isinstance(definition, Traits):
        yield from references_in(definition.filters)
    else:
        yield definition
        if isinstance(definition, Did):
            yield from references_in(definition.selection.filters)


def _named_in(definition: Definition) -> Iterator[str]:
    """Yield the cohorts a definition names, each time it does."""
    for part in _conditions_in(definition):
        if isinstance(part, Named):
            yield part.cohort_id
        elif isinstance(part, Condition) and part.reference.source == "cohort":
            yield from part.values


# --- in SQL ---------------------------------------------------------------------------------------


class Reading(Protocol):
    """What of a Reader it takes."""

    frame: Frame

    @property
    def links(self) -> Links: ...  # noqa: D102

    def scan(  # noqa: D102
        self, selection: Selection, span: Range, *, persons: bool = ...
    ) -> Scan: ...

    def cohort(self, cohort_id: str) -> Sql: ...  # noqa: D102


def condition_of(reader: Reading, definition: Definition) -> Sql:
    """Return the condition, never NULL, on `person` and `known_user` of being in a cohort."""
    if isinstance(definition, Joint):
        parts = [condition_of(reader, part) for part in definition.parts]
        return sql("({all})", all=all_of(parts)) if definition.every else any_of(parts)
    if isinstance(definition, Not):
        return sql("NOT ({part})", part=condition_of(reader, definition.part))
    if isinstance(definition, Named):
        return reader.cohort(definition.cohort_id)
    if isinstance(definition, Traits):
        return sql("({all})", all=all_of([_trait(reader.frame, f) for f in definition.filters]))
    if isinstance(definition, Listed):
        return _in_list(reader, definition)
    return sql("person IN ({who})", who=_who_did(reader, definition))


def _who_did(reader: Reading, did: Did) -> Sql:
    return sql(
        "SELECT person FROM ({events}) GROUP BY person HAVING count() >= {least}",
        events=reader.scan(did.selection, did.span, persons=True).select({}),
        least=int64(did.at_least),
    )


def _trait(frame: Frame, filter_: Filter) -> Sql:
    if isinstance(filter_, Group):
        return grouped(filter_, [_trait(frame, part) for part in filter_.parts])
    return trait_condition(frame, filter_)


def _in_list(reader: Reading, listed: Listed) -> Sql:
    either = []
    if listed.user_ids:
        either.append(sql("known_user IN {ids}", ids=strings(listed.user_ids)))
    if listed.anonymous_ids:
        either.append(sql("person IN ({who})", who=_whose_now(reader, listed.anonymous_ids)))
    return any_of(either)


def _whose_now(reader: Reading, anonymous_ids: tuple[str, ...]) -> Sql:
    """Return a SELECT of the persons whom events of these ids would belong to if sent now."""
    events = sql(
        "SELECT '' AS user_id, arrayJoin({ids}) AS anonymous_id,"
        " CAST(arrayJoin(['secret', 'write']), 'Enum8(\\'write\\' = 0, \\'secret\\' = 1)')"
        " AS key_type, fromUnixTimestamp64Milli({now}, 'UTC') AS timestamp",
        ids=strings(anonymous_ids),
        now=int64(reader.frame.now_ms),
    )
    resolved = reader.links.resolve(events, only_anonymous=anonymous_ids)
    return sql("SELECT person FROM ({resolved})", resolved=resolved)


def persons_in(reader: Reading, cohort_id: str) -> Sql:
    """Return a SELECT of the distinct `person` of a cohort, by name: of everybody with an event or
    an identify call at any time. Who is listed and was never seen is nobody yet."""
    events = reader.scan(Selection(), EVER, persons=True).select({})
    return sql(
        "SELECT DISTINCT person FROM (SELECT person, known_user FROM ({events})"
        " UNION ALL SELECT concat('u', user_id) AS person, user_id AS known_user FROM identifies"
        " WHERE workspace_id = {workspace} AND {received}) WHERE {inside}",
        events=events,
        workspace=uint32(reader.frame.workspace_id),
        received=received_by(reader.frame.as_of_ms),
        inside=reader.cohort(cohort_id),
    )
