"""Our SDKs beside the field's: installed from the registries, and small programs that use each.

A program is told where to send, how many events to track and how to end, and prints what one call
cost and its peak memory. The server here answers 200 at once in each one's own words and counts the
events it was given, whatever they are wrapped in.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

ROOT = Path(__file__).parents[1]

PYTHON_PACKAGES = ("posthog", "segment-analytics-python", "mixpanel", "amplitude-analytics")
NODE_PACKAGES = ("posthog-node", "@segment/analytics-node", "mixpanel", "@amplitude/analytics-node")

# Longer than any of them needs for ten thousand events; who hangs in a flush is ended.
PROGRAM_S = 90.0

# Calls before those that are measured, as a part of them: what is compiled only once is not the cost
# of a call.
WARM_UP_PART = 5


@dataclass(frozen=True)
class Sdk:
    """How a program uses one SDK: `setup` makes `client`, `track` sends, `end` waits for the end."""

    name: str
    language: str
    setup: str
    track: str
    end: str

    @property
    def is_ours(self) -> bool:
        """Whether it is one of this project."""
        return "saytics" in self.name


_PROPERTIES = '{"plan": "pro", "mrr": 49.99, "billing_cycle": "monthly"}'

SDKS = [
    Sdk("saytics", "python",
        "from saytics import Saytics; client = Saytics('sk_live_bench', host=HOST)",
        "client.track(user_id='user_456', event='Subscription Upgraded', properties=PROPERTIES)",
        "client.shutdown()"),
    Sdk("posthog", "python",
        "from posthog import Posthog; client = Posthog('key', host=HOST)",
        "client.capture('Subscription Upgraded', distinct_id='user_456', properties=PROPERTIES)",
        "client.shutdown()"),
    Sdk("segment-analytics-python", "python",
        "from segment.analytics import Client; client = Client('key', host=HOST)",
        "client.track('user_456', 'Subscription Upgraded', PROPERTIES)",
        "client.shutdown()"),
    Sdk("mixpanel", "python",
        "from mixpanel import BufferedConsumer, Mixpanel; sending = BufferedConsumer(events_url=HOST + '/track'); client = Mixpanel('key', consumer=sending)",
        "client.track('user_456', 'Subscription Upgraded', PROPERTIES)",
        "sending.flush()"),
    Sdk("amplitude-analytics", "python",
        "from amplitude import Amplitude, BaseEvent, Config; client = Amplitude('key', Config(server_url=HOST + '/2/httpapi'))",
        "client.track(BaseEvent('Subscription Upgraded', user_id='user_456', event_properties=PROPERTIES))",
        "client.shutdown()"),
    Sdk("@saytics/node", "node",
        f"const Saytics = require({json.dumps(str(ROOT / 'sdks/node'))}); const client = new Saytics('sk_live_bench', {{ host: HOST }})",
        "client.track({ userId: 'user_456', event: 'Subscription Upgraded', properties: PROPERTIES })",
        "await client.shutdown()"),
    Sdk("posthog-node", "node",
        "const { PostHog } = require('posthog-node'); const client = new PostHog('key', { host: HOST })",
        "client.capture({ distinctId: 'user_456', event: 'Subscription Upgraded', properties: PROPERTIES })",
        "await client.shutdown()"),
    Sdk("@segment/analytics-node", "node",
        "const { Analytics } = require('@segment/analytics-node'); const client = new Analytics({ writeKey: 'key', host: HOST })",
        "client.track({ userId: 'user_456', event: 'Subscription Upgraded', properties: PROPERTIES })",
        "await client.closeAndFlush()"),
    Sdk("mixpanel (node)", "node",
        "const client = require('mixpanel').init('key', { host: new URL(HOST).host, protocol: 'http' }); let open = 0; let done = () => {}",
        "open += 1; client.track('Subscription Upgraded', { distinct_id: 'user_456', ...PROPERTIES }, () => { open -= 1; if (open === 0) done(); })",
        "if (open > 0) await new Promise((resolve) => { done = resolve; })"),
    Sdk("@amplitude/analytics-node", "node",
        "const client = require('@amplitude/analytics-node'); await client.init('key', { serverUrl: HOST + '/2/httpapi' }).promise",
        "client.track('Subscription Upgraded', PROPERTIES, { user_id: 'user_456' })",
        "await client.flush().promise"),
]  # fmt: skip

_PYTHON = """
import json, os, signal, sys, time
HOST, count, ending = sys.argv[1], int(sys.argv[2]), sys.argv[3]
PROPERTIES = {properties}
{setup}
if ending == "flush":
    for _ in range(count // {warm_up}):
        {track}
wall, processor = time.perf_counter(), time.thread_time()
for _ in range(count):
    {track}
wall, processor = time.perf_counter() - wall, time.thread_time() - processor
if ending == "signal":
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)
if ending == "flush":
    {end}
    peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
    print("BENCH", json.dumps([wall, processor, peak]))
"""

_NODE = """
const [HOST, number, ending] = process.argv.slice(2);
const count = Number(number);
const PROPERTIES = {properties};
async function main() {{
  {setup};
  for (let index = 0; ending === 'flush' && index < count / {warm_up}; index += 1) {{ {track}; }}
  let processor = process.cpuUsage();
  let wall = performance.now();
  for (let index = 0; index < count; index += 1) {{ {track}; }}
  wall = (performance.now() - wall) / 1e3;
  processor = process.cpuUsage(processor);
  if (ending === 'signal') process.kill(process.pid, 'SIGTERM');
  if (ending !== 'flush') return;
  {end};
  const peak = Number(/VmHWM:\\s+(\\d+)/.exec(require('fs').readFileSync('/proc/self/status', 'utf8'))[1]);
  console.log('BENCH', JSON.stringify([wall, (processor.user + processor.system) / 1e6, peak]));
  process.exit();
}}
main();
"""


class Field:
    """The installed SDKs in `folder`, which may be kept between runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._python = folder / "py/bin/python"
        self._node = folder / "node"

    def install(self) -> None:
        """Install the latest releases, unless they are there."""
        if not self._python.exists():
            _call([sys.executable, "-m", "venv", str(self._folder / "py")])
            _call([str(self._python), "-m", "pip", "install", "-q", "--disable-pip-version-check",
                   *PYTHON_PACKAGES])  # fmt: skip
        if not (self._node / "node_modules").exists():
            self._node.mkdir(parents=True, exist_ok=True)
            (self._node / "package.json").write_text('{"private": true}')
            _call(["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts",
                   *NODE_PACKAGES], self._node)  # fmt: skip

    def versions(self) -> list[str]:
        """Return `name version` of every package of the field."""
        names = ",".join(map(repr, PYTHON_PACKAGES))
        code = f"from importlib.metadata import version\nfor n in ({names}): print(n, version(n))"
        ran = subprocess.run([self._python, "-c", code], capture_output=True, text=True, check=True)
        manifests = [self._node / "node_modules" / name / "package.json" for name in NODE_PACKAGES]
        node = [f"{each['name']} {each['version']}" for each in map(_json, manifests)]
        return ran.stdout.splitlines() + node

    def run(self, sdk: Sdk, host: str, count: int, ending: str, spool: Path) -> list[float] | None:
        """Run a program; return wall seconds, processor seconds and peak KiB if it ends by flush.

        None where it does not say so: it ends otherwise, or it did not end in time.
        """
        template = _PYTHON if sdk.language == "python" else _NODE
        text = template.format(
            setup=sdk.setup,
            track=sdk.track,
            end=sdk.end,
            properties=_PROPERTIES,
            warm_up=WARM_UP_PART,
        )
        suffix = "py" if sdk.language == "python" else "js"
        program = self._node / f"program.{suffix}"  # where Node looks for packages
        program.write_text(text)
        command = [str(self._python) if sdk.language == "python" else "node", str(program)]
        environment = os.environ | {
            "PYTHONPATH": str(ROOT / "sdks/python/src"),
            "SAYTICS_SPOOL_DIR": str(spool),
        }
        try:
            ran = subprocess.run(
                [*command, host, str(count), ending], env=environment, capture_output=True,
                text=True, check=False, timeout=PROGRAM_S,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return None
        said = [line for line in ran.stdout.splitlines() if line.startswith("BENCH ")]
        assert said or ending != "flush", ran.stderr[-2000:]
        return json.loads(said[0].removeprefix("BENCH ")) if said else None


class Counting:
    """A server on loopback that answers 200 at once; `taken` counts events since it was asked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    def taken(self) -> int:
        """Return how many events have come, and begin anew."""
        with self._lock:
            count, self._count = self._count, 0
        return count

    def add(self, count: int) -> None:
        """Count the events of a request."""
        with self._lock:
            self._count += count

    @contextlib.contextmanager
    def listening(self) -> Iterator[str]:
        """Listen while the context lasts; yield the base URL."""
        counting = self

        class Handler(_Handler):
            count = staticmethod(counting.add)

        server = _Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Some open a connection for each event.
    request_queue_size = 1024

    def handle_error(self, *_: object) -> None:
        """Stay quiet: a process that ends resets its connections."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    count: Any

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        body = self._body()
        self._answer(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)

    def _answer(self, body: bytes) -> None:
        events = _events(body, urlsplit(self.path).query)
        self.count(events)
        answer: dict[str, Any] = {"status": 1, "success": True, "code": 200, "error": None}
        if self.path.startswith("/v1/events/batch"):
            answer = {"status": "ok", "received": events}
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, *_: object) -> None:
        pass


def _events(body: bytes, query: str) -> int:
    """Count the events of a request in any of the field's forms."""
    try:
        document = json.loads(body)
    except ValueError:
        form = parse_qs(body.decode("utf-8", "replace")) or parse_qs(query)
        data = form.get("data", ["[]"])[0]
        is_json = data.startswith(("[", "{"))
        document = json.loads(data if is_json else base64.b64decode(data + "=="))
        return len(document) if isinstance(document, list) else 1
    if isinstance(document, list):
        return len(document)
    return len(document.get("events") or document.get("batch") or [])


def _call(command: list[str], folder: Path | None = None) -> None:
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())
