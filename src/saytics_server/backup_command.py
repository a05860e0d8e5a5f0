"""`saytics backup` and `saytics restore`: by the running server, or without one."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
from tqdm import tqdm

from saytics_server import control
from saytics_server.backup import back_up
from saytics_server.clock import SystemClock
from saytics_server.config import Config
from saytics_server.datadir import open_data_dir
from saytics_server.errors import Failure
from saytics_server.orders import BackupOrder, Report
from saytics_server.restore import restore
from saytics_server.store import Store


def make_backup(config: Config, order: BackupOrder) -> dict[str, Any]:
    """Copy the data directory as it is now; return what was copied. Raises Failure."""
    if not (config.data_dir / "FORMAT").exists():
        raise Failure(
            "backing up", f"{config.data_dir} is not a data directory", "Name it with --data-dir."
        )
    with tqdm(unit="B", unit_scale=True, disable=None) as bar:
        with control.client(config.data_dir) as running:
            if running is not None:
                return control.worked(running, "backup", order, shown_on(bar))
        return _copied_here(config, order, shown_on(bar))


def restore_backup(config: Config, backup: Path) -> dict[str, Any]:
    """Make a data directory from a backup; return what it holds. Raises Failure."""
    with tqdm(unit="B", unit_scale=True, disable=None) as bar:
        now_ms = SystemClock().now_ms()
        manifest = restore(backup, config.data_dir, now_ms, shown_on(bar))
    restored = msgspec.structs.asdict(manifest)
    return {
        "data_dir": str(config.data_dir),
        **{name: restored[name] for name in ("version", "made_ms", "position")},
    }


def shown_on(bar: Any) -> Report:
    """Return a report that a bar shows."""

    def report(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return report


def _copied_here(config: Config, order: BackupOrder, report: Report) -> dict[str, Any]:
    data_dir = open_data_dir(config.data_dir)
    try:
        store = Store(data_dir.store, cores=os.cpu_count() or 1)
        try:
            return back_up(
                data_dir.path,
                store,
                nullcontext,
                order=order,
                now_ms=SystemClock().now_ms(),
                report=report,
            )
        finally:
            store.close()
    finally:
        data_dir.close()
