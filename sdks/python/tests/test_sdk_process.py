"""Whole programs: what becomes of the queue when a process ends, forks, or meets a dead server."""

import subprocess
import sys
import textwrap
import time
from pathlib import Path

from scripted_server import ScriptedServer

SOURCE = Path(__file__).parents[1] / "src"


def _run(program: str, host: str, limit_s: float = 30) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={"PYTHONPATH": str(SOURCE), "SAYTICS_HOST": host, "SAYTICS_SECRET_KEY": "sk_live_test"},
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
        saytics = Saytics()
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
