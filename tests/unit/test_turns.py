"""The queue for the store: who is next, who has to leave it, and what wakes whom."""

from __future__ import annotations

from typing import Any

import pytest

from saytics_server.errors import Refused
from saytics_server.store.turns import Asker, State, Turn, Turns


class Queue:
    """Turns by name, and the order in which they began or were sent away."""

    def __init__(self, at_once: int = 1, waiting_max: int = 100) -> None:
        self.turns = Turns(at_once, waiting_max)
        self.begun: list[str] = []
        self.refused: list[str] = []
        self._asked: dict[str, Turn] = {}

    def ask(self, name: str, workspace_id: int, key: str = "k", same: Any = None) -> None:
        def wake() -> None:
            # One that begins at once is woken before `ask` has returned it.
            turn = self._asked.get(name)
            is_refused = turn is not None and turn.state is State.REFUSED
            (self.refused if is_refused else self.begun).append(name)

        self._asked[name] = self.turns.ask(Asker(workspace_id, key), wake, same)

    def end(self, name: str) -> None:
        self.turns.leave(self._asked[name])

    def drain(self) -> list[str]:
        """End what runs, one after another, until nothing waits; return the order of beginning."""
        while running := self.turns.running():
            self.turns.leave(running[0])
        return self.begun


def test_workspaces_take_turns():
    """One that asks ten times waits for itself: another's single question comes third."""
    queue = Queue()
    for number in range(10):
        queue.ask(f"flood {number}", 1)
    queue.ask("single", 2)
    # The flooder was in the queue first; the other's turn is right after that.
    assert queue.drain()[:4] == ["flood 0", "flood 1", "single", "flood 2"]


def test_the_keys_of_a_workspace_take_turns():
    """Within a workspace a key that floods waits for itself, too."""
    queue = Queue()
    for number in range(5):
        queue.ask(f"flood {number}", 1, "a")
    queue.ask("b 0", 1, "b")
    queue.ask("b 1", 1, "b")
    order = ["flood 0", "flood 1", "b 0", "flood 2", "b 1", "flood 3", "flood 4"]
    assert queue.drain() == order


def test_who_has_less_under_way_comes_first():
    """With one question running already, a workspace yields the next place to one with none."""
    queue = Queue(at_once=2)
    for name, workspace_id in (("a0", 1), ("a1", 1), ("a2", 1), ("a3", 1), ("b0", 2), ("b1", 2)):
        queue.ask(name, workspace_id)
    assert queue.begun == ["a0", "a1"]
    queue.end("a0")
    assert queue.begun[2:] == ["b0"]
    queue.end("b0")
    assert queue.begun[3:] == ["b1"]
    queue.end("b1")
    assert queue.begun[4:] == ["a2"]


def test_who_comes_back_at_once_does_not_pass_those_who_wait():
    """One that asks again and again, one at a time, shares with a line that waits."""
    queue = Queue()
    for number in range(3):
        queue.ask(f"line {number}", 1)
    queue.ask("again 0", 2)
    queue.end("line 0")
    queue.end("line 1")
    queue.ask("again 1", 2)
    queue.end("again 0")
    queue.end("line 2")
    assert queue.begun == ["line 0", "line 1", "again 0", "line 2", "again 1"]


def test_a_full_queue_sends_away_the_last_of_the_longest_line():
    """A newcomer is let in at the flooder's cost, and the flooder himself is refused."""
    queue = Queue(waiting_max=3)
    for number in range(4):
        queue.ask(f"flood {number}", 1)
    with pytest.raises(Refused) as refused:
        queue.ask("flood 4", 1)
    assert (refused.value.kind.code, refused.value.headers) == (
        "queries_busy",
        {"Retry-After": "5"},
    )
    queue.ask("single", 2)
    assert queue.refused == ["flood 3"]
    assert queue.drain() == ["flood 0", "flood 1", "single", "flood 2"]


def test_within_a_workspace_the_longest_line_gives_way():
    """A full queue of one key lets another key of the same workspace in."""
    queue = Queue(waiting_max=3)
    for number in range(4):
        queue.ask(f"flood {number}", 1, "a")
    queue.ask("single", 1, "b")
    assert queue.refused == ["flood 3"]
    assert queue.drain() == ["flood 0", "flood 1", "single", "flood 2"]


def test_of_equal_questions_one_runs_at_a_time():
    """The others wait for what it leaves, and do not keep other questions from running."""
    queue = Queue(at_once=2)
    queue.ask("first", 1, same="same")
    queue.ask("second", 1, same="same")
    queue.ask("other", 1, same="other")
    assert queue.begun == ["first", "other"]
    queue.end("first")
    assert queue.begun == ["first", "other", "second"]


def test_who_leaves_while_waiting_never_begins():
    """A place given up goes to the next; giving it up twice does nothing."""
    queue = Queue()
    for name in ("first", "gone", "next"):
        queue.ask(name, 1)
    queue.end("gone")
    queue.end("gone")
    assert queue.turns.waiting_count() == 1
    assert queue.drain() == ["first", "next"]
    assert queue.turns.waiting_count() == 0
