"""Starts that must not happen: one clear line, exit code 1, nothing harmed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from serving import Serving


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with one event in it, its server stopped."""
    path = tmp_path_factory.mktemp("stopped") / "data"
    serving = Serving(path).start()
    assert serving.track({"event": "X", "userId": "u"}).status_code == 200
    serving.wait_visible()
    assert serving.stop() == 0
    return path


@pytest.fixture
def data_dir(stopped: Path, tmp_path: Path) -> Path:
    """A copy of it to be damaged."""
    return Path(shutil.copytree(stopped, tmp_path / "data"))


def refused(data_dir: Path, listen: str = "127.0.0.1:0") -> str:
    """Start a server that must refuse; return the line it says."""
    serving = Serving(data_dir, listen=listen)
    serving._errors = data_dir.parent.parent / f"{data_dir.parent.name}-{os.urandom(4).hex()}.txt"
    serving.launch()
    assert serving.wait_end(30) == 1, serving.errors
    lines = serving.errors.splitlines()
    said = [line for line in lines if line.startswith("saytics: ")]
    assert len(said) == 1, lines
    assert "Traceback" not in serving.errors
    return said[0]


def contents(path: Path) -> dict[str, bytes]:
    """Return every file that holds data, with its bytes."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name not in ("lock", "log.db-shm")
    }


def overwrite(name: str, content: bytes) -> Callable[[Path], None]:
    """Return what puts `content` at the start of a file."""

    def damage(path: Path) -> None:
        with (path / name).open("r+b") as file:
            file.write(content)

    return damage


# Other damages of FORMAT: tests/unit/test_datadir.py.
DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "newer format": (overwrite("FORMAT", b'{"format":2}\n'), "this version reads format 1"),
    "corrupt log": (overwrite("log.db", b"SQLite no more.."), "log.db cannot be read"),
    "corrupt metadata": (overwrite("meta.db", b"SQLite no more.."), "meta.db"),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_directory_is_refused_and_left_as_it_is(
    data_dir: Path, damage: Callable[[Path], None], words: str
):
    """The operator is told what is wrong; whoever repairs it finds every byte."""
    damage(data_dir)
    before = contents(data_dir)
    assert words in refused(data_dir)
    after = contents(data_dir)
    assert {name for name in before if before[name] != after.get(name)} == set()


def test_a_second_server_on_the_directory_is_refused_and_the_first_goes_on(server: Serving):
    """The line names the process that has it."""
    assert server.process is not None
    assert f"in use by process {server.process.pid}" in refused(server.data_dir)
    assert server.track({"event": "X", "userId": "u"}).status_code == 200
    server.wait_visible()


def test_a_taken_port_is_refused_before_anything_is_made(tmp_path: Path):
    """No directory is left behind by a start that never was."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        assert f"{listen} cannot be used" in refused(tmp_path / "in" / "data", listen)
    assert not (tmp_path / "in").exists()


def test_a_directory_that_cannot_be_written_is_refused(tmp_path: Path):
    """Below a file; on a file system that is read-only, where this may be mounted."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").touch()
    assert "cannot be written" in refused(tmp_path / "in" / "file" / "data")
    mounted = tmp_path / "in" / "mounted"
    mounted.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "none", str(mounted)]
    if subprocess.run(mount, capture_output=True, check=False).returncode == 0:
        try:
            assert "cannot be written" in refused(mounted)
        finally:
            subprocess.run(["umount", mounted], check=True)


@pytest.mark.slow
def test_a_wrong_setting_is_one_line_that_names_it(tmp_path: Path):
    """Before anything is opened."""
    assert "SAYTICS_LISTEN" in refused(tmp_path / "in" / "data", "8640")
