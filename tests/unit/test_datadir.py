"""The data directory: one process, one format, nobody else's eyes; a refusal changes nothing."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from saytics_server.datadir import open_data_dir
from saytics_server.errors import Failure


@pytest.fixture(autouse=True)
def _temporary_folder_stays() -> Iterator[None]:
    before = tempfile.tempdir
    yield
    tempfile.tempdir = before


def contents(path: Path) -> dict[str, bytes]:
    """Return every file below a folder with its bytes, but for the lock."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name != "lock"
    }


def refused(path: Path) -> str:
    """Return the one line with which a directory is refused."""
    with pytest.raises(Failure) as caught:
        open_data_dir(path)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_a_new_directory_is_made_for_its_owner_alone(tmp_path: Path):
    """Folders above it are made too."""
    path = tmp_path / "some" / "where"
    opened = open_data_dir(path)
    assert opened.path == path
    assert opened.store == path / "store"
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((path / "lock").stat().st_mode) == 0o600
    assert stat.S_IMODE((path / "tmp").stat().st_mode) == 0o700
    assert contents(path) == {"FORMAT": b'{"format":1}\n'}
    opened.close()


def test_a_second_opening_is_refused_until_the_first_is_closed(tmp_path: Path):
    """The line names the process that has it."""
    opened = open_data_dir(tmp_path)
    assert f"in use by process {os.getpid()}" in refused(tmp_path)
    opened.close()
    open_data_dir(tmp_path).close()


def test_a_format_of_another_version_is_left_untouched(tmp_path: Path):
    """Neither a newer format nor an older one is guessed at."""
    for content in (b'{"format": 2}', b'{"format": 0}', b'{"format": 99, "more": true}'):
        (tmp_path / "FORMAT").write_bytes(content)
        (tmp_path / "tmp").mkdir(exist_ok=True)
        (tmp_path / "tmp" / "left").write_bytes(b"x")
        before = contents(tmp_path)
        assert "this version reads format 1" in refused(tmp_path)
        assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "content", [b"", b"1", b"{}", b'{"format":"1"}', b"\xff\xfe", b'{"format":1']
)
def test_a_format_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes):
    """A damaged file is not overwritten with what would fit."""
    (tmp_path / "FORMAT").write_bytes(content)
    assert "cannot be read" in refused(tmp_path)
    assert contents(tmp_path) == {"FORMAT": content}


def test_data_without_a_format_is_refused(tmp_path: Path):
    """Somebody's data is never taken for an empty directory."""
    (tmp_path / "log.db").write_bytes(b"data")
    assert "FORMAT is missing" in refused(tmp_path)
    assert contents(tmp_path) == {"log.db": b"data"}


def test_a_refused_opening_gives_the_lock_back(tmp_path: Path):
    """After the operator's repair the same process may try again."""
    (tmp_path / "FORMAT").write_bytes(b"")
    refused(tmp_path)
    (tmp_path / "FORMAT").unlink()
    open_data_dir(tmp_path).close()


def test_a_path_below_a_file_cannot_be_written(tmp_path: Path):
    """One line, and no stack."""
    (tmp_path / "file").write_bytes(b"")
    assert "cannot be written" in refused(tmp_path / "file" / "data")
    assert "cannot be written" in refused(tmp_path / "file")


def test_what_a_crash_left_in_the_temporary_folder_goes(tmp_path: Path):
    """Blocks on their way into the store hold people's data."""
    (tmp_path / "tmp" / "deep").mkdir(parents=True)
    (tmp_path / "tmp" / "deep" / "block").write_bytes(b"people")
    open_data_dir(tmp_path).close()
    assert list((tmp_path / "tmp").iterdir()) == []
    assert tempfile.gettempdir() == str(tmp_path / "tmp")
