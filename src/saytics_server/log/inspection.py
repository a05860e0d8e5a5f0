"""Looks whether the log's files are sound, while nobody writes them. Changes nothing.

In: the folder of log.db and ids/. Out: what is wrong, a sentence each, and the records that can be
read, for comparing them with the store.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from saytics_server.log.ids import IdFilters, key_of
from saytics_server.log.records import (
    FORMAT_VERSION,
    Record,
    connect,
    decode_rows,
    read_meta,
)

# What SQLite tells of a damaged file; more of it helps nobody.
_FAULTS_MAX = 20
_MANIFEST = "filters.json"
# A log made anew begins at a whole millisecond of its making, in microseconds, so far above the
# positions before it that nothing else explains it (records.py).
_ANEW_STEP = 1_000
_ANEW_DISTANCE_MIN = 1_000_000


class LogInspection:
    """The log of a data directory that no server has open; `close` when done."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "log.db"
        self._connection = connect(self._path)

    def file_faults(self) -> Iterator[str]:
        """Yield what SQLite finds wrong with the file, and what its tables lack."""
        try:
            for row in self._connection.execute(f"PRAGMA integrity_check({_FAULTS_MAX})"):
                if row[0] != "ok":
                    yield f"log.db: {_one_line(row[0])}"
            version = int(read_meta(self._connection, "format_version"))
            if version != FORMAT_VERSION:
                yield f"log.db: has format {version}, this version reads {FORMAT_VERSION}"
            read_meta(self._connection, "claim_key")
            self.reader("store")
            self.reader("ids")
        except (sqlite3.Error, TypeError) as error:
            yield f"log.db: cannot be read: {error}"

    def record_faults(self) -> Iterator[str]:
        """Yield records that do not decode, positions that are missing or given twice."""
        before: int | None = None
        for first, count, received_ms, body in self._connection.execute(
            "SELECT first_position, count, received_ms, body FROM records ORDER BY first_position"
        ):
            try:
                rows = decode_rows(body)
            except msgspec.MsgspecError as error:
                yield f"log.db: the record at position {first} does not decode: {error}"
            else:
                youngest_ms = max((row.received_ms for row in rows), default=None)
                if len(rows) != count or youngest_ms != received_ms:
                    yield f"log.db: the record at position {first} is not what its columns say"
            if before is not None and first <= before:
                yield f"log.db: positions {first} to {before} are given twice"
            elif before is not None and first > before + 1 and not begins_anew(before, first):
                yield f"log.db: positions {before + 1} to {first - 1} are missing"
            before = first + count - 1

    def filter_faults(self) -> Iterator[str]:
        """Yield what is wrong with the saved id filters: a damaged segment, an id they miss."""
        folder = self._folder / "ids"
        if not (folder / _MANIFEST).exists():
            return
        loaded = IdFilters.load(folder)
        if loaded is None:
            yield "ids: a filter is damaged or missing; the next start makes all anew"
            return
        filters, covered = loaded
        unknown = sum(
            not filters.maybe(key_of(row.claim))
            for record in self.records(through=covered)
            for row in record.rows
            if row.claim
        )
        if unknown:
            yield f"ids: the filters do not know {unknown} ids that are taken"

    def reader(self, name: str) -> int:
        """Return a reader's checkpoint."""
        row = self._connection.execute(
            "SELECT position FROM readers WHERE name = ?", (name,)
        ).fetchone()
        return int(row[0])

    def ends(self) -> tuple[int, int] | None:
        """Return the first and the last position there is, None of an empty log."""
        row = self._connection.execute(
            "SELECT min(first_position), max(first_position + count - 1) FROM records"
        ).fetchone()
        return None if row[0] is None else (int(row[0]), int(row[1]))

    def records(self, *, through: int) -> Iterator[Record]:
        """Yield the records up to a position that can be decoded."""
        for first, body in self._connection.execute(
            "SELECT first_position, body FROM records WHERE first_position <= ?"
            " ORDER BY first_position",
            (through,),
        ):
            try:
                yield Record(first, decode_rows(body))
            except msgspec.MsgspecError:
                continue  # told by record_faults

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def begins_anew(before: int, position: int) -> bool:
    """Tell whether positions jump because a log was made anew, and none is missing."""
    return position - before >= _ANEW_DISTANCE_MIN and position % _ANEW_STEP == 1


def _one_line(text: str) -> str:
    return " ".join(str(text).split())
