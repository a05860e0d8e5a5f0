"""A proof that cannot fail proves nothing: plant a lost and a doubled event, see red."""

from __future__ import annotations

from pathlib import Path

import pytest
from sending import Load, check, verdict

from factories import unique, wire_event
from serving import Serving


def test_the_verdict_names_what_is_lost_doubled_or_made_up():
    """What was sent and not acknowledged may be there or not; everything else is wrong."""
    assert verdict(["a", "b"], ["a", "b", "c", "d"], ["b", "a", "c"]) == []
    assert verdict(["a", "b"], ["a", "b"], ["a"]) == ["lost: b"]
    assert verdict(["a", "b"], ["a", "b"], ["a", "b", "b"]) == ["2 times: b"]
    assert verdict(["a"], ["a", "c"], ["a", "c", "c"]) == ["2 times: c"]
    assert verdict(["a"], ["a"], ["a", "x"]) == ["never sent: x"]


@pytest.fixture
def loaded(operated: Serving) -> Load:
    """A load that was sent and stopped, all of it stored."""
    load = Load(operated, senders=2, batch=5).start()
    load.wait_acknowledged(20)
    load.stop()
    check(operated, load)
    return load


def test_a_doubled_event_in_the_store_turns_the_check_red(operated: Serving, loaded: Load):
    """A second row of one event, planted behind the server's back."""
    operated.operate(
        "store.command('INSERT INTO events SELECT * FROM events WHERE event = {name:String}"
        f" LIMIT 1 SETTINGS insert_deduplicate = 0', {{'name': {loaded.name!r}}})"
    )
    with pytest.raises(AssertionError, match="2 times: "):
        check(operated, loaded)


def test_a_lost_event_turns_the_check_red(operated: Serving, loaded: Load):
    """One row taken out of the store behind the server's back."""
    operated.operate(
        "store.command('DELETE FROM events WHERE message_id = {id:String}',"
        f" {{'id': {loaded.acknowledged[3]!r}}})"
    )
    with pytest.raises(AssertionError, match=f"lost: {loaded.acknowledged[3]}"):
        check(operated, loaded)


def test_acknowledging_before_the_commit_turns_the_check_red(tmp_path: Path):
    """What the wait for the fsync is there for: answered, then killed, then gone."""
    serving = Serving(tmp_path / "data", operated=True).start()
    try:
        serving.operate(
            "import saytics_server.log.writer as w\n"
            "writer = log._writer\n"
            "def early(appends, tasks):\n"
            "    writer._connection.execute('BEGIN')\n"
            "    writer._write_appends(appends)\n"
            "    w._deliver(appends)\n"
            "    writer._connection.execute('ROLLBACK')\n"
            "    for task in tasks: task.done.set()\n"
            "writer._commit_group = early"
        )
        load = Load(serving, senders=2, batch=5).start()
        load.wait_acknowledged(20)
        serving.kill()
        load.stop()
        serving.start()
        with pytest.raises(AssertionError, match="lost: "):
            check(serving, load)
    finally:
        serving.kill()


@pytest.mark.slow
def test_inserting_under_another_token_turns_the_check_red(tmp_path: Path):
    """What the tokens are there for: a repeated block."""
    serving = Serving(tmp_path / "data", operated=True).start()
    try:
        serving.operate(
            "insert = store.insert\n"
            "def twice(table, rows, *, token):\n"
            "    insert(table, rows, token=token)\n"
            "    insert(table, rows, token=token + '-again')\n"
            "store.insert = twice"
        )
        load = Load(serving, senders=2, batch=5).start()
        load.wait_acknowledged(20)
        load.stop()
        with pytest.raises(AssertionError, match="2 times: "):
            check(serving, load)
    finally:
        serving.kill()


@pytest.mark.slow
def test_forgetting_ids_turns_the_check_red(tmp_path: Path):
    """What the filters are there for: a batch sent again after it has left the tail."""
    serving = Serving(tmp_path / "data", operated=True).start()
    try:
        name = unique("Forgotten")
        batch = [wire_event(event=name, messageId=f"{name}-{n}") for n in range(10)]
        ids = [event["messageId"] for event in batch]
        serving.batch(batch)
        serving.wait_visible()
        serving.operate("log._writer._filters.maybe = lambda key: False")
        assert "duplicates" not in serving.batch(batch).json()
        serving.wait_visible()
        stored = [event["messageId"] for event in serving.events(event=name)]
        assert len(verdict(ids, ids, stored)) == 10
    finally:
        serving.kill()
