"""A proof that cannot fail proves nothing: plant a lost and a doubled event, see red."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from sending import Load, check, verdict

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


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        # Acknowledge before the commit, and lose the rows: what the fsync is there for.
        ("import saytics_server.log.writer as w\nw.encode_rows = lambda rows: b'\\x90'", "lost: "),
        # Forget every id: what the filters are there for.
        ("log._writer._filters.maybe = lambda key: False", None),
        # Insert each block twice under different tokens: what the tokens are there for.
        (
            "insert = store.insert\n"
            "def twice(table, rows, *, token):\n"
            "    insert(table, rows, token=token)\n"
            "    insert(table, rows, token=token + '-again')\n"
            "store.insert = twice",
            "2 times: ",
        ),
    ],
    ids=["rows dropped", "ids forgotten", "tokens ignored"],
)
def test_a_fault_in_the_spine_turns_the_check_red(tmp_path: Path, fault: str, words: str | None):
    """Each guard taken out in turn, in a real server under load."""
    serving = Serving(tmp_path / "data", operated=True).start()
    try:
        if words is None:
            _repeat_with_forgotten_ids(serving, fault)
            return
        serving.operate(fault)
        load = Load(serving, senders=2, batch=5).start()
        load.wait_acknowledged(20)
        load.stop()
        with pytest.raises(AssertionError, match=words):
            check(serving, load)
    finally:
        serving.kill()


def _repeat_with_forgotten_ids(serving: Serving, fault: str) -> None:
    """Send a batch, load it, forget its ids, send it again: the repeat must be noticed red."""
    name = uuid.uuid4().hex
    batch = [{"event": name, "userId": "u", "messageId": f"{name}-{n}"} for n in range(10)]
    ids = [event["messageId"] for event in batch]
    serving.batch(batch)
    serving.wait_visible()
    serving.operate(fault)
    assert "duplicates" not in serving.batch(batch).json()
    serving.wait_visible()
    stored = [event["messageId"] for event in serving.events(event=name)]
    assert len(verdict(ids, ids, stored)) == 10
