"""Backup and restore: what a backup holds is there once, whole or not at all, under load too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from sending import Load, verdict

import waiting
from factories import wire_event
from keeping import flip_byte, found_by_check, saytics, started
from saytics_server.backup import MANIFEST
from saytics_server.errors import Failure
from saytics_server.restore import restore
from serving import Serving

NOW_MS = 1_800_000_000_000
# Each report once, on events that nothing sends while the backup is made.
STEADY_RANGE = {"from": "2024-01-01", "to": "2024-02-29"}
QUESTIONS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/reports/events", {"event": "Paid", "interval": "week"}),
    ("/v1/reports/events", {"event": "Paid", "metric": "sum:mrr", "breakdown": "plan"}),
    ("/v1/reports/events", {"event": "Paid", "metric": "users", "filter": "user.size>3"}),
    ("/v1/reports/users", {"event": "Seen", "metric": "wau"}),
    ("/v1/reports/funnels", {"steps": ["Seen", "Paid"], "breakdown": "plan"}),
    ("/v1/reports/retention", {"start": "Seen", "return": "Paid", "interval": "week"}),
    ("/v1/reports/lifecycle", {"event": "Seen", "interval": "week"}),
    ("/v1/reports/stickiness", {"event": "Seen", "interval": "week"}),
]


def answers(serving: Serving) -> list[Any]:
    """Return what the fixed questions, the list of events and some users' profiles say."""
    asked = [serving.get(path, **STEADY_RANGE, **question) for path, question in QUESTIONS]
    asked += [serving.get(f"/v1/users/{n}-user") for n in range(3)]
    assert [answer.status_code for answer in asked] == [200] * len(asked), asked
    return [*(answer.json() for answer in asked), *serving.events(**STEADY_RANGE)]


def send_steady(serving: Serving) -> None:
    """Send two months of history: seen without an id, paid with one, traits, links."""
    events = [
        wire_event(
            event="Paid" if n % 3 == 0 else "Seen",
            userId=f"{n % 17}-user" if n % 3 == 0 else None,
            anonymousId=f"{n % 17}-browser",
            messageId=f"steady-{n}",
            timestamp=f"2024-{1 + n % 2:02}-{1 + n % 28:02}T{n % 24:02}:00:00Z",
            properties={"plan": ("free", "pro", "naïve")[n % 3], "mrr": n / 4},
        )
        for n in range(300)
    ]
    assert serving.batch([_given(event) for event in events]).json()["received"] == 300
    for n in range(17):
        body = {"userId": f"{n}-user", "traits": {"size": n}, "timestamp": "2024-01-01T00:00:00Z"}
        assert serving.post("/v1/users/identify", body).status_code == 200
    serving.wait_visible()


def _given(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if value is not None}


def served(data_dir: Path, like: Serving) -> Serving:
    """Start a server on a restored directory; it knows the keys of the first."""
    restored = Serving(data_dir)
    restored.secret_key, restored.write_key = like.secret_key, like.write_key
    return restored.start()


@pytest.mark.slow
def test_a_backup_under_load_has_all_that_was_acknowledged_before_it(tmp_path: Path):
    """Restored, it is whole and sound, answers as before, and knows the ids that are taken."""
    serving = Serving(tmp_path / "data").start()
    try:
        send_steady(serving)
        before = answers(serving)
        load = Load(serving, senders=2, batch=5).start()
        load.wait_acknowledged(100)
        acknowledged = list(load.acknowledged)
        made = saytics("backup", tmp_path / "copy", "--data-dir", serving.data_dir)
        load.stop()
        assert made.returncode == 0, made.stderr
        assert len(load.acknowledged) > len(acknowledged), "nothing came during the backup"
        assert load.refusals == {}
        newest = serving.events(event=load.name)[-1]["id"]
    finally:
        serving.kill()
    restored = saytics("restore", tmp_path / "copy", "--data-dir", tmp_path / "again")
    assert (restored.returncode, restored.stderr) == (0, "")
    again = served(tmp_path / "again", serving)
    try:
        again.wait_visible()
        stored = [event["messageId"] for event in again.events(event=load.name)]
        assert verdict(acknowledged, load.sent, stored) == []
        assert answers(again) == before
        sent_again = [wire_event(event="Paid", messageId=f"steady-{n}") for n in range(3)]
        assert again.batch(sent_again).json()["duplicates"] == 3
        again.track(wire_event(event="After"))
        again.wait_visible()
        assert again.events(event="After")[0]["id"] > newest
    finally:
        again.kill()
    assert found_by_check(tmp_path / "again") == []


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a server that was stopped."""
    serving = Serving(tmp_path_factory.mktemp("backup") / "data").start()
    send_steady(serving)
    assert serving.stop() == 0
    return serving.data_dir


@pytest.fixture(scope="module")
def copy(loaded: Path) -> Path:
    """A backup of it, made while no server runs."""
    destination = loaded.parent / "copy"
    made = saytics("backup", destination, "--data-dir", loaded)
    assert made.returncode == 0, made.stderr
    return destination


def test_a_restore_refuses_what_is_no_whole_backup(copy: Path, tmp_path: Path):
    """A directory in use, a damaged file, a newer format, a path that leads out, no list at all."""
    (tmp_path / "used").mkdir()
    (tmp_path / "used/file").write_text("")
    with pytest.raises(Failure, match="is not empty"):
        restore(copy, tmp_path / "used", NOW_MS, lambda *_: None)

    bad = Path(shutil.copytree(copy, tmp_path / "bad", symlinks=True))
    list_ = json.loads((copy / MANIFEST).read_bytes())

    def refused(cause: str, **changes: Any) -> None:
        (bad / MANIFEST).write_text(json.dumps({**list_, **changes}))
        with pytest.raises(Failure, match=cause):
            restore(bad, tmp_path / "new", NOW_MS, lambda *_: None)
        assert not (tmp_path / "new").exists() or not any((tmp_path / "new").iterdir())

    refused("was made by Saytics", format=2)
    refused("was made by Saytics", layout=2)
    refused("names .*/out", links={"store/link": "../../out"})
    refused("names .*/out", files=[{"path": "../out", "bytes": 1, "blake2b": ""}])
    flip_byte(next((bad / "data/store").rglob("*.bin")), 20)
    refused("it is damaged")
    (bad / MANIFEST).unlink()
    with pytest.raises(Failure, match="is no whole backup"):
        restore(bad, tmp_path / "new", NOW_MS, lambda *_: None)


@pytest.mark.slow
def test_a_backup_killed_half_way_is_none(loaded: Path, tmp_path: Path):
    """What it leaves has another name and no list; the next one takes its place."""
    data_dir = Path(shutil.copytree(loaded, tmp_path / "data", symlinks=True))
    serving = Serving(data_dir, operated=True).start()
    serving.operate(
        "import os, saytics_server.backup as backup\n"
        "calls, copied = [], backup.copied\n"
        "def die(*arguments):\n"
        "    calls.append(1)\n"
        "    return os._exit(9) if len(calls) > 20 else copied(*arguments)\n"
        "backup.copied = die"
    )
    made = saytics("backup", tmp_path / "copy", "--data-dir", data_dir)
    assert made.returncode == 1
    assert "the server ended before it was done" in made.stderr
    assert serving.wait_end() == 9
    assert not (tmp_path / "copy").exists()
    assert any((tmp_path / "copy.partial/data").iterdir())
    with pytest.raises(Failure, match="is no whole backup"):
        restore(tmp_path / "copy.partial", tmp_path / "new", NOW_MS, lambda *_: None)
    assert (data_dir / "store/shadow").exists()
    made = saytics("backup", tmp_path / "copy", "--data-dir", data_dir)
    assert made.returncode == 0, made.stderr
    assert not (tmp_path / "copy.partial").exists()
    assert not (data_dir / "store/shadow/backup").exists()


@pytest.mark.slow
def test_a_server_told_to_stop_gives_its_backup_up(loaded: Path, tmp_path: Path):
    """It ends cleanly and in time, and leaves nothing of the backup; so does one not waited for."""
    data_dir = Path(shutil.copytree(loaded, tmp_path / "data", symlinks=True))
    serving = Serving(data_dir, operated=True).start()
    serving.operate(
        "import time, saytics_server.backup as backup\n"
        "calls, copied = [], backup.copied\n"
        "def slow(*arguments):\n"
        "    calls.append(1); time.sleep(0.5)\n"
        "    return copied(*arguments)\n"
        "backup.copied = slow"
    )
    command = ["backup", tmp_path / "copy", "--data-dir", data_dir]
    for stops in (False, True):
        asking = started(*command)
        serving.operate("calls.clear()\nwhile len(calls) < 3: time.sleep(0.01)")
        assert (tmp_path / "copy.partial").exists()
        if stops:
            assert serving.stop() == 0
        else:
            asking.kill()
        asking.wait(30)
        waiting.until(lambda: not (tmp_path / "copy.partial").exists(), what="tidying up")
    assert not (tmp_path / "copy").exists()
    assert not (data_dir / "store/shadow/backup").exists()


@pytest.mark.slow
def test_parts_of_an_earlier_backup_are_shared_and_restored(
    copy: Path, loaded: Path, tmp_path: Path
):
    """The second backup holds links to what did not change, and stands alone all the same."""
    data_dir = Path(shutil.copytree(loaded, tmp_path / "data", symlinks=True))
    made = saytics("backup", tmp_path / "second", "--since", copy, "--data-dir", data_dir)
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)
    linked = [path for path in (tmp_path / "second").rglob("*.bin") if path.stat().st_nlink > 1]
    assert told["bytes_shared"] == sum(path.stat().st_size for path in linked) > 0
    first = Path(shutil.copytree(copy, tmp_path / "first", symlinks=True))
    shutil.rmtree(first)
    restored = saytics("restore", tmp_path / "second", "--data-dir", tmp_path / "again")
    assert (restored.returncode, restored.stderr) == (0, "")
