"""Acknowledged to visible: how long after its answer an event is in a report, while loading."""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from bench.ingest import BATCH, wrk
from bench.serving import SECRET_KEY, saytics

SAMPLES = 40
_HEADERS = {"Authorization": f"Bearer {SECRET_KEY}", "Content-Type": "application/json"}


def run() -> list[str]:
    """Measure idle and under batch load; return the lines of the table."""
    lines = ["| load | median | p99 | slowest |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder, saytics(Path(folder)) as (address, process):
        lines.append(_row("idle", _sample(address, "idle")))
        stop = threading.Event()
        rates: list[float] = []

        def load() -> None:
            turn = 0
            while not stop.is_set():
                turn += 1
                rates.append(wrk(address, seed=f"fresh{turn}", batch=BATCH, ids=True)["per_second"])

        loading = threading.Thread(target=load)
        loading.start()
        lags = _sample(address, "loaded")
        stop.set()
        loading.join()
        name = (
            f"as fast as batches of {BATCH} go ({statistics.median(rates) * BATCH:,.0f} events/s)"
        )
        lines.append(_row(name, lags))
        memory = _peak_mib(process)
    return [*lines, "", f"Server's peak memory: {memory:.0f} MiB."]


def _sample(address: str, name: str) -> list[float]:
    """Return seconds from answer to report for a number of events of their own names."""
    lags = []
    connection = http.client.HTTPConnection(urlsplit(address).netloc)
    for number in range(SAMPLES):
        event = f"probe {name} {number}"
        while True:
            _ask(connection, "POST", "/v1/events", json.dumps({"event": event, "userId": "probe"}))
            break
        answered = time.perf_counter()
        path = "/v1/reports/events?event=" + event.replace(" ", "%20")
        while _ask(connection, "GET", path)["total"] == 0:
            time.sleep(0.01)
        lags.append(time.perf_counter() - answered)
    return lags


def _ask(connection: http.client.HTTPConnection, method: str, path: str, body: str = "") -> dict:
    while True:
        connection.request(method, path, body or None, _HEADERS)
        response = connection.getresponse()
        content = json.loads(response.read())
        if response.status == 200:
            return content
        assert response.status == 503, content
        time.sleep(0.05)


def _row(name: str, lags: list[float]) -> str:
    lags = sorted(lags)
    return (
        f"| {name} | {statistics.median(lags):.2f} s | {lags[int(len(lags) * 0.99)]:.2f} s "
        f"| {lags[-1]:.2f} s |"
    )


def _peak_mib(process: subprocess.Popen[bytes]) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
