"""Commands for the running server, over a Unix socket in its data directory.

Only who may open the data directory can speak to it (mode 0600), so there is no password. Commands
are HTTP with JSON, by the same libraries as everything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from saytics_server import api
from saytics_server.accounts import Accounts
from saytics_server.administration import Command, administer
from saytics_server.errors import Failure, Refused
from saytics_server.log import Log
from saytics_server.orders import Report, Works
from saytics_server.store.loader import Loader

logger = logging.getLogger("saytics.control")

# How often whoever waits for a work is told how far it is.
PROGRESS_INTERVAL_S = 0.2

_SOCKET = "control.sock"
_decode_command = msgspec.json.Decoder(Command).decode


class Control:
    """The server's side."""

    def __init__(  # noqa: PLR0913 - wired once, in server.py
        self,
        accounts: Accounts,
        loader: Loader,
        log: Log,
        address: str,
        works: Works,
        *,
        metrics: Callable[[Request], Awaitable[Response]],
    ) -> None:
        """Take what answers GET /metrics, and the orders that may be carried out."""
        self._accounts = accounts
        self._works = works
        self._metrics = metrics
        self._under_way: set[str] = set()
        self._loader = loader
        self._log = log
        self._address = address

    def application(self) -> Starlette:
        """Return the commands as an application."""
        return Starlette(
            routes=[
                Route("/status", self._status, methods=["GET"]),
                Route("/metrics", self._metrics, methods=["GET"]),
                Route("/administer", self._administer, methods=["POST"]),
                Route("/work/{name}", self._work, methods=["POST"]),
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

    async def _work(self, request: Request) -> Response:
        """Answer with a line of JSON now and then while an order is carried out, and at its end."""
        name, body = request.path_params["name"], await request.body()
        lines = (msgspec.json.encode(line) + b"\n" async for line in self._carry_out(name, body))
        return StreamingResponse(lines, media_type="application/x-ndjson")

    async def _carry_out(self, name: str, body: bytes) -> AsyncIterator[dict[str, Any]]:
        if name in self._under_way:
            yield _failed(Failure(f"the {name}", "another one is under way", "Wait for its end."))
            return
        progress = _Progress()
        self._under_way.add(name)
        work = asyncio.create_task(asyncio.to_thread(self._works[name], body, progress.note))
        work.add_done_callback(lambda _: self._under_way.discard(name))
        try:
            while not (await asyncio.wait({work}, timeout=PROGRESS_INTERVAL_S))[0]:
                yield {"done": progress.done, "total": progress.total}
            yield {"result": work.result()}
        except Failure as failure:
            yield _failed(failure)
        except Refused as refused:
            yield _failed(Failure(f"the {name}", refused.rejection.message.rstrip("."), ""))
        except Exception:
            # A bug in the work must be told to whoever waits, not only end the answer.
            logger.exception("the %s failed", name)
            yield _failed(Failure(f"the {name}", "it failed", "The server's output says why."))
        finally:
            # Whoever asked is gone, or the server stops.
            progress.is_wanted = False

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


class _NotWanted(Exception):  # noqa: N818 - ends a work that nobody waits for any more
    pass


class _Progress:
    """How far a work in another thread is."""

    def __init__(self) -> None:
        self.done = 0
        self.total = 0
        self.is_wanted = True

    def note(self, done: int, total: int) -> None:
        if not self.is_wanted:
            raise _NotWanted
        self.done, self.total = done, total


def _failed(failure: Failure) -> dict[str, Any]:
    return {"error": [failure.operation, failure.cause, failure.hint]}


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


def worked(
    opened: httpx.Client, name: str, order: msgspec.Struct, report: Report
) -> dict[str, Any]:
    """Have the running server carry an order out, told how far it is. Raises Failure."""
    content = msgspec.json.encode(order)
    with (
        contextlib.suppress(httpx.RemoteProtocolError, httpx.ReadError),
        opened.stream("POST", f"/work/{name}", content=content, timeout=None) as response,
    ):
        for line in response.iter_lines():
            said: dict[str, Any] = msgspec.json.decode(line)
            if "error" in said:
                raise Failure(*said["error"])
            if "result" in said:
                result: dict[str, Any] = said["result"]
                return result
            report(said["done"], said["total"])
    raise Failure(f"the {name}", "the server ended before it was done", "Start it and try again.")


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
