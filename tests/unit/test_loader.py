"""From the log into a real store: each row once, whatever interrupts, and no row stops another."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_store import SETTINGS

from factories import RECEIVED_MS, identify_row, rejected_row, track_row
from saytics_server.clock import ManualClock
from saytics_server.event import TrackRow
from saytics_server.log import Log
from saytics_server.store import Store, StoreRefusedError
from saytics_server.store import loader as loader_module
from saytics_server.store.loader import Loader

# Positions and so tokens begin with the time a log is made: each log here has its own.
_moments = itertools.count(RECEIVED_MS, 1_000_000)


class Interrupted(Exception):  # noqa: N818 - a stand-in for the end of the process
    """Raised where a process would have ended."""


@pytest.fixture(autouse=True)
def _blocks_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader_module, "BLOCK_AGE_S", 0.01)


@contextlib.contextmanager
def opened_log(folder: Path, store: Store) -> Iterator[Log]:
    """Open a log in front of the real store."""
    log = Log.open(
        folder,
        ManualClock(next(_moments)),
        find_stored=store.find_message_ids,
        scan_stored=lambda: iter(()),
        settings=SETTINGS,
    )
    try:
        yield log
    finally:
        log.close()


def load_all(loader: Loader) -> None:
    """Load until there is nothing left."""
    while loader.load_block():
        pass


def stored(store: Store, workspace_id: int, table: str = "events", what: str = "user_id") -> Any:
    """Return one column of what a workspace has in a table, sorted."""
    rows = store.query(
        f"SELECT {what} FROM {table} WHERE workspace_id = {{w:UInt32}} ORDER BY {what}",
        {"w": workspace_id},
    )
    return [row[0] for row in rows]


def events(workspace_id: int, count: int, **fields: Any) -> list[TrackRow]:
    """Return events with ids, users and links of their own."""
    return [
        track_row(
            f"m-{number}",
            workspace_id=workspace_id,
            user_id=f"u-{number:04}",
            anonymous_id=f"a-{number:04}",
            **fields,
        )
        for number in range(count)
    ]


def test_every_kind_of_row_arrives_and_the_checkpoint_moves(
    store: Store, workspace_id: int, tmp_path: Path
):
    """What the log held is in the tables, and the log may forget it."""
    with opened_log(tmp_path, store) as log:
        loader = Loader(log, store)
        log.append_and_wait(events(workspace_id, 3))
        log.append_and_wait([identify_row(workspace_id=workspace_id), rejected_row()])
        load_all(loader)
        assert loader.loaded_position == log.last_position == log.reader("store")[0]
        assert stored(store, workspace_id) == ["u-0000", "u-0001", "u-0002"]
        assert stored(store, workspace_id, "links") == ["u-0000", "u-0001", "u-0002"]
        assert stored(store, workspace_id, "traits", "trait") == ["Straße", "plan"]
        assert stored(store, workspace_id, "identifies") == ["user_456"]
        properties = store.query(
            "SELECT properties.`mrr`.:Float64, properties.`gr%C3%B6%C3%9Fe`.:String,"
            " properties_text FROM events WHERE workspace_id = {w:UInt32} LIMIT 1",
            {"w": workspace_id},
        )
        assert list(properties) == [(49.99, "ß", '{"größe":"ß","mrr":49.99}')]


def test_blocks_end_at_whole_records_and_hold_up_to_their_size(
    store: Store, workspace_id: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Many small requests become one block, a large backlog several."""
    monkeypatch.setattr(loader_module, "BLOCK_ROWS_MAX", 10)
    tokens: list[str] = []
    insert = store.insert

    def noted(table: str, rows: Any, *, token: str) -> None:
        tokens.append(token)
        insert(table, rows, token=token)

    monkeypatch.setattr(store, "insert", noted)
    with opened_log(tmp_path, store) as log:
        start = log.last_position + 1
        for number in range(25):
            row = track_row(workspace_id=workspace_id, user_id=f"u-{number:02}")
            log.append_and_wait([row])
        load_all(Loader(log, store))
    ends = [(start, start + 9), (start + 10, start + 19), (start + 20, start + 24)]
    assert tokens == [f"events-{first}-{last}" for first, last in ends]
    assert len(stored(store, workspace_id)) == 25


@pytest.mark.parametrize("at_call", range(5))
def test_a_block_cut_off_at_any_step_counts_once(
    store: Store,
    workspace_id: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at_call: int,
):
    """Before and after each insert, before the checkpoint: loaded again with more behind it."""
    calls = itertools.count()
    insert, note = store.insert, Log.note_stored

    def cut(*_: Any) -> None:
        if next(calls) == at_call:
            raise Interrupted

    def insert_and_cut(table: str, rows: Any, *, token: str) -> None:
        cut()
        insert(table, rows, token=token)

    def note_and_cut(log: Log, position: int) -> None:
        cut()
        note(log, position)
        cut()

    rows = events(workspace_id, 40)
    with opened_log(tmp_path, store) as log:
        log.append_and_wait(rows[:20])
        with monkeypatch.context() as planted:
            planted.setattr(store, "insert", insert_and_cut)
            planted.setattr(Log, "note_stored", note_and_cut)
            with contextlib.suppress(Interrupted):
                Loader(log, store).load_block()
        log.append_and_wait(rows[20:])
    with opened_log(tmp_path, store) as log:
        load_all(Loader(log, store))
        assert stored(store, workspace_id) == [row.user_id for row in rows]
        assert stored(store, workspace_id, "links") == [row.user_id for row in rows]
        assert log.append_and_wait(rows).duplicates == list(range(40))


def test_rows_across_the_turn_of_a_month_count_once_when_repeated(
    store: Store, workspace_id: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """One insert over two partitions is two parts, and either may be there before the crash."""
    new_year = 1_798_761_600_000
    rows = events(workspace_id, 6)
    for number, row in enumerate(rows):
        row.received_ms = new_year - 3 + number
    with opened_log(tmp_path, store) as log:
        log.append_and_wait(rows)
        with monkeypatch.context() as planted:
            planted.setattr(Log, "note_stored", _interrupt)
            with pytest.raises(Interrupted):
                Loader(log, store).load_block()
    with opened_log(tmp_path, store) as log:
        load_all(Loader(log, store))
        assert stored(store, workspace_id) == [row.user_id for row in rows]


def _interrupt(*_: Any) -> None:
    raise Interrupted


@pytest.mark.parametrize("bad", [{0}, {19}, {7, 8}, {3, 11, 12}, set(range(20))])
def test_refused_rows_are_put_aside_and_the_others_go_in(
    store: Store, workspace_id: int, tmp_path: Path, bad: set[int]
):
    """First, last, neighbours, all: each with its reason and what was sent."""
    rows = events(workspace_id, 20)
    for number in bad:
        rows[number].properties_column = b"{not json"
        rows[number].properties_text = b'{"n":%d}' % number
    with opened_log(tmp_path, store) as log:
        loader = Loader(log, store)
        first = log.append_and_wait(rows).first_position
        load_all(loader)
        assert loader.loaded_position == log.last_position
        assert stored(store, workspace_id) == [
            row.user_id for number, row in enumerate(rows) if number not in bad
        ]
        aside = store.query(
            "SELECT position, code, body FROM rejected_events"
            " WHERE workspace_id = {w:UInt32} ORDER BY position",
            {"w": workspace_id},
        )
        assert list(aside) == [
            (first + number, "store_refused", f'{{"n":{number}}}') for number in sorted(bad)
        ]


def test_a_block_with_refused_rows_cut_off_and_repeated_counts_once(
    store: Store, workspace_id: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The same halves have the same tokens the second time."""
    rows = events(workspace_id, 16)
    rows[5].properties_column = b"{not json"
    with opened_log(tmp_path, store) as log:
        log.append_and_wait(rows)
        with monkeypatch.context() as planted:
            planted.setattr(Log, "note_stored", _interrupt)
            with pytest.raises(Interrupted):
                Loader(log, store).load_block()
        load_all(Loader(log, store))
        assert len(stored(store, workspace_id)) == 15
        assert stored(store, workspace_id, "rejected_events", "code") == ["store_refused"]


@pytest.mark.parametrize("at_call", range(1, 9))
def test_a_block_cut_off_while_it_is_divided_loses_none_of_its_rows(
    store: Store,
    workspace_id: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at_call: int,
):
    """What is left of it divides elsewhere the second time, under tokens not used for others."""
    calls = itertools.count(1)
    insert = store.insert

    def insert_and_cut(table: str, rows: Any, *, token: str) -> None:
        if next(calls) == at_call:
            raise Interrupted
        insert(table, rows, token=token)

    rows = [
        track_row(workspace_id=workspace_id, user_id=f"u-{number}", properties_column=b"")
        for number in range(8)
    ]
    rows[0].properties_column = b"{not json"
    with opened_log(tmp_path, store) as log:
        log.append_and_wait(rows)
        with monkeypatch.context() as planted:
            planted.setattr(store, "insert", insert_and_cut)
            with contextlib.suppress(Interrupted):
                Loader(log, store).load_block()
    with opened_log(tmp_path, store) as log:
        load_all(Loader(log, store))
        assert stored(store, workspace_id) == [row.user_id for row in rows[1:]]
        assert stored(store, workspace_id, "rejected_events", "code") == ["store_refused"]


def test_a_block_tried_again_by_the_same_process_counts_once(
    store: Store, workspace_id: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The checkpoint could not be written after the inserts; the tokens say what is there."""
    with opened_log(tmp_path, store) as log:
        loader = Loader(log, store)
        log.append_and_wait(events(workspace_id, 10))
        with monkeypatch.context() as planted:
            planted.setattr(Log, "note_stored", _interrupt)
            with pytest.raises(Interrupted):
                loader.load_block()
        log.append_and_wait([track_row(workspace_id=workspace_id, user_id="u-later")])
        load_all(loader)
        assert len(stored(store, workspace_id)) == 11
        assert len(stored(store, workspace_id, "links")) == 10


def test_a_store_that_refuses_for_reasons_of_its_own_loses_nothing(
    store: Store, workspace_id: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """No room, no memory: the block is neither divided nor put aside but tried again."""
    attempts = []

    def refuse(table: str, rows: Any, *, token: str) -> None:
        attempts.append((table, rows.num_rows))
        raise StoreRefusedError("Code: 243. Cannot reserve", row_fault=False)

    with opened_log(tmp_path, store) as log:
        loader = Loader(log, store)
        log.append_and_wait(events(workspace_id, 4))
        with monkeypatch.context() as planted:
            planted.setattr(store, "insert", refuse)
            for _ in range(2):
                with pytest.raises(StoreRefusedError):
                    loader.load_block()
        assert attempts == [("events", 4)] * 2
        log.append_and_wait([track_row(workspace_id=workspace_id, user_id="u-later")])
        load_all(loader)
        assert len(stored(store, workspace_id)) == 5


def test_the_thread_goes_on_after_a_failure_and_a_stop_leaves_the_rest_to_the_next(
    store: Store, workspace_id: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A broken attempt is logged and repeated; what a stop leaves in the log is not lost."""
    monkeypatch.setattr(loader_module, "RETRY_INTERVAL_S", 0.01)
    failures = iter([OSError("once"), StoreRefusedError("twice", row_fault=False)])
    insert = store.insert

    def fail_first(table: str, rows: Any, *, token: str) -> None:
        for failure in failures:
            raise failure
        insert(table, rows, token=token)

    monkeypatch.setattr(store, "insert", fail_first)
    with opened_log(tmp_path, store) as log:
        loader = Loader(log, store)
        log.append_and_wait(events(workspace_id, 2))
        loader.start()
        assert loader.wait_loaded(log.last_position, 10)
        log.append_and_wait([track_row(workspace_id=workspace_id)])
        loader.stop()
        load_all(Loader(log, store))
    assert len(stored(store, workspace_id)) == 3


def test_a_token_inserted_again_adds_nothing_and_another_does(store: Store, workspace_id: int):
    """What exactly-once stands on, asked of the engine itself; the second half proves the first."""
    from saytics_server.store.blocks import columns

    block = columns([(1, track_row(workspace_id=workspace_id))])["events"]
    for token in ("one", "one", "two"):
        store.insert("events", block, token=f"{workspace_id}-{token}")
    assert len(stored(store, workspace_id)) == 2


def test_ids_are_found_with_their_content(store: Store, workspace_id: int, tmp_path: Path):
    """The exact answer behind every maybe, also for more ids than one query takes."""
    with opened_log(tmp_path, store) as log:
        rows = events(workspace_id, 3, content=4_000_000_000)
        log.append_and_wait(rows)
        load_all(Loader(log, store))
    unknown = [bytes((n % 256, n // 256)) + b"unknown-id" for n in range(25_000)]
    wanted = [*unknown, *(row.claim for row in rows)]
    assert store.find_message_ids(wanted) == {row.claim: 4_000_000_000 for row in rows}
    assert store.find_message_ids([]) == {}
    scanned = {claim for block in store.scan_message_ids() for claim in block}
    assert {row.claim for row in rows} <= scanned
