"""Retention, by looking at every return event of everybody for every cohort and period."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from oracle.calendar import buckets
from oracle.lifecycle import as_json
from oracle.people import Item, Person, events_of, person_of
from oracle.values import Condition, holds, value_of

HOUR_MS = 3_600_000
PERIOD_HOURS = {"day": 24, "week": 7 * 24, "month": 30 * 24}


class Step(NamedTuple):
    """Events of one of the names (of any, without one) that fulfil the conditions."""

    events: tuple[str, ...]
    conditions: list[Condition]


class Question(NamedTuple):
    timezone: str
    week_start: int
    now_ms: int
    from_ms: int
    to_ms: int
    interval: str
    periods: int
    start: Step
    returned: Step
    conditions: list[Condition]
    mode: str
    cohort: str
    window: str
    breakdown: tuple[str, ...] | None


class Cohort(NamedTuple):
    """One row: who is in it, who of them returned in each period, which periods are over."""

    label: str
    members: set[Person]
    returned: list[set[Person]]
    complete: list[bool]


class Anchor(NamedTuple):
    """The start event that puts a person into a cohort."""

    person: Person
    bucket: int
    event: Item


def retention(question: Question, history: list[Item]) -> dict[str | None, list[Cohort]]:
    """Return per value of the breakdown (as JSON; None for all) the cohorts."""
    cohort_buckets, bounds = _calendar(question)
    groups: dict[str | None, list[Anchor]] = {None: []}
    for anchor in _anchors(question, history, bounds):
        groups[None].append(anchor)
        if question.breakdown is not None:
            value = as_json(value_of(question.breakdown, anchor.event, history))
            groups.setdefault(value, []).append(anchor)
    return {
        value: [
            Cohort(
                label,
                {anchor.person for anchor in anchors if anchor.bucket == bucket},
                [
                    {
                        anchor.person
                        for anchor in anchors
                        if anchor.bucket == bucket
                        and _counts(question, history, bounds, anchor, period)
                    }
                    for period in range(question.periods)
                ],
                [_complete(question, bounds, bucket, p) for p in range(question.periods)],
            )
            for bucket, label in enumerate(cohort_buckets)
        ]
        for value, anchors in groups.items()
    }


def overall(cohorts: list[Cohort], periods: int) -> list[Fraction | None]:
    shares: list[Fraction | None] = []
    for period in range(periods):
        over = [cohort for cohort in cohorts if cohort.complete[period]]
        size = sum(len(cohort.members) for cohort in over)
        returned = sum(len(cohort.returned[period]) for cohort in over)
        shares.append(Fraction(returned, size) if size else None)
    return shares


def _calendar(question: Question) -> tuple[list[str], list[tuple[int, int]]]:
    """Return the labels of the range's buckets, and (start, end) of them and of enough more."""
    zone = ZoneInfo(question.timezone)
    longest = {"day": 25, "week": 169, "month": 745}[question.interval] * HOUR_MS
    before = buckets(
        question.from_ms - 2 * longest,
        question.from_ms,
        question.interval,
        zone,
        question.week_start,
    )
    found = buckets(
        question.from_ms,
        question.to_ms + (question.periods + 1) * longest,
        question.interval,
        zone,
        question.week_start,
    )
    starts = [before[-2][2], *(end for _, _, end in found)]
    bounds = list(pairwise(starts))
    labels = [label for (_, label, _), (start, _) in zip(found, bounds, strict=True)
              if start <= question.to_ms]  # fmt: skip
    return labels, bounds


def _anchors(
    question: Question, history: list[Item], bounds: list[tuple[int, int]]
) -> list[Anchor]:
    starts = [e for e in events_of(history) if _matches(question, question.start, e, history)]
    anchors = []
    for person in {person_of(event, history) for event in starts}:
        own = [event for event in starts if person_of(event, history) == person]
        own.sort(key=lambda event: event["timestamp"])  # equal times stay as they were received
        inside = [e for e in own if question.from_ms <= e["timestamp"] <= question.to_ms]
        if question.cohort == "first_ever" and inside and own[0] is not inside[0]:
            continue
        seen: set[int] = set()
        for event in inside if question.cohort == "recurring" else inside[:1]:
            bucket = _bucket(event["timestamp"], bounds)
            if bucket not in seen:
                anchors.append(Anchor(person, bucket, event))
                seen.add(bucket)
    return anchors


def _counts(
    question: Question,
    history: list[Item],
    bounds: list[tuple[int, int]],
    anchor: Anchor,
    period: int,
) -> bool:
    if question.mode == "on_or_after" and period == 0:
        return True
    begin, end = _period(question, bounds, anchor.bucket, anchor.event["timestamp"], period)
    return any(
        person_of(event, history) == anchor.person
        and event["timestamp"] >= max(begin, anchor.event["timestamp"])
        and (question.mode == "on_or_after" or event["timestamp"] < end)
        and _matches(question, question.returned, event, history)
        for event in events_of(history)
    )


def _period(
    question: Question, bounds: list[tuple[int, int]], bucket: int, anchor_ms: int, period: int
) -> tuple[int, int]:
    if question.window == "calendar":
        return bounds[bucket + period]
    length = PERIOD_HOURS[question.interval] * HOUR_MS
    return anchor_ms + period * length, anchor_ms + (period + 1) * length


def _complete(question: Question, bounds: list[tuple[int, int]], bucket: int, period: int) -> bool:
    """Return whether the period is over even for who starts at the last moment."""
    last_moment = min(bounds[bucket][1] - 1, question.to_ms)
    return _period(question, bounds, bucket, last_moment, period)[1] <= question.now_ms


def _bucket(instant: int, bounds: list[tuple[int, int]]) -> int:
    return next(place for place, (start, end) in enumerate(bounds) if start <= instant < end)


def _matches(question: Question, step: Step, event: Item, history: list[Item]) -> bool:
    zone = ZoneInfo(question.timezone)
    return (not step.events or event["event"] in step.events) and all(
        holds(condition, event, history, zone)
        for condition in [*step.conditions, *question.conditions]
    )
