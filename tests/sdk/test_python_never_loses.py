"""What the Python SDK promises about the ends of processes, with real processes and a real server.

Each case is a program. It runs some times (2 in the default suite, 20 in the slow one), each time
with a spool of its own; afterwards the server is asked what it has: every event of every run, once.
"""

import collections
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from gates import Gate, free_port

from factories import unique
from serving import Serving

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "sdks/python/src"

REPETITIONS = [
    pytest.param(2, id="2_runs"),
    pytest.param(20, id="20_runs", marks=pytest.mark.slow),
]

# What every program begins with: N events of this run, their numbers from `first` on.
HEAD = """
import os, signal, sys, threading, time
from saytics import Saytics
NAME, RUN = sys.argv[1], int(sys.argv[2])
def track(client, count, first=0):
    for index in range(first, first + count):
        client.track(user_id="u", event=NAME, properties={"run": RUN, "index": index})
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for all cases; each has an event name of its own."""
    serving = Serving(tmp_path_factory.mktemp("server") / "data").start()
    yield serving
    serving.stop()


class Case:
    """Runs of one program against one server."""

    def __init__(self, server, folder):
        self.server, self.folder = server, folder
        self.name = unique("Never lost")
        self.expected = {}

    def start(self, program, run, host=None):
        """Start a program; its standard error goes to a file."""
        environment = {name: value for name, value in os.environ.items() if "SAYTICS" not in name}
        environment |= {
            "PYTHONPATH": str(SOURCE),
            "SAYTICS_HOST": host or self.server.address,
            "SAYTICS_SECRET_KEY": self.server.secret_key,
            "SAYTICS_SPOOL_DIR": str(self.folder / f"spool-{run}"),
        }
        script = self.folder / f"program-{run}.py"
        script.write_text(HEAD + textwrap.dedent(program))
        return subprocess.Popen(
            [sys.executable, str(script), self.name, str(run)],
            env=environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, program, run, expected, host=None, code=0):
        """Run a program to its end, which must be as expected; return what it wrote."""
        with self.start(program, run, host) as process:
            try:
                out, errors = process.communicate(timeout=90)
            except subprocess.TimeoutExpired:
                process.kill()  # leaving `with` waits for its end
                raise
        assert process.returncode == code, errors
        self.expected[run] = expected
        return out, errors

    def repeat(self, count, program, expected, code=0):
        """Run a program so many times, two at once."""
        self.at_once(lambda run: self.run(program, run, expected, code=code), count, 2)

    def at_once(self, live, count, width):
        """Call `live` with each run's number, so many at once, and check what they have left."""
        with ThreadPoolExecutor(width) as pool:
            list(pool.map(live, range(count)))
        self.check()

    def next_process(self, run, host=None):
        """Start one that has nothing to send itself."""
        return self.run("Saytics()", run, self.expected[run], host)

    def check(self):
        """Compare what the server has with what was tracked."""
        self.server.wait_visible()
        found = collections.defaultdict(list)
        for event in self.server.events(event=self.name):
            found[event["properties"]["run"]].append(event["properties"]["index"])
        assert {run: sorted(indices) for run, indices in found.items()} == {
            run: list(range(count)) for run, count in self.expected.items()
        }


@pytest.fixture
def case(server, tmp_path):
    return Case(server, tmp_path)


# name: (program, exit code, events)
ENDS = {
    "normal_exit": ("track(Saytics(), 500)", 0, 500),
    "normal_exit_of_few": ("track(Saytics(), 7)", 0, 7),
    "sys_exit_in_a_thread": (
        """
        client = Saytics()
        def work():
            track(client, 250)
            sys.exit(3)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        track(client, 250, first=250)
        """,
        0,
        500,
    ),
    "uncaught_exception": ("track(Saytics(), 500); raise ValueError", 1, 500),
    "uncaught_exception_in_a_thread": (
        """
        client = Saytics()
        def work():
            track(client, 500)
            raise ValueError
        threading.Thread(target=work).start()
        """,
        0,
        500,
    ),
    "sigterm": ("track(Saytics(), 500); os.kill(os.getpid(), signal.SIGTERM)", -15, 500),
    "sigint": (
        """
        track(Saytics(), 500)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
        """,
        -2,
        500,
    ),
    "sighup": ("track(Saytics(), 500); os.kill(os.getpid(), signal.SIGHUP)", -1, 500),
    "sigterm_with_own_handler_before": (
        """
        signal.signal(signal.SIGTERM, handler := lambda *_: sys.exit(7))
        client = Saytics()
        assert signal.getsignal(signal.SIGTERM) is handler
        track(client, 500)
        os.kill(os.getpid(), signal.SIGTERM)
        """,
        7,
        500,
    ),
    "sigterm_with_own_handler_after": (
        """
        client = Saytics()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
        track(client, 500)
        os.kill(os.getpid(), signal.SIGTERM)
        """,
        7,
        500,
    ),
    "sigterm_with_a_handler_that_calls_the_one_before": (
        """
        client = Saytics()
        def handler(number, frame):
            track(client, 1, first=500)
            before(number, frame)
        before = signal.signal(signal.SIGTERM, handler)
        track(client, 500)
        os.kill(os.getpid(), signal.SIGTERM)
        """,
        -15,
        501,
    ),
    "sigint_with_own_handler": (
        """
        client = Saytics()
        done = threading.Event()
        signal.signal(signal.SIGINT, lambda *_: done.set())
        track(client, 500)
        os.kill(os.getpid(), signal.SIGINT)
        assert done.wait(5)
        """,
        0,
        500,
    ),
    "fork": (
        """
        client = Saytics(flush_interval_s=60, flush_at=1000)
        track(client, 100)
        if child := os.fork():
            track(client, 100, first=100)
            assert os.waitpid(child, 0)[1] == 0
        else:
            track(client, 100, first=200)
        """,
        0,
        300,
    ),
    "daemon_whose_parent_ends_without_a_word": (
        """
        client = Saytics(flush_interval_s=60, flush_at=1000)
        track(client, 100)
        parent = os.getpid()
        if os.fork():
            os._exit(0)
        def lives():
            try:
                return open(f"/proc/{parent}/stat").read().rpartition(")")[2].split()[0] not in "ZX"
            except OSError:
                return False
        while lives():
            time.sleep(0.01)
        track(client, 100, first=100)
        """,
        0,
        200,
    ),
    "multiprocessing_fork": (
        """
        import multiprocessing
        client = Saytics(flush_interval_s=60, flush_at=1000)
        def work(number):
            track(client, 50, first=100 + 50 * number)
        track(client, 100)
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=work, args=(number,)) for number in range(3)]
        [child.start() for child in children]
        [child.join() for child in children]
        """,
        0,
        250,
    ),
    "multiprocessing_spawn": (
        """
        import multiprocessing
        def work(number):
            track(Saytics(flush_interval_s=60), 50, first=50 * number)
        if __name__ == "__main__":
            context = multiprocessing.get_context("spawn")
            children = [context.Process(target=work, args=(number,)) for number in range(2)]
            [child.start() for child in children]
            [child.join() for child in children]
        """,
        0,
        100,
    ),
    "multiprocessing_pool_terminated": (
        """
        import multiprocessing
        client = Saytics(flush_interval_s=60, flush_at=1000)
        def work(number):
            track(client, 10, first=10 * number)
        with multiprocessing.get_context("fork").Pool(2) as pool:
            pool.map(work, range(10))
        """,
        0,
        100,
    ),
}


@pytest.mark.parametrize("repetitions", REPETITIONS)
@pytest.mark.parametrize("end", ENDS)
def test_an_end_of_a_process_loses_nothing(case, end, repetitions):
    """However the process ends, what it tracked is on the server once."""
    program, code, count = ENDS[end]
    case.repeat(repetitions, program, count, code)


@pytest.mark.parametrize("repetitions", REPETITIONS)
def test_sigkill_with_the_spool_always(case, repetitions):
    """kill -9 right after `track` has returned: the next process sends all of it."""
    program = """
        client = Saytics(spool="always")
        track(client, 500)
        os.kill(os.getpid(), signal.SIGKILL)
        """

    def live(run):
        case.run(program, run, 500, code=-9)
        case.next_process(run)

    case.at_once(live, repetitions, 2)


@pytest.mark.parametrize("repetitions", REPETITIONS)
def test_os_exit_with_the_spool_always(case, repetitions):
    """os._exit runs nothing of ours, and need not: the next process sends all of it."""
    program = 'track(Saytics(spool="always"), 500); os._exit(5)'

    def live(run):
        case.run(program, run, 500, code=5)
        case.next_process(run)

    case.at_once(live, repetitions, 2)


@pytest.mark.parametrize("repetitions", REPETITIONS)
def test_server_down_for_the_whole_life(case, repetitions):
    """Events of a process that never saw the server are sent by the next one, and end quickly."""

    def live(run):
        gate_port = free_port()
        host = f"http://127.0.0.1:{gate_port}"
        case.run("track(Saytics(), 507)", run, 507, host=host)
        with Gate(case.server.address, port=gate_port):
            case.next_process(run, host)

    case.at_once(live, repetitions, 6)


@pytest.mark.parametrize("repetitions", REPETITIONS)
def test_server_down_for_two_seconds_at_exit(case, repetitions):
    """The exit waits out a short outage by itself; what a busy machine delays waits on disk."""
    delayed = []

    def live(run):
        gate_port = free_port()
        host = f"http://127.0.0.1:{gate_port}"
        with case.start("track(Saytics(), 507)", run, host) as process:
            time.sleep(2)  # the outage
            with Gate(case.server.address, port=gate_port):
                assert process.wait(30) == 0
        case.expected[run] = 507
        if any(path.is_file() for path in (case.folder / f"spool-{run}").rglob("*")):
            delayed.append(run)
            case.next_process(run)

    case.at_once(live, repetitions, 3)
    assert len(delayed) <= repetitions // 4


FAULTS = [
    "500", "429", "503", "garbage", "close", "half", "hang", "lost_answer", "slow_lost_answer",
]  # fmt: skip


@pytest.mark.parametrize("repetitions", REPETITIONS)
def test_a_server_that_misbehaves(case, repetitions):
    """Whatever the server does twice before it is well, nothing is lost and nothing doubled."""
    program = """
        client = Saytics(timeout_s=0.5)
        track(client, 150)
        counts = client.shutdown()
        assert counts.delivered + counts.duplicate == 150, counts
        """

    def live(run):
        fault = FAULTS[run % len(FAULTS)]
        with Gate(case.server.address, faults=[fault, fault]) as gate:
            case.run(program, run, 150, host=gate.host)

    case.at_once(live, repetitions * len(FAULTS), 6)


@pytest.mark.parametrize("repetitions", REPETITIONS)
def test_frozen_after_the_handler_returned(case, repetitions):
    """A function host freezes the process after the flush and kills it later: all is sent."""
    program = """
        client = Saytics()
        for call in range(3):
            track(client, 10, first=10 * call)
            counts = client.flush()
            assert counts.queued == 0, counts
            os.kill(os.getpid(), signal.SIGSTOP)
        """
    for run in range(repetitions):
        with case.start(program, run) as process:
            for _ in range(3):
                os.waitid(os.P_PID, process.pid, os.WSTOPPED)
                process.send_signal(signal.SIGCONT)
            process.wait(30)
        case.expected[run] = 30
    case.check()


def test_a_burst_of_twenty_thousand(case):
    """20,000 events at once, more than the queue may hold, all arrive.

    What a slow machine has not sent when the wait at exit is over, the next process sends.
    """
    case.run("track(Saytics(queue_max=5000), 20_000)", 0, 20_000)
    case.next_process(0)
    case.check()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_burst_of_a_million(case):
    """A million events, as fast as they can be tracked: the ledger and the server agree on them."""
    program = """
        import json
        client = Saytics()
        track(client, 1_000_000)
        counts = client.shutdown(timeout=500)
        # Not `ru_maxrss`, which knows the process this one was forked from.
        rss_kb = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
        print(json.dumps([counts.delivered, counts.tracked, rss_kb]))
        """
    with case.start(program, 0) as process:
        out, errors = process.communicate(timeout=550)
    assert process.returncode == 0, errors
    delivered, tracked, rss_kb = json.loads(out)
    assert (delivered, tracked) == (1_000_000, 1_000_000), errors
    assert rss_kb < 250_000
    case.server.wait_visible(60)
    report = case.server.get("/v1/reports/events", event=case.name).json()
    assert report["total"] == 1_000_000


@pytest.mark.slow
def test_a_days_outage_costs_no_memory(case):
    """A day's events without a server: memory stays flat, the spool within its bound, all counted.

    A day is what fills the spool five times over; the clock plays no part in it.
    """
    program = """
        import json
        rss_kb = lambda: int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
        client = Saytics(host="http://127.0.0.1:9", spool_bytes_max=20_000_000, queue_max=10_000,
                         on_error=lambda *_: None)
        track(client, 40_000)
        before = rss_kb()
        track(client, 360_000, first=40_000)
        grown = rss_kb() - before
        counts = client.shutdown(timeout=0)
        print(json.dumps([counts.tracked, counts.spooled + counts.dropped, counts.dropped, grown]))
        """
    out, _ = case.run(program, 0, 0)
    tracked, ended, dropped, grown_kb = json.loads(out)
    assert tracked == ended == 400_000
    assert dropped > 100_000
    assert grown_kb < 20_000
    used = sum(path.stat().st_size for path in case.folder.glob("spool-0/*/*.spool"))
    assert 15_000_000 < used <= 20_000_000


@pytest.mark.parametrize("repetitions", REPETITIONS)
def test_gunicorn_with_preload(case, repetitions):
    """A client made before gunicorn forks its workers serves each of them, until SIGTERM."""
    (case.folder / "application.py").write_text(
        textwrap.dedent(
            """
            import os
            from saytics import Saytics
            client = Saytics(flush_interval_s=60, flush_at=1000)
            def app(environ, start_response):
                run, index = environ["PATH_INFO"].strip("/").split("/")
                client.track(user_id="u", event=os.environ["NAME"],
                             properties={"run": int(run), "index": int(index)})
                start_response("200 OK", [("Content-Length", "0")])
                return [b""]
            """
        )
    )

    def live(run):
        _serve_with_gunicorn(case, run)
        case.expected[run] = 40

    case.at_once(live, repetitions, 2)


def _serve_with_gunicorn(case, run):
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if "SAYTICS" not in name}
    environment |= {
        "PYTHONPATH": str(SOURCE),
        "NAME": case.name,
        "SAYTICS_HOST": case.server.address,
        "SAYTICS_SECRET_KEY": case.server.secret_key,
        "SAYTICS_SPOOL_DIR": str(case.folder / f"spool-{run}"),
    }
    command = [sys.executable, "-m", "gunicorn", "--preload", "-w", "2", "-b", f"127.0.0.1:{port}"]
    process = subprocess.Popen(
        [*command, "--no-control-socket", "application:app"], env=environment, cwd=case.folder,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        Gate.wait_for_port(port)
        Gate.get_all(port, [f"/{run}/{index}" for index in range(40)])
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
