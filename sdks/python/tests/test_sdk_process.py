"""Whole programs: what becomes of the queue when a process ends, forks, or meets a dead server."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from scripted_server import ScriptedServer

from saytics.spool_file import contents_of

SOURCE = Path(__file__).parents[1] / "src"


def _environment(host: str) -> dict[str, str]:
    return {
        "PYTHONPATH": str(SOURCE),
        "SAYTICS_HOST": host,
        "SAYTICS_SECRET_KEY": "sk_live_test",
        "SAYTICS_SPOOL_DIR": os.environ["SAYTICS_SPOOL_DIR"],
    }


def _run(program: str, host: str, limit_s: float = 30) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=_environment(host),
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )


def test_normal_exit_sends_what_is_queued(server: ScriptedServer) -> None:
    """507 events and no flush: all arrive before the process has ended."""
    ended = _run(
        """
        from saytics import Saytics
        saytics = Saytics(flush_interval_s=60)
        for index in range(507):
            saytics.track(user_id="u", event="E", properties={"index": index})
        """,
        server.host,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [event["properties"]["index"] for event in server.events()] == list(range(507))


def test_uncaught_exception_sends_what_is_queued(server: ScriptedServer) -> None:
    """A program that ends by an exception sends its events too."""
    ended = _run(
        """
        from saytics import Saytics
        Saytics().track(user_id="u", event="E")
        raise SystemExit(3)
        """,
        server.host,
    )
    assert ended.returncode == 3
    assert len(server.events()) == 1


def test_outage_at_exit_is_waited_out() -> None:
    """A server that comes back two seconds after the program's end gets every event."""
    with ScriptedServer([{"status": 503, "text": ""}] * 2) as server:
        ended = _run(
            """
            from saytics import Saytics
            saytics = Saytics()
            for index in range(150):
                saytics.track(user_id="u", event="E")
            """,
            server.host,
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        ids = [event["messageId"] for request in server.requests[2:] for event in request.events()]
        assert len(set(ids)) == len(ids) == 150


def test_loss_at_exit_is_said() -> None:
    """With no server at all, the program ends within its limit and says what was lost."""
    started = time.monotonic()
    ended = _run(
        """
        import atexit
        from saytics import Saytics
        saytics = Saytics(spool="off")
        saytics.track(user_id="u", event="E")
        atexit.register(saytics.shutdown, 0.5)
        """,
        "http://127.0.0.1:9",
    )
    assert time.monotonic() - started < 5
    assert ended.returncode == 0
    assert "1 event lost: not_sent" in ended.stderr


def test_forked_child_sends_its_own_events(server: ScriptedServer) -> None:
    """After a fork each process sends what it tracked itself: nothing lost, nothing twice."""
    ended = _run(
        """
        import os
        from saytics import Saytics
        saytics = Saytics(flush_interval_s=60)
        saytics.track(user_id="u", event="Sent before")
        saytics.flush()
        for _ in range(50):
            saytics.track(user_id="u", event="Queued before")
        child = os.fork()
        for _ in range(50):
            saytics.track(user_id="u", event="Child" if child == 0 else "Parent")
        if child == 0:
            counts = saytics.flush()
            os._exit(0 if (counts.tracked, counts.delivered) == (50, 50) else 1)
        assert os.waitpid(child, 0)[1] == 0
        """,
        server.host,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    names = [event["event"] for event in server.events()]
    assert {name: names.count(name) for name in names} == {
        "Sent before": 1,
        "Queued before": 50,
        "Child": 50,
        "Parent": 50,
    }


def test_burst_is_delivered_whole(server: ScriptedServer) -> None:
    """20,000 events at once fit the queue and arrive."""
    ended = _run(
        """
        from saytics import Saytics
        with Saytics() as saytics:
            for index in range(20_000):
                saytics.track(user_id="u", event="E")
        print(saytics.counts().delivered)
        """,
        server.host,
    )
    assert (ended.stdout, ended.stderr) == ("20000\n", "")
    assert len(server.events()) == 20_000


def test_nothing_is_left_after_shutdown(server: ScriptedServer) -> None:
    """After shutdown there is no thread, no open file, no connection and no file in the spool."""
    ended = _run(
        """
        import os, pathlib, threading
        from saytics import Saytics
        def left():
            return threading.active_count(), len(os.listdir("/proc/self/fd"))
        before = left()
        for _ in range(3):
            saytics = Saytics(spool="always")
            saytics.track(user_id="u", event="E")
            saytics.shutdown()
            assert saytics.shutdown().delivered == 1
        assert left() == before, left()
        assert not list(pathlib.Path(os.environ["SAYTICS_SPOOL_DIR"]).glob("*/*"))
        """,
        server.host,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_events_after_the_end_are_kept(server: ScriptedServer) -> None:
    """What a program tracks after the SDK's own exit function has run waits in the spool."""
    ended = _run(
        """
        import atexit
        atexit.register(lambda: saytics.track(user_id="u", event="Last words"))
        from saytics import Saytics
        saytics = Saytics()
        saytics.track(user_id="u", event="E")
        """,
        server.host,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert _run("from saytics import Saytics; Saytics()", server.host).returncode == 0
    assert [event["event"] for event in server.events()] == ["E", "Last words"]


def test_without_a_thread_the_exit_sends_by_itself(server: ScriptedServer) -> None:
    """Where no thread can be started, as at the end of newer interpreters, shutdown still sends."""
    ended = _run(
        """
        import threading
        from saytics import Saytics
        def refuse(self):
            raise RuntimeError("can't create new thread at interpreter shutdown")
        threading.Thread.start = refuse
        saytics = Saytics(flush_at=10)
        for _ in range(25):
            saytics.track(user_id="u", event="E")
        """,
        server.host,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert len(server.events()) == 25


def test_a_disk_that_fills_within_a_line() -> None:
    """A write that stops halfway spoils no other event, and the ledger says what is on disk."""
    ended = _run(
        """
        import resource
        from saytics import Saytics
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        saytics = Saytics(spool="always", queue_max=10, on_error=lambda *_: None)
        for _ in range(100):
            saytics.track(user_id="u", event="E")
        counts = saytics.shutdown(timeout=0)
        assert counts.spooled + counts.dropped == counts.tracked == 100, counts
        print(counts.spooled)
        """,
        "http://127.0.0.1:9",
    )
    assert ended.returncode == 0, ended.stderr
    spooled = int(ended.stdout)
    assert spooled > 10
    paths = list(Path(os.environ["SAYTICS_SPOOL_DIR"]).glob("*/*"))
    assert sum(contents_of(path).events for path in paths) == spooled
    assert any(not path.read_bytes().endswith(b"\n") for path in paths)


def test_sigterm_saves_before_it_sends() -> None:
    """A supervisor that loses patience and kills finds the queue on disk."""
    program = """
        import time
        from saytics import Saytics
        saytics = Saytics(flush_interval_s=60)
        for _ in range(50):
            saytics.track(user_id="u", event="E")
        print("tracked", flush=True)
        time.sleep(30)
        """
    with ScriptedServer([{"fault": "hang"}] * 5) as server:
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program)],
            env=_environment(server.host),
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.terminate()
            server.wait_for_requests(1)
            process.kill()
        (path,) = Path(os.environ["SAYTICS_SPOOL_DIR"]).glob("*/*")
        assert contents_of(path).events == 50


def test_a_child_terminated_right_after_the_fork_ends() -> None:
    """The interpreter forgets signals that reach a child before it is set up; the SDK answers one.

    Without it SIGTERM would end the child at once: pools that are terminated rely on it.
    """
    program = """
        import multiprocessing, time
        from saytics import Saytics
        saytics = Saytics(flush_interval_s=60)
        saytics.track(user_id="u", event="E")
        codes = set()
        for _ in range(40):
            child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
            child.start()
            child.terminate()
            child.join(10)
            codes.add(child.exitcode)
            if child.exitcode is None:
                child.kill()
                break
        saytics.shutdown()
        print(codes)
        """
    with ScriptedServer([]) as server:
        done = _run(program, server.host)
    assert done.stdout == "{-15}\n", done.stderr
