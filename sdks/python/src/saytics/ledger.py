"""Where every tracked event is, as counts: each is in exactly one column."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """Events since the client was made; `tracked` is the sum of all others.

    delivered: the server has them on disk, seen for the first time.
    duplicate: the server has them, and had them before under the same messageId.
    rejected: refused for what they are, by this SDK or by the server; not sent again.
    dropped: given up by this SDK: no room in memory or on disk, or, without a spool, retries used
        up or no time left at the end.
    spooled: on disk only, not answered for; what is left there at the end, the next process sends.
    queued: in memory, waiting or on their way.
    """

    tracked: int
    delivered: int
    duplicate: int
    rejected: int
    dropped: int
    spooled: int
    queued: int


@dataclass(slots=True)
class Ledger:
    """The running counts. Its owner holds the lock under which they change.

    `spooled` are the events this client has left in the spool for good; those it will still read
    back from there are asked for when somebody wants the counts.
    """

    tracked: int = 0
    delivered: int = 0
    duplicate: int = 0
    rejected: int = 0
    dropped: int = 0
    spooled: int = 0

    def add(self, ends: Ledger) -> None:
        """Book the ends of some events."""
        self.delivered += ends.delivered
        self.duplicate += ends.duplicate
        self.rejected += ends.rejected
        self.dropped += ends.dropped
        self.spooled += ends.spooled

    def counts(self, on_disk_only: int) -> Counts:
        """Return the counts now. What has no end yet is queued, so the sum always holds."""
        settled = self.delivered + self.duplicate + self.rejected + self.dropped + self.spooled
        return Counts(
            self.tracked,
            self.delivered,
            self.duplicate,
            self.rejected,
            self.dropped,
            self.spooled + on_disk_only,
            self.tracked - settled - on_disk_only,
        )
