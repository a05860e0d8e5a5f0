"""One file of the spool: its name, its lines, appending, reading, handing on (docs/spool.md).

A line is a checksum and an event, or the count of events answered for. Lines are only appended, so
a crash tears the last one at most. Not locked: the owner appends from one thread at a time.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Self

SUFFIX = ".spool"

# Read in pieces of this many bytes, so that a file of any size costs little memory.
PIECE_BYTES = 256 * 1024

_DONE_HEAD = b'{"done":'
_DONE = re.compile(rb'\{"done":(\d{1,15})\}')
_CHECKSUM_BYTES = 9  # eight digits and a space
_NAME = re.compile(r"([0-9a-f]{32})-([0-9a-f]{8})-(\d{1,10})-(\d{1,20})")

# No process starts in the first tick of a machine's life: a pid with this start never lives, which
# is how a living process lets go of a file.
_NOBODYS_START = 1

# Where processes cannot see each other's pids, an owner that has not touched its file for so long
# is taken for dead (seconds). The owner touches it every minute.
FOREIGN_OWNER_DEAD_AFTER_S = 3600.0
TOUCH_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Name:
    """The parts of a file's name: its age and its owner."""

    id: str
    machine: str
    pid: int
    start: int

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """Read a file name; None if it is not one of the spool's."""
        found = _NAME.fullmatch(name.removesuffix(SUFFIX))
        if found is None or not name.endswith(SUFFIX):
            return None
        return cls(found[1], found[2], int(found[3]), int(found[4]))

    def __str__(self) -> str:
        return f"{self.id}-{self.machine}-{self.pid}-{self.start}{SUFFIX}"

    def mine(self) -> Name:
        """Return the same file's name with this process as its owner."""
        pid = os.getpid()
        return Name(self.id, machine(), pid, _start_of(pid) or 0)

    def nobodys(self) -> Name:
        """Return the same file's name with an owner that is dead for every reader."""
        return replace(self, machine=machine(), pid=os.getpid(), start=_NOBODYS_START)

    def owner_lives(self, touched_s: float) -> bool:
        """Return whether the owner may still append; `touched_s` is the file's time."""
        # Let go of, by whichever machine.
        if self.start == _NOBODYS_START:
            return False
        # Windows has no harmless way to ask whether a pid lives.
        if self.machine != machine() or os.name == "nt":
            return time.time() - touched_s < FOREIGN_OWNER_DEAD_AFTER_S
        start = _start_of(self.pid)
        if start is None:
            return False
        return 0 in (start, self.start) or start == self.start


@cache
def machine() -> str:
    """Return what processes share that can see each other's pids; eight hexadecimal digits."""
    parts = [socket.gethostname(), "", ""]
    with contextlib.suppress(OSError):
        parts[1] = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    with contextlib.suppress(OSError):
        parts[2] = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - the link's text is the point
    return sha256("\n".join(parts).encode()).hexdigest()[:8]


def _start_of(pid: int) -> int | None:
    """Return when a living process started, in ticks since boot; 0 if unknown, None if dead."""
    if pid <= 0 or not _is_there(pid):
        return None
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        # It may have ended since it was asked for; else the system does not show it.
        return 0 if _is_there(pid) else None
    # The second field is the command in parentheses and may hold anything, spaces included.
    fields = stat.rpartition(")")[2].split()
    # A zombie has ended; only its parent has not asked how.
    return None if fields[0] in ("Z", "X") else int(fields[19])


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass  # it lives and is somebody else's
    return True


def line(document: bytes) -> bytes:
    """Return the line that holds one JSON text."""
    return b"%08x %b\n" % (zlib.crc32(document), document)


def _document(text: bytes) -> bytes | None:
    """Return the JSON text of a line; None for a damaged one."""
    document = text[_CHECKSUM_BYTES:]
    try:
        is_whole = int(text[:8], 16) == zlib.crc32(document)
    except ValueError:
        return None
    return document if is_whole and text[8:_CHECKSUM_BYTES] == b" " else None


def _done(document: bytes) -> int | None:
    found = _DONE.fullmatch(document) if document.startswith(_DONE_HEAD) else None
    return int(found[1]) if found else None


@dataclass(slots=True)
class Contents:
    """What a file holds: events intact, how many of them are answered for, lines damaged."""

    events: int = 0
    done: int = 0
    damaged: int = 0


def contents_of(path: Path) -> Contents:
    """Read a whole file, touching nothing; OSError if it is not there."""
    found = Contents()
    for _, document in _documents(path, 0):
        if document is None:
            found.damaged += 1
        elif (done := _done(document)) is not None:
            found.done = max(found.done, done)
        else:
            found.events += 1
    found.done = min(found.done, found.events)
    return found


def _documents(path: Path, offset: int) -> Iterator[tuple[int, bytes | None]]:
    """Yield each line's JSON text, None for a damaged one, with the offset after the line."""
    rest = b""
    # Opened anew: reading through the descriptor that appends would need a lock between them.
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        while piece := file.read(PIECE_BYTES):
            *lines, rest = (rest + piece).split(b"\n")
            for text in lines:
                offset += len(text) + 1
                if text:
                    yield offset, _document(text)


class SpoolFile:
    """An open file that this process owns."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.size = os.fstat(descriptor).st_size
        self._descriptor = descriptor
        self._done = 0
        self._touched_s = time.time()
        self._is_lost = False

    @classmethod
    def create(cls, folder: Path, file_id: str) -> SpoolFile:
        """Make a new file of this process; OSError if that cannot be."""
        path = folder / str(Name(file_id, "", 0, 0).mine())
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL
        return cls(path, os.open(path, flags, 0o600))

    @classmethod
    def adopt(cls, path: Path, name: Name) -> SpoolFile | None:
        """Take over a dead owner's file; None if another process was faster."""
        mine = path.with_name(str(name.mine()))
        try:
            # Renaming keeps the file's time, and a file of an hour ago would be anybody's at once.
            os.utime(path)
            path.rename(mine)
            opened = cls(mine, os.open(mine, os.O_RDWR | os.O_APPEND))
        except FileNotFoundError:
            return None
        opened._end_torn_line()
        return opened

    def append(self, lines: bytes) -> None:
        """Append whole lines; OSError if they are not in the file, not even in part that counts."""
        written = os.write(self._descriptor, lines)
        self.size += written
        if written != len(lines):
            # The disk is full. The torn line is ended, so that it cannot spoil a later one.
            with contextlib.suppress(OSError):
                self.size += os.write(self._descriptor, b"\n")
            raise OSError(f"{written} of {len(lines)} bytes could be written.")

    def mark_done(self, count: int) -> None:
        """Note that the first `count` events are answered for."""
        if count <= self._done:
            return
        self._done = count
        # Without the note the events are sent again, and their messageIds make them count once.
        with contextlib.suppress(OSError):
            self.append(line(b'{"done":%d}' % count))

    def is_lost(self) -> bool:
        """Return whether somebody took the file, who thought its owner dead.

        That needs an hour without a touch, so it is looked up only after a long silence. Touches it
        otherwise.
        """
        now_s = time.time()
        if self._is_lost or now_s - self._touched_s < TOUCH_EVERY_S:
            return self._is_lost
        self._touched_s = now_s
        self._is_lost = self.is_taken()
        if not self._is_lost:
            with contextlib.suppress(OSError):
                os.utime(self.path)
        return self._is_lost

    def is_taken(self) -> bool:
        """Return whether the file is no longer where this process has put it."""
        try:
            return not os.path.samestat(self.path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return True
        except OSError:
            return False

    def read(self, offset: int, count_max: int, bytes_max: int) -> tuple[list[bytes], int]:
        """Return events from a byte offset on, and the offset after the last of them.

        At least one, whatever its size; else as many as fit with a comma between them.
        """
        events: list[bytes] = []
        size = 0
        for after, document in _documents(self.path, offset):
            if document is not None and _done(document) is None:
                size += len(document) + 1
                if events and size > bytes_max:
                    break
                events.append(document)
            offset = after
            if len(events) >= count_max:
                break
        return events, offset

    def remove(self) -> None:
        """Delete the file: everything in it is answered for."""
        self.close()
        with contextlib.suppress(OSError):
            self.path.unlink()

    def release(self) -> None:
        """Leave the file to whoever adopts it next."""
        self.close()
        name = Name.parse(self.path.name)
        assert name is not None
        with contextlib.suppress(OSError):
            self.path.rename(self.path.with_name(str(name.nobodys())))

    def close(self) -> None:
        """Close it and leave it as it is: its owner is somebody else, as after a fork."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _end_torn_line(self) -> None:
        if self.size == 0:
            return
        with contextlib.suppress(OSError):
            with self.path.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                is_torn = file.read(1) != b"\n"
            if is_torn:
                self.append(b"\n")
