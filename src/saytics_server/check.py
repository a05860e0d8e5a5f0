"""`saytics check`: is everything that a data directory promises there, once, and undamaged?

In: a data directory that no server has open. Out: one sentence per finding. It repairs nothing.
What a kill leaves is no finding: the next start goes on from there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from saytics_server.accounts.database import file_faults
from saytics_server.config import Config
from saytics_server.datadir import open_data_dir
from saytics_server.errors import Failure
from saytics_server.log.inspection import LogInspection, begins_anew
from saytics_server.store import Store
from saytics_server.store.blocks import Numbered
from saytics_server.store.inspection import (
    Tally,
    compare,
    id_faults,
    part_faults,
    range_faults,
    view_faults,
)

# As many as the loader's blocks: their rows are in memory as objects and as columns.
_BLOCK_ROWS = 50_000


def findings(config: Config) -> Iterator[str]:
    """Yield what is wrong with a data directory. Raises Failure where it cannot be opened."""
    if not (config.data_dir / "FORMAT").exists():
        raise Failure(
            "checking",
            f"{config.data_dir} is not a data directory",
            "Name it with --data-dir.",
        )
    with ExitStack() as undo:
        data_dir = open_data_dir(config.data_dir)
        undo.callback(data_dir.close)
        yield from file_faults(data_dir.path)
        yield from _log_and_store(config, data_dir.path, data_dir.store, undo)


def _log_and_store(
    config: Config, folder: Path, store_path: Path, undo: ExitStack
) -> Iterator[str]:
    log = LogInspection(folder)
    undo.callback(log.close)
    faults = list(log.file_faults())
    yield from faults
    if faults:
        return  # what does not read cannot be compared
    yield from log.record_faults()
    yield from log.filter_faults()
    store = Store(store_path, url=config.store_url, cores=os.cpu_count() or 1, as_it_is=True)
    undo.callback(store.close)
    readable = True
    for fault, rest_reads in part_faults(store):
        yield fault
        readable &= rest_reads
    if readable:
        yield from _agreement(log, store)
    else:
        yield "store: was not compared with the log, for not all of it can be read"


def _agreement(log: LogInspection, store: Store) -> Iterator[str]:
    checkpoint = log.reader("store")
    first, last = log.ends() or (checkpoint + 1, checkpoint)
    if first > checkpoint + 1 and not begins_anew(checkpoint, first):
        yield f"log.db: begins at {first}, and the store has only what is up to {checkpoint}"
    highest = store.highest_position(max(checkpoint, last))
    if highest > max(checkpoint, last):
        yield f"log.db: ends at {last}, and the store has rows up to {highest}"
    tally = Tally()
    for block in _blocks(log, checkpoint):
        compare(store, block, tally)
    yield from tally.lines()
    yield from range_faults(store, log_first=first, through=checkpoint, begins_anew=begins_anew)
    yield from id_faults(store, through=checkpoint)
    yield from view_faults(store, through=checkpoint)


def _blocks(log: LogInspection, through: int) -> Iterator[list[Numbered]]:
    rows: list[Numbered] = []
    for record in log.records(through=through):
        rows += enumerate(record.rows, record.first_position)
        if len(rows) >= _BLOCK_ROWS:
            yield rows
            rows = []
    if rows:
        yield rows
