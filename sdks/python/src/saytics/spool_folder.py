"""The folder of the spool that belongs to one host and key: where, whose, how much (docs/spool.md).

Makes files for this process, adopts those whose owners are dead, and keeps the sum of all within
`bytes_max`. Nothing here is locked; two threads may call `create` and `adopt` at the same time.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from hashlib import sha256
from pathlib import Path

from saytics.message_id import MessageIds
from saytics.spool_file import Name, SpoolFile

# Other processes write into the same folder: their files are added up again after this many bytes
# of our own, and, when there is no room, no more often than this.
RESCAN_AFTER_BYTES = 1024 * 1024
RESCAN_EVERY_S = 1.0


class SpoolFull(Exception):  # noqa: N818 - a state of the folder, reported as a code
    """`spool_bytes_max` is reached."""


def default_root() -> Path:
    """Return where spools lie for this user: never a folder others can write to."""
    given = os.environ.get("SAYTICS_SPOOL_DIR", "")
    if given:
        return Path(given).expanduser()
    if sys.platform == "darwin":
        return Path("~/Library/Application Support/saytics/spool").expanduser()
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", "~/AppData/Local"), "saytics/spool").expanduser()
    state = os.environ.get("XDG_STATE_HOME", "") or "~/.local/state"
    return Path(state, "saytics", "spool").expanduser()


def folder_name(host: str, key: str) -> str:
    """Return the folder's name for a host and a key; neither can be told from it."""
    return sha256(f"{host}\n{key}".encode()).hexdigest()[:16]


def spool_files(folder: Path) -> list[tuple[Path, Name, os.stat_result]]:
    """Return the spool's files in a folder, oldest first; nothing if it is not there."""
    found = []
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return []
    for entry in entries:
        name = Name.parse(entry.name)
        if name is None:
            continue
        try:
            found.append((Path(entry.path), name, entry.stat(follow_symlinks=False)))
        except FileNotFoundError:  # adopted meanwhile
            continue
    return found


class SpoolFolder:
    """The folder of one host and key under `root`."""

    def __init__(self, root: Path, host: str, key: str, bytes_max: int) -> None:
        self.path = root / folder_name(host, key)
        self._bytes_max = bytes_max
        self._ids = MessageIds()
        self._is_made = False
        self._room = 0
        self._written = RESCAN_AFTER_BYTES
        self._scanned_s = -RESCAN_EVERY_S

    def create(self) -> SpoolFile:
        """Make a new file of this process; OSError if that cannot be."""
        file_id = self._ids.next(time.time_ns() // 1_000_000).replace("-", "")
        if self._is_made:
            try:
                return SpoolFile.create(self.path, file_id)
            except FileNotFoundError:
                pass  # somebody has deleted the folder
        self._make()
        return SpoolFile.create(self.path, file_id)

    def reserve(self, size: int) -> None:
        """Count `size` bytes that are about to be written; SpoolFull if there is no room."""
        if self._written >= RESCAN_AFTER_BYTES or size > self._room:
            self._scan()
        if size > self._room:
            raise SpoolFull
        self._room -= size
        self._written += size

    def has_files(self) -> bool:
        """Return whether there is anything to look at."""
        return bool(spool_files(self.path))

    def adopt(self, skipped_ids: frozenset[str]) -> SpoolFile | None:
        """Take over the oldest file whose owner is dead; None if there is none."""
        for path, name, status in spool_files(self.path):
            # Only a file of this user's: what another put here could be anything.
            if name.id in skipped_ids or not _is_ours(status):
                continue
            if name.owner_lives(status.st_mtime):
                continue
            adopted = SpoolFile.adopt(path, name)
            if adopted is not None:
                return adopted
        return None

    def _scan(self) -> None:
        now_s = time.monotonic()
        if now_s - self._scanned_s < RESCAN_EVERY_S and self._written < RESCAN_AFTER_BYTES:
            return
        self._scanned_s = now_s
        self._written = 0
        used = sum(status.st_size for _, _, status in spool_files(self.path))
        self._room = max(0, self._bytes_max - used)

    def _make(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.mkdir(mode=0o700, exist_ok=True)
        status = self.path.lstat()
        if not _is_ours(status) or not stat.S_ISDIR(status.st_mode):
            raise PermissionError(f"{self.path} belongs to somebody else.")
        if stat.S_IMODE(status.st_mode) & 0o077:
            self.path.chmod(0o700)
        self._is_made = True


def _is_ours(status: os.stat_result) -> bool:
    return os.name == "nt" or status.st_uid == os.geteuid()
