"""Loader throughput: rows of the demo company from the log into the store, nothing else running."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from saytics_server.clock import SystemClock
from saytics_server.demo import DemoPlan, generate_rows
from saytics_server.log import Log
from saytics_server.store import Store
from saytics_server.store.loader import Loader

EVENTS = 500_000


def run() -> list[str]:
    """Measure and return the lines of the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = Store(folder / "store")
        log = Log.open(
            folder,
            SystemClock(),
            find_stored=store.find_message_ids,
            scan_stored=store.scan_message_ids,
        )
        plan = DemoPlan(SystemClock().now_ms(), events=EVENTS)
        rows_made = generate_rows(
            plan, workspace_id=1, claim_key=log.claim_key, received_ms=plan.end_ms
        )
        made = list(rows_made)
        count = sum(map(len, made))
        started = time.perf_counter()
        for rows in made:
            log.append_and_wait(rows)
        appended_s = time.perf_counter() - started
        loader = Loader(log, store)
        started = time.perf_counter()
        loader.start()
        loader.wait_loaded(log.last_position, 600)
        loaded_s = time.perf_counter() - started
        size = sum(file.stat().st_size for file in (folder / "store").rglob("*") if file.is_file())
        loader.stop()
        log.close()
        store.close()
    return [
        "| step | rows | rows/s |",
        "|---|---|---|",
        f"| log, appended in groups of 8,000, fsynced | {count:,} | {count / appended_s:,.0f} |",
        f"| log to store, six tables, durable | {count:,} | {count / loaded_s:,.0f} |",
        "",
        f"Store on disk right after: {size / count:.0f} bytes per row, before merges.",
    ]
