"""Events that fit several steps: how far those of one time lead, and how many steps a set fills."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from random import Random

import pytest

from saytics_server.errors import Refused
from saytics_server.query.funnel_shared import groups_of, lead, may_share
from saytics_server.query.model import Selection


def tried(masks: Sequence[int], steps: int) -> list[tuple[int, int]]:
    """Return the runs of every level by trying every choice of events, first stored first."""
    runs = []
    for level in range(steps - 1, -1, -1):
        ways = (
            way
            for count in range(min(steps - level, len(masks)), 0, -1)
            for way in permutations(range(len(masks)), count)
            if all(masks[event] >> level + nth & 1 for nth, event in enumerate(way))
        )
        runs += [(level + nth, event) for nth, event in enumerate(next(ways, ()))]
    return runs


@pytest.mark.parametrize(
    ("masks", "steps", "runs"),
    [
        ([0b11], 2, [(1, 0), (0, 0)]),
        ([0b11, 0b01], 2, [(1, 0), (0, 1), (1, 0)]),
        ([0b11, 0b11], 2, [(1, 0), (0, 0), (1, 1)]),
        ([0b100, 0b001], 3, [(2, 0), (0, 1)]),
        ([], 2, []),
    ],
)
def test_each_level_is_led_as_far_as_the_events_reach(masks, steps, runs):
    """From each level the next steps get events of their own, as many as can have one."""
    assert lead(masks, steps) == runs


def test_the_runs_are_those_that_trying_everything_finds():
    """Whatever the masks, no choice of events leads further, and none takes earlier ones."""
    random = Random(1)
    for _ in range(500):
        masks = [random.randrange(1, 16) for _ in range(random.randint(1, 5))]
        assert lead(masks, 4) == tried(masks, 4), masks


def test_hundreds_of_events_of_one_time_are_resolved():
    """Twenty steps and two hundred events in a hundred ways: each level is led to the end."""
    random = Random(2)
    masks = [1 << random.randrange(20) | 1 << random.randrange(20) for _ in range(100)] * 2
    runs = lead(masks, 20)
    assert [step for step, _ in runs] == [
        step for level in range(19, -1, -1) for step in range(level, 20)
    ]
    assert all(masks[event] >> step & 1 for step, event in runs)


def filled(masks: Sequence[int], steps: int) -> int:
    """Return how many different steps events can fill, by trying every way."""
    ways = {0}
    for mask in masks:
        free = [1 << step for step in range(steps) if mask >> step & 1]
        ways |= {way | bit for way in ways for bit in free if not way & bit}
    return max(way.bit_count() for way in ways)


def test_the_counts_of_groups_tell_how_many_steps_are_filled():
    """Every group's k-th step is filled exactly when each of its counts has been reached."""
    random = Random(3)
    for _ in range(500):
        kinds = random.sample(range(1, 16), random.randint(1, 4))
        seen = [random.choice(kinds) for _ in range(random.randint(0, 6))]
        told = sum(
            all(sum(mask in count.masks for mask in seen) >= count.nth for count in counts)
            for group in groups_of(kinds, 4)
            for counts in group
        )
        assert told == filled(seen, 4), (kinds, seen)


def test_steps_that_share_events_in_too_many_ways_are_refused():
    """Six different steps of any order that share events are more than is worked out."""
    chain = [0b11 << step for step in range(5)]
    with pytest.raises(Refused) as raised:
        groups_of(chain, 6)
    assert raised.value.rejection.field == "steps"
    assert len(groups_of([0b111111], 6)) == 1


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        (("A",), ("B",), False),
        (("A", "B"), ("B", "C"), True),
        ((), ("B",), True),
    ],
)
def test_only_names_tell_that_no_event_is_of_two_selections(one, other, shared):
    """Filters may or may not exclude each other: the events themselves are asked then."""
    assert may_share([Selection(one), Selection(other)]) is shared
