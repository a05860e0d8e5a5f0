"""One HTTP request at a time over one connection that is kept open.

Only the sender's thread posts; `close` may come from any thread and ends a request under way.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from urllib.parse import urlsplit

from saytics.answer import Answer
from saytics.errors import SayticsError
from saytics.version import __version__

PATH = "/v1/events/batch"

# An answer lists at most the rejected events of one batch; more than this is no such answer.
ANSWER_BYTES_MAX = 4 * 1024 * 1024


class Transport:
    """Posts batches to `host` with `key`."""

    def __init__(self, host: str, key: str, timeout_s: float) -> None:
        parts = urlsplit(host)
        self._address = (parts.hostname or "", parts.port)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._path = parts.path + PATH
        self._timeout_s = timeout_s
        self._headers = {
            "Authorization": f"Bearer {key}",
            "Content-Type": "application/json",
            "User-Agent": f"saytics-python/{__version__}",
        }
        self._connection: http.client.HTTPConnection | None = None

    def post(self, body: bytes, *, is_gzip: bool) -> Answer:
        """Send `body` and return the answer; SayticsError `unreachable` if none came."""
        headers = {**self._headers, "Content-Encoding": "gzip"} if is_gzip else self._headers
        was_open = self._connection is not None
        try:
            return self._exchange(body, headers)
        except (ConnectionError, http.client.BadStatusLine) as problem:
            self.close()
            # The server closes connections that rest; the first to notice is the next request. A
            # fresh connection tells an idle server from a dead one without waiting for a retry.
            if not was_open:
                raise _unreachable(problem) from problem
        except (OSError, http.client.HTTPException) as problem:
            self.close()
            raise _unreachable(problem) from problem
        try:
            return self._exchange(body, headers)
        except (OSError, http.client.HTTPException) as problem:
            self.close()
            raise _unreachable(problem) from problem

    def close(self) -> None:
        """Close the connection; a request that waits on it ends with an error."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with contextlib.suppress(OSError):
            if connection.sock is not None:
                connection.sock.shutdown(socket.SHUT_RDWR)
        connection.close()

    def forget(self) -> None:
        """Leave the connection to the process this one was forked from."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.sock is not None:
            connection.sock.close()

    def _exchange(self, body: bytes, headers: dict[str, str]) -> Answer:
        connection = self._connection
        if connection is None:
            connection = self._connection = self._open()
        connection.request("POST", self._path, body, headers)
        response = connection.getresponse()
        content = response.read(ANSWER_BYTES_MAX + 1)
        answer = Answer(response.status, response.headers.get("Retry-After", ""), content)
        if response.will_close or len(content) > ANSWER_BYTES_MAX:
            self.close()
        return answer

    def _open(self) -> http.client.HTTPConnection:
        name, port = self._address
        if self._tls is None:
            return http.client.HTTPConnection(name, port, timeout=self._timeout_s)
        return http.client.HTTPSConnection(name, port, timeout=self._timeout_s, context=self._tls)


def _unreachable(problem: Exception) -> SayticsError:
    return SayticsError("unreachable", f"No answer: {type(problem).__name__}: {problem}")
