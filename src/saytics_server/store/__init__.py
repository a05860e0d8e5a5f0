"""The column store: typed reads for queries, durable once-only blocks for the loader.

One engine serves two sizes: chDB inside this process, or a ClickHouse server behind a URL, both
through the same client and the same SQL. A client serves one call at a time, so each thread that
asks borrows one from a small pool. An `insert` that returned is on disk; the same token inserted
again adds nothing, also after a crash in between.
"""

from __future__ import annotations

import contextlib
import queue
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from saytics_server.errors import Failure, Refused
from saytics_server.store.schema import POSITIONED, TABLES, VIEWS, View

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

_SHORTER = "Ask for a shorter range."

Row = Sequence[Any]


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


class Store:
    """The open store. Thread-safe; `close` waits for calls under way."""

    def __init__(self, path: Path, *, url: str | None = None, cores: int = 2) -> None:
        self._path = path
        self._url = url
        self._threads = max(1, cores - 1)
        self._clients: queue.SimpleQueue[Client] = queue.SimpleQueue()
        self._writer = self._connect()
        for statement in TABLES.values():
            self._writer.command(statement)
        self._create_views()
        for _ in range(QUERY_CLIENTS):
            self._clients.put(self._connect())
        self._ids = self._connect()

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
    def _query_client(self, wait_s: float) -> Iterator[Client]:
        try:
            client = self._clients.get(timeout=wait_s)
        except queue.Empty:
            raise Refused("queries_busy", headers={"Retry-After": "5"}) from None
        try:
            yield client
        finally:
            self._clients.put(client)

    def query(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        deadline_s: int = QUERY_DEADLINE_S,
    ) -> Sequence[Row]:
        """Return the rows of `sql`, whose `{name:Type}` places take `parameters`.

        Blocks the calling thread. Raises Refused("query_timeout" | "query_too_large" |
        "queries_busy").
        """
        settings = {
            "max_execution_time": deadline_s,
            "max_memory_usage": QUERY_MEMORY_BYTES,
            "max_threads": self._threads,
        }
        with self._query_client(deadline_s) as client:
            try:
                return client.query(
                    sql, parameters=dict(parameters or {}), settings=settings
                ).result_rows
            except Exception as error:
                code = _error_code(error)
                if code in _TIMEOUT_CODES:
                    raise Refused(
                        "query_timeout", f"The query took longer than {deadline_s} s. {_SHORTER}"
                    ) from error
                if code in _MEMORY_CODES:
                    raise Refused(
                        "query_too_large", f"The query needs too much memory. {_SHORTER}"
                    ) from error
                raise

    def insert(self, table: str, rows: pa.Table, *, token: str) -> None:
        """Insert a block durably, once per `token`. Called by the loader's thread alone.

        Raises StoreRefusedError; nothing of the block is visible then.
        """
        if rows.num_rows == 0:
            return
        try:
            self._writer.insert_arrow(table, rows, settings={"insert_deduplication_token": token})
        except Exception as error:
            raise StoreRefusedError(
                _first_line(error), row_fault=_error_code(error) in _ROW_FAULT_CODES
            ) from error

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that returns nothing. On the loader's thread or before it starts."""
        self._writer.command(sql, parameters=dict(parameters or {}))

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
        self._writer.command(
            f"INSERT INTO {view.target} {view.select.format(rows=rows)}",
            parameters=dict(parameters or {}),
        )

    def close(self) -> None:
        """Close every client. Inserted blocks are already durable."""
        self._writer.close()
        self._ids.close()
        for _ in range(QUERY_CLIENTS):
            self._clients.get().close()


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
