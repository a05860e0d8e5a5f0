"""Buckets by walking the clock in quarters of an hour and reading what a wall clock shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

HOUR_MS = 60 * 60 * 1000
QUARTER_MS = HOUR_MS // 4
# A report asks for the buckets of its question again and again; walking a month takes 0.1 s.
_walked = lru_cache(maxsize=256)


def shown(instant_ms: int, zone: ZoneInfo) -> datetime:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=instant_ms)
    return moment.astimezone(zone)


def bucket_of(instant_ms: int, interval: str, zone: ZoneInfo, week_start: int) -> str:
    """Return the name of the bucket an instant lies in.

    Hours are real: only a shift by a part of an hour, which moves the full hours, ends one early.
    """
    local = shown(instant_ms, zone)
    day = local.date()
    if interval == "hour":
        past_full_ms = local.utcoffset() // timedelta(milliseconds=1) % HOUR_MS
        return f"{(instant_ms + past_full_ms) // HOUR_MS} {past_full_ms}"
    if interval == "week":
        while day.weekday() != week_start:
            day -= timedelta(days=1)
    if interval == "month":
        day = day.replace(day=1)
    return day.isoformat()


@_walked
def buckets(
    from_ms: int, to_ms: int, interval: str, zone: ZoneInfo, week_start: int
) -> tuple[tuple[str, str, int], ...]:
    """Return (name, label, end) of every bucket that holds a part of the range, in order.

    The label of an hour is where it starts on the wall clock; the end is excluded.
    """
    reach_ms = {"hour": 2, "day": 48, "week": 24 * 9, "month": 24 * 33}[interval] * 3_600_000
    instant = (from_ms - reach_ms) // QUARTER_MS * QUARTER_MS
    found: list[list] = []
    while instant <= to_ms + reach_ms:
        name = bucket_of(instant, interval, zone, week_start)
        if not found or found[-1][0] != name:
            label = name
            if interval == "hour":
                label = shown(instant, zone).isoformat(timespec="seconds")
            if found:
                found[-1][2] = instant
            found.append([name, label, instant, instant])
        instant += QUARTER_MS
    complete = found[1:-1]  # the walk may have begun and ended inside one
    return tuple(
        (name, label, end)
        for name, label, end, start in complete
        if end > from_ms and start <= to_ms
    )


@_walked
def day_start_ms(instant_ms: int, zone: ZoneInfo, days_back: int) -> int:
    """Return where the local day `days_back` days before an instant's began."""
    wanted = shown(instant_ms, zone).date() - timedelta(days=days_back)
    start = instant_ms // QUARTER_MS * QUARTER_MS
    while shown(start, zone).date() >= wanted:
        start -= QUARTER_MS
    return start + QUARTER_MS
