"""Copies a data directory while it is in use, as it was at one moment.

    between two blocks of the loader    the store's parts are frozen (hard links, milliseconds), log
                                        and accounts are pinned by open reading transactions
    from there on, at leisure           parts, log and accounts are copied, with a checksum each

So store and log agree to the row, every event acknowledged before the moment is in one of them, and
neither ingest nor trimming has to wait. Everything goes to a folder beside the destination, which
takes its name when all of it is on disk: a backup is whole, or it has another name.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from saytics_server import __version__
from saytics_server.datadir import FORMAT
from saytics_server.errors import Failure
from saytics_server.orders import BackupOrder, Report
from saytics_server.store import Store

MANIFEST = "backup.json"
DATA = "data"
LAYOUT = 1

_CHUNK_BYTES = 8 * 1024 * 1024
_PAGES_PER_STEP = 2_000
_DATABASES = ("log.db", "meta.db")
_FILTERS = "filters.json"
_OPERATION = "backing up"
# Of a part only what its checksums.txt covers is taken over from an earlier backup.
_COVERED = ".bin"


class CopiedFile(msgspec.Struct, frozen=True):
    """One file of a backup. `path` is relative to the data directory."""

    path: str
    bytes: int
    blake2b: str


class Manifest(msgspec.Struct, frozen=True):
    """What a backup holds. Written last of all."""

    layout: int
    format: int
    version: str
    made_ms: int
    position: int
    files: list[CopiedFile]
    links: dict[str, str]


class Moment(msgspec.Struct):
    """The data directory at one moment: frozen parts and pinned databases."""

    parts: Path
    databases: dict[str, sqlite3.Connection]

    @property
    def position(self) -> int:
        """The last position acknowledged at that moment."""
        row = self.databases["log.db"].execute(
            "SELECT max(position) FROM (SELECT max(first_position + count - 1) AS position"
            " FROM records UNION ALL SELECT position FROM readers)"
        )
        return int(row.fetchone()[0])


def read_manifest(backup: Path) -> Manifest:
    """Return the manifest of a backup. Raises Failure if there is none, or not one of ours."""
    try:
        manifest = msgspec.json.decode((backup / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.MsgspecError):
        raise Failure(
            "reading the backup",
            f"{backup} is no whole backup",
            f"It would hold a file {MANIFEST}; one that was cut off is named …partial.",
        ) from None
    if manifest.layout != LAYOUT or manifest.format != FORMAT:
        raise Failure(
            "reading the backup",
            f"{backup} was made by Saytics {manifest.version} in format {manifest.format},"
            f" this version reads format {FORMAT}",
            "Restore it with that version.",
        )
    return manifest


def back_up(  # noqa: PLR0913 - wired at two places, by name
    folder: Path,
    store: Store,
    paused: Callable[[], AbstractContextManager[None]],
    *,
    order: BackupOrder,
    now_ms: int,
    report: Report,
) -> dict[str, Any]:
    """Copy the data directory `folder` as ordered; return what was copied.

    `paused` holds the loader between two blocks. Parts that the order's earlier backup has too
    become hard links to its files. Raises Failure.
    """
    destination = Path(order.destination)
    since = Path(order.since) if order.since else None
    partial = _prepared(folder, destination)
    earlier = {file.path: file for file in read_manifest(since).files} if since else {}
    try:
        copy = _Copy(partial / DATA, since / DATA if since else None, earlier, report)
        with ExitStack() as undo:
            # Before the moment: filters may know less than the log, never more (log/ids.py).
            copy.add_filters(folder / "ids")
            moment = _frozen(folder, store, paused, undo)
            position = moment.position
            copy.expect(folder, moment, destination.parent)
            for name, database in moment.databases.items():
                copy.add_database(name, database)
            copy.add_store(folder / "store", moment.parts)
            copy.add_file(folder / "FORMAT", "FORMAT")
        manifest = Manifest(LAYOUT, FORMAT, __version__, now_ms, position, copy.files, copy.links)
        _finish(partial, destination, manifest)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise Failure(
            _OPERATION, f"{destination} cannot be written ({error.strerror})", "Make room there."
        ) from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return {
        "backup": str(destination),
        "position": position,
        "bytes": sum(file.bytes for file in copy.files),
        "bytes_shared": copy.shared_bytes,
    }


def _prepared(folder: Path, destination: Path) -> Path:
    """Return the folder to copy to, empty, after refusing what must not be a destination."""
    if destination.is_relative_to(folder):
        raise Failure(_OPERATION, f"{destination} is in the data directory", "Choose another.")
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise Failure(
            _OPERATION, f"{destination} is not empty", "Name a folder that does not exist yet."
        )
    partial = destination.with_name(destination.name + ".partial")
    try:
        # What a backup left that was cut off. It never had the name of a whole one.
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700, parents=True)
        (partial / DATA).mkdir(mode=0o700)
    except OSError as error:
        raise Failure(
            _OPERATION, f"{partial} cannot be made ({error.strerror})", "Choose another place."
        ) from error
    return partial


def _frozen(
    folder: Path,
    store: Store,
    paused: Callable[[], AbstractContextManager[None]],
    undo: ExitStack,
) -> Moment:
    undo.callback(store.unfreeze)
    with paused():
        parts = store.freeze()
        databases = {}
        for name in _DATABASES:
            databases[name] = _pinned(folder / name)
            undo.callback(databases[name].close)
    return Moment(parts, databases)


def _pinned(path: Path) -> sqlite3.Connection:
    """Open a database and hold it, for this connection alone, as it is now."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return connection


class _Copy:
    """The files copied so far, with their checksums."""

    def __init__(
        self, target: Path, since: Path | None, earlier: dict[str, CopiedFile], report: Report
    ) -> None:
        self.files: list[CopiedFile] = []
        self.links: dict[str, str] = {}
        self.shared_bytes = 0
        self._target = target
        self._since = since
        self._earlier = earlier
        self._report = report
        self._done = 0
        self._total = 0

    def expect(self, folder: Path, moment: Moment, place: Path) -> None:
        """Work out how much will be copied. Raises Failure if the disk has no room for it."""
        self._total = self._done + sum(map(_size, moment.databases.values()))
        self._total += sum(path.stat().st_size for path in _files(moment.parts))
        free = shutil.disk_usage(place).free
        if free < self._total and self._since is None:
            raise Failure(
                _OPERATION,
                f"{self._total:,} bytes are needed and {free:,} are free",
                "Make room, or choose another place.",
            )

    def add_filters(self, folder: Path) -> None:
        """Copy the saved id filters; without them a start would make them anew, which is slow."""
        manifest = folder / _FILTERS
        if not manifest.exists():
            return
        # The manifest first: segments that are newer than it only know more.
        self.add_file(manifest, f"ids/{_FILTERS}")
        for segment in sorted(folder.glob("*.bloom")):
            self.add_file(segment, f"ids/{segment.name}")

    def add_database(self, name: str, pinned: sqlite3.Connection) -> None:
        """Copy a database as its connection sees it."""
        target = self._target / name
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        before, size = self._done, _size(pinned)

        def step(_: int, remaining: int, total: int) -> None:
            self._advance(before + size * (total - remaining) // max(total, 1) - self._done)

        copy = sqlite3.connect(target, isolation_level=None)
        try:
            copy.execute("PRAGMA synchronous=OFF")  # it is synced below, once
            pinned.backup(copy, pages=_PAGES_PER_STEP, progress=step)
        finally:
            copy.close()
        digest = blake2b()
        with target.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
                self._advance(0)
            os.fsync(file.fileno())
        self.files.append(CopiedFile(name, target.stat().st_size, digest.hexdigest()))

    def add_store(self, store: Path, parts: Path) -> None:
        """Copy the frozen parts, and the definitions of the tables beside them."""
        for path in _definitions(store):
            name = str(path.relative_to(store.parent))
            if path.is_symlink():
                link = self._target / name
                link.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                link.symlink_to(path.readlink())
                self.links[name] = str(path.readlink())
            else:
                self.add_file(path, name)
        for path in _files(parts):
            self.add_file(path, f"store/{path.relative_to(parts)}")

    def add_file(self, source: Path, name: str) -> None:
        """Copy a file that does not change, or share that of the earlier backup."""
        target = self._target / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        known = self._shared(source, name)
        if known is not None:
            assert self._since is not None
            os.link(self._since / name, target)
            self.shared_bytes += known.bytes
            self._advance(known.bytes)
            self.files.append(known)
        else:
            self.files.append(copied(source, target, name, self._advance))

    def _shared(self, source: Path, name: str) -> CopiedFile | None:
        """Return the earlier backup's file if it is the same: its part has the same checksums."""
        known = self._earlier.get(name)
        if self._since is None or known is None or source.suffix != _COVERED:
            return None
        earlier = self._since / name
        try:
            same_part = (source.parent / "checksums.txt").read_bytes() == (
                earlier.parent / "checksums.txt"
            ).read_bytes()
            same_disk = earlier.stat().st_dev == self._target.stat().st_dev
        except OSError:
            return None
        return known if same_part and same_disk else None

    def _advance(self, count: int) -> None:
        self._done += count
        self._report(self._done, max(self._total, self._done))


def copied(source: Path, target: Path, name: str, advance: Callable[[int], None]) -> CopiedFile:
    """Copy a file durably; return its entry in the manifest."""
    digest = blake2b()
    size = 0
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with source.open("rb") as reading, os.fdopen(descriptor, "wb") as writing:
        while chunk := reading.read(_CHUNK_BYTES):
            digest.update(chunk)
            writing.write(chunk)
            size += len(chunk)
            advance(len(chunk))
        writing.flush()
        os.fsync(writing.fileno())
    return CopiedFile(name, size, digest.hexdigest())


def sync_folders(top: Path) -> None:
    """Make the names of all files below a folder durable."""
    for folder, _, _ in os.walk(top):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _finish(partial: Path, destination: Path, manifest: Manifest) -> None:
    path = partial / MANIFEST
    with path.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(manifest)))
        file.flush()
        os.fsync(file.fileno())
    sync_folders(partial)
    partial.rename(destination)
    descriptor = os.open(destination.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _definitions(store: Path) -> Iterator[Path]:
    """Yield what is in the store's folder and no part: definitions, marks, symbolic links."""
    for folder, folders, files in os.walk(store):
        here = Path(folder)
        if here == store:
            folders[:] = [name for name in folders if name not in ("shadow", "tmp")]
        yield from (here / name for name in folders if (here / name).is_symlink())
        if "format_version.txt" in files:  # a table's folder: the rest of it are parts
            folders.clear()
            files = ["format_version.txt"]  # noqa: PLW2901 - narrowed
        yield from (here / name for name in sorted(files))


def _files(top: Path) -> Iterator[Path]:
    for folder, _, files in os.walk(top):
        yield from (Path(folder) / name for name in sorted(files))


def _size(database: sqlite3.Connection) -> int:
    pages, page = (
        int(database.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "page_size")
    )
    return pages * page
