"""Who did an event, and what is known of them: the definitions once more, as slowly as they read.

A history is the list of wire-like items of tests/query/rows.py, with `timestamp` in milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

Item = dict[str, Any]
Person = tuple[str, str]

COUNTERPARTS_MAX = 1_000


class Households(list[Item]):
    """One history made of many that share no id: nothing in one says anything of another.

    Who did an event is found once, and looked for only in its household: the definitions below
    read the whole of a history for every event.
    """

    def __init__(self, households: Iterable[list[Item]]) -> None:
        self.households = list(households)
        super().__init__(chain.from_iterable(self.households))
        self._of = {
            (side, item[side]): household
            for household in self.households
            for item in household
            for side in ("userId", "anonymousId")
            if item.get(side)
        }
        self._items = {id(item): item for item in self}
        self._persons: dict[int, Person] = {}

    def only(self, keep: Callable[[Item], bool]) -> Households:
        return Households([list(filter(keep, household)) for household in self.households])

    def changed(self, change: Callable[[Item], Item]) -> Households:
        return Households([list(map(change, household)) for household in self.households])

    def around(self, side: str, known: str) -> list[Item]:
        """Return the household of an id, an empty one where nobody has it."""
        return self._of.get((side, known), [])

    def person_of(self, event: Item) -> Person:
        if self._items.get(id(event)) is not event:
            return person_of(event, self.around("anonymousId", event["anonymousId"]))
        if id(event) not in self._persons:
            household = self.around("anonymousId", event["anonymousId"])
            self._persons[id(event)] = person_of(event, household)
        return self._persons[id(event)]


def events_of(history: list[Item]) -> list[Item]:
    return [item for item in history if item.get("type", "track") == "track"]


def person_of(event: Item, history: list[Item]) -> Person:
    """Return ("user", id) or ("anonymous", id)."""
    if event.get("userId"):
        return ("user", event["userId"])
    if isinstance(history, Households):
        return history.person_of(event)
    anonymous_id = event["anonymousId"]
    links = [link for link in _links_seen_by(event, history) if link["anonymousId"] == anonymous_id]
    if not links:
        return ("anonymous", anonymous_id)
    before = [link for link in links if link["timestamp"] <= event["timestamp"]]
    if before:
        decisive_time = max(link["timestamp"] for link in before)
    else:
        decisive_time = min(link["timestamp"] for link in links)
    decisive = [link for link in links if link["timestamp"] == decisive_time]
    winner = max(decisive, key=lambda link: (_message_id(link), link["userId"]))
    return ("user", winner["userId"])


def _links_seen_by(event: Item, history: list[Item]) -> list[Item]:
    stated = [item for item in history if item.get("userId") and item.get("anonymousId")]
    if _key_type(event) == "secret":
        stated = [link for link in stated if _key_type(link) == "secret"]
    users: dict[str, set[str]] = {}
    anonymous: dict[str, set[str]] = {}
    for link in stated:
        users.setdefault(link["anonymousId"], set()).add(link["userId"])
        anonymous.setdefault(link["userId"], set()).add(link["anonymousId"])
    return [
        link
        for link in stated
        if len(users[link["anonymousId"]]) <= COUNTERPARTS_MAX
        and len(anonymous[link["userId"]]) <= COUNTERPARTS_MAX
    ]


def traits_of(person: Person, history: list[Item]) -> dict[str, Any]:
    """Return the traits of a person; an anonymous one has none."""
    kind, user_id = person
    if kind == "anonymous":
        return {}
    if isinstance(history, Households):
        return traits_of(person, history.around("userId", user_id))
    said: dict[str, list[tuple[bool, int, str, int, Any]]] = {}
    for position, item in enumerate(history):
        if item.get("type") == "identify" and item["userId"] == user_id:
            for trait, value in item.get("traits", {}).items():
                rank = (
                    _key_type(item) == "secret",
                    item["timestamp"],
                    _message_id(item),
                    position,
                    value,
                )
                said.setdefault(trait, []).append(rank)
    newest = {trait: max(ranks, key=lambda rank: rank[:4])[4] for trait, ranks in said.items()}
    return {trait: value for trait, value in newest.items() if value is not None}


def _key_type(item: Item) -> str:
    return item.get("keyType", "secret")


def _message_id(item: Item) -> str:
    return item.get("messageId") or ""
