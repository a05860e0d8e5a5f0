"""The thread that delivers events, and the book of what became of each.

    put ──► outbox ──► the batch under way ──► delivered, duplicate, rejected,
               ▲               │                dropped or left in the spool
               └── back-off ◄──┘
    backlog ──┘  (what other processes left in the spool; not in the counts)

All state changes under one lock; requests, the program's own functions and reading files run
outside it. An event is settled once: whoever ends its batch while it is the first one books it.
After the second failure in a row the server counts as away: what is queued goes to the spool, what
is tracked goes there at once, and one batch is tried every half minute until one succeeds.
"""

from __future__ import annotations

import datetime as dt
import random
import threading
import time

from saytics.answer import Accepted, Reaction, Refused, Retry, TooLarge, read_answer
from saytics.backlog import Backlog
from saytics.backoff import wait_s
from saytics.batch import GZIP_FROM_BYTES, Batch, compress
from saytics.ending import Loss, ending
from saytics.errors import SayticsError
from saytics.ledger import Counts, Ledger
from saytics.options import Options
from saytics.outbox import Outbox, Reading
from saytics.report import Reporter
from saytics.spool_file import TOUCH_EVERY_S
from saytics.spool_folder import SpoolFolder
from saytics.transport import Transport

# Failures in a row after which the server counts as away: one is a blip, and costs no disk.
AWAY_AFTER = 2

# A shutdown that takes longer than this puts on disk what it is still sending: whoever asked the
# process to end may lose patience.
SAVE_AFTER_S = 0.5

# How long the thread rests after a fault of its own.
PAUSE_AFTER_BUG_S = 1.0

# How long a shutdown waits for its thread, whose connection it has closed.
JOIN_S = 1.0


class Sender:
    """Takes serialised events and delivers them in the order they came."""

    def __init__(self, options: Options, reporter: Reporter) -> None:
        self._options = options
        self._reporter = reporter
        self._transport = Transport(options.host, options.key, options.timeout_s)
        # Not `random`'s shared generator: drawing from it would change the numbers of a program
        # that seeded it.
        self._random = random.Random()  # noqa: S311 - jitter is no secret
        self._closed = False
        self._takes_late_events = False
        self._disk_problem_said = False
        self._start_empty()
        with self._lock:
            if self._has_backlog:
                self._wake()

    def _start_empty(self) -> None:
        # Reentrant: a signal handler that tracks while its thread is inside `put` must not wait for
        # itself.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._ledger = Ledger()
        options = self._options
        folder = None
        if options.spool != "off" and options.spool_root is not None and options.enabled:
            folder = SpoolFolder(
                options.spool_root, options.host, options.key, options.spool_bytes_max
            )
        self._outbox = Outbox(options.queue_max, folder, journal=options.spool == "always")
        self._backlog = Backlog(folder) if folder is not None else None
        self._has_backlog = folder is not None and folder.has_files()
        self._backlogs_turn = False
        self._thread: threading.Thread | None = None
        self._is_saving = False
        self._told = 0  # own events with an end of which the program has been told
        self._due_up_to = 0  # a flush wants the events up to here sent without waiting for more
        self._dropped_told = 0  # of the dropped ones, how many the server has been told of
        self._failures = 0  # in a row
        self._not_before_s = 0.0  # the back-off's end, on the monotonic clock
        self._asked_not_before_s = 0.0  # the same, as the server has asked for it

    # -- called by the program's threads

    def put(self, event: bytes) -> SayticsError | None:
        """Queue an event and return None, or drop it and return why."""
        now_s = time.monotonic()
        with self._lock:
            ledger, outbox = self._ledger, self._outbox
            ledger.tracked += 1
            if self._closed:
                problem = self._put_late(event)
            else:
                problem = outbox.put(event, now_s)
                # The thread sleeps until the oldest event is due; it need only hear of a first
                # event and of a full batch. Waking it for each would cost more than all the rest.
                if problem is None and outbox.is_news(self._options.flush_at, len(event)):
                    self._wake()
            if problem is not None:
                ledger.dropped += 1
        if outbox.disk_problem is not None and not self._disk_problem_said:
            self._say_disk_problem()
        return problem

    def book_lost(self, *, rejected: int = 0, dropped: int = 0) -> None:
        """Count events that ended before they could be queued."""
        with self._lock:
            self._ledger.tracked += rejected + dropped
            self._ledger.rejected += rejected
            self._ledger.dropped += dropped

    def counts(self) -> Counts:
        """Return where every event is now."""
        with self._lock:
            return self._ledger.counts(self._outbox.tail)

    def recovered(self) -> Ledger:
        """Return what became of events other processes had left in the spool."""
        return self._backlog.tally if self._backlog is not None else Ledger()

    def flush(self, timeout_s: float, *, with_backlog: bool = False) -> Counts:
        """Send what is queued now; return when all of it has an end, or the time is over.

        Returns at once when the next try is later than that anyway: nothing would happen.
        """
        deadline_s = time.monotonic() + timeout_s
        with self._lock:
            target = self._due_up_to = self._outbox.accepted
            # `on_error` runs in the sending thread: waiting there would be waiting for itself.
            if threading.current_thread() is self._thread:
                return self.counts()
            if self._has_left(target, with_backlog=with_backlog):
                self._wake()
            while self._has_left(target, with_backlog=with_backlog) and not self._closed:
                left_s = deadline_s - time.monotonic()
                if left_s <= 0 or self._not_before_s > deadline_s or self._thread is None:
                    break
                self._changed.wait(left_s)
            is_alone = self._thread is None and self._has_left(target, with_backlog=False)
        if is_alone:
            self._deliver_here(target, deadline_s)
        return self.counts()

    def shutdown(self, timeout_s: float) -> Counts:
        """Flush, stop the thread, leave the rest in the spool or drop it. Idempotent."""
        deadline_s = time.monotonic() + timeout_s
        with self._lock:
            if self._closed:
                return self.counts()
            # What waits for its back-off gets one more chance; what the server asked for holds.
            self._not_before_s = self._asked_not_before_s
            # A last look, also for files of processes that have died within the minute.
            if self._backlog is not None and self._backlog.look_again():
                self._has_backlog = True
        self.flush(min(timeout_s, SAVE_AFTER_S))
        self.save()
        self.flush(max(0.0, deadline_s - time.monotonic()), with_backlog=True)
        self._close()
        return self.counts()

    def save(self, *, and_what_follows: bool = False) -> None:
        """Put on disk what is in memory only: somebody may end the process at any time.

        `and_what_follows`: also what is tracked from now on, until all of it is delivered.
        """
        with self._lock:
            while self._outbox.save():
                pass
            if and_what_follows:
                self._outbox.journal_on()

    def take_late_events(self) -> None:
        """Put events that come after the shutdown on disk: the interpreter is ending."""
        self._takes_late_events = True

    def restart_in_child(self) -> None:
        """Begin anew in a forked child: what was queued belongs to the parent, which sends it."""
        outbox, backlog = self._outbox, self._backlog
        self._start_empty()
        outbox.abandon()
        if backlog is not None:
            backlog.abandon()
        # Others are about to look after it: the parent is alive.
        self._has_backlog = False
        self._transport.forget()

    # -- called with the lock held

    def _has_left(self, target: int, *, with_backlog: bool) -> bool:
        if self._told < min(target, self._outbox.accepted):
            return True
        return with_backlog and self._has_backlog and not self._failures

    def _put_late(self, event: bytes) -> SayticsError | None:
        if self._takes_late_events:
            return self._outbox.write_through(event)
        return SayticsError("closed")

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

    def _wait_s(self, now_s: float) -> float | None:
        """Return seconds until there is something to send: 0 for now, None for not in sight."""
        if self._outbox.sending:
            return max(0.0, self._not_before_s - now_s)
        oldest_s = self._outbox.oldest_s()
        if oldest_s is None:
            return None
        is_due = (
            self._outbox.is_full(self._options.flush_at) or self._outbox.settled < self._due_up_to
        )
        due_s = now_s if is_due else oldest_s + self._options.flush_interval_s
        return max(0.0, due_s - now_s, self._not_before_s - now_s)

    def _own_batch(self) -> Batch:
        outbox = self._outbox
        if not outbox.sending:
            untold = self._ledger.dropped - self._dropped_told
            outbox.cut(self._options.flush_at, untold)
        return outbox.sending[0]

    # -- the sending thread

    def _run(self) -> None:
        while not self._closed:
            try:
                while (batch := self._next_batch()) is not None:
                    self._react(batch, self._try(batch))
            # The top of the thread: a bug here must not end all sending, nor spin.
            except Exception as problem:
                text = f"{type(problem).__name__}: {problem}".replace(self._options.key, "KEY")
                self._reporter.write(f"internal_error, going on: {text}")
                with self._lock:
                    self._changed.wait(PAUSE_AFTER_BUG_S)
        if self._backlog is not None:
            self._backlog.release()

    def _deliver_here(self, target: int, deadline_s: float) -> None:
        """Do the thread's work in the caller's: at the end of the interpreter none can start."""
        while self._told < target and (batch := self._next_batch(deadline_s)) is not None:
            self._react(batch, self._try(batch))

    def _next_batch(self, until_s: float | None = None) -> Batch | None:
        """Wait for the next batch to try; None after the shutdown, or once `until_s` is over."""
        while True:
            with self._lock:
                if self._closed:
                    return None
                if self._is_saving and self._save_some():
                    continue
                reading = self._outbox.reading(self._options.flush_at)
            if reading is not None:
                self._refill(reading)
                continue
            now_s = time.monotonic()
            with self._lock:
                wait_s = self._wait_s(now_s)
                is_own_turn = not self._backlogs_turn or self._outbox.settled < self._due_up_to
                if wait_s == 0 and is_own_turn:
                    return self._own_batch()
            if self._backlog is not None and now_s >= self._not_before_s:
                batch = self._backlog.next_batch(self._options.flush_at, now_s)
                if batch is not None:
                    return batch
            with self._lock:
                self._backlogs_turn = False
                if self._has_backlog and now_s >= self._not_before_s:
                    self._has_backlog = False
                    self._changed.notify_all()
                if until_s is not None and now_s >= until_s:
                    return None
                if wait_s != 0 and not self._closed:
                    self._rest(wait_s, until_s, now_s)

    def _rest(self, wait_s: float | None, until_s: float | None, now_s: float) -> None:
        """Sleep until there may be something to do. With the lock held, which waiting gives up."""
        # Whatever came between the look and now has changed this.
        wait_s = self._wait_s(now_s)
        if wait_s == 0:
            return
        waits = [] if wait_s is None else [wait_s]
        if until_s is not None:
            waits.append(max(0.0, until_s - now_s))
        if self._backlog is not None:
            waits += [max(0.0, self._backlog.look_at_s - now_s, self._not_before_s - now_s)]
            waits += [TOUCH_EVERY_S]
        self._changed.wait(min(waits) if waits else None)
        self._outbox.touch()
        if self._backlog is not None:
            self._backlog.touch()

    def _save_some(self) -> bool:
        if self._outbox.save():
            return True
        self._is_saving = False
        self._outbox.journal_on()
        return False

    def _refill(self, reading: Reading) -> None:
        events, offset = self._outbox.read(reading)
        with self._lock:
            if self._closed:
                return
            gone = self._outbox.install(reading, events, offset)
            self._ledger.dropped += gone
        if gone:
            self._reporter.lost(SayticsError("spool_damaged"), [], count=gone)

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
            text = f"{type(problem).__name__}: {problem}".replace(self._options.key, "KEY")
            return Retry(SayticsError("internal_error", text))

    def _react(self, batch: Batch, reaction: Reaction) -> None:
        match reaction:
            case Retry(error, after_s):
                self._put_off(batch, error, after_s)
            case TooLarge() if len(batch) > 1:
                self._split(batch)
            case Accepted() | Refused() | TooLarge():
                if isinstance(reaction, Accepted):
                    for warning in reaction.warnings:
                        self._reporter.debug(f"warning: {warning}")
                self._settle(batch, *ending(batch, reaction), is_answered=True)

    def _put_off(self, batch: Batch, error: SayticsError, after_s: float) -> None:
        batch.failed_tries += 1
        with self._lock:
            self._failures += 1
            # Also kept when this batch is given up: the next one meets the same server.
            wait = wait_s(self._failures, after_s, self._random.random())
            now_s = time.monotonic()
            self._not_before_s = now_s + wait
            self._asked_not_before_s = now_s + after_s
            if self._failures >= AWAY_AFTER and self._backlog is not None:
                self._is_saving = True
            self._changed.notify_all()
        if batch.failed_tries <= self._options.max_retries:
            self._reporter.debug(f"try {batch.failed_tries} failed, next in {wait:.1f} s")
        elif self._backlog is None:
            self._settle(batch, Ledger(dropped=len(batch)), [(error, batch.events())])
        elif error.code == "unreachable" or error.status in (429, 503):
            # Nothing wrong with the batch: there is no server for any. It stays on disk.
            self._reporter.debug(f"try {batch.failed_tries} failed, next in {wait:.1f} s")
        elif self._backlog.is_first(batch):
            self._backlog.set_aside(now_s)
        elif self._backlog.leave(batch, now_s):
            self._reporter.debug(f"{len(batch)} events set aside in the spool: {error}")
            self._settle(batch, Ledger(spooled=len(batch)), [])

    def _split(self, batch: Batch) -> None:
        with self._lock:
            if self._backlog is not None and self._backlog.is_first(batch):
                self._backlog.split(batch)
            elif self._outbox.is_first(batch):
                self._outbox.split(batch)

    def _settle(
        self, batch: Batch, ends: Ledger, losses: list[Loss], *, is_answered: bool = False
    ) -> None:
        """Book the ends of a batch's events and report its losses.

        A flush waits for both, so that after it the program has been told.
        """
        if is_answered:
            self._server_is_back()
        if self._backlog is not None and self._backlog.is_first(batch):
            self._settle_backlog(batch, ends)
        elif not self._settle_own(batch, ends, is_answered=is_answered):
            return  # shutdown's time was over: it has booked this batch
        for error, events in losses:
            self._reporter.lost(error, events)
        with self._lock:
            self._told = self._outbox.settled
            self._changed.notify_all()

    def _settle_own(self, batch: Batch, ends: Ledger, *, is_answered: bool) -> bool:
        with self._lock:
            if not self._outbox.is_first(batch):
                return False
            finished = self._outbox.settle(batch)
            self._ledger.add(ends)
            if is_answered and ends.rejected != len(batch):
                self._dropped_told += batch.dropped
            self._backlogs_turn = self._has_backlog
        for file in finished:
            file.remove()
        return True

    def _settle_backlog(self, batch: Batch, ends: Ledger) -> None:
        assert self._backlog is not None
        is_ours = self._backlog.is_left_by_us()
        self._backlog.settle(batch, ends)
        with self._lock:
            self._backlogs_turn = False
            if is_ours:
                self._ledger.add(ends)
                self._ledger.spooled -= len(batch)

    def _server_is_back(self) -> None:
        with self._lock:
            self._failures = 0
            self._not_before_s = self._asked_not_before_s = 0.0
            self._is_saving = False
            if self._options.spool == "auto":
                self._outbox.journal_off()

    # -- the end

    def _close(self) -> None:
        with self._lock:
            thread = self._thread
            self._closed = True
            left = len(self._outbox)
            lost = self._outbox.close()
            self._ledger.add(Ledger(dropped=len(lost), spooled=left - len(lost)))
            self._changed.notify_all()
        self._transport.close()
        if thread is None and self._backlog is not None:
            self._backlog.release()
        if thread is not None and thread is not threading.current_thread():
            thread.join(JOIN_S)
        if lost:
            batch = Batch(lost)
            self._reporter.lost(SayticsError("not_sent"), batch.events())
        self._say_disk_problem()

    def _say_disk_problem(self) -> None:
        problem = self._outbox.disk_problem
        if problem is not None and not self._disk_problem_said:
            self._disk_problem_said = True
            self._reporter.write(f"the spool cannot be written, events stay in memory: {problem}")
