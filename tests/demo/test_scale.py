"""The generator at the size of a benchmark."""

from __future__ import annotations

import subprocess
import sys

import pytest

MEGABYTE = 1_000_000
MEMORY_BYTES_MAX = 500 * MEGABYTE

PROGRAM = """
from saytics_server.demo import DemoPlan, generate_rows
plan = DemoPlan(end_ms=1_795_447_800_000, days=365, events=25_000_000, persons=2_000_000)
count = sum(map(len, generate_rows(plan, workspace_id=1, claim_key=bytes(32))))
print(count, int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) * 1024)
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_million_persons_fit_into_bounded_memory():
    """Twelve months of two million persons are made in less than 500 MB."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, check=True, text=True
    )
    count, peak_bytes = map(int, run.stdout.split())
    assert count == pytest.approx(25_000_000, rel=0.03)
    assert peak_bytes < MEMORY_BYTES_MAX
