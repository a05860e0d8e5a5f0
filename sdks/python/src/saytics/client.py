"""The client: what a program calls. Nothing here raises into it after construction."""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from saytics.errors import SayticsError
from saytics.event import EventWriter, Id, Timestamp, encode
from saytics.ledger import Counts
from saytics.options import (
    BeforeSend,
    OnError,
    Options,
    host_or_environment,
    key_or_environment,
    refuse_spool,
)
from saytics.report import Reporter
from saytics.sender import Sender

# What a program waits at its end for a server that does not answer.
DEFAULT_TIMEOUT_S = 10.0


class Saytics:
    """Sends events to a Saytics server from any thread.

    `key` and `host` default to `SAYTICS_SECRET_KEY` and `SAYTICS_HOST`. Every option, its default
    and its unit are in the README. Wrong options raise ValueError here; afterwards trouble goes to
    `on_error(error, events)`, or to stderr, and never into the calling program.
    """

    def __init__(  # noqa: PLR0913 - the options are the contract's
        self,
        key: str | None = None,
        *,
        host: str | None = None,
        flush_at: int = 100,
        flush_interval_s: float = 1.0,
        queue_max: int = 100_000,
        spool: str = "off",
        gzip: bool = True,
        timeout_s: float = 10.0,
        max_retries: int = 10,
        before_send: BeforeSend | None = None,
        on_error: OnError | None = None,
        enabled: bool = True,
        debug: bool = False,
    ) -> None:
        refuse_spool(spool)
        self._options = Options(
            key=key_or_environment(key),
            host=host_or_environment(host),
            flush_at=flush_at,
            flush_interval_s=flush_interval_s,
            queue_max=queue_max,
            gzip=gzip,
            timeout_s=timeout_s,
            max_retries=max_retries,
            before_send=before_send,
            on_error=on_error,
            enabled=enabled,
            debug=debug,
        )
        self._reporter = Reporter(on_error, debug=debug)
        self._writer = EventWriter()
        self._sender = Sender(self._options, self._reporter)
        if enabled:
            atexit.register(self.shutdown)
            _open_clients.add(self)

    def track(  # noqa: PLR0913 - one argument for each field of an event
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
        """Queue one event. `event` and one of the two ids are required.

        `timestamp` defaults to now. Pass `message_id` where your own code may run twice for one
        thing that happened, such as a payment provider's event id: equal ids count once.
        """
        if not self._options.enabled:
            return
        try:
            self._queue(
                self._writer.track(
                    event, user_id, anonymous_id, properties, timestamp, message_id, context
                )
            )
        # The border to the host: no value it passes, and no bug of ours, may raise into it.
        except Exception as problem:
            self._reject(problem, {"event": event, "userId": user_id, "properties": properties})

    def identify(
        self,
        user_id: Id | None = None,
        traits: Mapping[str, Any] | None = None,
        *,
        anonymous_id: Id | None = None,
        timestamp: Timestamp | None = None,
        message_id: str | None = None,
    ) -> None:
        """Queue traits of a user, and the link from `anonymous_id` to them if given.

        Traits merge per key on the server; None removes one.
        """
        if not self._options.enabled:
            return
        try:
            self._queue(self._writer.identify(user_id, traits, anonymous_id, timestamp, message_id))
        # As in `track`.
        except Exception as problem:
            self._reject(problem, {"type": "identify", "userId": user_id, "traits": traits})

    def flush(self, timeout: float = DEFAULT_TIMEOUT_S) -> Counts:
        """Send what is queued and wait for its end, at most `timeout` seconds.

        Returns the counts since the client was made; `queued` is what is still unanswered.
        """
        return self._sender.flush(timeout)

    def shutdown(self, timeout: float = DEFAULT_TIMEOUT_S) -> Counts:
        """Flush, then stop for good; drop and report what is unsent after `timeout` seconds.

        Runs by itself at a normal exit of the interpreter.
        """
        atexit.unregister(self.shutdown)
        _open_clients.discard(self)
        return self._sender.shutdown(timeout)

    def counts(self) -> Counts:
        """Return where every event tracked so far is."""
        return self._sender.counts()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.shutdown()

    def _queue(self, wire: dict[str, Any]) -> None:
        if self._options.before_send is not None:
            kept = self._filter(wire)
            if kept is None:
                return
            wire = kept
        problem = self._sender.put(encode(wire))
        if problem is not None:
            self._reporter.lost(problem, [wire])

    def _filter(self, wire: dict[str, Any]) -> dict[str, Any] | None:
        assert self._options.before_send is not None
        try:
            return self._options.before_send(wire)
        # The program's function: it may be what removes personal data, so an event it could not
        # see through is not sent.
        except Exception as problem:
            self._sender.book_lost(dropped=1)
            self._reporter.lost(
                SayticsError("before_send_failed", f"before_send raised {type(problem).__name__}."),
                [wire],
            )
            return None

    def _reject(self, problem: Exception, event: dict[str, Any]) -> None:
        if not isinstance(problem, SayticsError):
            problem = SayticsError("internal_error", f"{type(problem).__name__}: {problem}")
        self._sender.book_lost(rejected=1)
        self._reporter.lost(problem, [event])


_open_clients: weakref.WeakSet[Saytics] = weakref.WeakSet()


def _restart_in_child() -> None:
    for client in list(_open_clients):
        client._sender.restart_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_in_child)
