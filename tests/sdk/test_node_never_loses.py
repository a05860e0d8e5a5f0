"""The Node SDK loses and doubles nothing, however the process or the server ends.

Each case is a real Node process against a real server, whose events are counted afterwards. Where
the process may end before it has sent, a second one delivers what the first left in the spool.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from factories import unique
from serving import Serving

NODE_SDK = Path(__file__).parents[2] / "sdks/node/src/index.js"
LIMIT_S = 60
BURST_LIMIT_S = 600  # a million events through one connection and two shared cores
DEFAULT_REPETITIONS = 2
FULL_REPETITIONS = 20

# What every program starts with: `send(from, to)` tracks that many numbered events.
HEAD = f"""
const Saytics = require({str(NODE_SDK)!r});
const options = JSON.parse(process.env.OPTIONS ?? '{{}}');
const saytics = new Saytics(undefined, options);
function send(from, to) {{
  for (let n = from; n < to; n += 1) {{
    saytics.track({{ userId: 'user_1', event: process.env.EVENT, properties: {{ n }} }});
  }}
}}
"""
DELIVER = "saytics.flush(30);"


class Gate:
    """A port that leads to the server, or first to the faults it is given, one a connection."""

    def __init__(self, address: str, faults: list[str]) -> None:
        host, port = address.removeprefix("http://").split(":")
        self._target = (host, int(port))
        self._faults = list(faults)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def open(self) -> None:
        """Listen at the same port again."""
        port = int(self.address.rsplit(":", 1)[1])
        self._listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        """Refuse connections and end those there are."""
        # Closing alone does not wake the thread that waits in `accept`, and the port stays taken.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._open:
            each.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                self._open.append(client)
                fault = self._faults.pop(0) if self._faults else ""
                threading.Thread(target=self._serve, args=(client, fault), daemon=True).start()

    def _serve(self, client: socket.socket, fault: str) -> None:
        with contextlib.suppress(OSError):
            if fault in ANSWERS:
                client.recv(65536)
                client.sendall(ANSWERS[fault])
                client.shutdown(socket.SHUT_WR)
                return
            if fault == "never":
                return
            server = socket.create_connection(self._target)
            self._open.append(server)
            back = _swallow if fault == "unheard" else _copy
            threading.Thread(target=back, args=(server, client), daemon=True).start()
            _copy(client, server)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def _swallow(source: socket.socket, _: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while source.recv(65536):
            pass


ANSWERS = {
    "500": b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
    "429": b"HTTP/1.1 429 Slow\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
    "503": b"HTTP/1.1 503 Later\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\n{}",
    "half": b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"status"',
    "garbage": b"\x00\xff not HTTP at all\r\n\r\n",
    "closed": b"",
}


class Program:
    """A Node process with the SDK, its own event name and its own spool."""

    def __init__(self, server: Serving, folder: Path, event: str = "", host: str = "") -> None:
        self.server, self.folder = server, folder
        folder.mkdir(exist_ok=True)
        self.event = event or unique("Never")
        self.host = host or server.address

    def start(self, text: str, options: str = "{}", host: str = "") -> subprocess.Popen[str]:
        """Start a program and return it running."""
        environment = os.environ | {
            "SAYTICS_HOST": host or self.host,
            "SAYTICS_SECRET_KEY": self.server.secret_key,
            "SAYTICS_SPOOL_DIR": str(self.folder / "spool"),
            "EVENT": self.event,
            "OPTIONS": options,
        }
        program = self.folder / f"{unique('program')}.cjs"
        program.write_text(HEAD + text)
        return subprocess.Popen(
            ["node", str(program)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, text: str, options: str = "{}", host: str = "") -> tuple[int, str, str]:
        """Run a program to its end; its exit code and what it printed."""
        process = self.start(text, options, host)
        out, errors = process.communicate(timeout=LIMIT_S)
        return process.returncode, out, errors

    def deliver(self) -> None:
        """Run the next process: it sends what the ones before left."""
        assert self.run(DELIVER) == (0, "", "")
        assert [*(self.folder / "spool").rglob("*.spool")] == []

    def arrived(self) -> Counter[int]:
        """Return how often each number is in the server."""
        self.server.wait_visible(LIMIT_S)
        return Counter(each["properties"]["n"] for each in self.server.events(event=self.event))


def numbers(count: int) -> Counter[int]:
    """Return what has arrived when nothing is lost and nothing doubled."""
    return Counter(range(count))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for all cases of this module."""
    serving = Serving(tmp_path_factory.mktemp("node-sdk") / "data").start()
    yield serving
    serving.stop()


@pytest.fixture
def program(server, tmp_path):
    """A program of a case of its own."""
    return Program(server, tmp_path)


@pytest.fixture
def repeat(request, server, tmp_path):
    """Return a function that runs a case so many times, each time in a folder of its own."""

    def run(case, at_once=4):
        programs = [Program(server, tmp_path / str(number)) for number in range(request.param)]
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(case, programs))

    return run


repeated = pytest.mark.parametrize(
    "repeat",
    [DEFAULT_REPETITIONS, pytest.param(FULL_REPETITIONS, marks=pytest.mark.slow)],
    indirect=True,
)


@repeated
@pytest.mark.parametrize("count", [7, 500])
def test_a_normal_exit_sends_all_within_a_second(repeat, count):
    """No flush is needed; from the last line of the program to its end takes less than a second."""

    def case(program):
        code, out, errors = program.run(
            f"send(0, {count}); const end = performance.now();"
            "process.on('exit', () => console.log(performance.now() - end));",
            '{"flushIntervalS": 60}',
        )
        assert (code, errors) == (0, "")
        assert program.arrived() == numbers(count)
        assert float(out) < 1000

    repeat(case)


ENDINGS = {
    "exit": ("process.exit(3);", 3),
    "uncaught": ("throw new Error('planted');", 1),
    "rejected": ("Promise.reject(new Error('planted'));", 1),
    "late track": ("process.on('exit', () => send(500, 600)); process.exit(4);", 4),
}


@repeated
@pytest.mark.parametrize("ending", list(ENDINGS))
def test_an_abrupt_end_leaves_all_to_the_next_process(repeat, ending):
    """`process.exit()` and crashes end as they would, and lose nothing."""

    def case(program):
        text, code = ENDINGS[ending]
        assert program.run(f"send(0, 500); {text}")[0] == code
        program.deliver()
        assert program.arrived() == numbers(600 if ending == "late track" else 500)

    repeat(case)


HANDLERS = {
    "none": ("", None),
    "exits": ("process.on(signal, () => process.exit(7));", 7),
    "ends the work": ("process.on(signal, () => clearInterval(timer));", 0),
    "once": ("process.once(signal, () => process.kill(process.pid, signal));", None),
    "if alone": (
        # As libraries do that clean up and let the signal have its way unless others listen.
        "const alone = () => { if (process.listenerCount(signal) === 1) {"
        "  process.off(signal, alone); process.kill(process.pid, signal); } };"
        "process.on(signal, alone);",
        None,
    ),
}


SIGNALLED = [("SIGTERM", handler) for handler in HANDLERS] + [("SIGINT", "none")]
SIGNALLED_TOO = [("SIGINT", handler) for handler in HANDLERS if handler != "none"]


@repeated
@pytest.mark.parametrize(
    ("name", "handler"),
    SIGNALLED + [pytest.param(*each, marks=pytest.mark.slow) for each in SIGNALLED_TOO],
)
def test_a_signal_ends_the_process_as_without_the_sdk(repeat, name, handler):
    """With and without a handler of its own the exit status is the program's; all arrives."""

    def case(program):
        text, code = HANDLERS[handler]
        number = signal.Signals[name]
        ended, _, _ = program.run(
            f"const signal = {name!r}; const timer = setInterval(() => {{}}, 1000); {text}"
            "send(0, 500); process.kill(process.pid, signal);"
        )
        assert ended == (-number if code is None else code)
        program.deliver()
        assert program.arrived() == numbers(500)

    repeat(case)


THREADS = """
const { Worker } = require('node:worker_threads');
const worker = new Worker(%r, { eval: true });
worker.on('message', () => { %s });
"""
IN_THREAD = HEAD + "send(0, 300); require('node:worker_threads').parentPort.postMessage(''); %s"


@repeated
@pytest.mark.parametrize(
    ("main", "thread"),
    [("", ""), ("process.exit()", "setInterval(() => {}, 1000)"),
     ("worker.terminate()", "setInterval(() => {}, 1000)")],
)  # fmt: skip
def test_threads_lose_nothing(repeat, main, thread):
    """A thread's events arrive whether it ends by itself, is terminated, or the process exits."""

    def case(program):
        assert program.run(THREADS % (IN_THREAD % thread, main))[0] == 0
        program.deliver()
        assert program.arrived() == numbers(300)

    repeat(case)


@repeated
def test_cluster_workers_lose_nothing(repeat):
    """Workers that end by themselves, exit and are killed by a signal share one spool."""

    def case(program):
        text = """
        const cluster = require('node:cluster');
        const terminate = "process.kill(process.pid, 'SIGTERM')";
        const endings = ['process.disconnect()', 'process.exit()', terminate];
        if (cluster.isPrimary) endings.forEach((_, index) => cluster.fork({ INDEX: index }));
        else {
          const index = Number(process.env.INDEX);
          send(index * 100, index * 100 + 100);
          eval(endings[index]);
        }
        """
        assert program.run(text)[0] == 0
        program.deliver()
        assert program.arrived() == numbers(300)

    repeat(case)


@repeated
def test_a_server_back_after_two_seconds_gets_all_from_the_ending_process(repeat):
    """At its normal end the process waits for a server that restarts."""

    def case(program):
        gate = Gate(program.server.address, [])
        gate.close()
        process = program.start("send(0, 500);", host=gate.address)
        time.sleep(2)
        gate.open()
        assert process.communicate(timeout=LIMIT_S) == ("", "")
        gate.close()
        assert process.returncode == 0
        assert [*(program.folder / "spool").rglob("*.spool")] == []
        assert program.arrived() == numbers(500)

    repeat(case)


@repeated
def test_a_server_that_is_down_for_a_whole_life_gets_all_from_the_next_process(repeat):
    """The first process ends within seconds and leaves everything on disk."""

    def case(program):
        gate = Gate(program.server.address, [])
        gate.close()
        assert program.run("send(0, 500);", host=gate.address) == (0, "", "")
        assert program.arrived() == Counter()
        gate.open()
        program.host = gate.address
        program.deliver()
        gate.close()
        assert program.arrived() == numbers(500)

    repeat(case)


@pytest.mark.timeout(2 * BURST_LIMIT_S)
@pytest.mark.parametrize("count", [20_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_a_burst_loses_nothing(program, count):
    """What the queue cannot hold goes through the spool."""
    flush = f"saytics.flush({BURST_LIMIT_S}).then((counts) => console.log(counts.delivered));"
    process = program.start(f"send(0, {count}); {flush}")
    out, errors = process.communicate(timeout=BURST_LIMIT_S)
    assert (out, errors) == (f"{count}\n", "")
    if count <= 20_000:
        assert program.arrived() == numbers(count)
    else:
        program.server.wait_visible(BURST_LIMIT_S)
        report = program.server.get("/v1/reports/events", event=program.event).json()
        assert report["total"] == count


FAULTS = [*ANSWERS, "never", "unheard"]


@repeated
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_the_server_lose_and_double_nothing(repeat, fault):
    """Whatever the first two answers are, each event is there once in the end."""

    def case(program):
        gate = Gate(program.server.address, [fault, fault])
        code, out, errors = program.run(
            "send(0, 250); saytics.flush(20).then((counts) => console.log(counts.queued));",
            '{"timeoutS": 0.7}',
            host=gate.address,
        )
        gate.close()
        assert (code, out, errors) == (0, "0\n", "")
        assert program.arrived() == numbers(250)

    repeat(case)


@repeated
@pytest.mark.parametrize("flush", ["await saytics.flush();", ""])
def test_a_freeze_after_the_handler_returned_loses_nothing(repeat, flush):
    """A process that is stopped and continued, as serverless platforms do, goes on where it was."""

    def case(program):
        process = program.start(
            f"""
            const handler = async (from) => {{ send(from, from + 50); {flush} }};
            handler(0).then(() => {{
              console.log('ready');
              setTimeout(() => handler(50), 300);
            }});
            """
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(1)
        process.send_signal(signal.SIGCONT)
        process.communicate(timeout=LIMIT_S)
        assert process.returncode == 0
        assert program.arrived() == numbers(100)

    repeat(case)


@repeated
def test_kill_9_loses_nothing_that_was_tracked_with_spool_always(repeat):
    """Every event is on disk when `track` returns."""

    def case(program):
        text = "send(0, 500); process.kill(process.pid, 'SIGKILL');"
        code, _, _ = program.run(text, '{"spool": "always"}')
        assert code == -signal.SIGKILL
        program.deliver()
        assert program.arrived() == numbers(500)

    repeat(case)
