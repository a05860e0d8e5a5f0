"""Which messageIds are taken: once for ever, over every path, whatever the filters say."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fake_store import FakeStore, crashed, opened, rows_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import waiting
from factories import claim, identify_row, rejected_row, track_row
from saytics_server.event import SECRET, WRITE
from saytics_server.log import Log, LogBusyError
from saytics_server.log import ids as ids_module
from saytics_server.log import writer as writer_module
from saytics_server.log.ids import IdFilters, Tail, key_of


def stored_ids(log: Log) -> list[str]:
    """Return the messageIds of everything the log holds, in order."""
    return [row.message_id for row in rows_of(log.read(0, rows_max=1_000_000))]


@pytest.fixture
def everything_is_a_maybe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the filters useless: tiny segments that are wrong nearly always."""
    monkeypatch.setattr(ids_module, "SEGMENT_IDS", (8,))
    monkeypatch.setattr(ids_module, "FALSE_POSITIVES", 0.9)


# --- one id, once ------------------------------------------------------------------------------


def test_an_id_counts_once_and_its_repeats_are_named(tmp_path: Path):
    """Within a request, between requests; other content under the same id is noticed."""
    with opened(tmp_path) as log:
        first = log.append_and_wait(
            [track_row("a", content=1), track_row("b", content=1), track_row("a", content=1)]
        )
        assert (first.duplicates, first.different) == ([2], [])
        second = log.append_and_wait(
            [track_row("c"), track_row("b", content=2), track_row("a", content=1), track_row()]
        )
        assert (second.duplicates, second.different) == ([1, 2], [1])
        assert stored_ids(log) == ["a", "b", "c", ""]


def test_events_without_an_id_and_rejected_ones_are_never_duplicates(tmp_path: Path):
    """A rejected event claims nothing: repaired, it may come again under its id."""
    with opened(tmp_path) as log:
        for _ in range(2):
            result = log.append_and_wait([track_row(), track_row(), rejected_row()])
            assert result.duplicates == []


def test_ids_are_separate_per_workspace_and_key_class_and_shared_by_kinds(tmp_path: Path):
    """The public key meets nothing of a server's; a track and an identify share one space."""
    with opened(tmp_path) as log:
        log.append_and_wait([track_row("m")])
        assert log.append_and_wait([track_row("m", key_class=WRITE)]).duplicates == []
        assert log.append_and_wait([track_row("m", workspace_id=2)]).duplicates == []
        assert log.append_and_wait([identify_row("m")]).duplicates == [0]


@pytest.mark.parametrize("is_loaded", [False, True])
@pytest.mark.parametrize("ending", ["closed", "crashed", "filters lost", "filters torn"])
def test_an_id_stays_taken_over_a_restart(tmp_path: Path, is_loaded: bool, ending: str):
    """Wherever it lies, tail or store, and whatever became of the saved filters."""
    store = FakeStore()
    (tmp_path / "first").mkdir()
    with opened(tmp_path / "first", store) as log:
        log.append_and_wait([track_row("a", content=7), track_row("b", content=7)])
        if is_loaded:
            store.load(log)
        log.append_and_wait([track_row("c", content=7)])
        left = crashed(tmp_path / "first", tmp_path / "crashed")
    folder = left if ending == "crashed" else tmp_path / "first"
    if ending.startswith("filters"):
        for file in (folder / "ids").iterdir():
            if ending == "filters lost":
                file.unlink()
            else:
                file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with opened(folder, store) as log:
        result = log.append_and_wait(
            [track_row("c", content=7), track_row("a", content=8), track_row("d")]
        )
        assert (result.duplicates, result.different) == ([0, 1], [1])


def test_an_import_repeated_after_its_log_was_trimmed_counts_once(tmp_path: Path):
    """The store's ids are asked when neither tail nor log know them any more."""
    store = FakeStore()
    rows = [track_row(f"import-{number}") for number in range(500)]
    with opened(tmp_path, store) as log:
        log.append_and_wait(rows)
        store.load(log)
    with opened(tmp_path, store) as log:
        log._writer.run(lambda connection: connection.execute("DELETE FROM records"))
    store.asked.clear()
    with opened(tmp_path, store) as log:
        assert log.append_and_wait(rows).duplicates == list(range(500))
        assert len(store.asked) == 500
        assert log.append_and_wait([track_row("new")]).duplicates == []


def test_requests_of_one_group_with_the_same_id_count_it_once(tmp_path: Path):
    """Undecided by filters and tail alike: the first of the group takes it."""
    with opened(tmp_path) as log:
        is_stalled, release = threading.Event(), threading.Event()

        def stall(_: object) -> None:
            is_stalled.set()
            assert release.wait(10)

        threading.Thread(target=log._writer.run, args=(stall,), daemon=True).start()
        assert is_stalled.wait(10)

        async def send() -> list[list[int]]:
            sending = [
                asyncio.create_task(log.append([track_row("m", content=number), track_row()], 1))
                for number in range(10)
            ]
            await asyncio.sleep(0)
            release.set()
            return [result.duplicates for result in await asyncio.gather(*sending)]

        assert asyncio.run(send()) == [[]] + [[0]] * 9
        assert sorted(stored_ids(log)) == [""] * 10 + ["m"]


# --- the maybe path ---------------------------------------------------------------------------


@pytest.mark.usefixtures("everything_is_a_maybe")
def test_fifty_senders_of_one_batch_count_it_once(tmp_path: Path):
    """In parallel, with every id a maybe, while a loader moves the ids under their feet."""
    store = FakeStore()
    batch = [track_row(f"m-{number}") for number in range(30)]
    with opened(tmp_path, store) as log, ThreadPoolExecutor(50) as senders:
        is_over = threading.Event()

        def keep_loading() -> None:
            while not is_over.wait(0.001):
                store.load(log)

        loading = threading.Thread(target=keep_loading)
        loading.start()
        results = list(senders.map(lambda _: log.append_and_wait(batch), range(50)))
        is_over.set()
        loading.join(10)
        assert sum(len(result.duplicates) for result in results) == 49 * 30
        assert sorted(stored_ids(log)) == sorted(row.message_id for row in batch)


@pytest.mark.usefixtures("everything_is_a_maybe")
def test_a_maybe_waits_beside_the_group_and_holds_nobody_up(tmp_path: Path):
    """While the store is asked about one request, others are acknowledged."""
    asking, answer = threading.Event(), threading.Event()

    def find(_: Sequence[bytes]) -> dict[bytes, int]:
        asking.set()
        assert answer.wait(10)
        return {}

    with opened(tmp_path, find_stored=find) as log, ThreadPoolExecutor(1) as sender:
        fill(log)
        waiting_one = sender.submit(log.append_and_wait, [track_row("maybe")])
        assert asking.wait(10)
        for _ in range(20):
            log.append_and_wait([track_row()])
        assert not waiting_one.done()
        answer.set()
        assert waiting_one.result(10).duplicates == []


def fill(log: Log) -> None:
    """Load the useless filters until they call everything a maybe, without asking anybody."""
    filters = log._writer._filters
    for number in range(64):
        filters.add(key_of(claim(f"filling-{number}")))
    assert all(filters.maybe(key_of(claim(f"anything-{number}"))) for number in range(20))


@pytest.mark.usefixtures("everything_is_a_maybe")
def test_an_id_stored_while_its_repeat_is_being_checked_is_still_a_duplicate(tmp_path: Path):
    """The tail forgets nothing that an open check's answer was given without."""
    store = FakeStore()
    answers: list[threading.Event] = []
    asked = threading.Semaphore(0)

    def find(ids: Sequence[bytes]) -> dict[bytes, int]:
        found = store.find(ids)  # looked up now, told later
        answers.append(threading.Event())
        asked.release()
        assert answers[-1].wait(10)
        return found

    with opened(tmp_path, store, find_stored=find) as log, ThreadPoolExecutor(2) as senders:
        fill(log)
        first = senders.submit(log.append_and_wait, [track_row("m", content=1)])
        assert asked.acquire(timeout=10)
        repeat = senders.submit(log.append_and_wait, [track_row("m", content=2)])
        waiting.until(lambda: len(log._writer._under_check) == 2)
        answers[0].set()
        assert asked.acquire(timeout=10)  # the repeat's look-up found nothing, rightly
        assert first.result(10).duplicates == []
        assert store.load(log) == 1  # and now the id has left the tail for the store
        assert log._writer._tail.content(key_of(claim("m"))) == 1
        answers[1].set()
        result = repeat.result(10)
        assert (result.duplicates, result.different) == ([0], [0])
        store.load(log)
        log.append_and_wait([track_row()])
        store.load(log)
        assert len(log._writer._tail) == 0


@pytest.mark.usefixtures("everything_is_a_maybe")
def test_a_look_up_that_fails_refuses_its_request_and_no_other(tmp_path: Path):
    """Undecided is never accepted; when the store answers again the same request is taken."""
    store = FakeStore()
    is_broken = True

    def find(ids: Sequence[bytes]) -> dict[bytes, int]:
        if is_broken:
            raise OSError("no store")
        return store.find(ids)

    with opened(tmp_path, store, find_stored=find) as log:
        fill(log)
        with pytest.raises(LogBusyError):
            log.append_and_wait([track_row("m"), track_row()])
        log.append_and_wait([track_row()])
        assert stored_ids(log) == [""]
        assert log._writer._under_check == set()
        is_broken = False
        assert log.append_and_wait([track_row("m"), track_row()]).duplicates == []
        assert stored_ids(log) == ["", "m", ""]


def test_a_store_hours_behind_refuses_new_ids_instead_of_growing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The tail has a bound; once the store has caught up, ids are taken again."""
    monkeypatch.setattr(writer_module, "TAIL_IDS_MAX", 10)
    store = FakeStore()
    with opened(tmp_path, store) as log:

        async def send() -> None:
            await log.append([track_row(f"m-{number}") for number in range(10)], 100)
            with pytest.raises(LogBusyError):
                await log.append([track_row("m-10")], 100)
            store.load(log)
            await log.append([track_row("m-10")], 100)

        asyncio.run(send())


steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.lists(st.integers(0, 12), min_size=1, max_size=5)),
        st.tuples(st.just("load"), st.just([])),
        st.tuples(st.just("restart"), st.just([])),
        st.tuples(st.just("lose filters"), st.just([])),
    ),
    max_size=12,
)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
@pytest.mark.usefixtures("everything_is_a_maybe")
def test_any_history_of_sends_loads_and_restarts_takes_each_id_once(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[str, list[int]]]
):
    """Compared with the naive rule: a set of the ids seen."""
    folder = tmp_path_factory.mktemp("log")
    store, seen = FakeStore(), set()
    left = list(history)
    while left:
        with opened(folder, store) as log:
            while left:
                step, numbers = left.pop(0)
                if step == "send":
                    result = log.append_and_wait([track_row(f"m-{n}") for n in numbers])
                    expected = []
                    for index, number in enumerate(numbers):
                        if number in seen:
                            expected.append(index)
                        seen.add(number)
                    assert result.duplicates == expected
                elif step == "load":
                    store.load(log)
                else:
                    break
        if left and step == "lose filters":
            (folder / "ids" / "filters.json").unlink()
    with opened(folder, store) as log:
        assert sorted(stored_ids(log)) == sorted(f"m-{number}" for number in seen)


# --- the filters on disk ------------------------------------------------------------------------


def test_saved_filters_know_every_id_they_cover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Over several segments of growing size, saved twice, the second time only what is new."""
    monkeypatch.setattr(ids_module, "SEGMENT_IDS", (100, 200))
    filters = IdFilters(tmp_path / "ids")
    for number in range(250):
        filters.add(number)
    filters.snapshot(1).write()
    for number in range(250, 1_000):
        filters.add(number)
    second = filters.snapshot(2)
    assert "segment-0000.bloom" not in {path.name for path in second.files}
    second.write()
    loaded = IdFilters.load(tmp_path / "ids")
    assert loaded is not None
    again, covered = loaded
    assert (covered, len(again)) == (2, 1_000)
    assert all(again.maybe(number) for number in range(1_000))
    assert sum(again.maybe(number) for number in range(10_000, 20_000)) < 100


def test_a_save_that_was_cut_off_leaves_the_one_before(tmp_path: Path):
    """The manifest is written last, so segments newer than it only know more."""
    filters = IdFilters(tmp_path / "ids")
    filters.add(1)
    filters.snapshot(1).write()
    filters.add(2)
    cut_off = filters.snapshot(2)
    for path, content in cut_off.files.items():
        path.write_bytes(content)
    loaded = IdFilters.load(tmp_path / "ids")
    assert loaded is not None
    assert loaded[1] == 1
    assert loaded[0].maybe(1)
    assert loaded[0].maybe(2)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("filters.json", b""),
        ("filters.json", b"x" * 100),
        ("filters.json", None),
        ("segment-0000.bloom", b""),
        ("segment-0000.bloom", b"x" * 100),
        ("segment-0000.bloom", None),
    ],
)
def test_damaged_filters_are_no_filters(tmp_path: Path, name: str, damage: bytes | None):
    """They are made again from the store and the log, never half believed."""
    filters = IdFilters(tmp_path / "ids")
    filters.add(1)
    filters.snapshot(1).write()
    file = tmp_path / "ids" / name
    file.write_bytes(file.read_bytes()[:-1] if damage is None else damage)
    assert IdFilters.load(tmp_path / "ids") is None


def test_filters_are_saved_while_appends_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A crash then replays only what came after; the saved place is a reader of the log."""
    monkeypatch.setattr(writer_module, "SAVE_EVERY_IDS", 50)
    (tmp_path / "a").mkdir()
    with opened(tmp_path / "a") as log:
        for number in range(200):
            log.append_and_wait([track_row(f"m-{number}")])
        covered = waiting.until(
            lambda: (found := log.reader("ids")[0]) > log.last_position - 200 and found
        )
        left = crashed(tmp_path / "a", tmp_path / "b")
    loaded = IdFilters.load(left / "ids")
    assert loaded is not None
    assert loaded[1] >= covered
    with opened(left) as log:
        repeated = [track_row(f"m-{number}") for number in range(200)]
        assert log.append_and_wait(repeated).duplicates == list(range(200))


def test_the_tail_forgets_up_to_a_position_and_no_further():
    """Records leave in order; ids of one record leave together."""
    tail = Tail()
    tail.add(10, {1: 100, 2: 200})
    tail.add(20, {3: 300})
    tail.add(30, {})
    tail.forget(9)
    assert (len(tail), tail.content(1), tail.content(3)) == (3, 100, 300)
    tail.forget(10)
    assert (len(tail), tail.content(1), tail.content(3)) == (1, None, 300)
    tail.forget(1_000)
    assert len(tail) == 0


def test_claims_of_the_factory_are_those_of_the_server():
    """The tests' rows claim ids as accepted events do."""
    assert claim("m", 1, SECRET) != claim("m", 1, WRITE)
    assert len(claim("m")) == 12
