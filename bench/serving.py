"""Server processes to measure: Saytics, and the same HTTP server with an empty application."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

SECRET_KEY = "sk_live_" + "b" * 32

_EMPTY = """
import sys
import uvicorn

async def app(scope, receive, send):
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [
        (b"content-type", b"application/json"), (b"content-length", b"28")]})
    await send({"type": "http.response.body", "body": b'{"status":"ok","received":1}'})

sys.setswitchinterval(0.0005)
uvicorn.run(app, port=int(sys.argv[1]), http="httptools", loop="uvloop", lifespan="off",
            access_log=False, ws="none", server_header=False, log_level="warning")
"""


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def empty_app() -> Iterator[str]:
    """Run the yardstick: the same HTTP server as it comes, with no work to do."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", _EMPTY, str(port)])
    with _ended(process):
        _wait_for(f"http://127.0.0.1:{port}/", process)
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def saytics(data_dir: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run the server as its own command does; yield its address and process."""
    port = free_port()
    environment = os.environ | {"SAYTICS_BOOTSTRAP_SECRET_KEY": SECRET_KEY}
    command = Path(sys.executable).parent / "saytics"
    process = subprocess.Popen(
        [command, "serve", "--listen", f"127.0.0.1:{port}", "--data-dir", data_dir],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with _ended(process):
        _wait_for(f"http://127.0.0.1:{port}/readyz", process)
        yield f"http://127.0.0.1:{port}", process


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(address: str, process: subprocess.Popen[bytes], limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        with contextlib.suppress(OSError):
            urllib.request.urlopen(address, timeout=1)
            return
        time.sleep(0.01)
    raise TimeoutError(address)
