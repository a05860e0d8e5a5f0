"""The events of this client between `track` and their end, in order: in memory, on disk, or both.

    put ──► tail (on disk only) ──► window (in memory) ──► sending ──► settled
                  ▲                        │
                  └── straight here while there is no tail and room

`segments` are files of the spool; each holds an unbroken run of events by their numbers (the first
event ever put is 0). Which events are on disk:

    spool   events on disk before `put` returns   the others
    off     none                                  stay in memory; too many are dropped
    auto    too many, or while `journal` is on    written by `save`: outage, exit, fork
    always  all                                   none

Not locked: its owner holds the lock. Only `read` works on files without it.
"""

from __future__ import annotations

import bisect
import itertools
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from saytics.batch import BATCH_BYTES_MAX, Batch
from saytics.errors import SayticsError
from saytics.queue import EventQueue
from saytics.spool_file import SpoolFile, line
from saytics.spool_folder import SpoolFolder, SpoolFull

# A segment that has this size is followed by a new one, so that what is delivered makes room.
SEGMENT_BYTES = 8 * 1024 * 1024

# What is on disk anyway need not fill the memory: this many events (ten batches) are kept at hand.
JOURNAL_WINDOW = 1000

# After a write that failed, the disk is left alone for so long.
DISK_PAUSE_S = 5.0

# Events written at once while others wait for the lock: about a millisecond.
SAVE_AT_ONCE = 1000


@dataclass(slots=True)
class Segment:
    """A file that holds the events from number `base` on, `count` of them."""

    file: SpoolFile
    base: int
    count: int = 0
    is_sealed: bool = False

    @property
    def end(self) -> int:
        """The number after its last event."""
        return self.base + self.count

    def may_grow(self) -> bool:
        """Return whether more may be appended to it."""
        return not (self.is_sealed or self.file.size >= SEGMENT_BYTES or self.file.is_lost())


@dataclass(frozen=True, slots=True)
class Reading:
    """A piece of the tail to be read: `count` events at most from a byte offset on."""

    segment: Segment
    offset: int
    count: int


class Outbox:
    """A first-in, first-out queue that overflows to disk. `folder` is None where there is none."""

    def __init__(self, queue_max: int, folder: SpoolFolder | None, *, journal: bool) -> None:
        self._folder = folder
        self._window = EventQueue(queue_max)
        self._segments: list[Segment] = []  # by base
        self._tail_offset = 0  # where in its segment the tail begins
        self._disk_pause_until_s = 0.0
        self.journal = journal and folder is not None
        self.sending: deque[Batch] = deque()
        self.settled = 0
        self.tail = 0
        self.disk_problem: Exception | None = None

    def __len__(self) -> int:
        """Events that have no end yet."""
        return self._in_memory() + self.tail

    @property
    def accepted(self) -> int:
        """Events ever put."""
        return self.settled + len(self)

    # -- in

    def put(self, event: bytes, now_s: float) -> SayticsError | None:
        """Take an event and return None, or refuse it and return why."""
        if not self.tail and not self.journal and self._window.put(event, now_s):
            return None
        if self._folder is None:
            return SayticsError("queue_full")
        return self._put_on_disk(event, now_s)

    def _put_on_disk(self, event: bytes, now_s: float) -> SayticsError | None:
        if now_s < self._disk_pause_until_s:
            problem: SayticsError | None = SayticsError("spool_failed")
        else:
            problem = self._append([event])
        if self.tail:
            self.tail += problem is None
            return problem
        if problem is not None:
            return None if self._window.put(event, now_s) else problem
        if len(self._window) < JOURNAL_WINDOW and self._window.put(event, now_s):
            return None
        segment = self._segments[-1]
        self._tail_offset = segment.file.size - len(event) - 10
        self.tail = 1
        return None

    def save(self, count_max: int = SAVE_AT_ONCE) -> int:
        """Write events to disk that are in memory only; return how many, 0 when none are left."""
        gap = next(self._gaps(), None)
        if self._folder is None or gap is None or time.monotonic() < self._disk_pause_until_s:
            return 0
        first, end = gap
        end = min(end, first + count_max)
        position = bisect.bisect_right(self._segments, first, key=lambda segment: segment.base)
        problem = self._append(self._events(first, end), first, position)
        return 0 if problem is not None else end - first

    def write_through(self, event: bytes) -> SayticsError | None:
        """Put an event on disk for the next process: this one sends no more."""
        if self._folder is None:
            return SayticsError("closed")
        problem = self._append([event])
        self.tail += problem is None
        return problem

    def journal_on(self) -> None:
        """Write every event to disk as it comes."""
        self.journal = self._folder is not None

    def journal_off(self) -> None:
        """Keep events in memory again, unless there are older ones on disk to be sent first."""
        if not self.tail:
            self.journal = False

    # -- out

    def is_news(self, flush_at: int, last_bytes: int) -> bool:
        """Return whether the event just put, of `last_bytes`, is the first or fills a batch."""
        return not self.tail and self._window.is_news(flush_at, last_bytes)

    def is_full(self, flush_at: int) -> bool:
        """Return whether a batch would be full."""
        waiting = len(self._window)
        return waiting >= flush_at or self._window.bytes >= BATCH_BYTES_MAX or self.tail > 0

    def oldest_s(self) -> float | None:
        """Return when the oldest waiting event came; None if none waits in memory."""
        return self._window.oldest_s() if self._window else None

    def cut(self, flush_at: int, dropped: int) -> Batch:
        """Begin a batch with the oldest events waiting in memory."""
        batch = self._window.cut(flush_at, BATCH_BYTES_MAX)
        batch.dropped = dropped
        self.sending.append(batch)
        return batch

    def reading(self, flush_at: int) -> Reading | None:
        """Return what should be read from disk now; None for nothing."""
        if not self.tail or len(self._window) >= flush_at:
            return None
        first = self.settled + self._in_memory()
        position = bisect.bisect_right(self._segments, first, key=lambda segment: segment.base)
        segment = self._segments[position - 1]
        return Reading(segment, self._tail_offset, min(segment.end - first, JOURNAL_WINDOW))

    @staticmethod
    def read(reading: Reading) -> tuple[list[bytes], int]:
        """Read a piece of the tail; fewer events where the file was damaged or taken away."""
        try:
            return reading.segment.file.read(reading.offset, reading.count, BATCH_BYTES_MAX * 2)
        except OSError:
            return [], reading.offset

    def install(self, reading: Reading, events: list[bytes], offset: int) -> int:
        """Put what was read into the window; return how many events turned out to be gone."""
        for event in events:
            self._window.put_anyway(event)
        self.tail -= len(events)
        self._tail_offset = offset
        segment = reading.segment
        first = self.settled + self._in_memory()
        gone = 0 if events else segment.end - first
        if gone:
            segment.is_sealed = True
            segment.count -= gone
            self.tail -= gone
            for later in self._segments[self._segments.index(segment) + 1 :]:
                later.base -= gone
        if first >= segment.end:
            self._tail_offset = 0
        return gone

    def settle(self, batch: Batch) -> list[SpoolFile]:
        """End the first batch; return the files that are done with, to be removed."""
        assert self.sending[0] is batch
        self.sending.popleft()
        self.settled += len(batch)
        kept: list[Segment] = []
        finished: list[SpoolFile] = []
        for segment in self._segments:
            is_done = segment.end <= self.settled
            is_growing = self.journal and segment is self._segments[-1] and segment.may_grow()
            if segment.base < self.settled:
                segment.file.mark_done(min(self.settled, segment.end) - segment.base)
            if is_done and not is_growing:
                finished.append(segment.file)
            else:
                kept.append(segment)
        self._segments = kept
        return finished

    def is_first(self, batch: Batch) -> bool:
        """Return whether a batch is the one under way."""
        return bool(self.sending) and self.sending[0] is batch

    def split(self, batch: Batch) -> None:
        """Replace the first batch by its halves."""
        assert self.sending[0] is batch
        self.sending.popleft()
        self.sending.extendleft(reversed(batch.halves()))

    # -- the end

    def close(self) -> list[bytes]:
        """Hand the files on to the next process; return the events that are in none of them."""
        lost = [event for gap in self._gaps() for event in self._events(*gap)]
        for segment in self._segments:
            if segment.end <= self.settled:
                segment.file.remove()
            else:
                segment.file.release()
        self._forget()
        return lost

    def abandon(self) -> None:
        """Leave everything to the process this one was forked from."""
        for segment in self._segments:
            segment.file.close()
        self._forget()

    def touch(self) -> None:
        """Show readers on other machines that the owner lives."""
        for segment in self._segments:
            segment.file.is_lost()

    def _forget(self) -> None:
        self._segments = []
        self.sending.clear()
        self._window.clear()
        self.tail = 0

    def _in_memory(self) -> int:
        return sum(map(len, self.sending)) + len(self._window)

    def _gaps(self) -> Iterator[tuple[int, int]]:
        """Yield the runs of events, from and to before, that are in memory only."""
        first = self.settled
        end = first + self._in_memory()
        for segment in self._segments:
            if first < min(segment.base, end):
                yield first, min(segment.base, end)
            first = max(first, segment.end)
        if first < end:
            yield first, end

    def _events(self, first: int, end: int) -> list[bytes]:
        """Return events in memory by their numbers."""
        sending = (event for batch in self.sending for event in batch.serialised)
        everything = itertools.chain(sending, self._window.events())
        return list(itertools.islice(everything, first - self.settled, end - self.settled))

    def _append(
        self, events: list[bytes], base: int | None = None, position: int | None = None
    ) -> SayticsError | None:
        """Write events whose first has the number `base` behind the segment before `position`."""
        base = self.accepted if base is None else base
        position = len(self._segments) if position is None else position
        lines = b"".join(map(line, events))
        try:
            assert self._folder is not None
            self._folder.reserve(len(lines))
            segment = self._segments[position - 1] if position else None
            if segment is None or segment.end != base or not segment.may_grow():
                segment = Segment(self._folder.create(), base)
                self._segments.insert(position, segment)
            segment.file.append(lines)
            segment.count += len(events)
        except SpoolFull:
            return SayticsError("spool_full")
        except OSError as problem:
            self._pause_disk(problem)
            return SayticsError("spool_failed")
        return None

    def _pause_disk(self, problem: OSError) -> None:
        self.disk_problem = problem
        self._disk_pause_until_s = time.monotonic() + DISK_PAUSE_S
        for segment in self._segments:
            segment.is_sealed = True  # what a failed write has left at its end is not ours to know
        for segment in [each for each in self._segments if not each.count]:
            self._segments.remove(segment)
            segment.file.remove()
