"""Between an HTTP request and the store: asks what is kept, waits its turn, leaves with its client.

    what is kept ─► answered at once, without a turn
         │ no
         ▼
    the queue (no thread) ─► a query thread ─► answered
         └──── the client goes away ────┴─► out of the queue; or the query is stopped in the engine

Query threads are as many as there are turns, and nothing else runs on them: neither sending events
nor a page without numbers ever waits for a report.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from saytics_server.errors import Refused
from saytics_server.protocol import HALF_CLOSED
from saytics_server.store import QUERY_CLIENTS, NotKeptError, Store
from saytics_server.store.turns import WAIT_S, Asker, State, Turn, busy

Answer = TypeVar("Answer")
Work = Callable[..., Answer]

# A query that starts just as it is stopped is missed, so it is told again. Also how often those are
# told that the engine cannot stop before their block ends.
STOP_INTERVAL_S = 0.1


class Found(msgspec.Struct, Generic[Answer], frozen=True):
    """An answer, and whether all of it came from what is kept."""

    answer: Answer
    is_kept: bool


class Questions:
    """Asks the store on behalf of requests. On the event loop."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._threads = ThreadPoolExecutor(QUERY_CLIENTS, "query")
        # Its own, so that stopping never waits for what it is to stop.
        self._stopper = ThreadPoolExecutor(1, "query-stop")

    async def ask(
        self,
        request: Request,
        asker: Asker,
        work: Work[Answer],
        *arguments: Any,
        same: Hashable = None,
    ) -> Found[Answer]:
        """Return what `work` answers, which blocks and may ask the store anything about the
        asker's workspace; it may be begun twice.

        Of questions of a workspace with an equal `same` one is worked out at a time; the others
        then find what it left. Raises Refused as Store.query and `work` do.
        """
        with contextlib.suppress(NotKeptError):
            return await run_in_threadpool(self._kept, asker, work, arguments)
        likeness = None if same is None else (asker.workspace_id, same)
        return await _while_connected(request, self._in_turn(asker, likeness, work, arguments))

    def close(self) -> None:
        """Let go of the threads; what they are at goes on until the store is closed."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._stopper.shutdown(wait=False)

    def _kept(self, asker: Asker, work: Work[Answer], arguments: tuple[Any, ...]) -> Found[Answer]:
        with self.store.from_kept(asker.workspace_id):
            return Found(work(*arguments), is_kept=True)

    async def _in_turn(
        self, asker: Asker, same: Hashable, work: Work[Answer], arguments: tuple[Any, ...]
    ) -> Found[Answer]:
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(woken.set)

        turn = self.store.turns.ask(asker, wake, same)
        try:
            await _turn_begun(turn, woken)
            working = loop.run_in_executor(self._threads, self._work, turn, work, arguments)
        except BaseException:
            self.store.turns.leave(turn)
            raise
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            await self._stop(turn, working)
            raise

    def _work(self, turn: Turn, work: Work[Answer], arguments: tuple[Any, ...]) -> Found[Answer]:
        with self.store.in_turn(turn):
            answer = work(*arguments)
            return Found(answer, is_kept=turn.engine_queries == 0)

    async def _stop(self, turn: Turn, working: asyncio.Future[Any]) -> None:
        loop = asyncio.get_running_loop()
        while not working.done():
            await loop.run_in_executor(self._stopper, self.store.stop, turn)
            await asyncio.wait({working}, timeout=STOP_INTERVAL_S)
        if not working.cancelled():
            working.exception()  # nobody waits for it: that it was stopped, or anything else


async def _turn_begun(turn: Turn, woken: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(WAIT_S):
            await woken.wait()
    except TimeoutError:
        raise busy() from None
    if turn.state is not State.RUNNING:
        raise busy()


async def _while_connected(request: Request, work: Coroutine[Any, Any, Answer]) -> Answer:
    """Return what `work` does; cancel it when the client goes away."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Refused("client_gone")
        return working.result()
    finally:
        leaving.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait({working})


async def _left(request: Request) -> None:
    """Return when the client has closed its side. The body must have been read."""
    while not request.scope.get(HALF_CLOSED):
        if (await request.receive())["type"] == "http.disconnect":
            return
