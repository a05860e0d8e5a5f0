"""Histories in which a few persons come, stay, go and come back, around changes of the clock.

Denser than what values need: many events of two names on neighbouring days, at equal times too,
under ids that get linked in the middle of them, by either class of key. A history is that of many
households, which share no id: the price of a query hardly depends on how many persons it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from oracle.calendar import day_start_ms
from oracle.people import Households, Item, Person, events_of, person_of

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

Thing = TypeVar("Thing")
# A question and a history.
Case = tuple[Any, Households]
# Some 80 persons, two anonymous ids each household: all values of a breakdown are shown.
HOUSEHOLDS = 40
BREAKDOWN_LIMIT = 200

# A change of the clock in each direction, a date that never was, a turn of the year in its weeks.
ZONES = {
    "UTC": 1704067200000,
    "Europe/Berlin": 1711846800000,
    "America/New_York": 1730613600000,
    "Australia/Lord_Howe": 1712417400000,
    "Asia/Kolkata": 1704047400000,
    "America/Sao_Paulo": 1541300400000,
    "Pacific/Apia": 1325239200000,
}
PLANS = ["pro", "größe 😀", 5, 5.0, True, None, "null", "other"]
PATHS = [
    ("properties", "plan"),
    ("properties", "a.b"),
    ("user", "plan"),
    ("field", "event"),
    ("field", "anonymousId"),
]
_checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
# The same examples every time: a run that lands or not must not depend on chance. A table is a few
# statements; persons and verdicts behind it are a dozen more. A seed has nothing to shrink to.
_phases = [Phase.explicit, Phase.reuse, Phase.generate]
quick = settings(
    derandomize=True, max_examples=8, deadline=None, suppress_health_check=_checks, phases=_phases
)
quick_persons = settings(parent=quick, max_examples=2)
thorough = settings(parent=quick, max_examples=30)


def cases(case_of: Callable[[Random], Case]) -> st.SearchStrategy[Case]:
    """Return the cases made of numbers: each as dense as the one before.

    Drawn part by part, the first few hundred examples are nearly empty, and prove nothing.
    """
    return st.integers(0, 2**64 - 1).map(lambda seed: case_of(Random(seed)))


def households(random: Random, history_of_one: Callable[[], list[Item]]) -> Households:
    """Return the histories of many households as one, seldom that of a single one."""
    return Households(
        [_apart(item, number) for item in history_of_one()]
        for number in range(random.choice([1, *[HOUSEHOLDS] * 7]))
    )


def _apart(item: Item, household: int) -> Item:
    """Return an item under the ids of a household: `x` is `x7` there. The first keeps its own."""
    tail = str(household) if household else ""
    ids = {side: item[side] + tail for side in ("userId", "anonymousId") if side in item}
    return {**item, **ids}


def zone_of(random: Random) -> tuple[str, int]:
    """Return a time zone and the instant its histories lie around."""
    return random.choice(sorted(ZONES.items()))


def conditions_of(random: Random) -> list[tuple[tuple[str, ...], str, str]]:
    """Return no condition, or seldom one: each removes most events."""
    if random.random() < 0.85:
        return []
    texts = ["pro", "5", "A", "true", "größe 😀", "x"]
    return [(random.choice(PATHS), random.choice(["=", "!=", "!=", "~"]), random.choice(texts))]


def breakdown_of(random: Random) -> tuple[str, ...] | None:
    return random.choice([None, *PATHS])


def history_of(random: Random, middle: int) -> Households:
    """Return what clients sent, in the order it was received, late events among it."""

    def of_one() -> list[Item]:
        return [_item_of(random, middle) for _ in range(random.choice([1, 15, 30, 45]))]

    return households(random, of_one)


def _item_of(random: Random, middle: int) -> dict[str, Any]:
    far = random.random() < 0.1
    moment = random.choice([0, 0, 1, -1, HOUR_MS, -HOUR_MS, 12 * HOUR_MS, 23 * HOUR_MS])
    item: dict[str, Any] = {
        "timestamp": middle
        + random.randint(-70 if far else -4, 70 if far else 7) * DAY_MS
        + moment,
        "keyType": random.choice(["secret", "secret", "write"]),
        "messageId": random.choice(["", "m1", "m2"]),
    }
    who = random.choice(["user", "visitor", "visitor", "both"])
    identify = random.random() < 0.15
    if who != "visitor" or identify:
        item["userId"] = random.choice(["x", "ü"])
    if who != "user":
        item["anonymousId"] = random.choice(["x", "ø"])
    keys = random.sample(["plan", "a.b"], random.randint(0, 2))
    values = {key: random.choice(PLANS) for key in keys}
    if identify:
        return {**item, "type": "identify", "traits": values}
    return {**item, "event": random.choice(["A", "A", "B 'ü'", "C"]), "properties": values}


def range_of(random: Random, zone: str, middle: int, days_most: int) -> tuple[int, int]:
    """Return a range of instants, or one of whole local days."""
    from_ms = middle + random.randint(-4 * DAY_MS, DAY_MS)
    to_ms = from_ms + random.choice([0, DAY_MS, days_most * DAY_MS, days_most * DAY_MS])
    if random.random() < 0.5:
        return from_ms, to_ms
    calendar = ZoneInfo(zone)
    return day_start_ms(from_ms, calendar, 0), day_start_ms(to_ms, calendar, -1) - 1


def written(path: tuple[str, ...]) -> str:
    """Return a path as a filter string names it."""
    source, *keys = path
    return ".".join(
        [*([] if source == "field" else [source]), *(k.replace(".", r"\.") for k in keys)]
    )


def filter_text(condition: tuple[tuple[str, ...], str, str]) -> str:
    path, operator, text = condition
    return written(path) + operator + text


def everybody(history: list[dict[str, Any]]) -> list[Person]:
    """Return every person with an event, and whom a link took out of the count."""
    found = {person_of(event, history) for event in events_of(history)}
    found |= {("anonymous", item["anonymousId"]) for item in history if item.get("anonymousId")}
    return sorted(found)


def key_of(person: Person) -> str:
    """Return the text of the column `person`."""
    return person[0][0] + person[1]


def named_value(value: str | None) -> dict[str, Any]:
    """Return the fields of a cell for a breakdown value as JSON; none for all of them."""
    return {} if value is None else {"value": msgspec.json.decode(value)}


def some(things: Sequence[Thing], most: int) -> Sequence[Thing]:
    """Return at most so many, spread over all: each costs a query."""
    return things[:: -(-len(things) // most) or 1] if most else []
