"""The reports at 10 million events of the demo company, cold, warm and kept, and the memory.

Before each warm run an event is sent, which takes with it what is kept of the workspace's answers;
the last run finds what the one before left.

The data set is made once by `saytics demo` in a folder that is kept between runs
(SAYTICS_BENCH_DATA), because making it takes minutes.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import quote, urlsplit

from bench.serving import saytics

EVENTS = int(os.environ.get("SAYTICS_BENCH_EVENTS", "10000000"))
DAYS = 365
PERSONS = EVENTS // 50
WARM_RUNS = 3
# An event that was answered is in every report by then.
VISIBLE_S = 2

_QUESTIONS = {
    "trend of one event, 90 days by day": "events?event=Page%20View&{d90}",
    "persons of one event, 90 days": "events?event=Page%20View&metric=users&{d90}",
    "filter on a property, one year by month": "events?event=Page%20View&filter=path%3D%2Fpricing&{year}&interval=month",
    "sum of a property by another, one year by month": "events?event=Payment%20Succeeded&metric=sum:amount&breakdown=plan&{year}&interval=month",
    "DAU, 90 days": "users?metric=dau&{d90}",
    "WAU, 90 days": "users?metric=wau&{d90}",
    "MAU, 90 days": "users?metric=mau&{d90}",
}


def run() -> list[str]:
    """Measure and return the lines of the table."""
    kept = os.environ.get("SAYTICS_BENCH_DATA")
    folder = Path(kept or tempfile.mkdtemp(prefix="saytics-bench-"))
    key_file = folder / "bench-key"
    if not key_file.exists():
        key_file.parent.mkdir(exist_ok=True, parents=True)
        key_file.write_text(_make(folder / "data"))
    key = key_file.read_text()
    size = sum(file.stat().st_size for file in (folder / "data/store").rglob("*") if file.is_file())
    lines = ["| question | first | warm | kept |", "|---|---|---|---|"]
    started = time.perf_counter()
    with saytics(folder / "data") as (address, process):
        ready_s = time.perf_counter() - started
        count = _ask(address, key, f"events?event=Page%20View&{_ranges()['year']}")[1]["total"]
        for name, path in _QUESTIONS.items():
            question = path.format(**_ranges())
            first = _ask(address, key, question)[0]
            warm = sorted(_ask_anew(address, key, question) for _ in range(WARM_RUNS))
            again = _ask(address, key, question)[0]
            lines.append(
                f"| {name} | {first:.2f} s | {warm[WARM_RUNS // 2]:.2f} s | {again * 1000:.0f} ms |"
            )
        memory = _peak_mib(process)
    return [
        f"{EVENTS:,} events asked for, {DAYS} days, {PERSONS:,} persons; {count:,} page views.",
        "",
        *lines,
        "",
        f"Store on disk {size / EVENTS:.0f} bytes per event; ready after {ready_s:.1f} s; "
        f"peak memory {memory:.0f} MiB.",
    ]


def _make(data_dir: Path) -> str:
    command = [Path(sys.executable).parent / "saytics", "demo", "--data-dir", data_dir]
    command += ["--events", str(EVENTS), "--days", str(DAYS), "--persons", str(PERSONS)]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return ran.stdout.split("secret key")[1].split()[0]


def _ranges() -> dict[str, str]:
    now = time.time()
    day = 86_400

    def date(days_ago: int) -> str:
        return time.strftime("%Y-%m-%d", time.gmtime(now - days_ago * day))

    return {
        "d90": f"from={date(89)}&to={date(0)}",
        "year": f"from={date(364)}&to={date(0)}",
    }


def _ask_anew(address: str, key: str, path: str) -> float:
    """Return how long an answer takes once another event is visible, so that none is kept."""
    event = json.dumps({"event": "Measured", "userId": "bench"})
    _request(address, key, "POST", "/v1/events", event)
    time.sleep(VISIBLE_S)
    return _ask(address, key, path)[0]


def _ask(address: str, key: str, path: str) -> tuple[float, dict]:
    started = time.perf_counter()
    content = _request(address, key, "GET", "/v1/reports/" + quote(path, safe="?&=%:"))
    return time.perf_counter() - started, content


def _request(address: str, key: str, method: str, path: str, body: str | None = None) -> dict:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=120)
    connection.request(method, path, body, headers={"Authorization": f"Bearer {key}"})
    response = connection.getresponse()
    content: dict = json.loads(response.read())
    assert response.status == 200, content
    return content


def _peak_mib(process: subprocess.Popen[bytes]) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
