"""SIGTERM and SIGINT: stop accepting, drain, exit 0 within 10 s; the next start continues."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sending import Load, check

from factories import unique, wire_event
from serving import Serving

STOP_S_MAX = 10


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_stop_under_load_is_clean_and_the_next_start_goes_on(tmp_path: Path, number: int):
    """Every answer given is kept; keys and data are as they were left, and the server says so."""
    serving = Serving(tmp_path / "data").start()
    try:
        load = Load(serving).start()
        load.wait_acknowledged(300)
        started = time.monotonic()
        assert serving.stop(number) == 0
        assert time.monotonic() - started < STOP_S_MAX
        load.stop()
        assert set(load.refusals) <= {503}
        serving.printed.clear()
        serving.start()
        check(serving, load)
        assert "first keys" not in "".join(serving.printed)
        started = time.monotonic()
        with half_a_request(serving):  # it must not keep the server from ending
            assert serving.stop(number) == 0
        assert time.monotonic() - started < STOP_S_MAX
        assert "Traceback" not in serving.errors
    finally:
        serving.kill()


def half_a_request(serving: Serving) -> socket.socket:
    """Return a connection on which half a request was sent."""
    parts = urlsplit(serving.address)
    held = socket.create_connection((parts.hostname, parts.port))
    held.sendall(b"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
    return held


def test_the_first_keys_go_to_a_file_of_its_owner_where_no_terminal_is(tmp_path: Path):
    """Printed nowhere; a curl line that works as it stands."""
    serving = Serving(tmp_path / "data").start()
    try:
        name = unique("First")
        line = serving.read_line()
        path = tmp_path / "data" / "first-keys"
        assert str(path) in line
        assert path.stat().st_mode & 0o777 == 0o600
        text = path.read_text()
        assert serving.secret_key in text
        assert serving.write_key in text
        assert f"curl -X POST {serving.address}/v1/events" in text
        assert serving.secret_key not in "".join(serving.printed) + serving.errors
        assert serving.track(wire_event(event=name)).status_code == 200
    finally:
        serving.kill()
