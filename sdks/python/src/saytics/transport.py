"""One HTTP request at a time over one connection that is kept open.

Only the sender's thread posts; `close` may come from any thread and ends a request under way.
Certificates are checked against the system's authorities, or those of `SSL_CERT_FILE` and
`SSL_CERT_DIR`. Where the environment names a proxy, requests go through it.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from urllib.parse import urlsplit

from saytics.answer import Answer
from saytics.errors import SayticsError
from saytics.proxy import Proxy, proxy_for
from saytics.version import __version__

PATH = "/v1/events/batch"

# An answer lists at most the rejected events of one batch; more than this is no such answer.
ANSWER_BYTES_MAX = 4 * 1024 * 1024


class Transport:
    """Posts batches to `host` with `key`."""

    def __init__(self, host: str, key: str, timeout_s: float) -> None:
        self._host = urlsplit(host)
        # Reads the authorities' certificates, a few milliseconds: once, and not for plain HTTP.
        self._tls = ssl.create_default_context() if self._host.scheme == "https" else None
        self._target = self._host.path + PATH
        self._timeout_s = timeout_s
        self._headers = {
            "Authorization": f"Bearer {key}",
            "Content-Type": "application/json",
            "User-Agent": f"saytics-python/{__version__}",
        }
        self._connection: http.client.HTTPConnection | None = None

    def post(self, body: bytes, *, is_gzip: bool) -> Answer:
        """Send `body` and return the answer; SayticsError `unreachable` if none came."""
        was_open = self._connection is not None
        try:
            return self._exchange(body, is_gzip=is_gzip)
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
            return self._exchange(body, is_gzip=is_gzip)
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

    def _exchange(self, body: bytes, *, is_gzip: bool) -> Answer:
        connection = self._connection
        if connection is None:
            connection = self._connection = self._open()
        headers = {**self._headers, "Content-Encoding": "gzip"} if is_gzip else self._headers
        connection.request("POST", self._target, body, headers)
        response = connection.getresponse()
        content = response.read(ANSWER_BYTES_MAX + 1)
        answer = Answer(response.status, response.headers.get("Retry-After", ""), content)
        if response.will_close or len(content) > ANSWER_BYTES_MAX:
            self.close()
        return answer

    def _open(self) -> http.client.HTTPConnection:
        proxy = proxy_for(self._host)
        name, port = self._host.hostname or "", self._host.port
        self._target = self._host.path + PATH
        if self._tls is not None:
            first = (proxy.host, proxy.port) if proxy else (name, port)
            connection = http.client.HTTPSConnection(
                *first, timeout=self._timeout_s, context=self._tls
            )
            if proxy:
                # The key goes through the tunnel only; the proxy learns host and port.
                connection.set_tunnel(name, port, _proxy_headers(proxy))
            return connection
        if proxy is None:
            return http.client.HTTPConnection(name, port, timeout=self._timeout_s)
        # Plain HTTP: the proxy is asked for the whole address.
        self._target = f"http://{self._host.netloc}{self._target}"
        self._headers |= _proxy_headers(proxy)
        return http.client.HTTPConnection(proxy.host, proxy.port, timeout=self._timeout_s)


def _proxy_headers(proxy: Proxy) -> dict[str, str]:
    return {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}


def _unreachable(problem: Exception) -> SayticsError:
    return SayticsError("unreachable", f"No answer: {type(problem).__name__}: {problem}")
