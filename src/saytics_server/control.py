"""Commands for the running server, over a Unix socket in its data directory.

Only who may open the data directory can speak to it (mode 0600), so there is no password. Commands
are HTTP with JSON, by the same libraries as everything else.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from saytics_server import api
from saytics_server.accounts import Accounts
from saytics_server.administration import Command, administer
from saytics_server.errors import Failure, Refused
from saytics_server.log import Log
from saytics_server.store.loader import Loader

_SOCKET = "control.sock"
_decode_command = msgspec.json.Decoder(Command).decode


class Control:
    """The server's side."""

    def __init__(self, accounts: Accounts, loader: Loader, log: Log, address: str) -> None:
        self._accounts = accounts
        self._loader = loader
        self._log = log
        self._address = address

    def application(self) -> Starlette:
        """Return the commands as an application."""
        return Starlette(
            routes=[
                Route("/status", self._status, methods=["GET"]),
                Route("/administer", self._administer, methods=["POST"]),
            ],
            exception_handlers={Refused: api.refused},
        )

    async def _status(self, _: Request) -> Response:
        return api.answer(
            {
                "address": self._address,
                "last_position": self._log.last_position,
                "loaded_position": self._loader.loaded_position,
            }
        )

    async def _administer(self, request: Request) -> Response:
        command = _decode_command(await request.body())
        return api.answer(await run_in_threadpool(administer, self._accounts, command))

    @contextlib.asynccontextmanager
    async def listening(self, data_dir: Path) -> AsyncIterator[socket.socket]:
        """Listen in the data directory while the context lasts."""
        with _short_path(data_dir) as path:
            Path(path).unlink(missing_ok=True)  # noqa: ASYNC240 - once, before serving
            listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            before = os.umask(0o177)
            try:
                listening.bind(path)
            finally:
                os.umask(before)
            listening.listen(16)
            listening.setblocking(False)
        try:
            yield listening
        finally:
            listening.close()
            (data_dir / _SOCKET).unlink(missing_ok=True)


@contextlib.contextmanager
def client(data_dir: Path) -> Iterator[httpx.Client | None]:
    """Yield a client to the server that has `data_dir` open, or None if none has."""
    with _short_path(data_dir) as path:
        if not Path(path).exists():
            yield None
            return
        transport = httpx.HTTPTransport(uds=path)
        with httpx.Client(transport=transport, base_url="http://control", timeout=30) as opened:
            try:
                opened.get("/status").raise_for_status()
            except httpx.ConnectError:  # left behind by a killed server
                opened.close()
                yield None
                return
            yield opened


def administered(opened: httpx.Client, command: Command) -> Any:
    """Have the running server carry a command out; return its answer. Raises Failure."""
    return decoded(opened.post("/administer", content=msgspec.json.encode(command)))


def decoded(response: httpx.Response) -> Any:
    """Return an answer's JSON, or raise Failure with what the server said."""
    content = response.json()
    if response.is_error:
        error = content["error"]
        raise Failure("asking the running server", error["message"].rstrip("."), error["code"])
    return content


@contextlib.contextmanager
def _short_path(data_dir: Path) -> Iterator[str]:
    """Yield a path to the socket that fits into the 108 bytes such an address may have."""
    folder = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield (
            f"/proc/self/fd/{folder}/{_SOCKET}"
            if Path("/proc/self/fd").is_dir()
            else str(data_dir / _SOCKET)
        )
    finally:
        os.close(folder)
