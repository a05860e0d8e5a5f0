"""A disk that is really full: a small tmpfs, filled to its last byte under load, and emptied.

It fills up as disks do, not within milliseconds: first below what the store wants for a block.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sending import Load, check

import waiting
from factories import unique, wire_event
from saytics_server.store import INSERT_FREE_BYTES_MIN
from serving import Serving

DISK_BYTES = 160 * 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(mounted)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield mounted
    subprocess.run(["umount", "-l", str(mounted)], check=True)


def fill(disk: Path, leave: int = 0) -> Path:
    """Write a ballast file until only `leave` bytes are free."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file:
        while (free := shutil.disk_usage(disk).free - leave) > 0:
            try:
                file.write(bytes(min(free, 1 << 20)))
            except OSError:
                break
    return ballast


FLOOR_BYTES = 16 * 1024 * 1024


@pytest.mark.parametrize(
    "floor",
    [
        pytest.param(0, id="no byte left"),
        # By default in tests/http/test_http_trouble.py, with a floor above what any disk has.
        pytest.param(FLOOR_BYTES, id="floor reached", marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_refuses_events_and_recovers_without_a_restart(small_disk: Path, floor: int):
    """503 storage_full, reads go on, nothing acknowledged is lost; with room all goes on."""
    serving = Serving(
        small_disk / "data", environment={"SAYTICS_FREE_BYTES_MIN": str(floor)}
    ).start()
    name = unique("Before")
    try:
        serving.track(wire_event(event=name))
        serving.wait_visible()
        load = Load(serving, senders=3).start()
        load.wait_acknowledged(100)
        ballast = fill(small_disk, leave=INSERT_FREE_BYTES_MIN - 1)
        waiting.until(lambda: "no room for another block" in serving.errors, limit_s=30)
        fill(small_disk, leave=0 if floor == 0 else floor - 1)
        waiting.until(lambda: load.refusals[503], limit_s=30, what="a refusal")
        load.stop()
        assert set(load.refusals) == {503}
        # A small event may still find room in a page that is there already; a thousand do not.
        refused = serving.batch([wire_event(properties={"a": "x" * 250})] * 1_000)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "storage_full")
        assert int(refused.headers["retry-after"]) >= 1
        assert len(serving.events(event=name)) == 1
        assert serving.get("/v1/reports/events", event=name).json()["total"] == 1
        assert serving.client.get("/healthz").status_code == 200
        ballast.unlink()
        waiting.until(lambda: serving.track(wire_event()).status_code == 200, limit_s=15)
        again = Load(serving, senders=3).start()
        again.wait_acknowledged(100)
        again.stop()
        check(serving, again)
        check(serving, load)
        assert serving.stop() == 0
        serving.start()
        check(serving, load)
    finally:
        serving.kill()
