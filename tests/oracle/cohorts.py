"""Who is in a cohort, by asking of each person what its definition says.

A definition here is a tuple: ("traits", [filter…]), ("did", events, filters, at_least, from_ms,
to_ms), ("list", user_ids, anonymous_ids), ("cohort", name), ("and", [part…]), ("or", [part…]) or
("not", part). Filters are those of oracle/values.py; one on cohorts is ("cohorts", operator,
names). `from_ms` and `to_ms` are both included, None where there is no bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from oracle.people import Item, Person, events_of, person_of
from oracle.values import holds

Definition = tuple[Any, ...]


class World(NamedTuple):
    """All that is known: what was received, the saved cohorts, the calendar, the time."""

    history: list[Item]
    saved: Mapping[str, Definition]
    zone: ZoneInfo
    now_ms: int


def persons_in(definition: Definition, world: World) -> set[Person]:
    """Return the persons of a cohort: of all with an event or an identify call."""
    return {person for person in everybody(world) if is_in(person, definition, world)}


def everybody(world: World) -> set[Person]:
    seen = {person_of(event, world.history) for event in events_of(world.history)}
    called = {("user", i["userId"]) for i in world.history if i.get("type") == "identify"}
    return seen | called


def is_in(person: Person, definition: Definition, world: World) -> bool:
    kind, *rest = definition
    if kind == "and":
        return all(is_in(person, part, world) for part in rest[0])
    if kind == "or":
        return any(is_in(person, part, world) for part in rest[0])
    if kind == "not":
        return not is_in(person, rest[0], world)
    if kind == "cohort":
        return is_in(person, world.saved[rest[0]], world)
    if kind == "list":
        return person in _listed(*rest, world)
    if kind == "traits":
        return all(_trait_holds(person, filter_, world) for filter_ in rest[0])
    assert kind == "did", definition
    return _did(person, tuple(rest), world)


def _did(person: Person, did: tuple[Any, ...], world: World) -> bool:
    events, filters, at_least, from_ms, to_ms = did
    count = 0
    for event in events_of(world.history):
        if person_of(event, world.history) != person:
            continue
        if events and event["event"] not in events:
            continue
        if from_ms is not None and event["timestamp"] < from_ms:
            continue
        if to_ms is not None and event["timestamp"] > to_ms:
            continue
        if all(event_holds(event, filter_, world) for filter_ in filters):
            count += 1
    return count >= at_least


def event_holds(event: Item, filter_: Any, world: World) -> bool:
    """Return whether a filter, on cohorts too, holds of an event."""
    if filter_[0] == "cohorts":
        _, operator, names = filter_
        person = person_of(event, world.history)
        inside = any(is_in(person, world.saved[name], world) for name in names)
        return inside if operator in ("=", "in") else not inside
    return holds(filter_, event, world.history, world.zone)


def _trait_holds(person: Person, filter_: Any, world: World) -> bool:
    kind, who = person
    if kind == "anonymous":
        return holds(filter_, {"anonymousId": who}, [], world.zone)
    return holds(filter_, {"userId": who}, world.history, world.zone)


def _listed(user_ids: list[str], anonymous_ids: list[str], world: World) -> set[Person]:
    persons: set[Person] = {("user", user_id) for user_id in user_ids}
    for anonymous_id in anonymous_ids:
        for key_type in ("secret", "write"):
            sent_now = {
                "anonymousId": anonymous_id,
                "timestamp": world.now_ms,
                "keyType": key_type,
            }
            persons.add(person_of(sent_now, world.history))
    return persons
