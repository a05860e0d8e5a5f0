"""HTTP as bytes over a socket, for what no client library would send."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import msgspec

LIMIT_S = 20


class Answer(msgspec.Struct):
    """One response as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which is always JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error's code."""
        return str(self.json["error"]["code"])


class Connection:
    """One connection to a server; `send` bytes, `read` responses."""

    def __init__(self, address: str, limit_s: float = LIMIT_S) -> None:
        parts = urlsplit(address)
        self._socket = socket.create_connection((parts.hostname, parts.port), limit_s)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def send(self, content: bytes) -> Connection:
        """Send bytes as they are."""
        self._socket.sendall(content)
        return self

    def half_close(self) -> Connection:
        """Say that nothing more will be sent, and go on reading."""
        self._socket.shutdown(socket.SHUT_WR)
        return self

    def read(self) -> Answer:
        """Read one response, `100 Continue` included."""
        status_line = self._file.readline()
        assert status_line.startswith(b"HTTP/1."), status_line
        status = int(status_line.split(b" ")[1])
        headers: dict[str, str] = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return Answer(status, headers, self._file.read(int(headers.get("content-length", 0))))

    def is_closed(self) -> bool:
        """Tell whether the server has closed; waits for it to say something."""
        try:
            return self._file.read(1) == b""
        except ConnectionError:
            return True


def request(
    key: str, body: bytes = b"", path: str = "/v1/events", *lines: str, version: str = "1.1",
    length: bool = True,
) -> bytes:  # fmt: skip
    """Return the bytes of a POST with a key and further header lines."""
    head = [
        f"POST {path} HTTP/{version}",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
        *([f"Content-Length: {len(body)}"] if length else []),
        *lines,
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body
