"""Whose question the store answers next: a few at once, the others in turn.

Workspaces take turns, and within a workspace those who ask (a key, a session): first who has the
least under way, then who has waited longest since the last turn. So whoever floods waits for
himself. The queue is bounded, and when it is full the last of the longest line has to leave it,
which is the flooder's again. Pure bookkeeping: who waits is woken by a callback and does the
waiting.

    ask ─► waiting ─► running ─► leave          `leave` while waiting leaves the queue
              └─► refused: the queue was full
"""

from __future__ import annotations

import enum
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator

import msgspec

from saytics_server.errors import Refused

# A hundred people who open a page at once wait; more than that is a program, which can retry.
WAITING_MAX = 100
# As long as the longest query may run: who waited that long would only wait on.
WAIT_S = 30
RETRY_AFTER_S = 5


class Asker(msgspec.Struct, frozen=True):
    """On whose behalf the store is asked: a workspace, and a key or a session of it."""

    workspace_id: int
    name: str


class State(enum.Enum):
    """How far a turn is."""

    WAITING = enum.auto()
    RUNNING = enum.auto()
    REFUSED = enum.auto()
    OVER = enum.auto()


class Turn:
    """One question's place. `number` is unique in the process."""

    def __init__(self, number: int, asker: Asker, same: Hashable, wake: Callable[[], None]) -> None:
        self.number = number
        self.asker = asker
        self.same = same
        self.wake = wake
        self.state = State.WAITING
        # Nobody waits for the answer any more.
        self.is_stopped = False
        # How many queries of it went to the engine, rather than to what is kept.
        self.engine_queries = 0


class Turns:
    """The queue. Thread-safe; never blocks."""

    def __init__(self, at_once: int, waiting_max: int = WAITING_MAX) -> None:
        self._at_once = at_once
        self._waiting_max = waiting_max
        self._lock = threading.Lock()
        self._count = 0
        self._running: set[Turn] = set()
        # Both levels in the order of the last turn, longest ago first. No line is empty.
        self._lines: dict[int, dict[str, deque[Turn]]] = {}

    def ask(self, asker: Asker, wake: Callable[[], None], same: Hashable = None) -> Turn:
        """Queue up. `wake` is called, on any thread, when the turn is running or refused.

        Of those with the same `same` (None is like nothing) one runs at a time. Raises
        Refused("queries_busy").
        """
        with self._lock:
            woken = self._make_room(asker)
            self._count += 1
            turn = Turn(self._count, asker, same, wake)
            line = self._lines.setdefault(asker.workspace_id, {}).setdefault(asker.name, deque())
            line.append(turn)
            woken += self._begin()
        _wake(woken)
        return turn

    def leave(self, turn: Turn) -> None:
        """End a turn, whatever its state; ending it twice does nothing."""
        with self._lock:
            if turn.state is State.WAITING:
                self._take_out(turn)
            self._running.discard(turn)
            turn.state = State.OVER
            woken = self._begin()
        _wake(woken)

    def running(self) -> list[Turn]:
        """Return the turns under way."""
        with self._lock:
            return list(self._running)

    def waiting_count(self) -> int:
        """Return how many wait."""
        with self._lock:
            return sum(map(_size, self._lines.values()))

    def _begin(self) -> list[Turn]:
        """Start as many turns as there is room for, and return them."""
        begun = []
        while len(self._running) < self._at_once:
            turn = next(self._in_order(), None)
            if turn is None:
                break
            self._take_out(turn)
            self._to_the_end(turn.asker)
            turn.state = State.RUNNING
            self._running.add(turn)
            begun.append(turn)
        return begun

    def _in_order(self) -> Iterator[Turn]:
        """Yield the turns that may begin, the next one first."""
        askers = [turn.asker for turn in self._running]
        workspaces = [asker.workspace_id for asker in askers]
        asked = {turn.same for turn in self._running} - {None}
        for workspace_id in sorted(self._lines, key=workspaces.count):
            lines = self._lines[workspace_id]
            for name in sorted(lines, key=lambda name: askers.count(Asker(workspace_id, name))):
                yield from (turn for turn in lines[name] if turn.same not in asked)

    def _to_the_end(self, asker: Asker) -> None:
        lines = self._lines.pop(asker.workspace_id, None)
        if lines is not None:
            self._lines[asker.workspace_id] = lines
            line = lines.pop(asker.name, None)
            if line is not None:
                lines[asker.name] = line

    def _take_out(self, turn: Turn) -> None:
        lines = self._lines[turn.asker.workspace_id]
        line = lines[turn.asker.name]
        line.remove(turn)
        if not line:
            del lines[turn.asker.name]
        if not lines:
            del self._lines[turn.asker.workspace_id]

    def _make_room(self, asker: Asker) -> list[Turn]:
        """Refuse the last of the longest line if the queue is full; that may be the newcomer."""
        if sum(map(_size, self._lines.values())) < self._waiting_max:
            return []
        longest = max(self._lines, key=lambda workspace_id: _size(self._lines[workspace_id]))
        own = self._lines.get(asker.workspace_id, {})
        if _size(own) >= _size(self._lines[longest]):
            longest = asker.workspace_id
        lines = self._lines[longest]
        line = max(lines.values(), key=len)
        if longest == asker.workspace_id and len(own.get(asker.name, ())) >= len(line):
            raise busy()
        turn = line[-1]
        self._take_out(turn)
        turn.state = State.REFUSED
        return [turn]


def busy() -> Refused:
    """Return the refusal of a question that would wait too long."""
    return Refused("queries_busy", headers={"Retry-After": str(RETRY_AFTER_S)})


def _size(lines: dict[str, deque[Turn]]) -> int:
    return sum(map(len, lines.values()))


def _wake(turns: list[Turn]) -> None:
    for turn in turns:
        turn.wake()
