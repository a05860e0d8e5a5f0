"""A real HTTP server on loopback that records requests and answers from a script.

Answers are those of `contract/sdk` (contract/README.md); after the last one, every batch is
acknowledged whole.
"""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import threading
import time
from collections import deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

# A server that "never answers" must still let the test end.
HANG_S = 5.0


@dataclass(frozen=True)
class Recorded:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    connection: int
    at_s: float

    def document(self) -> dict[str, Any]:
        """Return the body."""
        is_gzip = self.headers.get("content-encoding") == "gzip"
        document = json.loads(gzip.decompress(self.raw) if is_gzip else self.raw)
        assert list(document) in (["events"], ["events", "dropped"])
        return document

    def events(self) -> list[dict[str, Any]]:
        """Return the batch's events."""
        return self.document()["events"]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    script: ScriptedServer


class ScriptedServer:
    """Use as a context manager; `host` is its base URL."""

    def __init__(self, answers: list[dict[str, Any]] | None = None) -> None:
        self.answers = deque(answers or [])
        self.requests: list[Recorded] = []
        self.changed = threading.Condition()
        self._stopping = threading.Event()
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.script = self
        self.host = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._http.shutdown()
        self._http.server_close()

    def use_tls(self, context: ssl.SSLContext) -> None:
        """Speak TLS from now on."""
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True)

    def events(self) -> list[dict[str, Any]]:
        """Return the events of all requests in the order they came."""
        with self.changed:
            return [event for request in self.requests for event in request.events()]

    def wait_for_requests(self, count: int, limit_s: float = 10.0) -> None:
        """Return once `count` requests have come."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.requests) >= count, limit_s)

    def record(self, request: Recorded) -> dict[str, Any] | None:
        """Keep a request and return its scripted answer."""
        with self.changed:
            self.requests.append(request)
            self.changed.notify_all()
            return self.answers.popleft() if self.answers else None

    def hang(self) -> None:
        """Wait as a server does that never answers."""
        self._stopping.wait(HANG_S)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body are written apart; the second would wait for the client's delayed ACK.
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        script = self.server.script
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Recorded(
            self.command, self.path, headers, raw, self.client_address[1], time.monotonic()
        )
        answer = script.record(request)
        match answer:
            case None:
                self._acknowledge(request)
            case {"fault": "close_after_answer"}:
                self._acknowledge(request)
                self._end()
            case {"fault": "close"}:
                self._end()
            case {"fault": "hang"}:
                script.hang()
                self._end()
            case {"fault": "half"}:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
                self._end()
            case _:
                text = json.dumps(answer["body"]) if "body" in answer else answer["text"]
                self._send(answer["status"], answer.get("headers", {}), text)

    def _acknowledge(self, request: Recorded) -> None:
        received = len(request.events())
        self._send(200, {}, json.dumps({"status": "ok", "received": received}))

    def _send(self, status: int, headers: dict[str, str], text: str) -> None:
        content = text.encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _end(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Stay quiet."""
