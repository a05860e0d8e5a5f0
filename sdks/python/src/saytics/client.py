"""The client: what a program calls. Nothing here raises into it after construction."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, Unpack

from saytics import lifetime
from saytics.errors import SayticsError
from saytics.event import EventWriter, Id, Timestamp, encode
from saytics.ledger import Counts
from saytics.options import OptionValues, options_of
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

    def __init__(self, key: str | None = None, **options: Unpack[OptionValues]) -> None:
        self._options = options_of(key, options)
        self._before_send = self._options.before_send
        self._is_enabled = self._options.enabled
        self._reporter = Reporter(self._options.on_error, debug=self._options.debug)
        self._writer = EventWriter()
        self._sender = Sender(self._options, self._reporter)
        if self._is_enabled:
            lifetime.watch(self)

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
        if not self._is_enabled:
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
        if not self._is_enabled:
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
        """Flush, then stop for good; what is unsent after `timeout` seconds stays in the spool.

        Without a spool it is dropped and reported. Runs by itself at a normal exit of the
        interpreter.
        """
        counts = self._sender.shutdown(timeout)
        lifetime.unwatch(self)
        return counts

    def counts(self) -> Counts:
        """Return where every event tracked so far is."""
        return self._sender.counts()

    def recovered(self) -> Counts:
        """Return what became of events that other processes had left in the spool.

        They are in no count of this client's own.
        """
        ended = self._sender.recovered()
        total = ended.delivered + ended.duplicate + ended.rejected
        return Counts(total, ended.delivered, ended.duplicate, ended.rejected, 0, 0, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.shutdown()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} host={self._options.host!r}>"

    # -- for the end of the process

    @property
    def has_spool(self) -> bool:
        """Whether what is not sent is kept on disk."""
        return self._options.spool != "off"

    def save(self, *, and_what_follows: bool = False) -> None:
        """Put on disk what is queued; with `and_what_follows`, also what is tracked from now on."""
        self._sender.save(and_what_follows=and_what_follows)

    def take_late_events(self) -> None:
        """Put on disk what is tracked after the shutdown: the interpreter is ending."""
        self._sender.take_late_events()

    def restart_in_child(self) -> None:
        """Begin anew in a forked child; runs by itself."""
        self._writer.restart_in_child()
        self._reporter.restart_in_child()
        self._sender.restart_in_child()

    def _queue(self, wire: dict[str, Any]) -> None:
        if self._before_send is not None:
            kept = self._filter(wire)
            if kept is None:
                return
            wire = kept
        self._send(wire)

    def _send(self, wire: dict[str, Any]) -> None:
        problem = self._sender.put(encode(wire))
        if problem is not None:
            self._reporter.lost(problem, [wire])

    def _filter(self, wire: dict[str, Any]) -> dict[str, Any] | None:
        assert self._before_send is not None
        try:
            return self._before_send(wire)
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
