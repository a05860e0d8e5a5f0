"""The period before: the range moved back by its own length, bucket by bucket. Pure.

By day, week and month the length is counted in local days, as many as it takes for the moved range
to end before the range begins, and each edge keeps its time since local midnight: a day is compared
with a day, of 23 or 25 hours too. By hour it is counted in elapsed hours.

    previous   |--|--|--|
    range               |--|--|--|      bucket k of one stands beside bucket k of the other
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from saytics_server.query.model import Frame, Range, choice
from saytics_server.query.periods import HOUR_MS, Buckets, day_start_ms, local_date, utc_text

COMPARISONS = ("previous_period",)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Period(msgspec.Struct, frozen=True):
    """A range and the buckets that hold it. Moved ones may be empty, where a zone lost a day."""

    span: Range
    buckets: Buckets

    def part(self, index: int) -> Range:
        """Return what of the range lies in a bucket."""
        begin, end = self.buckets.starts_ms[index], self.buckets.ends_ms()[index]
        return Range(max(begin, self.span.from_ms), min(end - 1, self.span.to_ms))


def parse_compare(text: str | None, period: Period, frame: Frame) -> Period | None:
    """Return the period that `compare` names, None without one. Raises Refused."""
    if text is None:
        return None
    choice("compare", text, COMPARISONS)
    return period_before(period, frame)


def previous_rule(previous: Period) -> str:
    """Return in words what the previous numbers are of."""
    unit = "hours" if previous.buckets.interval == "hour" else "local days"
    span = previous.span
    return (
        f"previous: the range and its buckets moved back by its length in {unit}:"
        f" {utc_text(span.from_ms)} to {utc_text(span.to_ms)}."
    )


def period_before(period: Period, frame: Frame) -> Period:
    """Return the period before, with as many buckets."""
    zone = ZoneInfo(frame.timezone)
    if period.buckets.interval == "hour":
        return _moved_by_hours(period, zone)
    span = period.span
    days = -(-(span.to_ms + 1 - span.from_ms) // (25 * HOUR_MS))
    # A day that a zone never had is no day to compare with.
    while (
        not _days_before(span.from_ms, days, zone)
        < _days_before(span.to_ms + 1, days, zone)
        <= span.from_ms
    ):
        days += 1
    buckets = period.buckets
    starts = tuple(_days_before(start, days, zone) for start in buckets.starts_ms)
    dates = (local_date(start, zone) - timedelta(days=days) for start in buckets.starts_ms)
    return Period(
        Range(_days_before(span.from_ms, days, zone), _days_before(span.to_ms + 1, days, zone) - 1),
        Buckets(
            buckets.interval,
            starts,
            _days_before(buckets.end_ms, days, zone),
            tuple(day.isoformat() for day in dates),
        ),
    )


def _days_before(instant: int, days: int, zone: ZoneInfo) -> int:
    """Return an instant moved back by local days; it stays within its day."""
    day = local_date(instant, zone)
    past_midnight_ms = instant - day_start_ms(day, zone)
    begin = day_start_ms(day - timedelta(days=days), zone)
    end = day_start_ms(day - timedelta(days=days - 1), zone)
    return max(begin, min(begin + past_midnight_ms, end - 1))


def _moved_by_hours(period: Period, zone: ZoneInfo) -> Period:
    span, buckets = period.span, period.buckets
    back_ms = -(-(span.to_ms + 1 - span.from_ms) // HOUR_MS) * HOUR_MS
    starts = tuple(start - back_ms for start in buckets.starts_ms)
    return Period(
        Range(span.from_ms - back_ms, span.to_ms - back_ms),
        Buckets(
            buckets.interval,
            starts,
            buckets.end_ms - back_ms,
            tuple(_clock(start, zone) for start in starts),
        ),
    )


def _clock(instant: int, zone: ZoneInfo) -> str:
    local = (_EPOCH + timedelta(milliseconds=instant)).astimezone(zone)
    return local.isoformat(timespec="seconds")
