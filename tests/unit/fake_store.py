"""A store of ids in memory: what the log asks of a store, and what a loader does to both."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from factories import RECEIVED_MS
from saytics_server.clock import ManualClock
from saytics_server.log import Log, LogSettings, Record

# Tests that fill a disk set their own floor; the others run on whatever disk there is.
SETTINGS = LogSettings(free_bytes_min=0)


class FakeStore:
    """Holds ids as a store does; `load` is the loader's part."""

    def __init__(self) -> None:
        self.ids: dict[bytes, int] = {}
        self.asked: list[bytes] = []

    def find(self, ids: Sequence[bytes]) -> dict[bytes, int]:
        """Answer the log's checker."""
        self.asked += ids
        return {claim: self.ids[claim] for claim in ids if claim in self.ids}

    def scan(self) -> Iterator[list[bytes]]:
        """Yield every id, in blocks."""
        yield from ([claim] for claim in self.ids)

    def load(self, log: Log) -> int:
        """Take in everything the log holds beyond its checkpoint; return the rows taken."""
        position, _ = log.reader("store")
        records = log.read(position, rows_max=1_000_000)
        if records:
            self.ids |= {row.claim: row.content for row in rows_of(records) if row.claim}
            log.note_stored(records[-1].last_position)
        return len(rows_of(records))


def rows_of(records: Sequence[Record]) -> list[Any]:
    """Return the rows of records in order."""
    return [row for record in records for row in record.rows]


@contextlib.contextmanager
def opened(folder: Path, store: FakeStore | None = None, **named: Any) -> Iterator[Log]:
    """Open a log on a fake store for as long as the context lasts."""
    store = store or FakeStore()
    log = Log.open(
        folder,
        **{
            "clock": ManualClock(RECEIVED_MS),
            "find_stored": store.find,
            "scan_stored": store.scan,
            "settings": SETTINGS,
            **named,
        },
    )
    try:
        yield log
    finally:
        log.close()


def crashed(folder: Path, to: Path) -> Path:
    """Return a copy of a log's folder as a kill would leave it at this moment."""
    to.mkdir()
    for name in ("log.db", "log.db-wal"):
        shutil.copy(folder / name, to / name)
    if (folder / "ids").exists():
        shutil.copytree(folder / "ids", to / "ids", ignore=shutil.ignore_patterns("*.new"))
    return to
