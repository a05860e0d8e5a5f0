"""HTTP/1.1 as uvicorn speaks it, less two of its habits.

A client that offers `Upgrade: h2c`, as the JDK's does by default, has its offer ignored and its
body read; httptools by itself stops at the end of such a request's headers
(https://github.com/Kludex/uvicorn/issues/2722). And a request that is no HTTP is refused in the one
JSON shape every error has.
"""

from __future__ import annotations

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from saytics_server.errors import Rejection, error_body


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    _is_replaying_head = False

    def data_received(self, data: bytes) -> None:
        """Feed bytes to the parser; go on past an upgrade nobody here takes up."""
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("The bytes sent are not an HTTP request.")

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
            super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in JSON, and close."""
        body = error_body(Rejection("invalid_http", msg))
        head = (
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n" % len(body)
        )
        self.transport.write(head + body)
        self.transport.close()
