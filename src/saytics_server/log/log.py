"""The log's face: open, append, read, checkpoint, trim, close."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from saytics_server.clock import Clock
from saytics_server.event import Row
from saytics_server.log.ids import IdFilters, Tail, key_of
from saytics_server.log.records import (
    Dropped,
    Record,
    connect,
    decode_rows,
    open_file,
    positions_after,
    read_meta,
)
from saytics_server.log.writer import (
    AppendResult,
    LogBusyError,
    Observer,
    Pending,
    Writer,
    month_of,
)

logger = logging.getLogger("saytics.log")

# What may wait for the writer: at 30 MB/s of disk it is gone in two seconds, which is as long as a
# client should wait before it is told to come back.
WAITING_REQUESTS_MAX = 10_000
WAITING_BYTES_MAX = 64 * 1024 * 1024

DAY_MS = 86_400_000
TRIM_INTERVAL_S = 10.0
# Deleting everything at once would hold the file for seconds; a slice holds it for milliseconds.
TRIM_RECORDS_PER_SLICE = 500
_VACUUM = "PRAGMA incremental_vacuum(2000)"


class LogSettings(msgspec.Struct, frozen=True):
    """What an operator may set. Defaults: 7 days or 10 GB behind the store."""

    keep_ms: int = 7 * DAY_MS
    keep_bytes: int = 10 * 1024**3
    free_bytes_min: int = 256 * 1024**2


class Log:
    """The open log. `append` belongs to one event loop; everything else may be called anywhere."""

    def __init__(
        self, folder: Path, connection: sqlite3.Connection, writer: Writer, settings: LogSettings
    ) -> None:
        self._path = folder / "log.db"
        self._writer = writer
        self._settings = settings
        self._reading = connect(self._path)
        self._reading_lock = threading.Lock()
        self._waiting_requests = 0
        self._waiting_bytes = 0
        self._futures: dict[Pending, tuple[asyncio.Future[AppendResult], int]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = threading.Event()
        self._trimmer = threading.Thread(target=self._trim_loop, name="log-trimmer", daemon=True)
        self.claim_key = bytes(read_meta(connection, "claim_key"))
        # Receipt never goes back, whatever the machine's clock does (collect.py).
        self.last_received_ms = _last_received_ms(connection)

    @classmethod
    def open(  # noqa: PLR0913 - wired once, by name, in server.py
        cls,
        folder: Path,
        clock: Clock,
        *,
        find_stored: Callable[[Sequence[bytes]], dict[bytes, int]],
        scan_stored: Callable[[], Iterable[Sequence[bytes]]],
        highest_stored: Callable[[int], int] = lambda position: position,
        settings: LogSettings | None = None,
        observers: Sequence[Observer] = (),
    ) -> Log:
        """Open or make the log in `folder`, take up where the last process ended.

        `find_stored` looks ids up in the store, `scan_stored` yields all of them and is needed
        only when the saved filters are gone. `highest_stored` tells the highest position the store
        holds beyond one; no position is given out twice. Raises Failure.
        """
        settings = settings or LogSettings()
        connection = open_file(folder / "log.db", clock.now_ms())
        stored = _position(connection, "store")
        highest = highest_stored(stored)
        ends_early = highest > max(_last_position(connection), stored)
        if ends_early:
            # A disk that lied about a sync, or a file put back. Its events are in the store; their
            # ids are too, and the filters must know them.
            logger.error("the log ends before what the store has loaded from it")
        loaded = IdFilters.load(folder / "ids")
        if loaded is None or ends_early or loaded[1] < _position(connection, "ids"):
            filters, covered = _rebuild_filters(folder / "ids", stored, scan_stored), stored
        else:
            filters, covered = loaded
        tail = Tail()
        _replay(connection, filters, covered, tail, stored)
        last = max(_last_position(connection), stored, highest)
        writer = Writer(
            connection,
            folder=folder,
            clock=clock,
            filters=filters,
            tail=tail,
            next_position=max(last, positions_after(connection)) + 1,
            stored_position=stored,
            covered_position=covered,
            find_stored=find_stored,
            free_bytes_min=settings.free_bytes_min,
            usage=_usage(connection),
            observers=observers,
        )
        writer.last_position = last
        log = cls(folder, connection, writer, settings)
        writer.start()
        log._trimmer.start()
        return log

    # --- appending ---

    async def append(
        self, rows: Sequence[Row], size: int, dropped: Dropped | None = None
    ) -> AppendResult:
        """Return what became of `rows` once they are on disk.

        `size` is the request's bytes, for the bound on what may wait. `dropped` is counted in the
        same commit, if a row is new. Raises LogFullError or
        LogBusyError; nothing of the request was accepted then.
        """
        if (
            self._waiting_requests >= WAITING_REQUESTS_MAX
            or (self._waiting_bytes and self._waiting_bytes + size > WAITING_BYTES_MAX)
            or self._writer.is_tail_full
        ):
            raise LogBusyError("too much is waiting to be written")
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        future: asyncio.Future[AppendResult] = loop.create_future()
        pending = Pending(rows, self._deliver, dropped)
        self._futures[pending] = (future, size)
        self._waiting_requests += 1
        self._waiting_bytes += size
        self._writer.submit(pending)
        return await future

    @property
    def waiting_requests(self) -> int:
        """How many requests wait to be written."""
        return self._waiting_requests

    @property
    def commits(self) -> int:
        """How many transactions were made durable since the start."""
        return self._writer.commits

    @property
    def commit_seconds(self) -> float:
        """How long they took in all, fsync included."""
        return self._writer.commit_seconds

    def trouble(self) -> str | None:
        """Return the code with which an append would be refused now, None if it would be taken."""
        if self._waiting_requests >= WAITING_REQUESTS_MAX or self._writer.is_tail_full:
            return "overloaded"
        return None if self._writer.has_room() else "storage_full"

    def append_and_wait(self, rows: Sequence[Row]) -> AppendResult:
        """Append from a thread of its own (imports, tools); return when on disk."""
        done = threading.Event()
        pending = Pending(rows, lambda _: done.set())
        self._writer.submit(pending)
        done.wait()
        if pending.error is not None:
            raise pending.error
        assert pending.result is not None
        return pending.result

    def _deliver(self, group: Sequence[Pending]) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._resolve, group)

    def _resolve(self, group: Sequence[Pending]) -> None:
        for pending in group:
            future, size = self._futures.pop(pending)
            self._waiting_requests -= 1
            self._waiting_bytes -= size
            if future.done():  # its client went away; the rows stay accepted
                continue
            if pending.error is not None:
                future.set_exception(pending.error)
            else:
                assert pending.result is not None
                future.set_result(pending.result)

    # --- reading ---

    @property
    def last_position(self) -> int:
        """The position of the last row on disk."""
        return self._writer.last_position

    def wait_beyond(self, position: int, timeout_s: float) -> bool:
        """Wait until there are rows beyond `position`; False if the time ran out."""
        with self._writer.committed:
            return self._writer.committed.wait_for(
                lambda: self._writer.last_position > position, timeout_s
            )

    def read(self, after: int, *, rows_max: int, through: int | None = None) -> list[Record]:
        """Return the records after a position, whole ones, up to about `rows_max` rows."""
        records: list[Record] = []
        rows = 0
        with self._reading_lock:
            cursor = self._reading.execute(
                "SELECT first_position, body FROM records"
                " WHERE first_position > ? AND first_position <= ? ORDER BY first_position",
                (after, through if through is not None else 2**63 - 1),
            )
            for first_position, body in cursor:
                records.append(Record(first_position, decode_rows(body)))
                rows += len(records[-1].rows)
                if rows >= rows_max:
                    break
            cursor.close()
        return records

    def read_newest(self, rows_max: int) -> list[Record]:
        """Return the last records, whole ones, up to about `rows_max` rows, oldest first."""
        records: list[Record] = []
        rows = 0
        with self._reading_lock:
            cursor = self._reading.execute(
                "SELECT first_position, body FROM records ORDER BY first_position DESC"
            )
            for first_position, body in cursor:
                records.append(Record(first_position, decode_rows(body)))
                rows += len(records[-1].rows)
                if rows >= rows_max:
                    break
            cursor.close()
        return records[::-1]

    def usage(self, workspace_id: int, received_ms: int) -> int:
        """Return how many events a workspace has sent in the month of `received_ms`."""
        return self._writer.usage.get((workspace_id, month_of(received_ms // DAY_MS)), 0)

    def dropped(self, workspace_id: int, first_day: int) -> list[Dropped]:
        """Return what senders say they have lost since a day, newest day first."""
        with self._reading_lock:
            rows = self._reading.execute(
                "SELECT workspace_id, day, key_id, library, events FROM dropped"
                " WHERE workspace_id = ? AND day >= ? ORDER BY day DESC, key_id, library",
                (workspace_id, first_day),
            ).fetchall()
        return [Dropped(*row) for row in rows]

    # --- readers ---

    def reader(self, name: str) -> tuple[int, int]:
        """Return (checkpoint, planned) of a reader: its place, and the end of its next block."""
        with self._reading_lock:
            row = self._reading.execute(
                "SELECT position, planned FROM readers WHERE name = ?", (name,)
            ).fetchone()
        return (int(row[0]), int(row[1]))

    def plan(self, name: str, position: int) -> None:
        """Record durably where a reader's next block ends, so that a retry takes the same one."""
        self._writer.run(
            lambda connection: connection.execute(
                "UPDATE readers SET planned = ? WHERE name = ?", (position, name)
            )
        )

    def note_stored(self, position: int) -> None:
        """Record durably that the store holds every row and id up to `position`."""
        self._writer.note_stored(position)

    # --- trimming ---

    def trim(self, now_ms: int) -> int:
        """Delete what is behind every reader and older or more than is kept; return records."""
        deleted = [TRIM_RECORDS_PER_SLICE]

        def trim_slice(connection: sqlite3.Connection) -> None:
            deleted.append(self._trim_slice(connection, now_ms))

        while deleted[-1] == TRIM_RECORDS_PER_SLICE and not self._stopping.is_set():
            self._writer.run(trim_slice)
        if len(deleted) > 2:
            # Give whole slices back to the disk; what a few records leave is used again.
            self._writer.run(lambda connection: list(connection.execute(_VACUUM)))
        return sum(deleted[1:])

    def _trim_slice(self, connection: sqlite3.Connection, now_ms: int) -> int:
        behind = connection.execute("SELECT min(position) FROM readers").fetchone()[0]
        pages, free, page = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        is_large = (pages - free) * page > self._settings.keep_bytes
        received_before = 2**63 - 1 if is_large else now_ms - self._settings.keep_ms
        # The newest record stays: it tells the next start when the last receipt was.
        cursor = connection.execute(
            "DELETE FROM records WHERE first_position IN ("
            " SELECT first_position FROM records"
            " WHERE first_position + count - 1 <= ? AND received_ms < ?"
            " AND first_position < (SELECT max(first_position) FROM records)"
            " ORDER BY first_position LIMIT ?)",
            (behind, received_before, TRIM_RECORDS_PER_SLICE),
        )
        return cursor.rowcount

    def _trim_loop(self) -> None:
        while not self._stopping.wait(TRIM_INTERVAL_S):
            try:
                self.trim(self._writer.now_ms())
            except sqlite3.Error as error:
                # Trimming frees room; that it failed loses nothing, and it is tried again.
                logger.warning("trim failed: %s", error)

    def close(self) -> None:
        """Write what waits, save the filters, close the file. Call after the last append."""
        self._stopping.set()
        self._trimmer.join()
        self._writer.stop()
        with self._reading_lock:
            self._reading.close()


def _position(connection: sqlite3.Connection, reader: str) -> int:
    row = connection.execute("SELECT position FROM readers WHERE name = ?", (reader,)).fetchone()
    return int(row[0])


def _last_position(connection: sqlite3.Connection) -> int:
    row = connection.execute(
        "SELECT first_position + count - 1 FROM records ORDER BY first_position DESC LIMIT 1"
    ).fetchone()
    return int(row[0]) if row else 0


def _last_received_ms(connection: sqlite3.Connection) -> int:
    row = connection.execute(
        "SELECT received_ms FROM records ORDER BY first_position DESC LIMIT 1"
    ).fetchone()
    return int(row[0]) if row else 0


def _usage(connection: sqlite3.Connection) -> dict[tuple[int, str], int]:
    rows = connection.execute("SELECT workspace_id, month, events FROM usage")
    return {(workspace_id, month): events for workspace_id, month, events in rows}


def _rebuild_filters(
    folder: Path, stored: int, scan_stored: Callable[[], Iterable[Sequence[bytes]]]
) -> IdFilters:
    filters = IdFilters(folder)
    for claims in scan_stored():
        for claim in claims:
            filters.add(key_of(claim))
    if len(filters):
        logger.warning("id filters rebuilt from the store: %d ids", len(filters))
    return filters


def _replay(
    connection: sqlite3.Connection, filters: IdFilters, covered: int, tail: Tail, stored: int
) -> None:
    """Add the ids that filters and tail do not hold yet."""
    cursor = connection.execute(
        "SELECT first_position, count, body FROM records WHERE first_position > ?"
        " ORDER BY first_position",
        (min(covered, stored),),
    )
    for first_position, count, body in cursor:
        last = first_position + count - 1
        ids = {key_of(row.claim): row.content for row in decode_rows(body) if row.claim}
        if first_position > covered:
            for key in ids:
                filters.add(key)
        if first_position > stored:
            tail.add(last, ids)
