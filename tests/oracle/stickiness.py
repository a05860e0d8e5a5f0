"""Stickiness, by counting for every person the intervals with an event in them."""

from __future__ import annotations

from fractions import Fraction

from oracle.lifecycle import Question, by_value, in_range
from oracle.people import Item, Person, person_of
from oracle.reports import Question as ActiveUsersQuestion
from oracle.reports import active_users


def stickiness(question: Question, history: list[Item]) -> dict[str | None, dict[int, set[Person]]]:
    """Return per value of the breakdown (as JSON; None for all) who was active how often."""
    tables: dict[str | None, dict[int, set[Person]]] = {}
    stretches = in_range(question)
    for value, events in by_value(question, history).items():
        table: dict[int, set[Person]] = {k: set() for k in range(1, len(stretches) + 1)}
        persons = {person_of(event, history) for event in events}
        for person in persons:
            times = [e["timestamp"] for e in events if person_of(e, history) == person]
            active = [s for s in stretches if any(s[1] <= time < s[2] for time in times)]
            if active:
                table[len(active)].add(person)
        if any(table.values()) or value is None:
            tables[value] = table
    return tables


def dau_mau(
    question: Question, history: list[Item]
) -> tuple[Fraction | None, list[tuple[str, int, int, bool]]]:
    """Return mean dau / mean mau of the days that are over, and (day, dau, mau, over)."""
    daily, monthly = (
        active_users(
            ActiveUsersQuestion(
                timezone=question.timezone,
                week_start=question.week_start,
                now_ms=question.now_ms,
                from_ms=question.from_ms,
                to_ms=question.to_ms,
                interval="day",
                event=question.event,
                conditions=question.conditions,
                metric=metric,
                property=None,
                breakdown=None,
            ),
            history,
        )["data"]
        for metric in ("dau", "mau")
    )
    days = [
        (label, dau, mau, over)
        for (label, dau, over), (_, mau, _) in zip(daily, monthly, strict=True)
    ]
    finished = [day for day in days if day[3]]
    whole = sum(mau for _, _, mau, _ in finished)
    return (Fraction(sum(dau for _, dau, _, _ in finished), whole) if whole else None), days
