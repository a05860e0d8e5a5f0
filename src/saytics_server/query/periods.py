"""Calendar arithmetic: the range asked for, its buckets, and how they are called. Pure.

Every bucket edge of a report is computed here once, in the workspace's time zone, and handed to
the SQL in milliseconds: the store never sees a time zone. Days run from the first instant of a
local date to that of the next; hours are real hours, aligned to the local clock. Where a zone
shifts by less than an hour (Lord Howe), the shift itself is an edge.

    natural buckets   |-------|-------|-------|
    range                 |--------------|          both ends included
    labels            ^       ^       ^             where the natural bucket starts
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import cast
from zoneinfo import ZoneInfo

import msgspec

from saytics_server.errors import Refused
from saytics_server.query.model import INTERVALS, Frame, Interval, Range, choice, invalid

# A report of this many buckets is 400 kB of JSON and a chart nobody can read; ten years by hour
# are 87,600.
BUCKETS_MAX = 10_000
DEFAULT_DAYS = 30
HOUR_MS = 3_600_000
_UNITS_MS = {"s": 1_000, "m": 60_000, "h": HOUR_MS, "d": 24 * HOUR_MS, "w": 168 * HOUR_MS}
# After every event there can be: the store's calendar days end in 2149.
LATEST_MS = 5_648_745_600_000  # 2149-01-01
# No event is older than 1970 (the contract), and the store's calendar days end in 2149.
YEAR_MIN, YEAR_MAX = 1970, 2148

# ISO 8601 as it is read here and, the same text, in the store: the year in four digits, seconds and
# offset optional. The store's times reach from 1900 to 2299.
_ISO_DAY = r"(19|2[0-2])\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
_ISO_CLOCK = r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,9})?)?(Z|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)?"
ISO_DATE = rf"^{_ISO_DAY}$"
ISO_TIME = rf"^{_ISO_DAY}[T ]{_ISO_CLOCK}$"

_LONGEST_HOURS = {"hour": 1, "day": 25, "week": 169, "month": 745}
_COARSER = {"hour": "`interval=day`", "day": "`interval=week`", "week": "`interval=month`"}


class Buckets(msgspec.Struct, frozen=True):
    """Consecutive buckets: where each starts, and where the last one ends (excluded)."""

    interval: Interval
    starts_ms: tuple[int, ...]
    end_ms: int
    labels: tuple[str, ...]

    def ends_ms(self) -> tuple[int, ...]:
        """Return where each bucket ends, excluded."""
        return (*self.starts_ms[1:], self.end_ms)

    def running(self, now_ms: int) -> tuple[bool, ...]:
        """Return for each bucket whether its time is not over yet."""
        return tuple(end > now_ms for end in self.ends_ms())


def parse_interval(text: str, choices: Collection[Interval] = INTERVALS) -> Interval:
    """Return an interval. Raises Refused("invalid_parameter")."""
    return cast("Interval", choice("interval", text, choices))


def parse_length(text: str, name: str, most: str) -> int:
    """Return a length such as `14d` or `30m` in milliseconds, at most that of `most`.

    Raises Refused("invalid_parameter").
    """
    length_ms = _length_ms(text)
    if not 0 < length_ms <= _length_ms(most):
        raise invalid(
            name,
            f"`{name}` is a whole number and `s`, `m`, `h`, `d` or `w`, such as `14d`; at most"
            f" `{most}`.",
        )
    return length_ms


def _length_ms(text: str) -> int:
    parts = re.fullmatch(r"([1-9]\d{0,8})([smhdw])", text, re.ASCII)
    return int(parts[1]) * _UNITS_MS[parts[2]] if parts else 0


def parse_range(from_: str | None, to: str | None, frame: Frame) -> Range:
    """Return the range of `from` and `to`; the last 30 local days where they are absent.

    Raises Refused("invalid_parameter").
    """
    from_ms, to_ms = parse_bounds(from_, to, frame)
    zone = ZoneInfo(frame.timezone)
    if to_ms is None:
        to_ms = day_start_ms(local_date(frame.now_ms, zone) + timedelta(days=1), zone) - 1
    if from_ms is None:
        first = local_date(to_ms, zone) - timedelta(days=DEFAULT_DAYS - 1)
        from_ms = day_start_ms(first, zone)
    if from_ms > to_ms:
        raise invalid("from", "`from` is later than `to`.")
    return Range(from_ms, to_ms)


def parse_bounds(from_: str | None, to: str | None, frame: Frame) -> tuple[int | None, int | None]:
    """Return `from` and `to` in milliseconds, both included, None where absent."""
    zone = ZoneInfo(frame.timezone)
    return (
        None if from_ is None else _bound_ms("from", from_, zone),
        None if to is None else _bound_ms("to", to, zone),
    )


def parse_as_of(text: str | None, frame: Frame) -> Frame:
    """Return the frame with what was known at an earlier time; a date means its end.

    That time is also `now`: what was running then was not complete. Raises
    Refused("invalid_parameter").
    """
    if text is None:
        return frame
    as_of_ms = _bound_ms("as_of", text, ZoneInfo(frame.timezone))
    now_ms = min(frame.now_ms, as_of_ms)
    return msgspec.structs.replace(frame, as_of_ms=as_of_ms, now_ms=now_ms)


def _bound_ms(name: str, text: str, zone: ZoneInfo) -> int:
    parsed = parse_time(text)
    if parsed is None:
        raise invalid(
            name,
            f"`{name}` is a date (2024-01-15) or an ISO 8601 time (2024-01-15T10:30:00Z)"
            "; in a URL write `+` as `%2B`.",
        )
    if not YEAR_MIN <= parsed.year <= YEAR_MAX:
        raise invalid(name, f"`{name}` lies outside the years {YEAR_MIN} to {YEAR_MAX}.")
    if isinstance(parsed, datetime):
        return instant_ms(parsed)
    if name == "from":
        return day_start_ms(parsed, zone)
    return day_start_ms(parsed + timedelta(days=1), zone) - 1


def parse_time(text: str) -> date | datetime | None:
    """Return an ISO 8601 date, or a time in UTC (which it is in if it names no offset)."""
    # `$` would let a line break pass.
    if text.endswith("\n"):
        return None
    try:
        if re.match(ISO_DATE, text, re.ASCII):
            return date.fromisoformat(text)
        if not re.match(ISO_TIME, text, re.ASCII):
            return None
        moment = datetime.fromisoformat(text)
    except ValueError:  # the 30th of February
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def instant_ms(moment: datetime) -> int:
    """Return an aware time as milliseconds, cut, exact at any distance from 1970."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def utc_text(instant: int) -> str:
    """Return milliseconds as the wire writes them: `2024-01-15T10:30:00.000Z`."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=instant)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def local_date(instant: int, zone: ZoneInfo) -> date:
    """Return the calendar day of an instant, by the edges of `day_start_ms`."""
    day = _local(instant, zone).date()
    # Where a clock is set back over midnight, an hour of the next day shows the old date again.
    return (
        day + timedelta(days=1) if instant >= day_start_ms(day + timedelta(days=1), zone) else day
    )


def day_start_ms(day: date, zone: ZoneInfo) -> int:
    """Return the first instant of a local date: midnight, or later where the clock skips it."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    start = instant_ms(midnight)
    if _local(start, zone).replace(tzinfo=None) == midnight.replace(tzinfo=None):
        return start
    # Midnight does not exist: the clock jumps over it between these two readings of it.
    before, after = instant_ms(midnight.replace(fold=1)) - 1, start
    while after - before > 1:
        middle = (before + after) // 2
        if _local(middle, zone).date() < day:
            before = middle
        else:
            after = middle
    return after


def buckets_of(span: Range, interval: Interval, frame: Frame) -> Buckets:
    """Return every bucket that holds a part of the range.

    Raises Refused("range_too_large") before it computes too many.
    """
    hours = (span.to_ms - span.from_ms) // HOUR_MS
    if hours // _LONGEST_HOURS[interval] > BUCKETS_MAX:
        raise _too_large(interval)
    zone = ZoneInfo(frame.timezone)
    edges = _hour_edges(span, zone) if interval == "hour" else _date_edges(span, interval, frame)
    starts: list[int] = []
    labels: list[str] = []
    for start, label in edges:
        if start > span.to_ms:
            return Buckets(interval, tuple(starts), start, tuple(labels))
        if len(starts) == BUCKETS_MAX:
            raise _too_large(interval)
        if starts and starts[-1] == start:
            starts.pop()  # a date the zone never had (Apia crossed the date line): no such bucket
            labels.pop()
        starts.append(start)
        labels.append(label)
    raise AssertionError("edges go on for ever")


def _too_large(interval: Interval) -> Refused:
    hint = f" or {_COARSER[interval]}" if interval in _COARSER else ""
    return Refused(
        "range_too_large",
        f"The range has more than {BUCKETS_MAX:,} buckets by {interval}."
        f" Ask for a shorter range{hint}.",
        field="interval",
    )


def _date_edges(span: Range, interval: Interval, frame: Frame) -> Iterator[tuple[int, str]]:
    zone = ZoneInfo(frame.timezone)
    day = _period_start(local_date(span.from_ms, zone), interval, frame.week_start)
    while True:
        yield day_start_ms(day, zone), day.isoformat()
        day = _next_period(day, interval)


def _period_start(day: date, interval: Interval, week_start: int) -> date:
    if interval == "week":
        return day - timedelta(days=(day.weekday() - week_start) % 7)
    return day.replace(day=1) if interval == "month" else day


def _next_period(day: date, interval: Interval) -> date:
    if interval == "month":
        return (day + timedelta(days=31)).replace(day=1)
    return day + timedelta(days=7 if interval == "week" else 1)


def _hour_edges(span: Range, zone: ZoneInfo) -> Iterator[tuple[int, str]]:
    # From two hours before, so that a shift just before the range is met as any other.
    before = span.from_ms - 2 * HOUR_MS
    edge = before - _past_hour_ms(before, zone)
    while True:
        following = edge + HOUR_MS
        if _past_hour_ms(following, zone):
            following = _shift_ms(edge, following, zone)
        if following > span.from_ms:
            yield edge, _local(edge, zone).isoformat(timespec="seconds")
        edge = following


def _past_hour_ms(instant: int, zone: ZoneInfo) -> int:
    return (instant + _offset_ms(instant, zone)) % HOUR_MS


def _shift_ms(before: int, after: int, zone: ZoneInfo) -> int:
    """Return the next edge after `before`: the instant of a shift of less than an hour, or the
    next full hour on a clock that was shifted at `before`."""
    offset = _offset_ms(before, zone)
    if _offset_ms(after, zone) == offset:
        return before + HOUR_MS - _past_hour_ms(before, zone)
    while after - before > 1:
        middle = (before + after) // 2
        if _offset_ms(middle, zone) == offset:
            before = middle
        else:
            after = middle
    return after


def _local(instant: int, zone: ZoneInfo) -> datetime:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=instant)).astimezone(zone)


def _offset_ms(instant: int, zone: ZoneInfo) -> int:
    offset = _local(instant, zone).utcoffset()
    assert offset is not None
    return offset // timedelta(milliseconds=1)
