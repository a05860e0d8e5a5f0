"""Funnels by walking through every attempt of every person, event by event.

Which events fill which steps is found by trying every way; nothing here minds how long that takes.
"""

from __future__ import annotations

import json
from itertools import pairwise, permutations
from typing import NamedTuple
from zoneinfo import ZoneInfo

from oracle.calendar import bucket_of, buckets
from oracle.people import Item, Person, person_of
from oracle.values import Condition, holds, value_of


class Step(NamedTuple):
    events: tuple[str, ...]
    conditions: list[Condition]
    optional: bool = False


class Exclusion(NamedTuple):
    """Between two steps, counted from 1."""

    events: tuple[str, ...]
    conditions: list[Condition]
    from_step: int
    to_step: int


class Question(NamedTuple):
    timezone: str
    week_start: int
    now_ms: int
    from_ms: int
    to_ms: int
    steps: list[Step]
    exclusions: list[Exclusion]
    order: str
    tie: str
    window_ms: int
    conditions: list[Condition]
    breakdown: tuple[str, ...] | None
    attribution: str | int
    interval: str


class Event(NamedTuple):
    """An event of one person: what it is to the funnel. Steps are counted from 0."""

    time: int
    position: int
    steps: frozenset[int]
    exclusions: frozenset[int]
    value: str


class Attempt(NamedTuple):
    """The event of each step, by its place; in any order the k-th event that filled one."""

    filled: dict[int, Event]


class Bucket(NamedTuple):
    label: str
    complete: bool
    reached: list[set[Person]]


class Table(NamedTuple):
    """Who reached each step, and how long it took them since the step before."""

    reached: list[set[Person]]
    elapsed: list[list[int]]
    durations: list[int]
    buckets: list[Bucket]


def funnel(question: Question, history: list[Item]) -> dict[str | None, Table]:
    """Return the table of everybody under None, and of each breakdown value as JSON."""
    counted = counted_attempts(question, history)
    tables: dict[str | None, Table] = {None: _table(question, counted)}
    if question.breakdown is not None:
        by_value: dict[str, dict[Person, Attempt]] = {}
        for person, attempt in counted.items():
            by_value.setdefault(_value(question, attempt), {})[person] = attempt
        tables |= {value: _table(question, part) for value, part in by_value.items()}
    return tables


def counted_attempts(question: Question, history: list[Item]) -> dict[Person, Attempt]:
    """Return the attempt that got furthest, then the earliest, of everybody who made one."""
    events_of: dict[Person, list[Event]] = {}
    for position, item in enumerate(history, start=1):
        if item.get("type", "track") == "track" and _all_hold(
            question, question.conditions, item, history
        ):
            event = _event(question, position, item, history)
            events_of.setdefault(person_of(item, history), []).append(event)
    counted = {}
    for person, events in events_of.items():
        attempts = _attempts(question, sorted(events))
        if attempts:
            furthest = max(_level(question, attempt) for attempt in attempts)
            best = [found for found in attempts if _level(question, found) == furthest]
            counted[person] = min(best, key=lambda attempt: attempt.filled[0].time)
    return counted


def _event(question: Question, position: int, item: Item, history: list[Item]) -> Event:
    def fits(selection: Step | Exclusion) -> bool:
        return (not selection.events or item["event"] in selection.events) and _all_hold(
            question, selection.conditions, item, history
        )

    value = None
    if question.breakdown is not None:
        value = value_of(question.breakdown, item, history)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return Event(
        item["timestamp"],
        position,
        frozenset(place for place, step in enumerate(question.steps) if fits(step)),
        frozenset(place for place, out in enumerate(question.exclusions) if fits(out)),
        json.dumps(value),
    )


def _all_hold(
    question: Question, conditions: list[Condition], item: Item, history: list[Item]
) -> bool:
    zone = ZoneInfo(question.timezone)
    return all(holds(condition, item, history, zone) for condition in conditions)


def _level(question: Question, attempt: Attempt) -> int:
    return sum(place in attempt.filled for place in _required(question))


def _required(question: Question) -> list[int]:
    return [place for place, step in enumerate(question.steps) if not step.optional]


def _attempts(question: Question, events: list[Event]) -> list[Attempt]:
    """Return an attempt for each time at which one opens."""
    any_order = question.order == "any"
    opening = {
        event.time
        for event in events
        if (event.steps if any_order else 0 in event.steps)
        and question.from_ms <= event.time <= question.to_ms
    }
    walk = _in_any_order if any_order else _in_order
    return [walk(question, events, start) for start in opening]


def _in_order(question: Question, events: list[Event], start: int) -> Attempt:
    required = _required(question)
    end = start + question.window_ms
    natural: dict[int, Event] = {}
    level = 0
    for time in sorted({event.time for event in events if event.time >= start}):
        now = [event for event in events if event.time == time]
        taken = _taken(question, now, required[level:])
        natural |= taken
        level += len(taken)
        if not taken and question.order == "strict":
            break
    filled = {place: event for place, event in natural.items() if event.time <= end}
    ended_after = None
    for place, exclusion in enumerate(question.exclusions):
        first, last = exclusion.from_step - 1, exclusion.to_step - 1
        if first not in natural:
            continue
        until = natural[last].time if last in natural else end + 1
        between = [
            event
            for event in events
            if place in event.exclusions
            and natural[first].time < event.time < until
            and event.time <= end
        ]
        if between:
            ended_after = first if ended_after is None else min(ended_after, first)
    if ended_after is not None:
        filled = {place: event for place, event in filled.items() if place <= ended_after}
    return Attempt(_with_optional(question, events, filled, ended_after, end))


def _taken(question: Question, now: list[Event], wanted: list[int]) -> dict[int, Event]:
    """Return the events of one time that fill as many of the next steps as can be filled.

    Of several ways the one that takes the events stored first.
    """
    most = len(wanted) if question.tie == "either" else 1
    for count in range(min(most, len(now)), 0, -1):
        for chosen in permutations(now, count):  # in order of position, as `now` is
            if all(step in event.steps for step, event in zip(wanted, chosen, strict=False)):
                return dict(zip(wanted, chosen, strict=False))
    return {}


def _with_optional(
    question: Question,
    events: list[Event],
    filled: dict[int, Event],
    ended_after: int | None,
    end: int,
) -> dict[int, Event]:
    result = dict(filled)
    for place, step in enumerate(question.steps):
        before = max((r for r in _required(question) if r < place), default=None)
        if not step.optional or before not in filled or before == ended_after:
            continue
        after = min(r for r in _required(question) if r > place)
        begin = max(event.time for earlier, event in result.items() if earlier < place)
        left = []
        for event in events:
            strictly = question.tie == "strict" or len(event.steps) > 1
            late_enough = event.time > begin if strictly else event.time >= begin
            if after not in filled:
                early_enough = event.time <= end
            elif strictly:
                early_enough = event.time < filled[after].time
            else:
                early_enough = event.time <= filled[after].time
            if place in event.steps and late_enough and early_enough:
                left.append(event)
        if left:
            result[place] = min(left)
    return result


def _in_any_order(question: Question, events: list[Event], start: int) -> Attempt:
    inside = [e for e in events if start <= e.time <= start + question.window_ms and e.steps]
    inside.sort(key=lambda e: (e.time, sum(2**step for step in e.steps), e.position))
    filled: dict[int, Event] = {}
    for count, event in enumerate(inside, start=1):
        if _most_steps(inside[:count]) > len(filled):
            filled[len(filled)] = event
    return Attempt(filled)


def _most_steps(events: list[Event]) -> int:
    """Return how many different steps the events can fill, each one at most."""
    ways: set[frozenset[int]] = {frozenset()}
    for event in events:
        ways |= {way | {step} for way in ways for step in event.steps}
    return max(map(len, ways))


def _value(question: Question, attempt: Attempt) -> str:
    if isinstance(question.attribution, int):
        event = attempt.filled.get(question.attribution - 1)
        return "null" if event is None else event.value
    having = [
        attempt.filled[place].value
        for place in sorted(attempt.filled)
        if attempt.filled[place].value != "null"
    ]
    if not having:
        return "null"
    return having[0] if question.attribution == "first" else having[-1]


def _table(question: Question, counted: dict[Person, Attempt]) -> Table:
    places = range(len(question.steps))

    def reached(part: dict[Person, Attempt]) -> list[set[Person]]:
        return [
            {person for person, attempt in part.items() if place in attempt.filled}
            for place in places
        ]

    elapsed: list[list[int]] = [[] for _ in places]
    durations = []
    for attempt in counted.values():
        done = sorted(attempt.filled)
        for earlier, place in pairwise(done):
            elapsed[place].append(attempt.filled[place].time - attempt.filled[earlier].time)
        if len(places) - 1 in attempt.filled:
            durations.append(attempt.filled[len(places) - 1].time - attempt.filled[0].time)
    zone = ZoneInfo(question.timezone)
    table = []
    for name, label, end in buckets(
        question.from_ms, question.to_ms, question.interval, zone, question.week_start
    ):
        part = {
            person: attempt
            for person, attempt in counted.items()
            if bucket_of(attempt.filled[0].time, question.interval, zone, question.week_start)
            == name
        }
        last_window_end = min(end - 1, question.to_ms) + question.window_ms
        table.append(Bucket(label, last_window_end < question.now_ms, reached(part)))
    return Table(reached(counted), elapsed, durations, table)
