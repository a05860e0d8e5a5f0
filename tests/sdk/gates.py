"""A gate before a server: it lets requests through, or plays the faults of a network first."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

# Longer than the time limit of any client here: to it, the server never answers.
HANG_S = 1.5


def free_port() -> int:
    """Return a port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Gate:
    """Use as a context manager; `host` is its base URL, `faults` are played first, one each.

    500, 429, 503      that status, nothing passed on
    garbage            200 with something that is no answer
    close, half, hang  no answer, half of one, none for long; nothing passed on
    lost_answer        passed on, and the answer lost: only the server knows that it has the events
    slow_lost_answer   the same after a silence
    """

    def __init__(self, server: str, faults: list[str] | None = None, port: int = 0) -> None:
        self.server = server
        self.faults = deque(faults or [])
        self._http = _Server(("127.0.0.1", port), _Handler)
        self._http.gate = self
        self.host = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    @staticmethod
    def wait_for_port(port: int, limit_s: float = 20) -> None:
        """Return once somebody listens."""
        deadline_s = time.monotonic() + limit_s
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                assert time.monotonic() < deadline_s
                time.sleep(0.05)
            else:
                return

    @staticmethod
    def get_all(port: int, paths: list[str]) -> None:
        """Get some paths, each over a connection of its own."""
        for path in paths:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", path)
            assert connection.getresponse().status == 200
            connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    gate: Gate


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        faults = self.server.gate.faults
        match faults.popleft() if faults else "":
            case "500" | "429" | "503" as status:
                self._answer(int(status), b"{}")
            case "garbage":
                self._answer(200, b"\x00\xff<html>")
            case "close":
                self._end()
            case "half":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
                self._end()
            case "hang":
                time.sleep(HANG_S)
                self._end()
            case "lost_answer":
                self._pass_on(body)
                self._end()
            case "slow_lost_answer":
                self._pass_on(body)
                time.sleep(HANG_S)
                self._end()
            case _:
                self._answer(*self._pass_on(body))

    def _pass_on(self, body: bytes) -> tuple[int, bytes]:
        address = urlsplit(self.server.gate.server)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() in ("authorization", "content-type", "content-encoding")
        }
        connection.request("POST", self.path, body, headers)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, content

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _end(self) -> None:
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the client was faster

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Stay quiet."""
