"""The one thread that writes: group commit, and the decision which messageIds are new.

Every request that waits when the writer is free goes into one transaction and one fsync. A request
of which a messageId may be taken (ids.py) is handed to the checker thread, which asks the store,
and comes back into a later group with the answer: it never holds up the group.

    append ──► waiting ──► decide ──► commit ──► resolve ──► observers
                  ▲           │ maybe
                  └─ checker ◄┘   (asks the store)
"""

from __future__ import annotations

import errno
import functools
import logging
import queue
import shutil
import sqlite3
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import msgspec

from saytics_server.clock import Clock
from saytics_server.event import RejectedRow, Row, TrackRow
from saytics_server.log.ids import (
    SAVE_EVERY_IDS,
    SAVE_INTERVAL_S,
    TAIL_IDS_MAX,
    IdFilters,
    Snapshot,
    Tail,
    key_of,
)
from saytics_server.log.records import Dropped, encode_rows

logger = logging.getLogger("saytics.log")

# One transaction: large enough that 64 waiting clients share an fsync, small enough that its
# commit stays in the milliseconds.
GROUP_REQUESTS_MAX = 2_000
GROUP_ROWS_MAX = 20_000
# A record takes in the rows of further requests until it has this many: reading the log back, a
# record is the unit, and half a megabyte is a good one.
RECORD_ROWS_MIN = 1_000
# The disk is looked at this often; a group writes far less than the floor in between.
DISK_CHECK_INTERVAL_S = 0.25

# The name of a library comes with the event, from whoever has the public key; more names than a
# company has SDKs are counted together.
LIBRARIES_PER_KEY_DAY_MAX = 20
_OTHER_LIBRARIES = "other"
_ADD_DROPPED = """
WITH known AS (
    SELECT library FROM dropped
    WHERE workspace_id = :workspace_id AND day = :day AND key_id = :key_id
)
INSERT INTO dropped
SELECT :workspace_id, :day, :key_id, iif(
    :library IN known OR (SELECT count(*) FROM known) < :libraries_max, :library, :others
), :events WHERE true
ON CONFLICT DO UPDATE SET events = events + excluded.events
"""

Observer = Callable[[int, Sequence[Row]], None]
# Events by workspace and month.
Usage = dict[tuple[int, str], int]


class LogFullError(Exception):
    """The disk has no room; nothing of the request was accepted."""


class LogBusyError(Exception):
    """The request cannot be decided or written now; nothing of it was accepted."""


class AppendResult:
    """What became of a request's rows.

    `duplicates` are the indexes of rows whose id was taken, `different` those among them whose
    content is not that of the first.
    """

    __slots__ = ("different", "duplicates", "first_position")

    def __init__(self, first_position: int, duplicates: list[int], different: list[int]) -> None:
        self.first_position = first_position
        self.duplicates = duplicates
        self.different = different


class Pending:
    """One request on its way through the writer; `deliver` is told when it is decided."""

    __slots__ = ("deliver", "dropped", "error", "known", "known_from", "result", "rows")

    def __init__(
        self,
        rows: Sequence[Row],
        deliver: Callable[[Sequence[Pending]], None],
        dropped: Dropped | None = None,
    ) -> None:
        self.rows = rows
        self.dropped = dropped
        self.deliver = deliver
        # What the store said of this request's maybes, and the store position it is good from.
        self.known: dict[int, int | None] | None = None
        self.known_from = 0
        self.result: AppendResult | None = None
        self.error: Exception | None = None


class _Taken:
    """What a request adds to the log: its new rows, their place, the ids they claim."""

    __slots__ = ("first_position", "ids", "rows")

    def __init__(self, first_position: int, rows: Sequence[Row], ids: dict[int, int]) -> None:
        self.first_position = first_position
        self.rows = rows
        self.ids = ids

    @property
    def last_position(self) -> int:
        return self.first_position + len(self.rows) - 1


class _Task:
    """Work for the writer's connection that is not an append: checkpoints, plans, deletions."""

    __slots__ = ("done", "error", "run")

    def __init__(self, run: Callable[[sqlite3.Connection], object]) -> None:
        self.run = run
        self.done = threading.Event()
        self.error: Exception | None = None


class Writer:
    """Owns the log's connection, filters and tail. `submit` and `run` may be called anywhere."""

    def __init__(  # noqa: PLR0913 - wired once, by name, in log.py
        self,
        connection: sqlite3.Connection,
        *,
        folder: Path,
        clock: Clock,
        filters: IdFilters,
        tail: Tail,
        next_position: int,
        stored_position: int,
        covered_position: int,
        find_stored: Callable[[Sequence[bytes]], dict[bytes, int]],
        free_bytes_min: int,
        usage: Usage,
        observers: Sequence[Observer],
    ) -> None:
        self._connection = connection
        self._folder = folder
        self._clock = clock
        self._filters = filters
        self._tail = tail
        self._next_position = next_position
        self._stored_position = stored_position
        self._find_stored = find_stored
        self._free_bytes_min = free_bytes_min
        self._observers = observers
        self._queue: queue.SimpleQueue[Pending | _Task | None] = queue.SimpleQueue()
        self._checks: queue.SimpleQueue[Pending | None] = queue.SimpleQueue()
        self._under_check: set[Pending] = set()
        self._disk_checked_s = -DISK_CHECK_INTERVAL_S
        self._disk_low = False
        self._saving = False
        self._saver: threading.Thread | None = None
        self._is_stopping = False
        self._saved_s = clock.monotonic_s()
        self._covered_position = covered_position
        self.usage = usage
        self.committed = threading.Condition()
        self.last_position = next_position - 1
        self.commits = 0
        self.commit_seconds = 0.0
        self._thread = threading.Thread(target=self._write_loop, name="log-writer", daemon=True)
        self._checker = threading.Thread(target=self._check_loop, name="log-checker", daemon=True)

    def start(self) -> None:
        """Start both threads."""
        self._thread.start()
        self._checker.start()

    def submit(self, pending: Pending) -> None:
        """Queue a request; `pending.deliver` is called from the writer thread when decided."""
        self._queue.put(pending)

    def run(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Run `work` in the writer's next transaction and return when it is durable."""
        task = _Task(work)
        self._queue.put(task)
        task.done.wait()
        if task.error is not None:
            raise task.error

    def note_stored(self, position: int) -> None:
        """Record durably that the store holds everything up to `position`, ids included."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE readers SET position = ? WHERE name = 'store'", (position,))
            self._set_stored(position)

        self.run(work)

    def stop(self) -> None:
        """Write what is queued, save the filters, end both threads."""
        self._checks.put(None)
        self._checker.join()
        # No save may begin any more; one under way still needs the writer.
        self._is_stopping = True
        self.run(lambda _: None)
        if self._saver is not None:
            self._saver.join()
        self._queue.put(None)
        self._thread.join()
        self._connection.close()

    def now_ms(self) -> int:
        """Return the wall time by the clock the log was opened with."""
        return self._clock.now_ms()

    # --- the writer thread ---

    def _write_loop(self) -> None:
        stopping = False
        while not stopping:
            appends, tasks, stopping = self._next_group()
            ready = [pending for pending in appends if not self._send_to_check(pending)]
            if ready and self._is_disk_low():
                _fail(ready, LogFullError("free space is below its floor"))
                ready = []
            if ready or tasks:
                self._commit_group(ready, tasks)
            if self._is_save_due():
                self._start_saving()
        if self._save_filters(self._filters.snapshot(self.last_position)):
            _cover(self._connection, self._covered_position)

    def _next_group(self) -> tuple[list[Pending], list[_Task], bool]:
        appends: list[Pending] = []
        tasks: list[_Task] = []
        rows = 0
        entry = self._queue.get()
        while True:
            if entry is None:
                return appends, tasks, True
            if isinstance(entry, Pending):
                appends.append(entry)
                rows += len(entry.rows)
            else:
                tasks.append(entry)
            if rows >= GROUP_ROWS_MAX or len(appends) >= GROUP_REQUESTS_MAX:
                return appends, tasks, False
            try:
                entry = self._queue.get_nowait()
            except queue.Empty:
                return appends, tasks, False

    def _send_to_check(self, pending: Pending) -> bool:
        """Hand a request with undecided ids to the checker; True if that happened."""
        if pending.known is not None:
            # Its answer is still complete: what the store did not hold then was in the tail or
            # came later, and the tail forgets nothing that an open check may still need.
            self._under_check.discard(pending)
            return False
        undecided: dict[int, int | None] = {}
        content, maybe = self._tail.content, self._filters.maybe
        for row in pending.rows:
            if row.claim:
                key = key_of(row.claim)
                if maybe(key) and content(key) is None:
                    undecided[key] = None
        if not undecided:
            return False
        pending.known = undecided
        pending.known_from = self._stored_position
        self._under_check.add(pending)
        self._checks.put(pending)
        return True

    def _commit_group(self, appends: list[Pending], tasks: list[_Task]) -> None:
        started_s = perf_counter()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            taken, usage = self._write_appends(appends)
            for task in tasks:
                task.run(self._connection)
            self._connection.execute("COMMIT")
        except Exception as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            logger.error("commit failed: %s: %s", type(error).__name__, error)  # noqa: TRY400
            for task in tasks:
                task.error = error
                task.done.set()
            _fail(
                appends, LogFullError(str(error)) if _is_full(error) else LogBusyError(str(error))
            )
            return
        self.commits += 1
        self.commit_seconds += perf_counter() - started_s
        self._publish(taken, usage)
        _deliver(appends)
        for task in tasks:
            task.done.set()

    def _write_appends(self, appends: list[Pending]) -> tuple[list[_Taken], Usage]:
        """Insert the requests' new rows; return what was taken and its usage."""
        claimed: dict[int, int] = {}
        taken: list[_Taken] = []
        usage: Usage = {}
        position = self._next_position
        for pending in appends:
            new = self._decide(pending, claimed, position)
            if new.rows:
                taken.append(new)
                position += len(new.rows)
                _count_usage(usage, new.rows)
                if pending.dropped is not None:
                    self._count_dropped(pending.dropped, new.rows)
        self._connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?)", _records(taken))
        self._connection.executemany(
            "INSERT INTO usage VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET events = events + excluded.events",
            [(*scope, events) for scope, events in usage.items()],
        )
        return taken, usage

    def _count_dropped(self, dropped: Dropped, new_rows: Sequence[Row]) -> None:
        """Add what a batch says its sender has lost, unless the batch is the retry of an older one.

        A sender repeats the number with the same messageIds, so a batch that brings no accepted
        event for the first time has been counted.
        """
        if all(isinstance(row, RejectedRow) for row in new_rows):
            return
        self._connection.execute(
            _ADD_DROPPED,
            {
                **msgspec.structs.asdict(dropped),
                "libraries_max": LIBRARIES_PER_KEY_DAY_MAX,
                "others": _OTHER_LIBRARIES,
            },
        )

    def _decide(self, pending: Pending, claimed: dict[int, int], position: int) -> _Taken:
        """Split a request into new rows and duplicates; set its result."""
        kept: list[Row] = []
        ids: dict[int, int] = {}
        duplicates: list[int] = []
        different: list[int] = []
        known = pending.known or {}
        content = self._tail.content
        for index, row in enumerate(pending.rows):
            if row.claim:
                key = key_of(row.claim)
                first = claimed.get(key)
                if first is None:
                    first = content(key)
                if first is None:
                    first = known.get(key)
                if first is not None:
                    duplicates.append(index)
                    if first != row.content:
                        different.append(index)
                    continue
                claimed[key] = ids[key] = row.content
            kept.append(row)
        pending.result = AppendResult(position, duplicates, different)
        return _Taken(position, kept, ids)

    def _publish(self, taken: list[_Taken], usage: Usage) -> None:
        """Make a committed group known: to the tail, the filters, readers and observers."""
        if not taken:
            return
        ids: dict[int, int] = {}
        for new in taken:
            ids |= new.ids
        self._tail.add(taken[-1].last_position, ids)
        self._filters.update(ids)
        for scope, events in usage.items():
            self.usage[scope] = self.usage.get(scope, 0) + events
        self._next_position = taken[-1].last_position + 1
        with self.committed:
            self.last_position = self._next_position - 1
            self.committed.notify_all()
        for observer in self._observers:
            for new in taken:
                observer(new.first_position, new.rows)

    def _is_disk_low(self) -> bool:
        """Tell whether the disk has less than its floor; merges and erasure need that much."""
        now_s = self._clock.monotonic_s()
        if now_s - self._disk_checked_s >= DISK_CHECK_INTERVAL_S:
            self._disk_checked_s = now_s
            low = not self.has_room()
            if low != self._disk_low:
                logger.warning("disk %s", "is full: refusing events" if low else "has room again")
            self._disk_low = low
        return self._disk_low

    def _set_stored(self, position: int) -> None:
        self._stored_position = max(self._stored_position, position)
        open_checks = (pending.known_from for pending in self._under_check)
        self._tail.forget(min(open_checks, default=self._stored_position))

    # --- saving the filters ---

    def _is_save_due(self) -> bool:
        # By time, too: the log is trimmed behind the saved filters, also where nobody sends ids.
        if self._saving or self._is_stopping or self.last_position == self._covered_position:
            return False
        waited_s = self._clock.monotonic_s() - self._saved_s
        return self._filters.unsaved_ids >= SAVE_EVERY_IDS or waited_s >= SAVE_INTERVAL_S

    def _start_saving(self) -> None:
        # The copy is taken here, between two groups; writing and syncing it takes longer than an
        # acknowledgement may wait and happens beside.
        snapshot = self._filters.snapshot(self.last_position)
        self._saving = True
        self._saved_s = self._clock.monotonic_s()

        def save() -> None:
            try:
                if self._save_filters(snapshot):
                    self.run(lambda connection: _cover(connection, snapshot.covered_position))
            finally:
                self._saving = False

        saver = threading.Thread(target=save, name="log-filters", daemon=True)
        saver.start()
        self._saver = saver

    def _save_filters(self, snapshot: Snapshot) -> bool:
        try:
            snapshot.write()
        except OSError as error:
            # Nothing is lost: the log keeps what the saved filters do not cover.
            logger.warning("id filters not saved: %s", error)
            return False
        self._covered_position = snapshot.covered_position
        return True

    def has_room(self) -> bool:
        """Tell whether the disk has its floor free, looked at now."""
        return shutil.disk_usage(self._folder).free >= self._free_bytes_min

    @property
    def is_tail_full(self) -> bool:
        """Whether the store is so far behind that no more ids may be taken."""
        return len(self._tail) >= TAIL_IDS_MAX

    # --- the checker thread ---

    def _check_loop(self) -> None:
        while (first := self._checks.get()) is not None:
            group = [first]
            stopping = False
            while not stopping and len(group) < GROUP_REQUESTS_MAX:
                try:
                    pending = self._checks.get_nowait()
                except queue.Empty:
                    break
                if pending is None:
                    stopping = True
                else:
                    group.append(pending)
            self._check(group)
            if stopping:
                return

    def _check(self, group: list[Pending]) -> None:
        wanted = {key for pending in group for key in pending.known or ()}
        try:
            found = self._find_stored([key.to_bytes(12, "big") for key in wanted])
        except Exception as error:
            logger.error("id look-up failed: %s", error)  # noqa: TRY400 - no stack: it repeats
            for pending in group:
                pending.error = LogBusyError(str(error))
            self.run(lambda _: self._under_check.difference_update(group))
            _deliver(group)
            return
        contents = {key_of(claim): content for claim, content in found.items()}
        for pending in group:
            assert pending.known is not None
            pending.known = {key: contents.get(key) for key in pending.known}
            self._queue.put(pending)


def _fail(appends: list[Pending], error: Exception) -> None:
    for pending in appends:
        pending.error = error
    _deliver(appends)


def _deliver(appends: list[Pending]) -> None:
    """Hand results back, one wake-up per receiver."""
    by_receiver: dict[Callable[[Sequence[Pending]], None], list[Pending]] = {}
    for pending in appends:
        by_receiver.setdefault(pending.deliver, []).append(pending)
    for deliver, group in by_receiver.items():
        deliver(group)


def _records(taken: Sequence[_Taken]) -> list[tuple[int, int, int, bytes]]:
    """Return the records of a group: the rows of many small requests share one.

    Every INSERT gives up the interpreter and queues for it again behind all the requests that are
    being read, so few records are worth more than the microseconds each one takes.
    """
    records: list[tuple[int, int, int, bytes]] = []
    rows: list[Row] = []
    first_position = received_ms = 0
    for number, new in enumerate(taken, 1):
        if not rows:
            first_position, received_ms = new.first_position, 0
        rows += new.rows
        # Bodies read in threads may overtake: a record is as young as its youngest row.
        received_ms = max(received_ms, new.rows[0].received_ms)
        if len(rows) >= RECORD_ROWS_MIN or number == len(taken):
            records.append((first_position, len(rows), received_ms, encode_rows(rows)))
            rows = []
    return records


def _count_usage(usage: Usage, rows: Sequence[Row]) -> None:
    counted = [row.__class__ for row in rows].count(TrackRow)
    if counted:
        scope = (rows[0].workspace_id, month_of(rows[0].received_ms // 86_400_000))
        usage[scope] = usage.get(scope, 0) + counted


@functools.lru_cache(maxsize=8)
def month_of(day: int) -> str:
    """Return the UTC month, `2024-01`, of a day counted from 1970-01-01."""
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m")


def _cover(connection: sqlite3.Connection, position: int) -> None:
    connection.execute("UPDATE readers SET position = ? WHERE name = 'ids'", (position,))


def _is_full(error: Exception) -> bool:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
