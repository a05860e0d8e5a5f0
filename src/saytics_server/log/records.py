"""The log's file: its tables, how rows are packed into records, and what a fresh file holds.

One SQLite database in WAL mode. A record's body is a MessagePack array of rows (event.py), each an
array whose first element says its kind. A row's position is its record's first plus its place.
"""

from __future__ import annotations

import secrets
import sqlite3
from pathlib import Path

import msgspec

from saytics_server.errors import Failure
from saytics_server.event import Row

FORMAT_VERSION = 1

# Who keeps a place in the log. It is trimmed behind the slowest: `ids` is how far the saved id
# filters reach, `store` how far the store does.
READERS = ("ids", "store")

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE records (
    first_position INTEGER PRIMARY KEY,
    count INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE readers (
    name TEXT PRIMARY KEY, position INTEGER NOT NULL, planned INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE usage (
    workspace_id INTEGER NOT NULL, month TEXT NOT NULL, events INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, month)
) WITHOUT ROWID;
"""

# A commit checkpoints the WAL into the database once it has this many pages of 4 KiB: 16 MiB keeps
# the pause short and the file small.
_WAL_PAGES = 4000

# Added to the format after its first files: made when a log is opened that lacks it.
_DROPPED_SCHEMA = """
CREATE TABLE IF NOT EXISTS dropped (
    workspace_id INTEGER NOT NULL, day INTEGER NOT NULL, key_id INTEGER NOT NULL,
    library TEXT NOT NULL, events INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, day, key_id, library)
) WITHOUT ROWID
"""

encode_rows = msgspec.msgpack.Encoder().encode
decode_rows = msgspec.msgpack.Decoder(list[Row]).decode


class Record(msgspec.Struct, frozen=True):
    """Rows of one request or of several. Row `i` has position `first_position + i`."""

    first_position: int
    rows: list[Row]

    @property
    def last_position(self) -> int:
        """The position of the record's last row."""
        return self.first_position + len(self.rows) - 1


class Dropped(msgspec.Struct, frozen=True):
    """Events that a sender says it has lost: no rows, for there is nothing to show of them.

    `day` is the day of receipt in UTC, counted from 1970-01-01; `library` is what the sender calls
    itself, '' where it does not.
    """

    workspace_id: int
    day: int
    key_id: int
    library: str
    events: int


def connect(path: Path) -> sqlite3.Connection:
    """Open the log's file with the settings that make a commit durable."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL")  # heeded before the first table only
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA secure_delete=ON")
    connection.execute(f"PRAGMA wal_autocheckpoint={_WAL_PAGES}")
    return connection


def open_file(path: Path, now_ms: int) -> sqlite3.Connection:
    """Open the log, making it if there is none; Failure if it is corrupt or of another format."""
    fresh = not path.exists() or path.stat().st_size == 0
    try:
        if fresh:
            path.touch(mode=0o600)
        connection = connect(path)
        if fresh or not _has_tables(connection):
            _create(connection, now_ms)
        version = read_meta(connection, "format_version")
        if int(version) != FORMAT_VERSION:
            raise Failure(
                "opening the log",
                f"{path} has format {int(version)}, this version reads {FORMAT_VERSION}",
                "Start the version of Saytics that wrote it. Nothing was changed.",
            )
        _check_readable(connection)
        connection.execute(_DROPPED_SCHEMA)
    except sqlite3.DatabaseError as error:
        raise Failure(
            "opening the log",
            f"{path} cannot be read ({error})",
            "If it is damaged, restore the data directory from a backup. Nothing was changed.",
        ) from error
    return connection


def skip_positions(connection: sqlite3.Connection, position: int) -> None:
    """Have positions go on beyond one, durably. For a log that an older copy replaced."""
    connection.execute(
        "INSERT INTO meta VALUES ('positions_after', ?)"
        " ON CONFLICT DO UPDATE SET value = max(value, excluded.value)",
        (position,),
    )


def positions_after(connection: sqlite3.Connection) -> int:
    """Return the position beyond which positions go on, 0 if nothing was skipped."""
    row = connection.execute("SELECT value FROM meta WHERE name = 'positions_after'").fetchone()
    return int(row[0]) if row else 0


def _has_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None


def _create(connection: sqlite3.Connection, now_ms: int) -> None:
    # Positions start at the microsecond of creation and grow by one per row, so slower than the
    # clock: a log made anew after a restore starts above every id the old one ever gave out.
    start = now_ms * 1000
    connection.executescript("BEGIN IMMEDIATE;" + _SCHEMA)
    connection.executemany(
        "INSERT INTO meta VALUES (?, ?)",
        [("format_version", FORMAT_VERSION), ("claim_key", secrets.token_bytes(32))],
    )
    connection.executemany(
        "INSERT INTO readers VALUES (?, ?, ?)", [(name, start, start) for name in READERS]
    )
    connection.execute("COMMIT")


def _check_readable(connection: sqlite3.Connection) -> None:
    """Read the ends of the log; a torn file fails here instead of under load."""
    for order in ("ASC", "DESC"):
        row = connection.execute(
            f"SELECT body FROM records ORDER BY first_position {order} LIMIT 1"  # noqa: S608
        ).fetchone()
        if row is not None:
            try:
                decode_rows(row[0])
            except msgspec.MsgspecError as error:
                raise sqlite3.DatabaseError(f"a record does not decode: {error}") from error


def read_meta(connection: sqlite3.Connection, name: str) -> bytes | int:
    """Return a value of the meta table; sqlite3.DatabaseError if it is missing."""
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise sqlite3.DatabaseError(f"the log has no {name}")
    value: bytes | int = row[0]
    return value
