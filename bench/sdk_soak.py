"""A long run of the Python and the Node SDK: flat memory, nothing lost, nothing doubled, nothing left.

    python -m bench sdk_soak --events 10000000

One process per SDK tracks numbered events as fast as they go out, against a server that now and then
refuses (503) and now and then takes a batch and loses its answer. The server keeps for every number
whether it was acknowledged: one that comes again after that was doubled, one that never comes was lost.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).parents[1]
EVENTS = 500_000
SAMPLES = 20

# Requests between two faults of a kind; they meet after some ten thousand.
REFUSED_EVERY = 97
UNANSWERED_EVERY = 151

_UNSEEN, _UNANSWERED, _ACKNOWLEDGED = range(3)

# The program waits while so many are queued: the run is about the way out, not about the spool.
_QUEUED_MAX = 50_000

_PYTHON = """
import json, os, sys, threading, time
from saytics import Saytics

def resident():
    return int(open("/proc/self/status").read().split("VmRSS:")[1].split()[0])

host, events, sample = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
descriptors = len(os.listdir("/proc/self/fd"))
client = Saytics("sk_live_soak", host=host)
memory = []
for number in range(events):
    client.track(event="Soaked", user_id=number % 1000 + 1, message_id=f"m-{number}",
                 properties={"plan": "pro", "mrr": 49.99})
    if number % 1000 == 0:
        while client.counts().queued > QUEUED_MAX:
            time.sleep(0.01)
    if number % sample == sample - 1:
        memory.append(resident())
counts = client.shutdown(60)
left = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
left += ["descriptor"] * (len(os.listdir("/proc/self/fd")) - descriptors)
print(json.dumps({"memory": memory, "left": left, "tracked": counts.tracked,
                  "answered": counts.delivered + counts.duplicate}))
"""

_NODE = """
const fs = require('node:fs');
const { setTimeout: sleep } = require('node:timers/promises');
const Saytics = require(SDK);
const resident = () => Number(/VmRSS:\\s+(\\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1]);
const [host, events, sample] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
async function main() {
  const client = new Saytics('sk_live_soak', { host });
  const memory = [];
  for (let number = 0; number < events; number += 1) {
    client.track({ event: 'Soaked', userId: number % 1000 + 1, messageId: `m-${number}`,
                   properties: { plan: 'pro', mrr: 49.99 } });
    if (number % 1000 === 0) {
      await sleep(0);
      while (client.counts().queued > QUEUED_MAX) await sleep(10);
    }
    if (number % sample === sample - 1) memory.push(resident());
  }
  const counts = await client.shutdown(60);
  await sleep(50);
  const left = process.getActiveResourcesInfo().filter((name) => !/Pipe|FS|TTY/.test(name));
  console.log(JSON.stringify({ memory, left, tracked: counts.tracked, answered: counts.delivered + counts.duplicate }));
}
main();
"""


class Book:
    """What has become of every event, as the server sees it."""

    def __init__(self, events: int) -> None:
        self._lock = threading.Lock()
        self._states = bytearray(events)
        self.requests = 0
        self.doubled = 0

    def fault(self) -> str | None:
        """Count a request and return what goes wrong with it."""
        with self._lock:
            self.requests += 1
            if self.requests % REFUSED_EVERY == 0:
                return "refused"
            return "unanswered" if self.requests % UNANSWERED_EVERY == 0 else None

    def take(self, numbers: list[int], state: int) -> int:
        """Note a batch; return how many of its events had come before."""
        with self._lock:
            before = [self._states[number] for number in numbers]
            self.doubled += before.count(_ACKNOWLEDGED)
            for number in numbers:
                self._states[number] = state
        return len(before) - before.count(_UNSEEN)

    @property
    def lost(self) -> int:
        """Events that never came."""
        return self._states.count(_UNSEEN)


def run(events: int = EVENTS) -> list[str]:
    """Run both and return the lines of the table."""
    lines = [
        f"{events:,} events each; every {REFUSED_EVERY}th request refused with 503, every"
        f" {UNANSWERED_EVERY}st stored and not answered.",
        "",
        "| SDK | lost | doubled | largest memory in each third | left after shutdown | events/s |",
        "|---|---|---|---|---|---|",
    ]
    python = _PYTHON.replace("QUEUED_MAX", str(_QUEUED_MAX))
    node = _NODE.replace("QUEUED_MAX", str(_QUEUED_MAX)).replace(
        "SDK", json.dumps(str(ROOT / "sdks/node"))
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, command, text in [
            ("Python", [sys.executable], python),
            ("Node", ["node"], node),
        ]:
            program = Path(folder) / f"{name} program"
            program.write_text(text)
            lines.append(_soak(name, [*command, str(program)], events, Path(folder) / name))
    return lines


def _soak(name: str, command: list[str], events: int, spool: Path) -> str:
    book = Book(events)

    class Handler(_Handler):
        pass

    Handler.book = book
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "sdks/python/src"),
        "SAYTICS_SPOOL_DIR": str(spool),
    }
    host = f"http://127.0.0.1:{server.server_port}"
    started = time.perf_counter()
    ran = subprocess.run(
        [*command, host, str(events), str(max(1, events // SAMPLES))],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    took_s = time.perf_counter() - started
    server.shutdown()
    server.server_close()
    said = json.loads(ran.stdout.splitlines()[-1])
    assert said["tracked"] == said["answered"] == events, said
    assert not [path for path in spool.rglob("*") if path.is_file()], "something is in the spool"
    third = max(1, len(said["memory"]) // 3)
    memory = [max(said["memory"][start : start + third]) for start in (0, third, 2 * third)]
    return (
        f"| {name} | {book.lost} | {book.doubled} |"
        f" {' / '.join(f'{kib / 1024:.0f}' for kib in memory)} MiB |"
        f" {', '.join(said['left']) or 'nothing'} | {events / took_s:,.0f} |"
    )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    book: Book

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        fault = self.book.fault()
        if fault == "refused":
            self._send(503, {"error": {"code": "overloaded", "message": "Wait."}})
            return
        is_gzip = self.headers.get("Content-Encoding") == "gzip"
        events = json.loads(gzip.decompress(body) if is_gzip else body)["events"]
        numbers = [int(event["messageId"][2:]) for event in events]
        state = _UNANSWERED if fault == "unanswered" else _ACKNOWLEDGED
        repeated = self.book.take(numbers, state)
        if fault == "unanswered":
            self.close_connection = True
            return
        self._send(200, {"status": "ok", "received": len(events), "duplicates": repeated})

    def _send(self, status: int, answer: dict[str, object]) -> None:
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass
