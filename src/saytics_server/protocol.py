"""HTTP/1.1 as uvicorn speaks it, less four of its habits.

A client that offers `Upgrade: h2c`, as the JDK's does by default, has its offer ignored and its
body read; httptools by itself stops at the end of such a request's headers
(https://github.com/Kludex/uvicorn/issues/2722). And a request that is no HTTP is refused in the one
JSON shape every error has. The head of a request has an end: a size and a time. And a client that
closes its sending side after a whole request still gets its answer.
"""

from __future__ import annotations

import asyncio

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from saytics_server.errors import Rejection, error_body

# Ten times what browsers and SDKs send.
HEAD_BYTES_MAX = 64 * 1024
HEAD_TIMEOUT_S = 30.0


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    _is_replaying_head = False
    _is_in_head = False
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection; its first request must come in time."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        self._end_head()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep a connection whose client has said all it will say open until it is answered."""
        cycle = self.cycle
        if cycle is None or cycle.more_body or cycle.response_complete:
            return False
        cycle.keep_alive = False
        return True

    def data_received(self, data: bytes) -> None:
        """Feed bytes to the parser; go on past an upgrade nobody here takes up."""
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("The bytes sent are not an HTTP request.")
        if self._is_in_head:
            self._wait_for_head(len(data))

    def _wait_for_head(self, more_bytes: int) -> None:
        """Bound a head that has begun and not ended."""
        self._head_bytes += more_bytes
        if self._head_bytes > HEAD_BYTES_MAX:
            self.send_400_response(f"The headers are larger than {HEAD_BYTES_MAX} bytes.")
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)

    def _end_head(self) -> None:
        self._is_in_head = False
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Let a fresh parser read the body, told of its length and of nothing else.

        The request's task is scheduled but has not run yet, so that the end of the message the
        first parser saw can be taken back.
        """
        framing = [
            name + b": " + value
            for name, value in self.headers
            if name in (b"content-length", b"transfer-encoding")
        ]
        self.cycle.more_body = True
        self.parser = httptools.HttpRequestParser(self)
        self._is_replaying_head = True
        try:
            self.parser.feed_data(b"\r\n".join([b"POST / HTTP/1.1", *framing, b"", b""]))
        finally:
            self._is_replaying_head = False
        if rest:
            self.data_received(rest)

    def on_message_begin(self) -> None:
        """Start a request, unless its head is only repeated to the parser."""
        if not self._is_replaying_head:
            self._is_in_head = True
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take the target."""
        if not self._is_replaying_head:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        if not self._is_replaying_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the application."""
        if not self._is_replaying_head:
            self._end_head()
            super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in JSON, and close."""
        body = error_body(Rejection("invalid_http", msg))
        head = (
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n" % len(body)
        )
        self._end_head()
        self.transport.write(head + body)
        self.transport.close()
