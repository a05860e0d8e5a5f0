"""Events that fit more than one step, and what becomes of those at the same time. Pure.

One event fills one step. A mask has bit k for the step at place k. In a given order, what matters
of the events of one time is how far they lead from each level (the number of steps filled before):
from level 0 two events of the masks {0, 1} and {0} fill steps 0 and 1, whichever was stored first.
`lead` states that as runs of steps, each with the event that fills it:

    level 1: step 1 by event 0
    level 0: step 0 by event 1, step 1 by event 0

Read from the highest level down, a walk that takes the next step it lacks enters the run of its own
level and finds nothing more in those below. In any order, how many steps a set of events can fill
follows from Hall's theorem; `groups_of` says which counts it takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import msgspec

from saytics_server.query.model import Selection, invalid

# 31 sets of kinds and some eighty counts; beyond that they multiply.
KINDS_MAX = 5


class Count(msgspec.Struct, frozen=True):
    """The `nth` event from a start on whose mask is one of `masks`."""

    masks: tuple[int, ...]
    nth: int


# For the k-th step filled in a group, k from 1, the counts that must all have been reached.
Group = tuple[tuple[Count, ...], ...]


def may_share(selections: Sequence[Selection]) -> bool:
    """Return whether the names allow an event to be of two of the selections."""
    return any(
        not one.events or not other.events or set(one.events) & set(other.events)
        for one, other in combinations(selections, 2)
    )


def is_shared(mask: int) -> bool:
    """Return whether an event of the mask fits several steps."""
    return mask & (mask - 1) != 0


def lead(masks: Sequence[int], steps: int) -> list[tuple[int, int]]:
    """Return (step, event) of the runs of every level, highest level first.

    Of the ways that lead furthest it is the one whose steps take the first events, in their order.
    """
    return [run for level in range(steps - 1, -1, -1) for run in _run(masks, level, steps)]


def _run(masks: Sequence[int], level: int, steps: int) -> list[tuple[int, int]]:
    reached = level + _filled(masks, range(level, steps))
    left = list(masks)
    run = []
    for step in range(level, reached):
        tried = set()
        for event, mask in enumerate(left):
            if not mask >> step & 1 or mask in tried:
                continue
            # Events of the same mask leave the same to the later steps.
            tried.add(mask)
            left[event] = 0
            if _filled(left, range(step + 1, reached)) == reached - step - 1:
                run.append((step, event))
                break
            left[event] = mask
    return run


def _filled(masks: Sequence[int], steps: range) -> int:
    """Return how many of the steps, in their order, can each have an event of its own.

    By augmenting paths (Kuhn): a step without an event of its own left makes an earlier one move.
    """
    taken: dict[int, int] = {}

    def place(step: int, tried: set[int]) -> bool:
        for event, mask in enumerate(masks):
            if mask >> step & 1 and event not in tried:
                tried.add(event)
                if event not in taken or place(taken[event], tried):
                    taken[event] = step
                    return True
        return False

    for count, step in enumerate(steps):
        if not place(step, set()):
            return count
    return len(steps)


def groups_of(masks: Sequence[int], steps: int) -> list[Group]:
    """Return the steps that share events, group by group, with how to tell each one filled.

    Steps without an event are in none. Of a group of c steps, k are filled as soon as every set of
    s of its steps has seen s - (c - k) events; sets that differ only in steps which always share
    their events need not be told apart. Raises Refused("invalid_parameter").
    """
    groups = []
    for group in _connected(masks, steps):
        of_kind: dict[tuple[int, ...], list[int]] = {}
        for step in group:
            having = tuple(mask for mask in masks if mask >> step & 1)
            of_kind.setdefault(having, []).append(step)
        if len(of_kind) > KINDS_MAX:
            raise invalid(
                "steps", f"In any order at most {KINDS_MAX} different steps may share events."
            )
        sets = [
            (
                tuple(sorted({mask for having in chosen for mask in having})),
                sum(len(of_kind[having]) for having in chosen),
            )
            for size in range(1, len(of_kind) + 1)
            for chosen in combinations(of_kind, size)
        ]
        groups.append(
            tuple(
                tuple(
                    Count(having, size - len(group) + filled)
                    for having, size in sets
                    if size - len(group) + filled > 0
                )
                for filled in range(1, len(group) + 1)
            )
        )
    return groups


def _connected(masks: Sequence[int], steps: int) -> list[list[int]]:
    """Return the steps that have events, those joined by an event's mask together."""
    joined: list[int] = []
    for mask in masks:
        apart = [other for other in joined if not other & mask]
        together = [other for other in joined if other & mask]
        joined = [*apart, mask]
        for other in together:
            joined[-1] |= other
    return [[step for step in range(steps) if mask >> step & 1] for mask in sorted(joined)]
