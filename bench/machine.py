"""What the figures were taken on: processor, memory, date, and the disk's own fsync."""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path


def fsync_ms(folder: Path, times: int = 200) -> tuple[float, float]:
    """Return the median and 99th percentile of a 4 KiB append and fsync, in milliseconds."""
    took = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _ in range(times):
            started = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
            took.append((time.perf_counter() - started) * 1000)
    took.sort()
    return statistics.median(took), took[int(len(took) * 0.99)]


def describe(folder: Path) -> str:
    """Return one line about the machine and its disk."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    median, worst = fsync_ms(folder)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, "
        f"Python {platform.python_version()}, fsync {median:.2f} ms median / {worst:.2f} ms p99"
    )
