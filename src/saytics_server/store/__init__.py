"""The column store: typed reads for queries, durable once-only blocks for the loader.

One engine serves two sizes: chDB inside this process, or a ClickHouse server behind a URL, both
through the same client and the same SQL. A client serves one call at a time, so each question that
has its turn (turns.py) borrows one from a small pool. What was answered in a turn is kept until the
workspace is written to (kept.py). An `insert` that returned is on disk; the same token inserted
again adds nothing, also after a crash in between.
"""

from __future__ import annotations

import contextlib
import queue
import re
import shutil
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from saytics_server.errors import Failure, Refused
from saytics_server.store.kept import Kept, key_of
from saytics_server.store.schema import POSITIONED, TABLES, VIEWS, View
from saytics_server.store.turns import WAIT_S, Asker, State, Turn, Turns, busy

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

# Two queries at once: each may use every core but one, and ingest needs that one.
QUERY_CLIENTS = 2
QUERY_DEADLINE_S = 30
# Ids per look-up; they travel as one text of 24 digits each, which parses faster than an array.
FIND_IDS_MAX = 20_000
_FIND_IDS = """
    SELECT hex(id), content FROM message_ids WHERE id IN (
        SELECT toFixedString(unhex(substring({ids:String}, 24 * number + 1, 24)), 12)
        FROM numbers({count:UInt64})
    )
"""
# A query that needs more than this spills to disk or is refused; the process stays below 2 GiB.
QUERY_MEMORY_BYTES = 1_400_000_000

# The JSON type rewrites what it reads unless told not to: dates stay the strings they were, and a
# key sent twice does not refuse the row.
_SESSION = {
    "input_format_try_infer_dates": 0,
    "input_format_try_infer_datetimes": 0,
    "type_json_skip_duplicated_paths": 1,
    "async_insert": 0,
    "insert_deduplicate": 1,
    # A block whose view a crash cut off is known in its table, and not yet in the view's.
    "deduplicate_blocks_in_dependent_materialized_views": 1,
}

# Below the store's folder `shadow`, which every start empties.
_FROZEN = "backup"

_SHORTER = "Ask for a shorter range."

# Who asks outside any turn, such as a command or a test: one asker among the others.
_NOBODY = Asker(0, "")
# The engine looks at its list of killed queries between blocks, some 10 ms apart.
_KILL = "KILL QUERY WHERE Settings['log_comment'] = {question:String} ASYNC"


Row = Sequence[Any]


class NotKeptError(Exception):
    """What is kept does not answer the question; it needs a turn."""


class StoppedError(Exception):
    """The query was stopped, because nobody waits for its answer."""


class StoreRefusedError(Exception):
    """The store did not take a block; `row_fault` tells whether a row of it is to blame."""

    def __init__(self, message: str, *, row_fault: bool) -> None:
        super().__init__(message)
        self.row_fault = row_fault


# Engine errors that a row's content can cause: cannot parse, type mismatch, incorrect data,
# value out of range and the like. Everything else (memory, disk, lost connection) is the store's.
_ROW_FAULT_CODES = frozenset(
    {6, 26, 27, 32, 33, 38, 41, 53, 69, 70, 72, 117, 131, 321, 349, 407, 441, 472, 645, 652}
)
_ERROR_CODE = re.compile(r"Code: (\d+)\.")
_TIMEOUT_CODES = frozenset({159, 160})
_MEMORY_CODES = frozenset({241})
_STOPPED_CODES = frozenset({394})


# No block goes in while less than this is free: an insert whose table has room and whose view has
# none any more leaves a part without content behind (chDB 4.4). The rows wait in the log.
INSERT_FREE_BYTES_MIN = 32 * 1024 * 1024


class _Asking(threading.local):
    """For which workspace the thread asks, and in which turn, with its client; without a turn, of
    what is kept alone."""

    workspace_id: int | None = None
    turn: Turn | None = None
    client: Client | None = None


class _CheckedPart(msgspec.Struct):
    part_path: str
    is_passed: int
    message: str


class Store:
    """The open store. Thread-safe; `close` waits for calls under way.

    With `as_it_is` no table is made that is missing.
    """

    def __init__(
        self, path: Path, *, url: str | None = None, cores: int = 2, as_it_is: bool = False
    ) -> None:
        self._path = path
        self._url = url
        self._threads = max(1, cores - 1)
        self.turns = Turns(QUERY_CLIENTS)
        self._kept = Kept()
        # Queries since the start, by where their answer came from.
        self.outcomes: Counter[str] = Counter(answered=0, kept=0, not_answered=0)
        self._asking = _Asking()
        # Questions of several processes may run in one ClickHouse.
        self._name = uuid.uuid4().hex
        self._clients: queue.SimpleQueue[Client] = queue.SimpleQueue()
        self._writer = self._connect()
        if not as_it_is:
            for statement in TABLES.values():
                self._writer.command(statement)
            self._create_views()
        for _ in range(QUERY_CLIENTS):
            self._clients.put(self._connect())
        self._ids = self._connect()
        self._killer = self._connect()
        self._killing = threading.Lock()

    def _connect(self) -> Client:
        # Imported here: the engine's library is 180 MB and commands that never query need none.
        import clickhouse_connect  # noqa: PLC0415

        try:
            if self._url:
                return clickhouse_connect.get_client(dsn=self._url, settings=_SESSION)
            return clickhouse_connect.get_client(
                interface="chdb", path=str(self._path), settings=_SESSION
            )
        except Exception as error:  # the client raises whatever its transport raises
            raise Failure(
                "opening the store",
                f"{self._url or self._path} does not open ({_first_line(error)})",
                "Check that nothing else uses it and that no newer version wrote it.",
            ) from error

    @contextlib.contextmanager
    def in_turn(self, turn: Turn) -> Iterator[None]:
        """Let the calling thread ask in a turn that is running; it is over at the end."""
        client = None
        try:
            client = self._clients.get_nowait()  # there is one for each running turn
            self._asking.turn, self._asking.client = turn, client
            self._asking.workspace_id = None if turn.asker is _NOBODY else turn.asker.workspace_id
            yield
        finally:
            self._asking.turn = self._asking.client = self._asking.workspace_id = None
            if client is not None:
                self._clients.put(client)
            self.turns.leave(turn)

    @contextlib.contextmanager
    def from_kept(self, workspace_id: int) -> Iterator[None]:
        """Let the calling thread ask of what is kept, without a turn; else NotKeptError."""
        self._asking.workspace_id = workspace_id
        try:
            yield
        finally:
            self._asking.workspace_id = None

    def stop(self, turn: Turn) -> None:
        """Stop what a turn is asking, and let it ask nothing more. Blocks for some milliseconds.

        A query that is just about to start is not seen: call again until the turn is over.
        """
        turn.is_stopped = True
        with self._killing:
            self._killer.command(_KILL, parameters={"question": self._question(turn)})

    def query(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        deadline_s: int = QUERY_DEADLINE_S,
    ) -> Sequence[Row]:
        """Return the rows of `sql`, whose `{name:Type}` places take `parameters`.

        In a turn of the calling thread, where there is one, else in one of its own, for which it
        waits. Only what is asked in a turn is kept: then it is known of whom the rows are. Raises
        Refused("query_timeout" | "query_too_large" | "queries_busy"), NotKeptError, StoppedError.
        """
        values = dict(parameters or {})
        if self._asking.workspace_id is None:
            with self.in_turn(self._wait_for_turn()):
                return self._ask(sql, values, deadline_s)
        workspace_id, key = self._asking.workspace_id, key_of(sql, values)
        kept = self._kept.find(workspace_id, key)
        if kept is not None:
            self.outcomes["kept"] += 1
            return kept
        if self._asking.turn is None:
            raise NotKeptError
        generation = self._kept.generation(workspace_id)
        rows = self._ask(sql, values, deadline_s)
        self._kept.keep(workspace_id, key, rows, generation)
        return rows

    def _wait_for_turn(self) -> Turn:
        woken = threading.Event()
        turn = self.turns.ask(_NOBODY, woken.set)
        woken.wait(WAIT_S)
        if turn.state is not State.RUNNING:
            self.turns.leave(turn)
            raise busy()
        return turn

    def _ask(self, sql: str, values: dict[str, Any], deadline_s: int) -> Sequence[Row]:
        turn, client = self._asking.turn, self._asking.client
        assert turn is not None
        assert client is not None
        if turn.is_stopped:
            raise StoppedError
        turn.engine_queries += 1
        settings = {
            "max_execution_time": deadline_s,
            "max_memory_usage": QUERY_MEMORY_BYTES,
            "max_threads": self._threads,
            "log_comment": self._question(turn),
        }
        try:
            rows = client.query(sql, parameters=values, settings=settings).result_rows
        except Exception as error:
            self.outcomes["not_answered"] += 1
            code = _error_code(error)
            if turn.is_stopped and code in _STOPPED_CODES:
                raise StoppedError from error
            if code in _TIMEOUT_CODES:
                raise Refused(
                    "query_timeout", f"The query took longer than {deadline_s} s. {_SHORTER}"
                ) from error
            if code in _MEMORY_CODES:
                raise Refused(
                    "query_too_large", f"The query needs too much memory. {_SHORTER}"
                ) from error
            raise
        self.outcomes["answered"] += 1
        return rows

    def _question(self, turn: Turn) -> str:
        return f"saytics-{self._name}-{turn.number}"

    def insert(self, table: str, rows: pa.Table, *, token: str) -> None:
        """Insert a block durably, once per `token`. Called by the loader's thread alone.

        Raises StoreRefusedError; nothing of the block is visible then.
        """
        if rows.num_rows == 0:
            return
        self._require_room()
        try:
            self._writer.insert_arrow(table, rows, settings={"insert_deduplication_token": token})
        except Exception as error:
            raise StoreRefusedError(
                _first_line(error), row_fault=_error_code(error) in _ROW_FAULT_CODES
            ) from error
        finally:
            # Refused or not: some of it may be visible.
            if table != "message_ids":  # of all workspaces, and no report reads it
                self._kept.written(rows["workspace_id"].unique().to_pylist())

    def _require_room(self) -> None:
        if self._url is None and shutil.disk_usage(self._path).free < INSERT_FREE_BYTES_MIN:
            raise StoreRefusedError("the disk has no room for another block", row_fault=False)

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that returns nothing. On the loader's thread or before it starts."""
        try:
            self._writer.command(sql, parameters=dict(parameters or {}))
        finally:
            self._kept.written_anywhere()

    def find_message_ids(self, ids: Sequence[bytes]) -> dict[bytes, int]:
        """Return the content fingerprint of each of `ids` that is stored. For one thread alone."""
        return _found(self._ids, ids)

    def find_message_ids_for_loader(self, ids: Sequence[bytes]) -> dict[bytes, int]:
        """Return the same, on the loader's thread."""
        return _found(self._writer, ids)

    def scan_message_ids(self) -> Iterator[Sequence[bytes]]:
        """Yield every stored id, in blocks. Only when the saved filters are gone."""
        with self._ids.query_column_block_stream("SELECT hex(id) FROM message_ids") as stream:
            for block in stream:
                yield [bytes.fromhex(id_) for id_ in block[0]]

    def highest_position(self, beyond: int) -> int:
        """Return the highest position stored beyond one, or that one if there is none."""
        found = [beyond]
        for table in POSITIONED:
            rows = self._writer.query(
                f"SELECT max(position) FROM {table} WHERE position > {{beyond:UInt64}}",  # noqa: S608
                parameters={"beyond": beyond},
            ).result_rows
            found.append(int(rows[0][0]))
        return max(found)

    def positions(self, table: str, first: int, last: int) -> set[int]:
        """Return which positions of a range a table holds. On the loader's thread."""
        assert table in POSITIONED, table
        rows = self._writer.query(
            f"SELECT position FROM {table}"  # noqa: S608
            " WHERE position >= {first:UInt64} AND position <= {last:UInt64}",
            parameters={"first": first, "last": last},
        ).result_rows
        return {int(row[0]) for row in rows}

    def faulty_parts(self, table: str) -> list[tuple[str, str, bool]]:
        """Return (part, what is wrong, whether the engine does without it) of a table's parts.

        By the engine's checksums. On the loader's thread or where none runs.
        """
        # The client reads no rows of a statement that is no SELECT.
        answer = self._writer.raw_query(
            f"CHECK TABLE {table} SETTINGS check_query_single_value_result = 0", fmt="JSONEachRow"
        )
        checked = [msgspec.json.decode(line, type=_CheckedPart) for line in answer.splitlines()]
        detached = self._writer.query(
            "SELECT name FROM system.detached_parts WHERE table = {table:String}",
            parameters={"table": table},
        ).result_rows
        faulty = [(part.part_path, part.message, False) for part in checked if not part.is_passed]
        return faulty + [(str(row[0]), "the engine has put it aside", True) for row in detached]

    def freeze(self) -> Path:
        """Hold all parts as they are now, by hard links; return the folder they are in.

        On the loader's thread or while it is held. `unfreeze` lets go of them.
        """
        self.unfreeze()
        for table in TABLES:
            self._writer.command(f"ALTER TABLE {table} FREEZE WITH NAME '{_FROZEN}'")
        return self._path / "shadow" / _FROZEN

    def unfreeze(self) -> None:
        """Let go of what `freeze` holds. From any thread."""
        shutil.rmtree(self._path / "shadow" / _FROZEN, ignore_errors=True)

    def table_names(self) -> set[str]:
        """Return the names of the tables there are. On the loader's thread or where none runs."""
        return {str(row[0]) for row in self._writer.query("SHOW TABLES").result_rows}

    def derive_again(self, beyond: int) -> None:
        """Add to the views' tables again what all rows beyond a position give. On the loader's
        thread.

        A crash between a table and its view leaves rows that the view never saw.
        """
        for view in VIEWS.values():
            rows = f"(SELECT * FROM {view.source} WHERE position > {{beyond:UInt64}})"  # noqa: S608
            self._derive(view, rows, {"beyond": beyond})

    def _create_views(self) -> None:
        """Create the views that are missing, each after its table was filled from what there is.

        A view that exists says that all before it was filled in: a crash before fills it in again.
        """
        for name, view in VIEWS.items():
            if self._writer.command(f"EXISTS TABLE {name}") != 1:
                self._derive(view, view.source)
                select = view.select.format(rows=view.source)
                self._writer.command(
                    f"CREATE MATERIALIZED VIEW {name} TO {view.target} AS {select}"
                )

    def _derive(self, view: View, rows: str, parameters: Mapping[str, Any] | None = None) -> None:
        self.command(f"INSERT INTO {view.target} {view.select.format(rows=rows)}", parameters)

    def close(self) -> None:
        """Close every client, and stop what is being asked. Inserted blocks are already durable."""
        for turn in self.turns.running():
            self.stop(turn)
        self._writer.close()
        self._ids.close()
        for _ in range(QUERY_CLIENTS):
            self._clients.get().close()
        self._killer.close()


def _found(client: Client, ids: Sequence[bytes]) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for start in range(0, len(ids), FIND_IDS_MAX):
        wanted = ids[start : start + FIND_IDS_MAX]
        rows = client.query(
            _FIND_IDS, parameters={"ids": b"".join(wanted).hex(), "count": len(wanted)}
        ).result_rows
        found.update((bytes.fromhex(id_), content) for id_, content in rows)
    return found


def _error_code(error: BaseException) -> int:
    found = _ERROR_CODE.search(str(error))
    return int(found.group(1)) if found else 0


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0][:500]
