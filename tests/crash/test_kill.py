"""kill -9: whatever the moment, every acknowledged event is there once, and the start is quick."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from sending import Load, check, verdict

from factories import unique, wire_event
from serving import Serving

# The product's limit, held to in the long runs, which have the machine to themselves; the default
# suite may share its two cores with other tests.
START_S_MAX = 5.0
START_SHARED_S_MAX = 15.0


def restart(serving: Serving, limit_s: float) -> None:
    """Start again and hold the start to its limit."""
    started = time.monotonic()
    serving.start()
    assert serving.client.get("/readyz").status_code == 200
    assert time.monotonic() - started < limit_s


def kill_under_load(serving: Serving, times: int, seed: int, start_limit_s: float) -> None:
    """Kill at random moments, again and again on the same data, and check after each."""
    chance = random.Random(seed)
    loads: list[Load] = []
    for _ in range(times):
        load = Load(serving).start()
        load.wait_acknowledged(chance.randint(1, 1_500))
        serving.kill()
        load.stop()
        loads.append(load)
        restart(serving, start_limit_s)
        check(serving, load)
    for load in loads:  # and no later crash touched what an earlier one had left
        check(serving, load)


def test_a_kill_at_a_random_moment_loses_and_doubles_nothing(tmp_path: Path):
    """Five times in a row on one data directory."""
    serving = Serving(tmp_path / "data").start()
    try:
        kill_under_load(serving, 5, seed=1, start_limit_s=START_SHARED_S_MAX)
    finally:
        serving.kill()


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("seed", range(5))
def test_a_hundred_kills_lose_and_double_nothing(tmp_path: Path, seed: int):
    """Twenty in a row on each of five data directories."""
    serving = Serving(tmp_path / "data").start()
    try:
        kill_under_load(serving, 20, seed=100 + seed, start_limit_s=START_S_MAX)
    finally:
        serving.kill()


# Which call ends the process: a name alone dies in it, `:1` lets one pass, `:late` has more
# acknowledged while it hangs. A block here is three inserts: events, links, ids.
MOMENTS = [
    "log.note_stored:late",
    pytest.param("store.insert:1", marks=pytest.mark.slow),
    pytest.param("log.plan", marks=pytest.mark.slow),
    pytest.param("store.insert", marks=pytest.mark.slow),
    pytest.param("store.insert:2", marks=pytest.mark.slow),
    pytest.param("log.note_stored", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_inside_a_block_repeats_it_and_counts_once(tmp_path: Path, moment: str):
    """Before, between and after its inserts; with rows that came later behind it."""
    call, _, when = moment.partition(":")
    serving = Serving(tmp_path / "data", operated=True).start()
    name = unique("Block")
    sent = [
        wire_event(event=name, messageId=f"{name}-{n}", userId=f"u{n}", anonymousId=f"a{n}")
        for n in range(60)
    ]
    passing = int(when) if when.isdigit() else 0
    serving.operate(
        "import os, threading\n"
        "may_die, calls = threading.Event(), []\n"
        f"original = {call}\n"
        "def die(*arguments, **named):\n"
        "    calls.append(1)\n"
        f"    if len(calls) > {passing}:\n"
        "        may_die.wait(20); os._exit(9)\n"
        "    return original(*arguments, **named)\n"
        f"{call} = die"
    )
    serving.batch(sent[:40])
    if when == "late":  # more is acknowledged while the block hangs between insert and checkpoint
        serving.operate("import time\nwhile not calls: time.sleep(0.01)")
        serving.batch(sent[40:])
        sent_ids = [event["messageId"] for event in sent]
    else:
        sent_ids = [event["messageId"] for event in sent[:40]]
    # A moment later, or the process would be gone before it has answered this.
    serving.operate("threading.Timer(0.3, may_die.set).start()")
    assert serving.wait_end() == 9
    serving.start()
    try:
        serving.wait_visible()
        stored = serving.events(event=name)
        assert verdict(sent_ids, sent_ids, [event["messageId"] for event in stored]) == []
        again = serving.batch(sent[:40]).json()
        assert again["duplicates"] == 40
        rows = serving.operate(
            "result = [store.query('SELECT count() FROM ' + table)[0][0]"
            " for table in ('events', 'links', 'message_ids')] +"
            " [store.query('SELECT uniqExact(anonymous_id) FROM link_heads')[0][0]]"
        )
        assert rows == [len(sent_ids)] * 4
    finally:
        serving.kill()


def test_an_import_repeated_over_a_restart_counts_once(tmp_path: Path):
    """Events of three years ago, twice, a clean restart between, and once more after a kill."""
    serving = Serving(tmp_path / "data").start()
    name = unique("Import")
    batches = [
        [
            wire_event(
                event=name,
                userId=f"user_{n % 97}",
                messageId=f"{name}-{number}-{n}",
                timestamp=f"2023-{1 + n % 12:02}-{1 + n % 28:02}T{n % 24:02}:00:00Z",
            )
            for n in range(1_000)
        ]
        for number in range(3)
    ]
    try:
        assert all("duplicates" not in serving.batch(batch).json() for batch in batches)
        serving.wait_visible()
        assert serving.stop() == 0
        serving.start()
        assert [serving.batch(batch).json()["duplicates"] for batch in batches] == [1_000] * 3
        serving.kill()
        serving.start()
        assert [serving.batch(batch).json()["duplicates"] for batch in batches] == [1_000] * 3
        serving.wait_visible()
        year = {"from": "2023-01-01", "to": "2023-12-31", "interval": "month"}
        report = serving.get("/v1/reports/events", event=name, **year)
        assert report.json()["total"] == 3_000
    finally:
        serving.kill()


def test_a_refused_row_is_put_aside_and_the_others_go_in(tmp_path: Path):
    """A row whose column text the store cannot take, in the middle of a block."""
    serving = Serving(tmp_path / "data", operated=True).start()
    name = unique("Refused")
    try:
        # The collector lets no such text through, so it is planted behind it.
        serving.operate(
            "from saytics_server import event as events\n"
            "clean = events._clean\n"
            "def plant(sent, field, warnings):\n"
            "    text, column = clean(sent, field, warnings)\n"
            "    return (text, b'{not json') if sent and sent.get('bad') else (text, column)\n"
            "events._clean = plant"
        )
        sent = [
            wire_event(event=name, userId=f"u{n}", properties={"bad": n in (7, 30), "n": n})
            for n in range(40)
        ]
        assert serving.batch(sent).json()["received"] == 40
        serving.batch([wire_event(event=name, userId="after")])
        serving.wait_visible()
        found = {event["userId"] for event in serving.events(event=name)}
        assert found == {f"u{n}" for n in range(40) if n not in (7, 30)} | {"after"}
        aside = serving.operate(
            "result = [list(row) for row in store.query(\"SELECT code, message != '',"
            " JSONExtractInt(body, 'n') FROM rejected_events ORDER BY position\")]"
        )
        assert aside == [["store_refused", 1, 7], ["store_refused", 1, 30]]
    finally:
        serving.kill()
