"""The thread that empties the queue, and the book of what became of each event.

    put ──► queue ──► sending (the batch under way, or its halves) ──► delivered, duplicate,
                         ▲                  │                          rejected or dropped
                         └── back-off ◄─────┘

All state changes under one lock; requests and the program's own functions run outside it. An event
is settled once: whoever takes its batch out of `sending` under the lock books it.
Nothing is durable here: what is not sent when the process ends is reported and gone.
"""

from __future__ import annotations

import datetime as dt
import random
import threading
import time
from collections import deque
from typing import Any

from saytics.answer import Accepted, Reaction, Refused, Retry, TooLarge, read_answer
from saytics.backoff import wait_s
from saytics.batch import BATCH_BYTES_MAX, GZIP_FROM_BYTES, Batch, compress
from saytics.errors import SayticsError
from saytics.ledger import Counts, Ledger
from saytics.options import Options
from saytics.queue import EventQueue
from saytics.report import Reporter
from saytics.transport import Transport

Loss = tuple[SayticsError, list[dict[str, Any]]]


class Sender:
    """Takes serialised events and delivers them in the order they came."""

    def __init__(self, options: Options, reporter: Reporter) -> None:
        self._options = options
        self._reporter = reporter
        self._transport = Transport(options.host, options.key, options.timeout_s)
        # Not `random`'s shared generator: drawing from it would change the numbers of a program
        # that seeded it.
        self._random = random.Random()  # noqa: S311 - jitter is no secret
        self._start_empty()

    def _start_empty(self) -> None:
        # Reentrant: a signal handler that tracks while its thread is inside `put` must not wait for
        # itself.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._ledger = Ledger()
        self._queue = EventQueue(self._options.queue_max)
        self._sending: deque[Batch] = deque()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._accepted = 0  # events ever put into the queue
        self._settled = 0  # of those, the ones with an end; events end in order
        self._due_up_to = 0  # a flush wants the events up to here sent without waiting for more
        self._not_before_s = 0.0  # the back-off's end, on the monotonic clock

    # -- called by the program's threads

    def put(self, event: bytes) -> SayticsError | None:
        """Queue an event and return None, or drop it and return why."""
        now_s = time.monotonic()
        with self._lock:
            self._ledger.tracked += 1
            if self._closed:
                self._ledger.dropped += 1
                return SayticsError("closed")
            if not self._queue.put(event, now_s):
                self._ledger.dropped += 1
                return SayticsError("queue_full")
            self._accepted += 1
            # The thread sleeps until the oldest event is due; it need only hear of a first event
            # and of a full batch. Waking it for each would cost more than all the rest.
            if self._queue.is_news(self._options.flush_at, len(event)):
                self._wake()
        return None

    def book_lost(self, *, rejected: int = 0, dropped: int = 0) -> None:
        """Count events that ended before they could be queued."""
        with self._lock:
            self._ledger.tracked += rejected + dropped
            self._ledger.rejected += rejected
            self._ledger.dropped += dropped

    def counts(self) -> Counts:
        """Return where every event is now."""
        with self._lock:
            return self._ledger.counts()

    def flush(self, timeout_s: float) -> Counts:
        """Send what is queued now; return when all of it has an end, or the time is over."""
        with self._lock:
            target = self._due_up_to = self._accepted
            if self._settled < target:
                self._wake()
            # `on_error` runs in the sending thread: waiting there would be waiting for itself.
            if threading.current_thread() is not self._thread:
                self._changed.wait_for(lambda: self._settled >= target, timeout_s)
            return self._ledger.counts()

    def shutdown(self, timeout_s: float) -> Counts:
        """Flush, stop the thread, drop and report what is left. Idempotent."""
        self.flush(timeout_s)
        with self._lock:
            self._closed = True
            left = self._take_rest()
            self._changed.notify_all()
        self._transport.close()
        if left:
            self._reporter.lost(
                SayticsError("not_sent"), [event for batch in left for event in batch.events()]
            )
        return self.counts()

    def restart_in_child(self) -> None:
        """Begin anew in a forked child: what was queued belongs to the parent, which sends it."""
        closed = self._closed
        self._start_empty()
        self._closed = closed
        self._transport.forget()

    # -- called with the lock held

    def _wake(self) -> None:
        if self._thread is None and not self._closed:
            thread = threading.Thread(target=self._run, name="saytics-sender", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                # No more threads now (limits, interpreter exit). The events stay queued; the next
                # put or flush tries again.
                return
            self._thread = thread
        self._changed.notify_all()

    def _is_full_in_bytes(self) -> bool:
        return self._queue.bytes >= BATCH_BYTES_MAX

    def _wait_s(self, now_s: float) -> float | None:
        """Return seconds until there is something to send: 0 for now, None for not in sight."""
        if self._sending:
            return max(0.0, self._not_before_s - now_s)
        if not self._queue:
            return None
        is_due = (
            len(self._queue) >= self._options.flush_at
            or self._is_full_in_bytes()
            or self._settled < self._due_up_to
        )
        due_s = now_s if is_due else self._queue.oldest_s() + self._options.flush_interval_s
        return max(0.0, due_s - now_s, self._not_before_s - now_s)

    def _take_rest(self) -> list[Batch]:
        left = list(self._sending)
        self._sending.clear()
        if self._queue:
            left.append(self._queue.cut(len(self._queue), self._queue.bytes * 2 + BATCH_BYTES_MAX))
        count = sum(len(batch) for batch in left)
        self._ledger.dropped += count
        self._settled += count
        return left

    # -- the sending thread

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            self._react(batch, self._try(batch))

    def _next_batch(self) -> Batch | None:
        """Wait for the next batch to try; None once the client is shut down."""
        with self._lock:
            while not self._closed:
                wait = self._wait_s(time.monotonic())
                if wait == 0:
                    if not self._sending:
                        self._sending.append(
                            self._queue.cut(self._options.flush_at, BATCH_BYTES_MAX)
                        )
                    return self._sending[0]
                self._changed.wait(wait)
        return None

    def _try(self, batch: Batch) -> Reaction:
        try:
            body = batch.body()
            is_gzip = self._options.gzip and len(body) > GZIP_FROM_BYTES
            answer = self._transport.post(compress(body) if is_gzip else body, is_gzip=is_gzip)
            self._reporter.debug(f"{len(batch)} events, {len(body)} bytes: {answer.status}")
            return read_answer(answer, len(batch), dt.datetime.now(dt.UTC))
        except SayticsError as problem:
            self._reporter.debug(str(problem))
            return Retry(problem)
        # The top of the thread: whatever is wrong with one try must not end all sending.
        except Exception as problem:
            self._reporter.debug(f"{type(problem).__name__} while sending")
            return Retry(SayticsError("internal_error", f"{type(problem).__name__}: {problem}"))

    def _react(self, batch: Batch, reaction: Reaction) -> None:
        match reaction:
            case Accepted(delivered, duplicates, rejected, warnings):
                for warning in warnings:
                    self._reporter.debug(f"warning: {warning}")
                self._not_before_s = 0.0
                losses = [(error, [batch.event(index)]) for index, error in rejected.items()]
                self._settle(batch, Ledger(0, delivered, duplicates, len(rejected)), losses)
            case TooLarge() if len(batch) > 1:
                self._split(batch)
            case TooLarge(error):
                self._settle(batch, Ledger(rejected=len(batch)), [(error, batch.events())])
            case Refused(error, rejected):
                losses = [(error, batch.events())]
                if rejected:
                    losses = [
                        (rejected.get(index, error), [event])
                        for index, event in enumerate(batch.events())
                    ]
                self._settle(batch, Ledger(rejected=len(batch)), losses)
            case Retry(error, after_s):
                self._put_off(batch, error, after_s)

    def _put_off(self, batch: Batch, error: SayticsError, after_s: float) -> None:
        batch.failed_tries += 1
        # Also kept when this batch is given up: the next one meets the same server.
        wait = wait_s(batch.failed_tries, after_s, self._random.random())
        self._not_before_s = time.monotonic() + wait
        if batch.failed_tries <= self._options.max_retries:
            self._reporter.debug(f"try {batch.failed_tries} failed, next in {wait:.1f} s")
        else:
            self._settle(batch, Ledger(dropped=len(batch)), [(error, batch.events())])

    def _split(self, batch: Batch) -> None:
        first, second = batch.halves()
        with self._lock:
            if self._sending and self._sending[0] is batch:
                self._sending.popleft()
                self._sending.extendleft((second, first))

    def _settle(self, batch: Batch, ends: Ledger, losses: list[Loss]) -> None:
        """Book the ends of a batch's events and report its losses.

        A flush waits for both, so that after it the program has been told.
        """
        with self._lock:
            if not self._sending or self._sending[0] is not batch:
                return  # shutdown's time was over: it has booked this batch as dropped
            self._sending.popleft()
            self._ledger.add(ends)
        for error, events in losses:
            self._reporter.lost(error, events)
        with self._lock:
            self._settled += len(batch)
            self._changed.notify_all()
