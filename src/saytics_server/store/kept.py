"""What the store answered lately, kept for as long as nothing was written that it may depend on.

A query is its SQL with the values bound to it, and that says everything an answer depends on but
the rows: range, time zone, cohorts, and the time of asking where that matters. Every write raises
the workspace's generation, and with it goes all that is kept of the workspace. Nothing has to
expire, and nothing old can be shown.

Rows are kept pickled: their size is known then, and no reader can change another's.
"""

from __future__ import annotations

import hashlib
import pickle
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

Row = Sequence[Any]
Rows = Sequence[Row]
Generation = tuple[int, int]

# More rows than any report's answer is made of; sizing them would take longer than it may save.
ENTRY_ROWS_MAX = 20_000


class Limits(msgspec.Struct, frozen=True):
    """How much is kept."""

    # A thirtieth of what the process may take. A report's rows are a few kB.
    bytes: int = 64 * 1024 * 1024
    # So that one workspace cannot push out all others.
    workspace_bytes: int = 16 * 1024 * 1024
    # A dashboard of 20 figures asks about 100 queries; an entry costs 300 bytes besides its rows.
    workspace_entries: int = 1_000
    # One answer that would push out half of its workspace's others is not asked often enough.
    entry_bytes: int = 2 * 1024 * 1024


class _Shelf:
    """What is kept of one workspace, least recently used first."""

    def __init__(self) -> None:
        self.entries: OrderedDict[bytes, bytes] = OrderedDict()
        self.bytes = 0

    def drop_oldest(self) -> int:
        key, content = self.entries.popitem(last=False)
        size = len(key) + len(content)
        self.bytes -= size
        return size


class Kept:
    """The rows of queries, by workspace. Thread-safe."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._lock = threading.Lock()
        self._epoch = 0
        self._generations: dict[int, int] = {}
        self._bytes = 0
        # Least recently used first.
        self._shelves: OrderedDict[int, _Shelf] = OrderedDict()

    def generation(self, workspace_id: int) -> Generation:
        """Return what changes with every write to the workspace; read it before asking."""
        with self._lock:
            return self._generation(workspace_id)

    def written(self, workspace_ids: Iterable[int]) -> None:
        """Forget all of some workspaces. To be called after every write, before it is reported."""
        with self._lock:
            for workspace_id in workspace_ids:
                self._generations[workspace_id] = self._generations.get(workspace_id, 0) + 1
                self._drop(workspace_id)

    def written_anywhere(self) -> None:
        """Forget everything."""
        with self._lock:
            self._epoch += 1
            self._shelves.clear()
            self._bytes = 0

    def find(self, workspace_id: int, key: bytes) -> Rows | None:
        """Return the rows kept of a query; None if there are none."""
        with self._lock:
            shelf = self._shelves.get(workspace_id)
            content = shelf.entries.get(key) if shelf is not None else None
            if shelf is None or content is None:
                return None
            self._shelves.move_to_end(workspace_id)
            shelf.entries.move_to_end(key)
        rows: Rows = pickle.loads(content)  # noqa: S301 - written by `keep` below
        return rows

    def keep(self, workspace_id: int, key: bytes, rows: Rows, generation: Generation) -> None:
        """Keep the rows of a query that began at `generation`, if nothing was written since."""
        if len(rows) > ENTRY_ROWS_MAX:
            return
        content = pickle.dumps(rows, pickle.HIGHEST_PROTOCOL)
        size = len(key) + len(content)
        if size > self._limits.entry_bytes:
            return
        with self._lock:
            if generation != self._generation(workspace_id):
                return
            shelf = self._shelves.setdefault(workspace_id, _Shelf())
            self._shelves.move_to_end(workspace_id)
            if key in shelf.entries:
                return
            shelf.entries[key] = content
            shelf.bytes += size
            self._bytes += size
            self._make_room(shelf)

    def _generation(self, workspace_id: int) -> Generation:
        return self._epoch, self._generations.get(workspace_id, 0)

    def _make_room(self, shelf: _Shelf) -> None:
        limits = self._limits
        while len(shelf.entries) > limits.workspace_entries or shelf.bytes > limits.workspace_bytes:
            self._bytes -= shelf.drop_oldest()
        # Whole workspaces, the one that asked longest ago first; this one asked just now.
        while self._bytes > limits.bytes:
            self._drop(next(iter(self._shelves)))

    def _drop(self, workspace_id: int) -> None:
        shelf = self._shelves.pop(workspace_id, None)
        if shelf is not None:
            self._bytes -= shelf.bytes


def key_of(sql: str, parameters: Mapping[str, Any]) -> bytes:
    """Return what two queries share only if they are the same in text and in bound values."""
    asked = f"{sql}\0{sorted(parameters.items())!r}"
    return hashlib.blake2b(asked.encode("utf-8", "surrogatepass"), digest_size=32).digest()
