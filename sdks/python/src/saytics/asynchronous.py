"""The client for programs that await: the same queue and thread, waited for without blocking.

    async with AsyncSaytics("YOUR_SECRET_KEY") as saytics:
        await saytics.track(user_id="user_456", event="Subscription Upgraded")
        await saytics.flush()

Under asyncio and trio. `track` and `identify` never yield to the loop: there is nothing to wait
for.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, Unpack

from saytics.client import DEFAULT_TIMEOUT_S, Saytics
from saytics.event import Id, Timestamp
from saytics.ledger import Counts
from saytics.options import OptionValues


class AsyncSaytics:
    """Sends events to a Saytics server from coroutines; the options are those of `Saytics`."""

    def __init__(self, key: str | None = None, **options: Unpack[OptionValues]) -> None:
        self._client = Saytics(key, **options)

    @classmethod
    def around(cls, client: Saytics) -> Self:
        """Return an awaitable face of a client that is there already, such as a test's recorder."""
        made = cls.__new__(cls)
        made._client = client
        return made

    async def track(  # noqa: PLR0913 - one argument for each field of an event
        self,
        *,
        event: str | None = None,
        user_id: Id | None = None,
        anonymous_id: Id | None = None,
        properties: Mapping[str, Any] | None = None,
        timestamp: Timestamp | None = None,
        message_id: str | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        """Queue one event, as `Saytics.track` does."""
        self._client.track(
            event=event,
            user_id=user_id,
            anonymous_id=anonymous_id,
            properties=properties,
            timestamp=timestamp,
            message_id=message_id,
            context=context,
        )

    async def identify(
        self,
        user_id: Id | None = None,
        traits: Mapping[str, Any] | None = None,
        *,
        anonymous_id: Id | None = None,
        timestamp: Timestamp | None = None,
        message_id: str | None = None,
    ) -> None:
        """Queue traits of a user, as `Saytics.identify` does."""
        self._client.identify(
            user_id,
            traits,
            anonymous_id=anonymous_id,
            timestamp=timestamp,
            message_id=message_id,
        )

    async def flush(self, timeout: float = DEFAULT_TIMEOUT_S) -> Counts:  # noqa: ASYNC109 - as Saytics
        """Send what is queued and wait for its end, at most `timeout` seconds."""
        return await _beside_the_loop(self._client.flush, timeout)

    async def shutdown(self, timeout: float = DEFAULT_TIMEOUT_S) -> Counts:  # noqa: ASYNC109 - as Saytics
        """Flush, then stop for good; what is left after `timeout` seconds stays in the spool."""
        return await _beside_the_loop(self._client.shutdown, timeout)

    def counts(self) -> Counts:
        """Return where every event tracked so far is."""
        return self._client.counts()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.shutdown()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} around {self._client!r}>"


async def _beside_the_loop(wait: Callable[[float], Counts], timeout_s: float) -> Counts:
    # Not imported: only a program that uses trio has it, and then it is there already.
    trio: Any = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_task():
        counts: Counts = await trio.to_thread.run_sync(wait, timeout_s)
        return counts
    return await asyncio.to_thread(wait, timeout_s)
