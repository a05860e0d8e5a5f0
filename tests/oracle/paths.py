"""Paths, by walking along the events of one person after the other."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from oracle.people import Item, Person, events_of, person_of
from oracle.values import Condition, holds

# (step from the anchor, event's name; None for the rest)
Node = tuple[int, str | None]
Edge = tuple[Node, Node]


class Question(NamedTuple):
    timezone: str
    from_ms: int
    to_ms: int
    anchors: tuple[str, ...]
    anchor_conditions: list[Condition]
    backward: bool
    depth: int
    gap_ms: int | None  # None: a window instead of sessions
    reach_ms: int
    collapse: bool
    top: int
    exclude: tuple[str, ...]
    conditions: list[Condition]


class Answer(NamedTuple):
    """Who is behind each number, and each person's relabelled paths in order of time."""

    everybody: set[Person]
    nodes: dict[Node, set[Person]]
    edges: dict[Edge, set[Person]]
    paths: dict[Person, list[list[Node]]]


def paths(question: Question, history: list[Item]) -> Answer:
    of_persons = _events_of_persons(question, history)
    walked = {
        person: [
            _walk(question, session, place)
            for session in _sessions(question, events)
            if (place := _anchor(question, session, history)) is not None
        ]
        for person, events in of_persons.items()
    }
    kept = _kept(question, walked)
    answer = Answer(set(), {}, {}, {})
    for person, names_of_paths in walked.items():
        relabelled = [_relabelled(names, kept) for names in names_of_paths]
        answer.paths[person] = relabelled
        for path in relabelled:
            answer.everybody.add(person)
            for node in path:
                answer.nodes.setdefault(node, set()).add(person)
            for edge in pairwise(path):
                answer.edges.setdefault(edge, set()).add(person)
    return answer


def _events_of_persons(question: Question, history: list[Item]) -> dict[Person, list[Item]]:
    """Return what each person did, in order; equal times in the order of receipt."""
    zone = ZoneInfo(question.timezone)
    found: dict[Person, list[Item]] = {}
    for event in events_of(history):
        if all(holds(condition, event, history, zone) for condition in question.conditions):
            found.setdefault(person_of(event, history), []).append(event)
    return {
        person: sorted(events, key=lambda event: event["timestamp"])  # keeps equal ones in order
        for person, events in found.items()
    }


def _sessions(question: Question, events: list[Item]) -> list[list[Item]]:
    if question.gap_ms is None:
        return [events]
    sessions = [[events[0]]]
    for before, event in pairwise(events):
        if event["timestamp"] - before["timestamp"] >= question.gap_ms:
            sessions.append([])
        sessions[-1].append(event)
    return sessions


def _anchor(question: Question, session: list[Item], history: list[Item]) -> int | None:
    """Return the place of the first anchor in the range."""
    zone = ZoneInfo(question.timezone)
    for place, event in enumerate(session):
        if (
            question.from_ms <= event["timestamp"] <= question.to_ms
            and event["event"] in question.anchors
            and event["event"] not in question.exclude
            and all(holds(c, event, history, zone) for c in question.anchor_conditions)
        ):
            return place
    return None


def _walk(question: Question, session: list[Item], place: int) -> list[str]:
    """Return the names from the anchor on, forward or backward."""
    ahead = session[:place][::-1] if question.backward else session[place + 1 :]
    names = [session[place]["event"]]
    for event in ahead:
        if abs(event["timestamp"] - session[place]["timestamp"]) > question.reach_ms:
            break
        if event["event"] in question.exclude:
            continue
        if question.collapse and event["event"] == names[-1]:
            continue
        names.append(event["event"])
    return names[: question.depth]


def _kept(question: Question, walked: dict[Person, list[list[str]]]) -> set[tuple[int, str, str]]:
    """Return (step, near, far) of the edges that are shown as such."""
    persons: dict[tuple[int, str, str], set[Person]] = {}
    for person, paths_ in walked.items():
        for names in paths_:
            for step in range(1, len(names)):
                edge = (step, names[step - 1], names[step])
                persons.setdefault(edge, set()).add(person)
    kept = set()
    for step in range(1, question.depth):
        edges = [edge for edge in persons if edge[0] == step]
        edges.sort(key=lambda edge: (-len(persons[edge]), edge[1], edge[2]))
        kept |= set(edges[: question.top])
    return kept


def _relabelled(names: list[str], kept: set[tuple[int, str, str]]) -> list[Node]:
    """Return the nodes of a path: where it leaves the kept edges it goes to the rest and ends."""
    path: list[Node] = [(1, names[0])]
    for step in range(1, len(names)):
        if (step, names[step - 1], names[step]) not in kept:
            return [*path, (step + 1, None)]
        path.append((step + 1, names[step]))
    return path
