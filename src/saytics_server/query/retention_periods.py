"""Which period of a person's retention an instant lies in, and when a period is over. Pure.

By calendar, period k of the cohort of bucket i is the bucket i + k, whenever in bucket i a person
started. Elapsed periods of fixed length begin with the person's own start event.

    buckets    |----i----|--i + 1--|--i + 2--|
    calendar   |----0----|----1----|----2----|
    elapsed         ^----0----|----1----|----2      ^ the start event
"""

from __future__ import annotations

from typing import Literal

import msgspec

from saytics_server.query.model import Frame, Interval, Range
from saytics_server.query.periods import HOUR_MS, Buckets, buckets_of

INTERVALS: tuple[Interval, ...] = ("day", "week", "month")
Window = Literal["calendar", "elapsed"]

_DAY_MS = 24 * HOUR_MS
# A month that does not follow the calendar has 30 days.
_ELAPSED_MS: dict[Interval, int] = {"day": _DAY_MS, "week": 7 * _DAY_MS, "month": 30 * _DAY_MS}
# No bucket is longer, change of the clock included.
_LONGEST_MS: dict[Interval, int] = {
    "day": 25 * HOUR_MS, "week": 169 * HOUR_MS, "month": 745 * HOUR_MS,
}  # fmt: skip


class Cohorts(msgspec.Struct, frozen=True):
    """The buckets of a range, one cohort each, and the periods that follow them.

    `edges_ms` are where the buckets begin and as many more as there are periods.
    """

    buckets: Buckets
    edges_ms: tuple[int, ...]
    periods: int
    window: Window
    last_start_ms: int
    now_ms: int

    @property
    def elapsed_ms(self) -> int:
        """Return the length of a period that does not follow the calendar."""
        return _ELAPSED_MS[self.buckets.interval]

    def bounds(self, cohort: int, anchor_ms: int, period: int) -> tuple[int, int]:
        """Return where a period of a person begins, and where it ends (excluded)."""
        if self.window == "calendar":
            return self.edges_ms[cohort + period], self.edges_ms[cohort + period + 1]
        begin = anchor_ms + period * self.elapsed_ms
        return begin, begin + self.elapsed_ms

    def period_of(self, cohort: int, anchor_ms: int, bucket: int, instant_ms: int) -> int:
        """Return the period of an instant, which lies in `bucket` of `edges_ms`."""
        if self.window == "calendar":
            return bucket - cohort
        return (instant_ms - anchor_ms) // self.elapsed_ms

    def complete(self, cohort: int, period: int) -> bool:
        """Return whether a period is over for everybody who can be in a cohort."""
        last_ms = min(self.buckets.ends_ms()[cohort] - 1, self.last_start_ms)
        return self.bounds(cohort, last_ms, period)[1] <= self.now_ms


def cohorts_of(
    span: Range, interval: Interval, periods: int, window: Window, frame: Frame
) -> Cohorts:
    """Return the cohorts of a range. Raises Refused("range_too_large")."""
    buckets = buckets_of(span, interval, frame)
    reach = Range(buckets.end_ms, buckets.end_ms + periods * _LONGEST_MS[interval])
    after = buckets_of(reach, interval, frame)
    edges = (*buckets.starts_ms, *after.starts_ms[:periods])
    return Cohorts(buckets, edges, periods, window, span.to_ms, frame.now_ms)
