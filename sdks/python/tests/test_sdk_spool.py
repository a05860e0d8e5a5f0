"""The spool: what lies on disk, who takes it over, what happens when there is no room."""

import json
import os
import random
import re
import stat
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
from scripted_server import ScriptedServer

from saytics import Counts, Saytics
from saytics.__main__ import main
from saytics.outbox import Outbox
from saytics.spool_file import Name, SpoolFile, contents_of, line, machine
from saytics.spool_folder import SpoolFolder, folder_name, spool_files

KEY = "sk_live_test"
UNAVAILABLE = {"status": 503, "text": ""}
DEAD_PID = 2**22 + 1  # above what Linux gives out
FILE_ID = "0199aabbccdd7000a000000000000001"


def client_of(host: str, **options: Any) -> Saytics:
    return Saytics(KEY, host=host, **{"on_error": lambda *_: None, **options})


def leave(folder: Path, host: str, *lines: bytes, owner: str = "") -> Path:
    """Write a file into the folder of `host`, as a process left it that is dead by default."""
    place = folder / folder_name(host, KEY)
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"{FILE_ID}-{owner or f'{machine()}-{DEAD_PID}-5'}.spool"
    path.write_bytes(b"".join(lines))
    return path


def event_line(name: str) -> bytes:
    return line(json.dumps({"event": name, "userId": "u", "messageId": f"id {name}"}).encode())


def test_what_a_file_looks_like(spool_dir: Path) -> None:
    """Folder, name, rights and lines are those of docs/spool.md."""
    client = client_of("http://127.0.0.1:9/base/", spool="always")
    client.track(user_id="u", event="Grüße", properties={"line\nend": 1})
    (path,) = spool_dir.glob("*/*")
    key_hash = folder_name("http://127.0.0.1:9/base", KEY)
    assert path.parent == spool_dir / key_hash
    assert re.fullmatch(r"[0-9a-f]{12}7[0-9a-f]{19}-[0-9a-f]{8}-\d+-\d+\.spool", path.name)
    started = Path("/proc/self/stat").read_text("utf-8").rpartition(")")[2].split()[19]
    assert path.name[33:] == f"{machine()}-{os.getpid()}-{started}.spool"
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path.parent, path)] == [0o700, 0o600]
    checksum, _, document = path.read_bytes().partition(b" ")
    assert document.endswith(b"}\n")
    assert b"\n" not in document[:-1]
    assert checksum == f"{zlib.crc32(document[:-1]):08x}".encode()
    assert json.loads(document)["event"] == "Grüße"
    client.shutdown(0)


def test_the_next_client_sends_what_one_has_left(spool_dir: Path) -> None:
    """What a shutdown could not send is on disk, counted so, and sent by the next client once."""
    with ScriptedServer([UNAVAILABLE]) as server:
        first = client_of(server.host, flush_interval_s=60)
        for index in range(3):
            first.track(user_id="u", event=f"E{index}")
        assert first.shutdown(timeout=0.1) == Counts(3, 0, 0, 0, 0, 3, 0)
        tried = len(server.requests)
        second = client_of(server.host)
        second.track(user_id="u", event="Own")
        assert second.shutdown() == Counts(1, 1, 0, 0, 0, 0, 0)
        assert second.recovered() == Counts(3, 3, 0, 0, 0, 0, 0)
        sent = [event["event"] for request in server.requests[tried:] for event in request.events()]
        assert sorted(sent) == ["E0", "E1", "E2", "Own"]
        ids = {event["messageId"] for request in server.requests for event in request.events()}
        assert len(ids) == 4
    assert list(spool_dir.glob("*/*.spool")) == []


def test_damage_is_passed_over(spool_dir: Path, server: ScriptedServer) -> None:
    """Lines torn, changed or foreign cost themselves only; events answered for stay away."""
    changed = event_line("Changed").replace(b"Changed", b"chAnged")
    leave(
        spool_dir, server.host,
        event_line("Done"), event_line("First"), changed, b"no line of ours\n", b"\n",
        line(b'{"done":1}'), event_line("Second"), event_line("Torn")[:-9],
    )  # fmt: skip
    client = client_of(server.host)
    client.shutdown()
    assert [event["event"] for event in server.events()] == ["First", "Second"]
    assert list(spool_dir.glob("*/*.spool")) == []


@pytest.mark.parametrize(
    ("owner", "age_s", "is_taken"),
    [
        ("{machine}-{dead}-5", 0, True),
        ("{machine}-{me}-5", 0, True),  # a pid used again
        ("{machine}-{me}-0", 0, False),  # its start is unknown, so it may be the owner
        ("{machine}-1-0", 0, False),
        ("00000000-{dead}-5", 0, False),
        ("00000000-{dead}-5", 3500, False),
        ("00000000-{dead}-5", 3700, True),
    ],
)
def test_only_dead_owners_are_inherited_from(
    spool_dir: Path, server: ScriptedServer, owner: str, age_s: float, is_taken: bool
) -> None:
    """A file changes hands when its owner is dead: known by pid and start here, by silence else."""
    name = owner.format(machine=machine(), me=os.getpid(), dead=DEAD_PID)
    path = leave(spool_dir, server.host, event_line("E"), owner=name)
    then = time.time() - age_s
    os.utime(path, (then, then))
    client_of(server.host).shutdown()
    assert (len(server.requests) == 1, not path.exists()) == (is_taken, is_taken)


def test_a_zombie_is_dead(spool_dir: Path, server: ScriptedServer) -> None:
    """A process that has ended and was not waited for owns nothing any more."""
    child = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    with child:
        assert child.stdout is not None
        child.stdout.read()  # it has ended, or is about to
        started = Path(f"/proc/{child.pid}/stat").read_text("utf-8").rpartition(")")[2].split()[19]
        leave(spool_dir, server.host, event_line("E"), owner=f"{machine()}-{child.pid}-{started}")
        while (
            Path(f"/proc/{child.pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
        ):
            time.sleep(0.01)
        client_of(server.host).shutdown()
    assert [event["event"] for event in server.events()] == ["E"]


def test_two_adopt_at_once(spool_dir: Path) -> None:
    """Of two that reach for a file one gets it."""
    path = leave(spool_dir, "http://h", event_line("E"))
    name = Name.parse(path.name)
    assert name is not None
    first, second = SpoolFile.adopt(path, name), SpoolFile.adopt(path, name)
    assert (first is None, second is None) == (False, True)


def test_an_owner_whose_file_was_taken_starts_a_new_one(spool_dir: Path) -> None:
    """After an hour in the freezer the file is somebody else's; what comes then is in a new one."""
    folder = SpoolFolder(spool_dir, "http://h", KEY, 10**6)
    outbox = Outbox(10, folder, journal=True)
    assert outbox.put(b'{"n":1}', 0) is None
    (path,) = spool_dir.glob("*/*.spool")
    path.rename(path.with_name(str(Name(FILE_ID, "00000000", 1, 1))))
    outbox._segments[0].file._touched_s -= 3600
    assert outbox.put(b'{"n":2}', 0) is None
    texts = sorted(each.read_bytes()[9:] for each in spool_dir.glob("*/*.spool"))
    assert texts == [b'{"n":1}\n', b'{"n":2}\n']


def test_a_full_spool_drops_the_newest(spool_dir: Path) -> None:
    """Beyond spool_bytes_max events are dropped and reported, and the server hears how many."""
    errors: list[str] = []
    with ScriptedServer([UNAVAILABLE]) as server:
        client = client_of(
            server.host,
            spool_bytes_max=10_000,
            queue_max=10,
            flush_interval_s=0.01,
            on_error=lambda error, events: errors.append(error.code),
        )
        client.track(user_id="u", event="First")
        server.wait_for_requests(1)
        for index in range(99):
            client.track(user_id="u", event=f"E{index}")
        assert sum(path.stat().st_size for path in spool_dir.glob("*/*")) <= 10_000
        counts = client.shutdown()
        sent = [event["event"] for event in server.events()[1:]]
        assert sent == ["First", *(f"E{index}" for index in range(len(sent) - 1))]
        assert counts == Counts(100, len(sent), 0, 0, 100 - len(sent), 0, 0)
        assert 20 < counts.dropped < 80
        assert errors == ["spool_full"] * counts.dropped
        told = [request.document().get("dropped", 0) for request in server.requests]
        assert sum(told) == counts.dropped


def test_the_number_of_dropped_events_is_told_once() -> None:
    """`dropped` counts since the last answered batch: the same on a retry, then no more."""
    with ScriptedServer([{"fault": "hang"}, UNAVAILABLE]) as server:
        client = client_of(
            server.host, spool="off", queue_max=1, flush_at=1, timeout_s=0.3, flush_interval_s=0.01
        )
        client.track(user_id="u", event="Hangs")
        server.wait_for_requests(1)
        for event in ("Waits", "Dropped", "Dropped too"):
            client.track(user_id="u", event=event)
        assert client.flush().dropped == 2
        client.track(user_id="u", event="Later")
        client.shutdown()
        told = [
            (request.events()[0]["event"], request.document().get("dropped"))
            for request in server.requests
        ]
    assert told == [
        ("Hangs", None), ("Hangs", None), ("Hangs", None), ("Waits", 2), ("Later", None)
    ]  # fmt: skip


@pytest.mark.parametrize("spool", ["auto", "always"])
def test_without_a_disk_events_stay_in_memory(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], spool: str
) -> None:
    """A spool that cannot be written is said once, and costs no event that memory can hold."""
    (tmp_path / "file").write_text("no folder")
    with ScriptedServer([UNAVAILABLE] * 3) as server:
        client = client_of(server.host, spool=spool, spool_dir=tmp_path / "file" / "spool")
        for index in range(250):
            client.track(user_id="u", event=f"E{index}")
        assert client.shutdown() == Counts(250, 250, 0, 0, 0, 0, 0)
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("saytics: the spool cannot be written, events stay in memory: ")


def test_overflow_goes_to_disk_in_order(spool_dir: Path) -> None:
    """More events than the queue may hold wait on disk, and are sent in the order they came."""
    with ScriptedServer([{"fault": "hang"}]) as server:
        client = client_of(server.host, queue_max=100, timeout_s=0.5)
        for index in range(5000):
            client.track(user_id="u", event=f"E{index}")
        counts = client.counts()
        assert (counts.tracked, counts.queued + counts.spooled) == (5000, 5000)
        assert counts.spooled >= 4000
        assert client.shutdown() == Counts(5000, 5000, 0, 0, 0, 0, 0)
        sent = [event["event"] for request in server.requests[1:] for event in request.events()]
    assert sent == [f"E{index}" for index in range(5000)]
    assert list(spool_dir.glob("*/*.spool")) == []


def test_an_outage_puts_the_queue_on_disk(spool_dir: Path) -> None:
    """While the server is away, what is queued and what is tracked lies on disk; then it goes."""
    with ScriptedServer([UNAVAILABLE] * 3) as server:
        client = client_of(server.host, flush_interval_s=0.01)
        client.track(user_id="u", event="Before")
        server.wait_for_requests(2)
        deadline_s = time.monotonic() + 5
        while not list(spool_dir.glob("*/*")):
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        client.track(user_id="u", event="During")
        (path,) = spool_dir.glob("*/*")
        assert contents_of(path).events == 2
        assert client.flush() == Counts(2, 2, 0, 0, 0, 0, 0)
        assert list(spool_dir.glob("*/*")) == []
        client.track(user_id="u", event="After")
        assert list(spool_dir.glob("*/*")) == []
        client.shutdown()


def test_a_batch_the_server_fails_on_is_set_aside(spool_dir: Path) -> None:
    """A batch that meets 500 after 500 is left in the spool; the next ones are sent."""
    with ScriptedServer([{"status": 500, "text": ""}] * 2) as server:
        client = client_of(server.host, flush_at=1, max_retries=1, flush_interval_s=0.01)
        client.track(user_id="u", event="Poison")
        client.track(user_id="u", event="Good")
        assert client.shutdown() == Counts(2, 1, 0, 0, 0, 1, 0)
        assert [event["event"] for event in server.events()] == ["Poison", "Poison", "Good"]
        (path,) = spool_dir.glob("*/*")
        assert path.name.endswith(f"-{os.getpid()}-1.spool")


def test_a_dead_server_is_left_alone() -> None:
    """Failures in a row lengthen the wait whatever the batch, and flush does not wait in vain."""
    with ScriptedServer([UNAVAILABLE] * 50) as server:
        client = client_of(server.host, spool="off", max_retries=0, flush_at=1)
        client._sender._random = random.Random(1)
        for _ in range(10):
            client.track(user_id="u", event="E")
        server.wait_for_requests(4)
        gaps = [
            after.at_s - before.at_s
            for before, after in zip(server.requests, server.requests[1:], strict=False)
        ]
        assert gaps == sorted(gaps)
        assert gaps[-1] > 1
        started = time.monotonic()
        assert client.flush(timeout=0.5).queued > 0
        assert time.monotonic() - started < 0.4
        client.shutdown(0)


# -- the outbox against a model


class Model:
    """An outbox driven at random, beside two plain lists: what went in, and what came out."""

    def __init__(self, folder: SpoolFolder, seed: int) -> None:
        self.dice = random.Random(seed)
        is_journal = self.dice.random() < 0.3
        self.outbox = Outbox(self.dice.choice([1, 5, 50]), folder, journal=is_journal)
        self.went_in: list[bytes] = []
        self.came_out: list[bytes] = []

    def step(self) -> None:
        """Do something to it."""
        match self.dice.choice(["put"] * 6 + ["send"] * 3 + ["save", "on", "off", "fault"]):
            case "put":
                event = b'{"event":%d}' % len(self.went_in)
                if self.outbox.put(event, 0.0) is None:
                    self.went_in.append(event)
            case "send":
                self.send()
            case "save":
                self.outbox.save(self.dice.choice([1, 4, 1000]))
            case "on":
                self.outbox.journal_on()
            case "off":
                self.outbox.journal_off()
            case "fault":
                self.outbox._pause_disk(OSError("planted"))
                if self.dice.random() < 0.7:
                    self.outbox._disk_pause_until_s = 0.0

    def send(self) -> None:
        """Read back, cut, split, settle or fail, as a sender does."""
        outbox = self.outbox
        if (reading := outbox.reading(3)) is not None:
            assert outbox.install(reading, *outbox.read(reading)) == 0
        if outbox.oldest_s() is None and not outbox.sending:
            return
        batch = outbox.sending[0] if outbox.sending else outbox.cut(3, 0)
        if len(batch) > 1 and self.dice.random() < 0.2:
            outbox.split(batch)
            batch = outbox.sending[0]
        if self.dice.random() < 0.8:
            self.came_out += batch.serialised
            for file in outbox.settle(batch):
                file.remove()


def unsent(folder: Path) -> list[bytes]:
    """Return the events in a folder that are not answered for."""
    left: list[bytes] = []
    for path, _, _ in spool_files(folder):
        events = [text[9:-1] for text in path.read_bytes().splitlines(True) if b"done" not in text]
        left += events[contents_of(path).done :]
    return left


@pytest.mark.parametrize("seed", range(60))
def test_the_outbox_is_a_queue_whatever_happens(tmp_path: Path, seed: int) -> None:
    """Events leave in the order they came, each once; what is left at the end is on disk."""
    folder = SpoolFolder(tmp_path, "http://h", KEY, 10**6)
    model = Model(folder, seed)
    for _ in range(400):
        model.step()
        assert model.came_out == model.went_in[: len(model.came_out)]
        assert len(model.outbox) == len(model.went_in) - len(model.came_out)
    model.outbox._disk_pause_until_s = 0.0
    while model.outbox.save():
        pass
    assert model.outbox.close() == []
    assert sorted(unsent(folder.path)) == sorted(model.went_in[len(model.came_out) :])


# -- the command


def test_the_command_shows_and_sends(
    spool_dir: Path,
    server: ScriptedServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`python -m saytics spool DIR` shows every folder and sends the one the key opens."""
    leave(spool_dir, server.host, event_line("A"), event_line("B"), line(b'{"done":1}'))
    leave(spool_dir, "http://elsewhere", event_line("C"))
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.delenv("SAYTICS_SECRET_KEY", raising=False)
    assert main(["spool", str(spool_dir)]) == 0
    shown = capsys.readouterr().out
    assert shown.count("1 of 2 events to send") == shown.count("1 of 1 events to send") == 1
    assert "To send, set SAYTICS_SECRET_KEY" in shown
    assert server.requests == []

    arguments = ["spool", str(spool_dir), "--host", server.host, "--key-from-env", "MY_KEY"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert "1 delivered, 0 duplicate, 0 rejected, 0 left" in out
    assert KEY not in out + err
    assert [event["event"] for event in server.events()] == ["B"]
    assert [path.parent.name for path in spool_dir.glob("*/*.spool")] == [
        folder_name("http://elsewhere", KEY)
    ]


def test_the_command_says_what_is_left(
    spool_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the server away the command ends with 1 and everything is still there."""
    host = "http://127.0.0.1:9"
    leave(spool_dir, host, event_line("A"))
    monkeypatch.setenv("SAYTICS_SECRET_KEY", KEY)
    monkeypatch.setenv("SAYTICS_HOST", host)
    assert main(["spool", str(spool_dir), "--timeout", "0.2"]) == 1
    assert "1 left" in capsys.readouterr().out
