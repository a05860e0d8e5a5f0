"""Which messageIds are taken: the answer every append needs, without a unique index.

Three layers, asked in this order, all by the log's writer thread:

    filters  "new"     every id ever accepted                      Bloom filters, 1 in 10,000 wrong
    tail     exact     ids of records the store does not hold yet  a dictionary
    store    exact     ids of records the store holds              asked only after a "maybe"

A filter that says "new" is right. Only its "maybe" costs a look-up, and the request that has one
waits beside the group commit (writer.py). Filters are kept in segments of fixed size; a full one
is never written again, so saving costs one segment, and a restart replays what came after it.
"""

from __future__ import annotations

import operator
import os
from collections import deque
from collections.abc import Collection, Mapping
from pathlib import Path
from zlib import crc32

import msgspec
from rbloom import Bloom

# Segments start small, so that a small installation stays small, and grow to a size that is
# rewritten in about 0.1 s (38 MB). 100 million ids make eight.
SEGMENT_IDS = (1_000_000, 4_000_000, 16_000_000)
FALSE_POSITIVES = 1e-4
# Ids the store does not hold yet; about 200 bytes each. More than this means that the store is
# hours behind, and the append is answered `overloaded` instead of growing without bound.
TAIL_IDS_MAX = 1_000_000
# A restart replays at most this many ids from the log, at about a microsecond each.
SAVE_EVERY_IDS = 1_000_000
SAVE_INTERVAL_S = 3600.0

_MANIFEST = "filters.json"
_SEAL_BYTES = 4


class _Manifest(msgspec.Struct):
    version: int
    covered_position: int
    segment_ids: list[int]  # how many ids each segment holds; the last one is still filling


class Snapshot(msgspec.Struct, frozen=True):
    """A copy of the unsaved segments, taken at once and written at leisure."""

    folder: Path
    covered_position: int
    files: dict[Path, bytes]
    counts: list[int]

    def write(self) -> None:
        """Write it durably; the manifest last, so that a crash leaves the previous save."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        for path, content in self.files.items():
            _write_durably(path, content)
        manifest = _Manifest(1, self.covered_position, self.counts)
        _write_durably(self.folder / _MANIFEST, msgspec.json.encode(manifest))


def key_of(claim: bytes) -> int:
    """Return a claim as the integer the filters and the tail are keyed by."""
    return int.from_bytes(claim, "big")


class IdFilters:
    """Bloom filters over every id ever accepted, on disk as segments. Not thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._segments: list[Bloom] = []
        self._counts: list[int] = []
        self._unsaved_from = 0
        self._add_segment()
        self.unsaved_ids = 0

    @classmethod
    def load(cls, folder: Path) -> tuple[IdFilters, int] | None:
        """Return the filters last saved and the position they cover, or None if there are none."""
        try:
            manifest = msgspec.json.decode((folder / _MANIFEST).read_bytes(), type=_Manifest)
            segments = [
                Bloom.load_bytes(_verified(_segment_file(folder, number)), operator.index)
                for number in range(len(manifest.segment_ids))
            ]
        except (OSError, ValueError, msgspec.MsgspecError):
            return None
        filters = cls(folder)
        filters._segments = segments
        filters._counts = manifest.segment_ids
        filters._unsaved_from = len(segments) - 1
        return filters, manifest.covered_position

    def maybe(self, key: int) -> bool:
        """Tell whether `key` may have been added before; False is certain."""
        for segment in self._segments:  # noqa: SIM110 - a generator costs as much as the filter
            if key in segment:
                return True
        return False

    def add(self, key: int) -> None:
        """Remember `key`."""
        if self._counts[-1] >= _capacity(len(self._counts) - 1):
            self._add_segment()
        self._segments[-1].add(key)
        self._counts[-1] += 1
        self.unsaved_ids += 1

    def update(self, keys: Collection[int]) -> None:
        """Remember all `keys`."""
        if self._counts[-1] + len(keys) > _capacity(len(self._counts) - 1):
            for key in keys:
                self.add(key)
            return
        self._segments[-1].update(keys)
        self._counts[-1] += len(keys)
        self.unsaved_ids += len(keys)

    def snapshot(self, covered_position: int) -> Snapshot:
        """Return what a save has to write so that the filters cover the log up to a position."""
        files = {
            _segment_file(self._folder, number): _sealed(self._segments[number].save_bytes())
            for number in range(self._unsaved_from, len(self._segments))
        }
        self._unsaved_from = len(self._segments) - 1
        self.unsaved_ids = 0
        return Snapshot(self._folder, covered_position, files, list(self._counts))

    def __len__(self) -> int:
        return sum(self._counts)

    def _add_segment(self) -> None:
        capacity = _capacity(len(self._segments))
        self._segments.append(Bloom(capacity, FALSE_POSITIVES, operator.index))
        self._counts.append(0)


def _capacity(number: int) -> int:
    return SEGMENT_IDS[min(number, len(SEGMENT_IDS) - 1)]


def _segment_file(folder: Path, number: int) -> Path:
    return folder / f"segment-{number:04d}.bloom"


def _sealed(content: bytes) -> bytes:
    return content + crc32(content).to_bytes(_SEAL_BYTES, "big")


def _verified(path: Path) -> bytes:
    """Return a segment's content; ValueError if it is damaged: it would call taken ids new."""
    sealed = path.read_bytes()
    content = sealed[:-_SEAL_BYTES]
    if _sealed(content) != sealed:
        raise ValueError(path)
    return content


def _write_durably(path: Path, content: bytes) -> None:
    beside = path.with_suffix(".new")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Tail:
    """The ids of records the store does not hold yet, exact, with their content fingerprints."""

    def __init__(self) -> None:
        self._content: dict[int, int] = {}
        self._records: deque[tuple[int, list[int]]] = deque()

    def __len__(self) -> int:
        return len(self._content)

    def content(self, key: int) -> int | None:
        """Return the fingerprint of the event that took `key`, or None."""
        return self._content.get(key)

    def add(self, last_position: int, ids: Mapping[int, int]) -> None:
        """Remember the ids, with their contents, of a record that ends at `last_position`."""
        if ids:
            self._content.update(ids)
            self._records.append((last_position, list(ids)))

    def forget(self, position: int) -> None:
        """Drop the ids of records up to `position`, which the store holds by now."""
        records = self._records
        while records and records[0][0] <= position:
            for key in records.popleft()[1]:
                del self._content[key]
