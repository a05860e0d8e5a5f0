"""Generated definitions, on generated histories, hold for the persons the naive oracle names."""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from active_histories import (
    DAY_MS,
    cases,
    conditions_of,
    filter_text,
    history_of,
    key_of,
    quick,
    thorough,
    zone_of,
)
from hypothesis import given, settings
from rows import fresh_workspace_id, insert_history

from oracle import cohorts as oracle
from oracle.cohorts import Definition, World, event_holds
from oracle.people import Households, events_of, person_of
from saytics_server.query import reports
from saytics_server.query.cohorts import persons_in
from saytics_server.query.model import Frame
from saytics_server.query.periods import utc_text
from saytics_server.query.reading import Reader
from saytics_server.query.reports import PersonsDocument

# Each may be made of those before it.
NAMES = ["1", "2", "3"]
TRAIT_FILTERS = [
    (("user", "plan"), "=", "pro"),
    (("user", "plan"), "!=", "pro"),
    (("user", "plan"), "!=", "5"),
    (("user", "a.b"), "=", "5"),
    (("user", "a.b"), "~", "ö"),
]


class Asked(NamedTuple):
    """A history, the cohorts saved, and how a report uses them."""

    zone: str
    now_ms: int
    as_of_ms: int | None
    history: Households
    saved: dict[str, Definition]
    filters: list[Any]
    breakdown: str


def case_of(random: Random) -> Asked:
    zone, middle = zone_of(random)
    saved: dict[str, Definition] = {}
    for name in NAMES:
        saved[name] = definition_of(random, middle, list(saved), depth=2)
    as_of_ms = random.choice([None, None, middle + random.randint(-3 * DAY_MS, 7 * DAY_MS)])
    now_ms = middle + random.randint(-2 * DAY_MS, 9 * DAY_MS)
    return Asked(
        zone,
        now_ms if as_of_ms is None else min(now_ms, as_of_ms),
        as_of_ms,
        history_of(random, middle),
        saved,
        [("cohorts", *random.choice([("=", [one]) for one in NAMES] + [("!=", ["3"])]))]
        if random.random() < 0.7
        else [("cohorts", random.choice(["in", "not_in"]), random.sample(NAMES, 2))],
        random.choice(NAMES),
    )


def definition_of(random: Random, middle: int, known: list[str], depth: int) -> Definition:
    kinds = ["traits", "did", "did", "did", "list"] + ["cohort"] * bool(known)
    kind = random.choice(kinds + ["and", "or", "not"] * (depth > 0))
    if kind == "traits":
        return ("traits", random.sample(TRAIT_FILTERS, random.choice([1, 1, 2])))
    if kind == "list":
        return ("list", random.sample(["x", "ü", "nobody"], random.randint(0, 2)),
                random.sample(["x", "ø", "unseen"], random.randint(1, 2)))  # fmt: skip
    if kind == "cohort":
        return ("cohort", random.choice(known))
    if kind == "not":
        return ("not", definition_of(random, middle, known, depth - 1))
    if kind in ("and", "or"):
        parts = [definition_of(random, middle, known, depth - 1) for _ in range(2)]
        return (kind, parts)
    filters: list[Any] = list(conditions_of(random))
    if known and random.random() < 0.2:
        filters.append(("cohorts", random.choice(["=", "!="]), [random.choice(known)]))
    events = random.choice([[], ["A"], ["A", "C"], ["B 'ü'"]])
    return ("did", events, filters, random.choice([1, 1, 2, 3]), *window_of(random, middle))


def window_of(random: Random, middle: int) -> tuple[Any, ...]:
    """Return a number of days up to now as ("days", d), or two bounds."""
    if random.random() < 0.4:
        return ("days", random.choice([1, 3, 30]))
    from_ms = random.choice([None, middle + random.randint(-4 * DAY_MS, 2 * DAY_MS)])
    to_ms = random.choice([None, middle + random.randint(2 * DAY_MS, 7 * DAY_MS)])
    return (from_ms, to_ms)


def bounded(definition: Definition, now_ms: int) -> Definition:
    """Return a definition as the oracle takes it: days as bounds."""
    kind, *rest = definition
    if kind in ("and", "or"):
        return (kind, [bounded(part, now_ms) for part in rest[0]])
    if kind == "not":
        return (kind, bounded(rest[0], now_ms))
    if kind == "did" and rest[3] == "days":
        return (kind, *rest[:3], now_ms - rest[4] * DAY_MS, now_ms)
    return definition


def written(definition: Definition) -> dict[str, Any]:
    """Return a definition as JSON."""
    kind, *rest = definition
    if kind in ("and", "or"):
        return {kind: [written(part) for part in rest[0]]}
    if kind == "not" and rest[0][0] == "did":
        return {"did_not": written(rest[0])["did"]}
    if kind == "not":
        return {"not": written(rest[0])}
    if kind == "cohort":
        return {"cohort": rest[0]}
    if kind == "list":
        return {"list": {"user_ids": rest[0], "anonymous_ids": rest[1]}}
    if kind == "traits":
        return {"traits": [filter_text(one) for one in rest[0]]}
    events, filters, at_least, begin, end = rest
    shown: dict[str, Any] = {"events": events, "filter": [filter_json(one) for one in filters]}
    shown |= {"at_least": at_least} if at_least != 1 else {}
    if begin == "days":
        return {kind: {**shown, "last_days": end}}
    bounds = {"from": begin, "to": end}
    return {kind: shown | {k: utc_text(v) for k, v in bounds.items() if v is not None}}


def filter_json(filter_: Any) -> Any:
    if filter_[0] != "cohorts":
        return filter_text(filter_)
    _, operator, names = filter_
    if operator in ("in", "not_in"):
        return {"property": "cohort", "operator": operator, "value": names}
    return f"cohort{operator}{names[0]}"


def compare(store: Any, asked: Asked) -> None:
    workspace = fresh_workspace_id()
    insert_history(store, workspace, asked.history)
    definitions = {name: written(definition) for name, definition in asked.saved.items()}
    frame = Frame(
        workspace, asked.zone, 0, asked.now_ms, as_of_ms=asked.as_of_ms, cohorts=definitions
    )
    reader = Reader(store, frame)
    known = asked.history.only(
        lambda item: asked.as_of_ms is None or item["timestamp"] <= asked.as_of_ms
    )
    saved = {name: bounded(one, asked.now_ms) for name, one in asked.saved.items()}
    world = World(known, saved, ZoneInfo(asked.zone), asked.now_ms)
    for name in NAMES:
        found = [row[0] for row in reader.rows(persons_in(reader, name))]
        expected = oracle.persons_in(("cohort", name), world)
        assert sorted(found) == sorted(map(key_of, expected)), definitions[name]
    report(reader, asked, world)


def report(reader: Reader, asked: Asked, world: World) -> None:
    """Compare a report of persons with cohorts as filter and as breakdown, cells included."""
    query = {
        "report": "events",
        "metric": "users",
        "from": "2005-01-01",
        "to": "2030-01-01",
        "interval": "month",
        "filter": [filter_json(one) for one in asked.filters],
        "breakdown": f"cohort={asked.breakdown}",
    }
    question = reports.asked_by_document(query, reader.frame)
    answer = reports.answer(reader, question)
    persons = {
        person_of(event, world.history)
        for event in events_of(world.history)
        if all(event_holds(event, one, world) for one in asked.filters)
    }
    inside = {p for p in persons if oracle.is_in(p, world.saved[asked.breakdown], world)}
    expected = {True: inside, False: persons - inside}
    assert all(isinstance(part["value"], bool) for part in answer["breakdown"])
    totals = {part["value"]: part["total"] for part in answer["breakdown"]}
    assert totals == {value: len(who) for value, who in expected.items() if who}
    assert answer["total"] == len(persons)
    for value in totals:
        behind = reports.persons(
            reader, question, PersonsDocument(query=query, cell={"value": value}, limit=1000)
        )
        found = {(person["type"], person["id"]) for person in behind["persons"]}
        assert (behind["count"], found) == (len(expected[value]), expected[value])


@pytest.mark.timeout(600)
@settings(parent=quick, max_examples=6)
@given(asked=cases(case_of))
def test_cohorts_hold_who_the_oracle_says(store, asked):
    """Persons of each cohort, and a report filtered and broken down by them, are the naive ones."""
    compare(store, asked)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@thorough
@given(asked=cases(case_of))
def test_cohorts_hold_who_the_oracle_says_in_many_histories(store, asked):
    """The same over hundreds of histories and definitions."""
    compare(store, asked)
