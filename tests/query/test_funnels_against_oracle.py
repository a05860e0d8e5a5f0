"""Generated histories give the same funnels from the store and from the naive oracle."""

from __future__ import annotations

import json
from bisect import bisect_right
from fractions import Fraction
from random import Random
from statistics import median
from typing import Any

import pytest
from active_histories import (
    BREAKDOWN_LIMIT,
    DAY_MS,
    PATHS,
    Case,
    cases,
    conditions_of,
    everybody,
    filter_text,
    households,
    key_of,
    named_value,
    quick,
    quick_persons,
    some,
    thorough,
    written,
    zone_of,
)
from hypothesis import given, settings
from rows import fresh_workspace_id, insert_history

from oracle.funnels import Exclusion, Question, Step, Table, counted_attempts
from oracle.funnels import funnel as naive
from oracle.people import Households
from saytics_server.event import event_id
from saytics_server.people import Person
from saytics_server.query import funnels
from saytics_server.query.document import read_document
from saytics_server.query.model import Frame
from saytics_server.query.periods import utc_text
from saytics_server.query.reading import Reader

# Of one example: cells whose persons are asked for, persons who are explained.
ASKED = (2, 1)
WINDOWS_S = [1, 2, 4, 8, 60, 14 * 86_400]
NAMES = ["A", "B 'ü'", "C", "D"]


def step_of(random: Random, *, optional: bool = False) -> Step:
    kind = random.random()
    if kind < 0.65:
        names: tuple[str, ...] = (random.choice(NAMES),)
    elif kind < 0.9:
        names = tuple(random.sample(NAMES, 2))
    else:
        names = ()
    return Step(names, seldom(random), optional)


def seldom(random: Random) -> list[Any]:
    """Return a condition now and then: with one for each of five steps nobody gets anywhere."""
    return conditions_of(random) if random.random() < 0.4 else []


def steps_of(random: Random, order: str) -> list[Step]:
    if random.random() < 0.4:
        steps = [Step((name,), []) for name in random.sample(NAMES, random.randint(2, 4))]
    else:
        steps = [step_of(random) for _ in range(random.randint(2, 5))]
    if random.random() < 0.3:
        steps[-1] = steps[0]
    if order == "ordered":
        for place in range(1, len(steps) - 1):
            steps[place] = steps[place]._replace(optional=random.random() < 0.35)
    return steps


def exclusions_of(random: Random, order: str, steps: list[Step]) -> list[Exclusion]:
    if order == "any" or random.random() < 0.5:
        return []
    required = [place for place, step in enumerate(steps, start=1) if not step.optional]
    found = []
    for _ in range(random.randint(1, 2)):
        first, last = sorted(random.sample(required, 2))
        names = (random.choice([*NAMES, "X"]),)
        found.append(Exclusion(names, seldom(random), first, last))
    return found


def item_of(random: Random, middle: int) -> dict[str, Any]:
    """Return something sent within seconds, seldom days, of the rest: attempts overlap."""
    far = random.choice([0] * 15 + [-DAY_MS, DAY_MS])
    item: dict[str, Any] = {
        "timestamp": middle + far + random.randint(-2, 9) * 1_000 + random.choice([0, 0, 0, 1]),
        "keyType": random.choice(["secret", "secret", "write"]),
        "messageId": random.choice(["", "m1", "m2"]),
    }
    who = random.choice(["user", "user", "visitor", "both"])
    identify = random.random() < 0.08
    if who != "visitor" or identify:
        item["userId"] = random.choice(["x", "ü"])
    if who != "user":
        item["anonymousId"] = random.choice(["x", "ø"])
    keys = random.sample(["plan", "a.b"], random.randint(0, 2))
    values = {key: random.choice(["pro", "größe 😀", 5, 5.0, None, "null"]) for key in keys}
    if identify:
        return {**item, "type": "identify", "traits": values}
    return {**item, "event": random.choice([*NAMES, "X"]), "properties": values}


def case_of(random: Random) -> Case:
    zone, middle = zone_of(random)
    order = random.choice(["ordered", "ordered", "ordered", "strict", "any"])
    steps = steps_of(random, order)
    from_ms = middle + random.choice([0, -2_000, -2_000, -DAY_MS, -40 * DAY_MS])
    question = Question(
        timezone=zone,
        week_start=random.randint(0, 6),
        now_ms=middle + random.randint(-DAY_MS, 20 * DAY_MS),
        from_ms=from_ms,
        to_ms=max(from_ms, middle) + random.choice([0, 3_000, 5_000, DAY_MS]),
        steps=steps,
        exclusions=exclusions_of(random, order, steps),
        order=order,
        tie=random.choice(["either", "either", "strict"]) if order != "any" else "either",
        window_ms=random.choice(WINDOWS_S) * 1_000,
        conditions=seldom(random),
        breakdown=random.choice([None, *PATHS]),
        attribution=random.choice(["first", "last", random.randint(1, len(steps))]),
        interval=random.choice(["day", "day", "week", "month"]),
    )

    def of_one() -> list[dict[str, Any]]:
        return [item_of(random, middle) for _ in range(random.choice([3, 25, 35, 45, 45]))]

    return question, households(random, of_one)


def selection_document(step: Step | Exclusion) -> dict[str, Any]:
    filters = [filter_text(condition) for condition in step.conditions]
    names = {"event": step.events[0]} if len(step.events) == 1 else {"events": list(step.events)}
    return {**names, "filter": filters}


def step_document(step: Step) -> Any:
    if not step.conditions and len(step.events) == 1 and not step.optional:
        return step.events[0]
    return {**selection_document(step), "optional": step.optional}


def document_of(question: Question) -> dict[str, Any]:
    attribution = question.attribution
    document: dict[str, Any] = {
        "steps": [step_document(step) for step in question.steps],
        "exclusions": [
            {**selection_document(out), "from_step": out.from_step, "to_step": out.to_step}
            for out in question.exclusions
        ],
        "from": utc_text(question.from_ms),
        "to": utc_text(question.to_ms),
        "filter": [filter_text(condition) for condition in question.conditions],
        "window": f"{question.window_ms // 1_000}s",
        "order": question.order,
        "tie": question.tie,
        "interval": question.interval,
        "attribution": {"step": attribution} if isinstance(attribution, int) else attribution,
    }
    if question.breakdown is not None:
        document["breakdown"] = written(question.breakdown)
        document["breakdown_limit"] = BREAKDOWN_LIMIT
    return document


def shown_table(question: Question, table: Table) -> dict[str, Any]:
    """Return what the answer must show of an oracle's table."""
    counts = [len(persons) for persons in table.reached]
    steps = []
    for place, step in enumerate(question.steps):
        before = max((i for i in range(place) if not question.steps[i].optional), default=0)
        elapsed = table.elapsed[place]
        shown = {
            "event": " or ".join(step.events) or "any event",
            "count": counts[place],
            "conversion_from_first": share(counts[place], counts[0]),
            "conversion_from_previous": share(counts[place], counts[before]),
            "dropped": counts[before] - counts[place],
            "drop_off": share(counts[before] - counts[place], counts[before]),
            "average_time_s": seconds(share(sum(elapsed), len(elapsed))),
            "median_time_s": seconds(median(elapsed) if elapsed else None),
        }
        steps.append({**shown, "optional": True} if step.optional else shown)
    durations = table.durations
    return {
        "steps": steps,
        "conversion": share(counts[-1], counts[0]),
        "average_time_s": seconds(share(sum(durations), len(durations))),
        "median_time_s": seconds(median(durations) if durations else None),
        "data": [
            {
                "date": bucket.label,
                "counts": [len(persons) for persons in bucket.reached],
                "conversion": share(len(bucket.reached[-1]), len(bucket.reached[0])),
                **({} if bucket.complete else {"complete": False}),
            }
            for bucket in table.buckets
        ],
    }


def share(part: int, whole: int) -> float | None:
    return float(Fraction(part, whole)) if whole else None


def seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1_000


def histogram(bins: list[dict[str, Any]], durations: list[int]) -> list[int]:
    """Return how many durations lie in each bin of an answer; the last includes its end."""
    edges = [1_000 * part["from_s"] for part in bins]
    counts = [0] * len(bins)
    for duration in durations:
        counts[bisect_right(edges, duration) - 1] += 1
    return counts


def compare(
    store: Any, question: Question, history: Households, cells_most: int = 0, persons_most: int = 0
) -> None:
    """Assert that the table is the oracle's, and so are some cells' persons and some verdicts."""
    workspace = fresh_workspace_id()
    insert_history(store, workspace, history)
    frame = Frame(workspace, question.timezone, question.week_start, question.now_ms)
    reader = Reader(store, frame)
    query = funnels.question(read_document(document_of(question), funnels.Document), frame)
    answer = funnels.run(reader, query)
    expected = naive(question, history)
    parts: dict[str | None, Any] = {None: answer}
    parts |= {json.dumps(part["value"]): part for part in answer.get("breakdown", [])}
    names = ("steps", "conversion", "average_time_s", "median_time_s", "data")
    assert {value: {name: part[name] for name in names} for value, part in parts.items()} == {
        value: shown_table(question, table) for value, table in expected.items()
    }
    for value, part in parts.items():
        bins = part["histogram"]
        assert [one["count"] for one in bins] == histogram(bins, expected[value].durations)
    cells = cells_of(question, expected)
    for cell, behind in some(cells, cells_most):
        found = [row[0] for row in reader.rows(funnels.persons(reader, query, cell))]
        assert sorted(found) == sorted(map(key_of, behind)), cell
    counted = counted_attempts(question, history)
    for person in some(everybody(history), persons_most):
        verdict = funnels.explain(reader, query, Person(*person))
        told = {
            step["step"] - 1: step["filled_by"]["id"]
            for step in verdict["steps"]
            if step["counted"]
        }
        filled = counted[person].filled if person in counted else {}
        assert told == {place: event_id(event.position) for place, event in filled.items()}
        assert verdict["counted"] is (person in counted)
        missing = [step["missing"] for step in verdict["steps"] if not step["counted"]]
        assert all(missing)
        assert verdict["counted"] or verdict["missing"]


def cells_of(
    question: Question, expected: dict[str | None, Table]
) -> list[tuple[dict[str, Any], set[Any]]]:
    """Return every cell somebody is behind, and an empty one."""
    cells = []
    for value, table in expected.items():
        everywhere = [({}, table.reached)]
        everywhere += [({"date": bucket.label}, bucket.reached) for bucket in table.buckets]
        for place in range(len(question.steps)):
            before = max((i for i in range(place) if not question.steps[i].optional), default=0)
            for where, reached in everywhere:
                cell = {"step": place + 1, **where, **named_value(value)}
                cells.append((cell, reached[place]))
                cells.append(({**cell, "dropped": True}, reached[before] - reached[place]))
    return [cell for cell in cells if cell[1]] + [cell for cell in cells if not cell[1]][:1]


@pytest.mark.timeout(600)
@quick
@given(case=cases(case_of))
def test_funnels_count_as_the_oracle_does(store, case):
    """Every number is that of the naive definition."""
    compare(store, *case)


@pytest.mark.timeout(600)
@quick_persons
@given(case=cases(case_of))
def test_behind_funnels_are_whom_the_oracle_counts(store, case):
    """The persons behind each number and each person's verdict follow the definition."""
    compare(store, *case, *ASKED)


@pytest.mark.slow
@pytest.mark.timeout(600)
@settings(parent=thorough, max_examples=34)
@given(case=cases(case_of))
def test_funnels_count_as_the_oracle_does_in_many_histories(store, case):
    """Numbers, persons and verdicts stay the naive ones over two thousand persons."""
    compare(store, *case, 1, 1)
