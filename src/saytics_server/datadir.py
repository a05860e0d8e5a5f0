"""The data directory: one process at a time, one format, nothing of it readable by others.

FORMAT        {"format": 1}: which version may open it
lock          held while a process has it open; holds its pid
log.db ids/   the log and its id filters           (log/)
store/        the embedded store                   (store/)
meta.db       workspaces, keys, accounts           (accounts/)
tmp/          blocks on their way into the store; emptied at every start
control.sock  commands for the running server      (control.py)
first-keys    the first keys, where no terminal could show them
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

import msgspec

from saytics_server.errors import Failure

FORMAT = 1


class _Format(msgspec.Struct):
    format: int


class DataDir:
    """An open data directory; `close` lets the next process have it."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    @property
    def store(self) -> Path:
        """Where the embedded store lives."""
        return self.path / "store"

    def close(self) -> None:
        """Give the directory up."""
        os.close(self._lock)


def open_data_dir(path: Path) -> DataDir:
    """Make or open `path` for this process alone.

    Raises Failure where it cannot be written, another process has it, or its format is not ours;
    nothing in it is changed then.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Failure(
            "opening the data directory",
            f"{path} cannot be written ({error.strerror})",
            "Choose another with --data-dir, or change its owner or mode.",
        ) from None
    try:
        _take(lock, path)
        _check_format(path)
        _empty_tmp(path / "tmp")
        # Parts that a backup held when it was killed.
        shutil.rmtree(path / "store" / "shadow", ignore_errors=True)
    except BaseException:
        os.close(lock)
        raise
    return DataDir(path, lock)


def _take(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.pread(lock, 20, 0).decode(errors="replace").strip() or "unknown"
        raise Failure(
            "opening the data directory",
            f"{path} is in use by process {owner}",
            "Only one process may open it; stop that one or choose another with --data-dir.",
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _check_format(path: Path) -> None:
    file = path / "FORMAT"
    if not file.exists():
        if (path / "log.db").exists():
            raise Failure(
                "opening the data directory",
                f"{file} is missing although {path} holds data",
                'Restore it from a backup, or write {"format": 1} if this version made the data.',
            )
        beside = path / "FORMAT.new"
        beside.write_bytes(msgspec.json.encode(_Format(FORMAT)) + b"\n")
        beside.replace(file)
        return
    try:
        found = msgspec.json.decode(file.read_bytes(), type=_Format).format
    except (OSError, msgspec.MsgspecError):
        raise Failure(
            "opening the data directory",
            f"{file} cannot be read",
            "Restore it from a backup. Nothing was changed.",
        ) from None
    if found != FORMAT:
        raise Failure(
            "opening the data directory",
            f"{path} has format {found}, this version reads format {FORMAT}",
            "Start the version of Saytics that wrote it. Nothing was changed.",
        )


def _empty_tmp(path: Path) -> None:
    # Blocks pass through files on their way into the embedded store. They hold people's data, so
    # they live here and not in a shared folder, and what a crash left behind goes now.
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=0o700)
    tempfile.tempdir = str(path)
