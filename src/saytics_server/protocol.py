"""HTTP/1.1 as uvicorn speaks it, less four of its habits.

A client that offers `Upgrade: h2c`, as the JDK's does by default, has its offer ignored and its
body read; httptools by itself stops at the end of such a request's headers
(https://github.com/Kludex/uvicorn/issues/2722). And a request that is no HTTP is refused in the one
JSON shape every error has. The head of a request has an end: a size and a time. And a client that
closes its sending side after a whole request still gets its answer, unless the application gives
up on it: `HALF_CLOSED` in the scope says so, for the same bytes come from a client that is gone.

An application that has a whole answer at hand may give it in one piece (`WHOLE_ANSWER`): one write
instead of two, and no look at headers that are always the same.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from saytics_server.errors import Rejection, error_body

# Ten times what browsers and SDKs send.
HEAD_BYTES_MAX = 64 * 1024
HEAD_TIMEOUT_S = 30.0
# True in the scope of a request whose client will send nothing more.
HALF_CLOSED = "saytics.half_closed"

# The scope's extension that answers 200 with a head and a body: it takes (header lines, body) as
# bytes and returns whether it could; if not, the answer goes the usual way.
WHOLE_ANSWER = "saytics.whole_answer"


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

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
        cycle.scope[HALF_CLOSED] = True  # type: ignore[literal-required]
        cycle.message_event.set()
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
        self.parser = httptools.HttpRequestParser(_HeadAgain(self))
        self.parser.feed_data(b"\r\n".join([b"POST / HTTP/1.1", *framing, b"", b""]))
        if rest:
            self.data_received(rest)

    def on_message_begin(self) -> None:
        """Start a request."""
        self._is_in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Start the application."""
        self._end_head()
        super().on_headers_complete()
        # The task is scheduled and has not run yet.
        extensions: Any = {WHOLE_ANSWER: functools.partial(_answer_whole, self.cycle)}
        self.scope["extensions"] = extensions

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


class _HeadAgain:
    """A connection's callbacks, deaf while the head of a request is repeated to a fresh parser."""

    def __init__(self, protocol: HttpProtocol) -> None:
        self._protocol = protocol
        self._is_over = False
        self.on_body = protocol.on_body
        self.on_message_complete = protocol.on_message_complete

    def on_message_begin(self) -> None:
        if self._is_over:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if self._is_over:
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_over:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._is_over:
            self._protocol.on_headers_complete()
        self._is_over = True


def _answer_whole(cycle: RequestResponseCycle, headers: bytes, body: bytes) -> bool:
    """Answer 200 in one write, as `cycle.send` would in two; False if it takes more than that."""
    if not cycle.keep_alive or cycle.flow.write_paused or cycle.response_started:
        return False
    if cycle.disconnected:
        return True
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    lines = [b"HTTP/1.1 200 OK\r\n"]
    for name, value in cycle.default_headers:
        lines += (name, b": ", value, b"\r\n")
    lines += (headers, b"\r\n", body)
    cycle.transport.write(b"".join(lines))
    cycle.message_event.set()
    cycle.on_response()
    return True
