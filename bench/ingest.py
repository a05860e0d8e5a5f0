"""Single and batch ingest over HTTP, against an empty application on the same server.

The load comes from `wrk` (Debian package of that name) on the other core: 64 connections, keep-alive,
every event with a messageId of its own. The servers take turns, so that both see the same machine.
"""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

from bench.serving import SECRET_KEY, empty_app, saytics

SECONDS = 5
ROUNDS = 2
CONNECTIONS = 64
BATCH = 100

_SCRIPT = """
local seed = "{seed}"
local batch = {batch}
local ids = {ids}
local number = 0
wrk.headers["Authorization"] = "Bearer {key}"
wrk.headers["Content-Type"] = "application/json"
local function event()
  number = number + 1
  local id = ids and (',"messageId":"' .. seed .. "-" .. number .. '"') or ""
  return '{{"userId":"user_' .. (number % 5000) .. '","event":"Subscription Upgraded","properties":'
    .. '{{"plan":"pro","mrr":49.99,"billing_cycle":"monthly"}},"timestamp":"2026-01-15T10:30:00Z"' .. id .. '}}'
end
function request()
  if batch == 1 then return wrk.format("POST", "/v1/events", nil, event()) end
  local parts = {{}}
  for i = 1, batch do parts[i] = event() end
  return wrk.format("POST", "/v1/events/batch", nil, '{{"events":[' .. table.concat(parts, ",") .. ']}}')
end
"""


def wrk(address: str, *, seed: str, batch: int, ids: bool, rate: float = 0) -> dict[str, float]:
    """Load one server; return requests per second and latencies in milliseconds."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_SCRIPT.format(seed=seed, batch=batch, ids=str(ids).lower(), key=SECRET_KEY))
        script.flush()
        ran = subprocess.run(
            ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", "-s", script.name, address],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert "Non-2xx" not in ran.stdout, ran.stdout
    return {
        "per_second": float(re.search(r"Requests/sec:\s+([\d.]+)", ran.stdout).group(1)),
        "p50_ms": _latency(ran.stdout, "50%"),
        "p99_ms": _latency(ran.stdout, "99%"),
    }


def run() -> list[str]:
    """Measure and return the lines of the table."""
    if shutil.which("wrk") is None:
        return ["ingest: not measured, `wrk` is not installed"]
    lines = ["| load | empty app, requests/s | Saytics, requests/s | events/s | ratio | p50 | p99 |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    cases = [
        ("single", 1, True),
        ("batch of 100", BATCH, True),
        ("batch of 100, no ids", BATCH, False),
    ]
    with tempfile.TemporaryDirectory() as folder, empty_app() as empty, saytics(Path(folder)) as (
        address, _,
    ):  # fmt: skip
        for name, batch, ids in cases:
            bare, ours = [], []
            for turn in range(ROUNDS):
                seed = f"{name}-{turn}"
                bare.append(wrk(empty, seed=seed, batch=batch, ids=ids))
                ours.append(wrk(address, seed=seed, batch=batch, ids=ids))
            ratio = statistics.median(
                o["per_second"] / b["per_second"] for o, b in zip(ours, bare, strict=True)
            )
            middle = sorted(ours, key=lambda o: o["per_second"])[ROUNDS // 2]
            yardstick = statistics.median(b["per_second"] for b in bare)
            lines.append(
                f"| {name} | {yardstick:,.0f} | {middle['per_second']:,.0f} | "
                f"{middle['per_second'] * batch:,.0f} | {ratio:.2f} | {middle['p50_ms']:.1f} ms | "
                f"{middle['p99_ms']:.1f} ms |"
            )
    return lines


def _latency(text: str, percentile: str) -> float:
    value, unit = re.search(rf"{percentile}\s+([\d.]+)(us|ms|s)", text).groups()
    return float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit]
