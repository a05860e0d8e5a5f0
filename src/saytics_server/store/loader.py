"""Moves the log into the store: blocks by size or age, each exactly once, also across crashes.

    plan      the block's last position is written to the log durably
    insert    one insert per table under a token made of the block's positions; durable on return
    note      the log's checkpoint moves; from here on the records may be trimmed

A crash before `note` repeats the block: the same positions give the same token, and the store drops
what it already has. Besides, where the store holds more than the checkpoint says at the start, rows
are left out whose positions are stored, so that not even a log that lost its end counts twice. A
row that the store refuses is put aside among the rejected events with the store's reason, and the
rest of its block goes in.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from saytics_server.errors import STORE_REFUSED
from saytics_server.event import IdentifyRow, RejectedRow, Row, TrackRow
from saytics_server.log import Log
from saytics_server.store import Store, StoreRefusedError
from saytics_server.store.blocks import Numbered, columns

logger = logging.getLogger("saytics.loader")

# A block costs 10-15 ms per table whatever its size, so it should be large; its rows are in memory
# as objects and as columns, so it must not be huge.
BLOCK_ROWS_MAX = 50_000
# How long a block gathers rows once there is one: half the freshness that is left after inserting.
BLOCK_AGE_S = 0.3
# After the store as a whole refused a block (no memory, no disk): not at once again.
RETRY_INTERVAL_S = 1.0
_MESSAGE_CHARACTERS_MAX = 500


class Loader:
    """The thread that loads. `loaded_position` is how far reports can see."""

    def __init__(self, log: Log, store: Store) -> None:
        self._log = log
        self._store = store
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="loader", daemon=True)
        self.loaded_position, self._planned = log.reader("store")
        self.changed = threading.Condition()
        self.loaded_rows = 0
        self._may_load = threading.Event()
        self._may_load.set()
        self._loading = threading.Lock()
        # Beyond the checkpoint the store may hold some of a block that a crash cut short, or much
        # more where the log lost its end: up to there, what is stored already is left out.
        self._stored_through = store.highest_position(self.loaded_position)
        if self._stored_through > self.loaded_position:
            store.derive_again(self.loaded_position)

    def start(self) -> None:
        """Start loading."""
        self._thread.start()

    def stop(self) -> None:
        """End after the block under way; the next start goes on from the log."""
        self._stopping.set()
        self._thread.join()

    def wait_loaded(self, position: int, timeout_s: float) -> bool:
        """Wait until everything up to `position` is visible in reports."""
        with self.changed:
            return self.changed.wait_for(lambda: self.loaded_position >= position, timeout_s)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hold the loader between two blocks while the context lasts. One caller at a time."""
        self._may_load.clear()
        try:
            with self._loading:
                yield
        finally:
            self._may_load.set()

    def _run(self) -> None:
        while True:
            self._may_load.wait()
            try:
                with self._loading:
                    self.load_block()
            except StoreRefusedError as error:
                logger.error("block not loaded, will retry: %s", error)  # noqa: TRY400
                if self._stopping.wait(RETRY_INTERVAL_S):
                    return
                continue
            except Exception:
                # The thread must go on: the log holds everything, and the block is tried again.
                logger.exception("loader failed, will retry")
                if self._stopping.wait(RETRY_INTERVAL_S):
                    return
                continue
            if self._stopping.is_set():
                return

    def load_block(self) -> bool:
        """Load the next block; False if there is nothing to load (after waiting a moment)."""
        if self._planned <= self.loaded_position:
            if not self._log.wait_beyond(self.loaded_position, BLOCK_AGE_S):
                return False
            if self._log.last_position - self.loaded_position < BLOCK_ROWS_MAX:
                self._stopping.wait(BLOCK_AGE_S)
        through = self._planned if self._planned > self.loaded_position else None
        records = self._log.read(
            self.loaded_position, rows_max=2**62 if through else BLOCK_ROWS_MAX, through=through
        )
        last = records[-1].last_position
        if through is None:
            self._log.plan("store", last)
            self._planned = last
        rows = [
            (record.first_position + place, row)
            for record in records
            for place, row in enumerate(record.rows)
        ]
        token = f"{self.loaded_position + 1}-{last}"
        for name, table in columns(rows).items():
            rest = table
            if self.loaded_position < self._stored_through:
                rest = self._without_stored(name, table)
            # A rest divides at other places than the whole did, so its parts need other names.
            is_whole = rest.num_rows == table.num_rows
            named = token if is_whole else f"{token}-rest-{rest.num_rows}"
            self._insert(name, rest, named, rows)
        self._log.note_stored(last)
        self.loaded_rows += len(rows)
        with self.changed:
            self.loaded_position = last
            self.changed.notify_all()
        return True

    def _without_stored(self, name: str, table: pa.Table) -> pa.Table:
        """Return the rows of a table that the store does not hold yet."""
        key = "id" if name == "message_ids" else "position"
        keys = table[key].to_pylist()
        stored: Container[Any]
        if name == "message_ids":
            stored = self._store.find_message_ids_for_loader(keys)
        else:
            stored = self._store.positions(name, min(keys), max(keys))
        return table.filter(pa.array([key not in stored for key in keys]))

    def _insert(self, name: str, table: pa.Table, token: str, rows: Sequence[Numbered]) -> None:
        """Insert a table, dividing it where the store refuses a row, so that only that is left out.

        Each table divides on its own: what another table of the block took stays taken once.
        """
        try:
            self._store.insert(name, table, token=f"{name}-{token}")
        except StoreRefusedError as error:
            if not error.row_fault:
                raise
            if table.num_rows > 1:
                middle = table.num_rows // 2
                self._insert(name, table.slice(0, middle), f"{token}/0", rows)
                self._insert(name, table.slice(middle), f"{token}/1", rows)
            else:
                self._put_aside(name, table, rows, str(error))

    def _put_aside(self, name: str, table: pa.Table, rows: Sequence[Numbered], reason: str) -> None:
        position = table["position"][0].as_py()
        logger.error("the store refused a row for %s at position %d", name, position)
        aside = columns([(position, _refused_row(dict(rows)[position], reason))])["rejected_events"]
        self._store.insert("rejected_events", aside, token=f"aside-{name}-{position}")


def _refused_row(row: Row, reason: str) -> RejectedRow:
    body = b""
    if isinstance(row, TrackRow):
        body = row.properties_text
    elif isinstance(row, IdentifyRow):
        body = row.traits_text
    return RejectedRow(
        row.workspace_id,
        row.key_class,
        row.received_ms,
        STORE_REFUSED,
        reason[:_MESSAGE_CHARACTERS_MAX],
        "",
        body,
    )
