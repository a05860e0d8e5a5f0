"""Events that other processes left in the spool, one file after the other.

Files are adopted only when the one at hand is finished, so that several processes share the work.
Only the sending thread touches this; what it delivers is not in this client's counts, except for
batches this client itself had set aside.
"""

from __future__ import annotations

import contextlib
from collections import deque
from dataclasses import dataclass, field

from saytics.batch import BATCH_BYTES_MAX, ENVELOPE_BYTES, Batch
from saytics.ledger import Ledger
from saytics.spool_file import SpoolFile, contents_of, line
from saytics.spool_folder import SpoolFolder, SpoolFull

# How often to look for files of processes that have died meanwhile, and how long a file rests whose
# events the server keeps failing on.
LOOK_EVERY_S = 60.0
ASIDE_FOR_S = 300.0


@dataclass(slots=True)
class _Open:
    file: SpoolFile
    id: str
    offset: int
    done: int
    events: int
    sending: deque[Batch] = field(default_factory=deque)


class Backlog:
    """The files of `folder` whose owners are dead."""

    def __init__(self, folder: SpoolFolder) -> None:
        self._folder = folder
        self._open: _Open | None = None
        self._look_at_s = 0.0
        self._aside_until_s: dict[str, float] = {}
        self._left_by_us: set[str] = set()
        self.tally = Ledger()
        self.damaged = 0

    @property
    def look_at_s(self) -> float:
        """When to look again, on the monotonic clock."""
        return self._look_at_s

    def next_batch(self, flush_at: int, now_s: float) -> Batch | None:
        """Return the batch to be tried; None if nobody left anything."""
        while True:
            if self._open is None:
                if now_s < self._look_at_s:
                    return None
                if not self._adopt(now_s):
                    self._look_at_s = now_s + LOOK_EVERY_S
                    return None
            assert self._open is not None
            if self._open.sending or self._cut(self._open, flush_at):
                return self._open.sending[0]
            self._finish()

    def is_first(self, batch: Batch) -> bool:
        """Return whether a batch is the one under way here."""
        return bool(self._open and self._open.sending and self._open.sending[0] is batch)

    def is_left_by_us(self) -> bool:
        """Return whether the file at hand was set aside by this client."""
        return self._open is not None and self._open.id in self._left_by_us

    def settle(self, batch: Batch, ends: Ledger) -> None:
        """End the first batch."""
        assert self._open is not None
        self.tally.add(ends)
        self._open.sending.popleft()
        self._open.done += len(batch)
        self._open.file.mark_done(self._open.done)

    def split(self, batch: Batch) -> None:
        """Replace the first batch by its halves."""
        assert self._open is not None
        self._open.sending.popleft()
        self._open.sending.extendleft(reversed(batch.halves()))

    def set_aside(self, now_s: float) -> None:
        """Let go of a file the server keeps failing on; the next ones get their chance."""
        if self._open is not None:
            self._aside_until_s[self._open.id] = now_s + ASIDE_FOR_S
            self.release()

    def leave(self, batch: Batch, now_s: float) -> bool:
        """Write a batch of this client's into a file of its own, to be tried later."""
        lines = b"".join(map(line, batch.serialised))
        try:
            self._folder.reserve(len(lines))
            file = self._folder.create()
        except (OSError, SpoolFull):
            return False
        try:
            file.append(lines)
        except OSError:
            file.remove()
            return False
        file_id = file.path.name[:32]
        self._aside_until_s[file_id] = now_s + ASIDE_FOR_S
        self._left_by_us.add(file_id)
        file.release()
        return True

    def look_again(self) -> bool:
        """Have `next_batch` look for files; return whether there are any, also of the living."""
        self._look_at_s = 0.0
        return self._folder.has_files()

    def touch(self) -> None:
        """Show readers on other machines that the owner lives."""
        if self._open is not None and self._open.file.is_lost():
            self._open.file.close()
            self._open = None

    def release(self) -> None:
        """Leave the file at hand to the next process."""
        opened, self._open = self._open, None
        if opened is not None:
            opened.file.release()

    def abandon(self) -> None:
        """Leave everything to the process this one was forked from."""
        opened, self._open = self._open, None
        if opened is not None:
            opened.file.close()

    def _adopt(self, now_s: float) -> bool:
        resting = {key: until for key, until in self._aside_until_s.items() if until > now_s}
        self._aside_until_s = resting
        try:
            file = self._folder.adopt(frozenset(resting))
            if file is None:
                return False
            contents = contents_of(file.path)
        except OSError:
            return False
        self.damaged += contents.damaged
        self._open = _Open(file, file.path.name[:32], 0, contents.done, contents.events)
        self._skip(contents.done)
        return True

    def _skip(self, count: int) -> None:
        assert self._open is not None
        while count > 0:
            events, self._open.offset = self._open.file.read(
                self._open.offset, count, BATCH_BYTES_MAX
            )
            if not events:
                return
            count -= len(events)

    def _cut(self, opened: _Open, flush_at: int) -> bool:
        events: list[bytes] = []
        with contextlib.suppress(OSError):
            events, opened.offset = opened.file.read(
                opened.offset, flush_at, BATCH_BYTES_MAX - ENVELOPE_BYTES
            )
        if events:
            opened.sending.append(Batch(events))
        return bool(events)

    def _finish(self) -> None:
        opened, self._open = self._open, None
        assert opened is not None
        # A file that another process has taken over is not ours to delete.
        if opened.done >= opened.events and not opened.file.is_taken():
            opened.file.remove()
        else:
            opened.file.close()
