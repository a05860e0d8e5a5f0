"""The log: positions, group commit, reading, trimming, opening what an earlier process left."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from fake_store import FakeStore, crashed, opened, rows_of

import waiting
from factories import RECEIVED_MS, identify_row, rejected_row, track_row
from saytics_server.clock import ManualClock
from saytics_server.errors import Failure
from saytics_server.event import TrackRow
from saytics_server.log import Dropped, Log, LogBusyError, LogFullError, LogSettings
from saytics_server.log import log as log_module
from saytics_server.log.writer import LIBRARIES_PER_KEY_DAY_MAX, Writer

DAY_MS = 86_400_000


def events(count: int, first: int = 0) -> list[TrackRow]:
    """Return rows told apart by their user ids."""
    return [track_row(user_id=f"user_{number}") for number in range(first, first + count)]


def test_what_was_appended_is_read_back_whole_and_in_order(tmp_path: Path):
    """Rows of every kind keep every field; positions grow by one, over requests too."""
    first = [track_row("m-1", original_timestamp_ms=5), identify_row("m-2"), rejected_row()]
    second = [track_row(properties_text='{"ü":"\\u0000"}'.encode(), links=False)]
    with opened(tmp_path) as log:
        start = log.append_and_wait(first).first_position
        assert log.append_and_wait(second).first_position == start + 3
        assert log.last_position == start + 3
        records = log.read(0, rows_max=100)
        assert [(record.first_position, record.rows) for record in records] == [
            (start, first),
            (start + 3, second),
        ]
        assert log.read(start + 2, rows_max=100) == records[1:]
        assert log.read(0, rows_max=1) == records[:1]
        assert log.read(0, rows_max=100, through=start + 2) == records[:1]
        assert log.read_newest(1) == records[1:]


def test_a_row_is_in_the_file_when_append_returns(tmp_path: Path):
    """A crash at that very moment leaves it there."""
    (tmp_path / "a").mkdir()
    with opened(tmp_path / "a") as log:
        log.append_and_wait(events(3))
        left = crashed(tmp_path / "a", tmp_path / "b")
    with opened(left) as log:
        assert rows_of(log.read(0, rows_max=100)) == events(3)


def test_positions_go_on_where_they_ended(tmp_path: Path):
    """Over a clean restart, over a crash, and when everything before was trimmed."""
    store = FakeStore()
    with opened(tmp_path, store) as log:
        last = log.append_and_wait(events(5)).first_position + 4
        store.load(log)
    with opened(tmp_path, store, settings=LogSettings(keep_ms=0, free_bytes_min=0)) as log:
        assert log.append_and_wait(events(1)).first_position == last + 1
        store.load(log)
        log.trim(RECEIVED_MS + DAY_MS)
    with opened(tmp_path, store) as log:
        assert log.append_and_wait(events(1)).first_position == last + 2


def test_requests_that_wait_share_one_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A hundred requests behind a busy writer cost one transaction, each its own record."""
    groups: list[int] = []
    commit = Writer._commit_group

    def counted(writer: Writer, appends: list, tasks: list) -> None:
        groups.append(len(appends))
        commit(writer, appends, tasks)

    monkeypatch.setattr(Writer, "_commit_group", counted)
    with opened(tmp_path) as log, stalled(log) as release:

        async def send() -> list[int]:
            sending = [asyncio.create_task(log.append([row], 100)) for row in events(100)]
            await asyncio.sleep(0)
            release.set()
            return [result.first_position for result in await asyncio.gather(*sending)]

        positions = asyncio.run(send())
        assert positions == list(range(positions[0], positions[0] + 100))
        assert groups[-1] == 100
        assert len(rows_of(log.read(0, rows_max=1000))) == 100


class stalled:  # noqa: N801 - reads as the state it makes
    """Keeps the log's writer busy until the event it gives is set, or the context ends."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._release = threading.Event()
        self._is_stalled = threading.Event()

    def __enter__(self) -> threading.Event:
        def wait(_: sqlite3.Connection) -> None:
            self._is_stalled.set()
            self._release.wait(10)

        threading.Thread(target=self._log._writer.run, args=(wait,), daemon=True).start()
        assert self._is_stalled.wait(10)
        return self._release

    def __exit__(self, *_: object) -> None:
        self._release.set()


@pytest.mark.parametrize(
    ("limit", "value", "sent"),
    [("WAITING_REQUESTS_MAX", 3, 3), ("WAITING_BYTES_MAX", 350, 3)],
)
def test_what_may_wait_for_a_stalled_writer_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, sent: int
):
    """The next one is told to come back, and nothing of it is kept; afterwards all is well."""
    monkeypatch.setattr(log_module, limit, value)
    with opened(tmp_path) as log, stalled(log) as release:

        async def send() -> None:
            sending = [asyncio.create_task(log.append([row], 100)) for row in events(sent)]
            await asyncio.sleep(0)
            for _ in range(5):
                with pytest.raises(LogBusyError):
                    await log.append([track_row(user_id="refused")], 100)
            release.set()
            await asyncio.gather(*sending)
            await log.append([track_row(user_id="later")], 100)

        asyncio.run(send())
        ids = [row.user_id for row in rows_of(log.read(0, rows_max=100))]
        assert ids == [*(f"user_{number}" for number in range(sent)), "later"]
        assert (log._waiting_requests, log._waiting_bytes, log._futures) == (0, 0, {})


def test_one_request_larger_than_all_that_may_wait_passes_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The bound is on what piles up; a single large body must not be refused for ever."""
    monkeypatch.setattr(log_module, "WAITING_BYTES_MAX", 10)
    with opened(tmp_path) as log:
        assert asyncio.run(log.append(events(1), 1_000)).duplicates == []


def test_a_client_that_went_away_leaves_its_rows_accepted(tmp_path: Path):
    """Its future is gone, its events are not, and the next request is answered."""
    with opened(tmp_path) as log, stalled(log) as release:

        async def send() -> None:
            sending = asyncio.create_task(log.append(events(1), 100))
            await asyncio.sleep(0)
            sending.cancel()
            release.set()
            await log.append(events(1, first=1), 100)

        asyncio.run(send())
        assert rows_of(log.read(0, rows_max=100)) == events(2)
        assert log._waiting_requests == 0


def test_observers_are_told_after_the_commit_and_only_of_what_was_new(tmp_path: Path):
    """What a page shows is on disk; a duplicate is not shown again."""
    told: list[tuple[int, list]] = []
    readable: list[bool] = []

    def observe(first_position: int, rows: list) -> None:
        told.append((first_position, list(rows)))
        with sqlite3.connect(tmp_path / "log.db") as other:
            found = other.execute("SELECT max(first_position) FROM records").fetchone()[0]
        readable.append(found == first_position)

    with opened(tmp_path, observers=[observe]) as log:
        first = log.append_and_wait([track_row("m-1"), track_row("m-2")])
        log.append_and_wait([track_row("m-2"), track_row("m-3")])
        log.append_and_wait([track_row("m-3")])
    assert told == [
        (first.first_position, [track_row("m-1"), track_row("m-2")]),
        (first.first_position + 2, [track_row("m-3")]),
    ]
    assert readable == [True, True]


def test_usage_counts_accepted_events_by_workspace_and_month_over_restarts(tmp_path: Path):
    """Identifies, rejected events and duplicates are no usage; each month starts at zero."""
    december = RECEIVED_MS + 10 * DAY_MS
    with opened(tmp_path) as log:
        log.append_and_wait([track_row("m-1"), track_row("m-2"), identify_row(), rejected_row()])
        log.append_and_wait([track_row("m-2")])
        log.append_and_wait([track_row(workspace_id=2)])
        log.append_and_wait([track_row(received_ms=december)])
    with opened(tmp_path) as log:
        assert log.usage(1, RECEIVED_MS) == 2
        assert log.usage(2, RECEIVED_MS) == 1
        assert log.usage(1, december) == 1
        assert log.usage(3, RECEIVED_MS) == 0


def append(log: Log, rows: list[Any], dropped: Dropped) -> None:
    """Append as the collector does."""
    asyncio.run(log.append(rows, 1, dropped))


def test_what_senders_have_lost_is_counted_by_day_key_and_library_over_restarts(tmp_path: Path):
    """It takes no position and is no usage."""
    with opened(tmp_path) as log:
        append(log, [track_row("m-1")], Dropped(1, 20_000, 7, "node", 3))
    with opened(tmp_path) as log:
        append(log, [track_row("m-2")], Dropped(1, 20_000, 7, "node", 4))
    with opened(tmp_path) as log:
        append(log, [identify_row("m-3")], Dropped(1, 20_001, 7, "", 1))
    with opened(tmp_path) as log:
        append(log, [track_row(workspace_id=2)], Dropped(2, 20_001, 8, "python", 9))
    with opened(tmp_path) as log:
        assert log.dropped(1, 0) == [
            Dropped(1, 20_001, 7, "", 1),
            Dropped(1, 20_000, 7, "node", 7),
        ]
        assert log.dropped(1, 20_001) == [Dropped(1, 20_001, 7, "", 1)]
        assert log.dropped(2, 0) == [Dropped(2, 20_001, 8, "python", 9)]
        assert log.usage(1, RECEIVED_MS) == 2


def test_a_retry_does_not_count_what_was_lost_again(tmp_path: Path):
    """The same messageIds with the same number, also beside an event that is rejected again; a
    batch that brings one event more is another batch."""
    lost = Dropped(1, 20_000, 7, "node", 3)
    for rows, counted in [
        ([track_row("m-1"), track_row("m-2"), rejected_row()], 3),
        ([track_row("m-1"), track_row("m-2"), rejected_row()], 3),
        ([rejected_row()], 3),
        ([track_row("m-2"), track_row("m-3")], 6),
        ([track_row()], 9),  # without a messageId nothing tells a retry
    ]:
        with opened(tmp_path) as log:
            append(log, rows, lost)
            assert [found.events for found in log.dropped(1, 0)] == [counted]


def test_more_libraries_than_a_company_has_are_counted_together(tmp_path: Path):
    """Their names come from whoever has the public key; those known before keep theirs."""

    async def send(log: Log) -> None:
        for number in range(LIBRARIES_PER_KEY_DAY_MAX + 5):
            await log.append([track_row()], 1, Dropped(1, 20_000, 7, f"library {number:02}", 1))
        await log.append([track_row()], 1, Dropped(1, 20_000, 7, "library 00", 1))

    with opened(tmp_path) as log:
        asyncio.run(send(log))
        found = {dropped.library: dropped.events for dropped in log.dropped(1, 0)}
    named = {f"library {number:02}": 1 for number in range(LIBRARIES_PER_KEY_DAY_MAX)}
    assert found == {**named, "library 00": 2, "other": 5}


def test_a_log_of_before_is_given_its_table_of_losses(tmp_path: Path):
    """Its file has the same format number."""
    with opened(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "log.db") as connection:
        connection.execute("DROP TABLE dropped")
    with opened(tmp_path) as log:
        assert log.dropped(1, 0) == []


def test_the_time_of_the_last_receipt_is_known_after_a_restart(tmp_path: Path):
    """It is what a clock that was set back is noticed by."""
    with opened(tmp_path) as log:
        assert log.last_received_ms == 0
        log.append_and_wait([track_row(received_ms=RECEIVED_MS)])
        log.append_and_wait([track_row(received_ms=RECEIVED_MS + 5)])
    with opened(tmp_path) as log:
        assert log.last_received_ms == RECEIVED_MS + 5


def test_waiting_for_rows_ends_when_they_come_or_the_time_is_over(tmp_path: Path):
    """A reader neither polls nor misses."""
    with opened(tmp_path) as log:
        assert not log.wait_beyond(log.last_position, 0.01)
        before = log.last_position
        found: list[bool] = []
        waiter = threading.Thread(target=lambda: found.append(log.wait_beyond(before, 10)))
        waiter.start()
        log.append_and_wait(events(1))
        waiter.join(10)
        assert found == [True]


# --- trimming ---------------------------------------------------------------------------------


def test_nothing_is_trimmed_that_a_reader_still_needs(tmp_path: Path):
    """Neither what the store lacks nor what the saved filters do not cover."""
    settings = LogSettings(keep_ms=0, keep_bytes=0, free_bytes_min=0)
    later = RECEIVED_MS + 365 * DAY_MS
    store = FakeStore()
    with opened(tmp_path, store, settings=settings) as log:
        for row in events(5):
            log.append_and_wait([row])
        assert log.trim(later) == 0  # the store has none of it
        store.load(log)
        assert log.trim(later) == 0  # the saved filters cover none of it
        assert len(log.read(0, rows_max=100)) == 5
        log._writer.run(
            lambda connection: connection.execute("UPDATE readers SET position = 1 << 62")
        )
        assert log.trim(later) == 4  # the newest stays: it dates the last receipt
        assert rows_of(log.read(0, rows_max=100)) == events(1, first=4)


def cover_ids(log: Log) -> None:
    """Say that the saved filters cover what the log holds."""
    last = log.last_position
    log._writer.run(
        lambda connection: connection.execute(
            "UPDATE readers SET position = ? WHERE name = 'ids'", (last,)
        )
    )


def test_what_is_behind_every_reader_stays_for_its_time(tmp_path: Path):
    """Seven days by default, so that a lost store can be made again from backup and log."""
    store = FakeStore()
    with opened(tmp_path, store) as log:
        for age in (8, 7, 1):
            log.append_and_wait([track_row(received_ms=RECEIVED_MS - age * DAY_MS)])
        store.load(log)
        cover_ids(log)
        assert log.trim(RECEIVED_MS) == 1
        assert log.trim(RECEIVED_MS + 1) == 1
        assert log.trim(RECEIVED_MS + 1) == 0


def test_a_log_over_its_bytes_is_trimmed_before_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Oldest first, in slices, and never past a reader."""
    monkeypatch.setattr(log_module, "TRIM_RECORDS_PER_SLICE", 2)
    store = FakeStore()
    settings = LogSettings(keep_bytes=300_000, free_bytes_min=0)
    with opened(tmp_path, store, settings=settings) as log:
        for number in range(10):
            log.append_and_wait([track_row(user_id=str(number), properties_text=b"x" * 50_000)])
        store.load(log)
        cover_ids(log)
        deleted = log.trim(RECEIVED_MS)
        assert 4 <= deleted <= 6
        kept = [row.user_id for row in rows_of(log.read(0, rows_max=100))]
        assert kept == [str(number) for number in range(deleted, 10)]


# --- a full disk ---------------------------------------------------------------------------


def test_below_the_floor_of_free_space_events_are_refused_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Reading, checkpoints and trimming go on meanwhile; no restart is needed."""
    free = [10**9]

    class Usage:
        def __init__(self, _: Path) -> None:
            self.free = free[0]

    monkeypatch.setattr("saytics_server.log.writer.shutil.disk_usage", Usage)
    clock = ManualClock(RECEIVED_MS)
    settings = LogSettings(free_bytes_min=10**6)
    store = FakeStore()
    with opened(tmp_path, store, settings=settings, clock=clock) as log:
        log.append_and_wait(events(1))
        free[0] = 10**6 - 1
        clock.advance(1_000)
        for _ in range(3):
            with pytest.raises(LogFullError):
                log.append_and_wait([track_row("m-1", user_id="refused")])
        assert store.load(log) == 1
        free[0] = 10**6
        clock.advance(1_000)
        assert log.append_and_wait([track_row("m-1", user_id="user_1")]).duplicates == []
        assert [row.user_id for row in rows_of(log.read(0, rows_max=100))] == ["user_0", "user_1"]


def test_a_commit_that_does_not_fit_refuses_its_whole_group_and_nothing_else(tmp_path: Path):
    """SQLite itself says that it is full: no position, no id and no usage is taken."""
    with opened(tmp_path) as log:

        def allow(pages: int) -> None:
            log._writer.run(
                lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}")
            )

        last = log.append_and_wait([track_row("m-0")]).first_position
        allow(1)  # the least there is: as many pages as there are
        large = [track_row("m-1", properties_text=b"x" * 30_000)] * 5
        with pytest.raises(LogFullError):
            log.append_and_wait(large)
        assert log.last_position == last
        assert log.usage(1, RECEIVED_MS) == 1
        allow(1 << 30)
        result = log.append_and_wait([track_row("m-1")])
        assert (result.first_position, result.duplicates) == (last + 1, [])


# --- opening ----------------------------------------------------------------------------------


def failure(folder: Path) -> str:
    """Return the line with which a log is refused."""
    before = (folder / "log.db").read_bytes()
    with pytest.raises(Failure) as caught, opened(folder):
        pass
    assert (folder / "log.db").read_bytes() == before
    return str(caught.value)


@pytest.mark.parametrize("damage", ["header", "garbage", "schema", "record"])
def test_a_damaged_file_is_refused_in_one_line_and_left_as_it_is(tmp_path: Path, damage: str):
    """Whoever repairs it finds what there was."""
    with opened(tmp_path) as log:
        log.append_and_wait(events(1))
    file = tmp_path / "log.db"
    content = bytearray(file.read_bytes())
    if damage == "header":
        content[:16] = b"not a database.."
    elif damage == "garbage":
        content[100:] = b"\xa5" * (len(content) - 100)
    elif damage == "schema":
        content = bytearray(b"x" * 10_000)
    if damage == "record":
        with sqlite3.connect(file) as connection:
            connection.execute("UPDATE records SET body = ?", (b"\x91\x93\x00",))
        connection.close()
    else:
        file.write_bytes(content)
    assert "cannot be read" in failure(tmp_path)


def test_a_newer_format_is_refused_and_left_as_it_is(tmp_path: Path):
    """An older version never writes into what it does not know."""
    with opened(tmp_path) as log:
        log.append_and_wait(events(1))
    with sqlite3.connect(tmp_path / "log.db") as connection:
        connection.execute("UPDATE meta SET value = 2 WHERE name = 'format_version'")
    connection.close()
    assert "has format 2, this version reads 1" in failure(tmp_path)


def test_a_half_written_last_commit_is_as_if_it_had_not_been(tmp_path: Path):
    """A torn frame at the end of the WAL was never acknowledged; all before it is there."""
    (tmp_path / "a").mkdir()
    with opened(tmp_path / "a") as log:
        for row in events(20):
            log.append_and_wait([row])
        whole = (tmp_path / "a" / "log.db-wal").stat().st_size
        log.append_and_wait([track_row(user_id="torn", properties_text=b"x" * 9_000)])
        left = crashed(tmp_path / "a", tmp_path / "crashed")
    wal = (left / "log.db-wal").read_bytes()
    for number, end in enumerate(range(whole, len(wal), 2_777)):
        torn = tmp_path / f"torn-{number}"
        torn.mkdir()
        (torn / "log.db").write_bytes((left / "log.db").read_bytes())
        (torn / "log.db-wal").write_bytes(wal[:end] + b"\xa5" * (number % 3 * 500))
        with opened(torn) as log:
            assert rows_of(log.read(0, rows_max=100)) == events(20), end
            log.append_and_wait(events(1, first=20))
            assert rows_of(log.read(0, rows_max=100)) == events(21), end


def test_an_empty_file_is_a_log_to_be_made(tmp_path: Path):
    """A crash right after its creation leaves one."""
    (tmp_path / "log.db").touch()
    with opened(tmp_path) as log:
        log.append_and_wait(events(1))
        assert rows_of(log.read(0, rows_max=100)) == events(1)


def test_the_file_is_readable_by_its_owner_alone(tmp_path: Path):
    """Events are people's data; the WAL and its index hold them too."""
    with opened(tmp_path) as log:
        log.append_and_wait(events(1))
        modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.glob("log.db*")}
    assert set(modes.values()) == {0o600}


def test_closing_writes_what_waits(tmp_path: Path):
    """A stop loses nothing that was queued."""
    with opened(tmp_path) as log:
        results: list[int] = []
        senders = [
            threading.Thread(
                target=lambda row=row: results.append(log.append_and_wait([row]).first_position)
            )
            for row in events(20)
        ]
        for sender in senders:
            sender.start()
        waiting.until(lambda: log._writer._queue.qsize() == 0 or results)
        for sender in senders:
            sender.join(10)
    with opened(tmp_path) as log:
        assert len(rows_of(log.read(0, rows_max=100))) == len(results) == 20
