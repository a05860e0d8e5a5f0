"""A log whose end is torn: by a crash in the middle of a write, and by a disk that lied.

What was acknowledged survives the first. The second takes acknowledged commits away, which nothing
can give back; what is left must be there once, and what comes after must not be lost with it.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from sending import Load, check, verdict

from factories import unique, wire_event
from serving import Serving


@pytest.mark.parametrize(
    "torn", [4_120, *(pytest.param(size, marks=pytest.mark.slow) for size in (1, 24, 9_999))]
)
def test_a_write_cut_off_by_a_crash_costs_nothing_acknowledged(tmp_path: Path, torn: int):
    """Half a frame, and noise, behind the last commit of the write-ahead log."""
    serving = Serving(tmp_path / "data").start()
    try:
        load = Load(serving, senders=2).start()
        load.wait_acknowledged(60)
        serving.kill()
        load.stop()
        with (tmp_path / "data" / "log.db-wal").open("ab") as wal:
            wal.write(random.Random(3).randbytes(torn))
        serving.start()
        check(serving, load)
    finally:
        serving.kill()


@pytest.mark.slow
@pytest.mark.parametrize("kept", [0.3, 0.8])
def test_a_log_that_lost_its_end_doubles_nothing_and_takes_new_events(tmp_path: Path, kept: float):
    """The store is ahead of the log then: positions and blocks must not be used again."""
    serving = Serving(tmp_path / "data").start()
    name = unique("Before")
    sent = [wire_event(event=name, messageId=f"{name}-{n}", userId=f"u{n}") for n in range(300)]
    ids = [event["messageId"] for event in sent]
    try:
        for start in range(0, 300, 20):
            serving.batch(sent[start : start + 20])
        serving.wait_visible()
        serving.kill()
        wal = tmp_path / "data" / "log.db-wal"
        content = wal.read_bytes()
        wal.write_bytes(content[: int(len(content) * kept)])
        serving.start()
        later = unique("After")
        new = [
            {**event, "event": later, "messageId": f"{later}-{n}"} for n, event in enumerate(sent)
        ]
        new_ids = [event["messageId"] for event in new]
        for start in range(0, 300, 20):
            assert serving.batch(new[start : start + 20]).json()["received"] == 20
        serving.wait_visible()
        stored = [event["messageId"] for event in serving.events(event=later)]
        assert verdict(new_ids, new_ids, stored) == []
        before = [event["messageId"] for event in serving.events(event=name)]
        assert verdict([], ids, before) == []
        public = [event["id"] for event in serving.events(userId="u1")]
        assert len(public) == len(set(public))
    finally:
        serving.kill()
