"""Numbers and times as people read them. Pure; every page words them here and nowhere else.

Digits are grouped in the English way; `dashboard.js` exchanges the separators for the reader's.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal

import msgspec

MINUS = "\N{MINUS SIGN}"
# A space that neither breaks nor widens: between a number and its unit.
THIN = "\N{NARROW NO-BREAK SPACE}"
# From here on a headline number is shortened; four digits are still read at a glance.
_SHORTEN_FROM = 10_000
_UNITS = ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k"))
# Below this two decimals would hide half of the number.
_FINE_BELOW = 1
# Stands where there is no number.
NOTHING = "\N{EN DASH}"


class Number(msgspec.Struct, frozen=True):
    """A number to show: shortened for a headline, in full on hover and in tables."""

    value: float
    short: str
    full: str


def number(value: int) -> Number:
    """Word a count: 12431 is `12.4 k` in short and `12,431` in full."""
    return Number(value, _short(value), f"{value:,}".replace("-", MINUS))


def _short(value: int) -> str:
    if abs(value) < _SHORTEN_FROM:
        return f"{value:,}".replace("-", MINUS)
    # From 999,500 on three digits would round to 1,000: that is the next unit's 1.00.
    scale, unit = next((scale, unit) for scale, unit in _UNITS if abs(value) >= 0.9995 * scale)
    scaled = value / scale
    decimals = 2 if abs(scaled) < 10 else 1 if abs(scaled) < 100 else 0
    return f"{scaled:.{decimals}f}{THIN}{unit}".replace("-", MINUS)


def amount(value: float | Decimal | None) -> Number:
    """Word a number that need not be whole, or be there: 12.5 is `12.5`, nothing a dash."""
    if value is None:
        return Number(0, NOTHING, NOTHING)
    if value == int(value):
        return number(int(value))
    plain = float(value)
    decimals = 2 if abs(plain) >= _FINE_BELOW else 4
    full = f"{plain:,.{decimals}f}".rstrip("0").rstrip(".").replace("-", MINUS)
    short = _short(round(plain)) if abs(plain) >= _SHORTEN_FROM else full
    return Number(plain, short, full)


def share(value: float | None) -> str:
    """Word a share of one as people say it: 0.1234 is `12.3 %`, nothing a dash."""
    return NOTHING if value is None else f"{100 * value:.1f}{THIN}%"


class Comparison(msgspec.Struct, frozen=True):
    """How a number compares with an earlier one, the way a person says it."""

    change: str
    against: str
    detail: str


def compared(now: float, before: float, span: str) -> Comparison:
    """Compare `now` with `before`, which is of `span`: `+12 %` `vs. the 7 days before`.

    `before` is not 0: from nothing there is no percentage. Beyond tenfold a factor reads better.
    """
    detail = f"{amount(now).full} now, {amount(before).full} then"
    return Comparison(_change(now, before), f"vs. {span}", detail)


def _change(now: float, before: float) -> str:
    if now == before:
        return "unchanged"
    if now >= 10 * before:
        return f"{now / before:,.0f}{THIN}\N{MULTIPLICATION SIGN}"
    percent = round(100 * (now - before) / before)
    sign = "+" if percent > 0 else MINUS if percent < 0 else "\N{PLUS-MINUS SIGN}"
    return f"{sign}{abs(percent)}{THIN}%"


def counted(count: int, noun: str) -> str:
    """Return the noun as the count takes it: `event` for one, else `events`."""
    return noun if count == 1 else f"{noun}s"


def day(value: date) -> str:
    """Word a day in full: `Mon 23 Nov 2026`."""
    return f"{value:%a} {value.day} {value:%b %Y}"


def short_day(value: date) -> str:
    """Word a day for an axis: `23 Nov`."""
    return f"{value.day} {value:%b}"


def instant(value_ms: int, zone: tzinfo) -> datetime:
    """Return a stored time as the wall time of `zone`."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=value_ms)).astimezone(zone)


def wire_instant(text: str, zone: tzinfo) -> datetime:
    """Return a time of the public API as the wall time of `zone`."""
    return datetime.fromisoformat(text).astimezone(zone)


def clock_time(value: datetime) -> str:
    """Word a wall time to the second: `14:03:22`."""
    return f"{value:%H:%M:%S}"


def short_time(value: datetime) -> str:
    """Word a time to the minute, with its year: `23 Nov 2026, 14:03`."""
    return f"{value.day} {value:%b %Y}, {value:%H:%M}"


def full_time(value: datetime) -> str:
    """Word a time with day, milliseconds and offset: `Mon 23 Nov 2026, 14:03:22.120 +01:00`."""
    offset = f"{value:%z}"
    return (
        f"{day(value.date())}, {value:%H:%M:%S}.{value.microsecond // 1000:03d} "
        f"{offset[:3]}:{offset[3:]}"
    )


def bucket(label: str, interval: str) -> str:
    """Word a bucket of a report by its label: a day, an hour of one, a week, a month."""
    begin = datetime.fromisoformat(label)
    if interval == "hour":
        return f"{day(begin.date())}, {begin:%H:%M}"
    if interval == "week":
        return f"week of {begin.day} {begin:%b %Y}"
    return f"{begin:%B %Y}" if interval == "month" else day(begin.date())


def tick(label: str, interval: str) -> str:
    """Word a bucket for an axis."""
    begin = datetime.fromisoformat(label)
    if interval == "hour":
        return f"{short_day(begin.date())} {begin:%H:%M}"
    return f"{begin:%b %Y}" if interval == "month" else short_day(begin.date())


def duration(milliseconds: float) -> str:
    """Word how long something took: `120 ms`, `4.2 s`, `3 min`, `5 h`, `12 days`."""
    size = abs(milliseconds)
    sign = MINUS if milliseconds < 0 else ""
    for unit_ms, unit, decimals in (
        (86_400_000, "days", 0),
        (3_600_000, "h", 0),
        (60_000, "min", 0),
        (1_000, "s", 1),
    ):
        # 1.5 units, so that "1 days" is never said and 90 s stay seconds.
        if size >= 1.5 * unit_ms or (unit == "s" and size >= unit_ms):
            return f"{sign}{size / unit_ms:.{decimals}f}{THIN}{unit}"
    return f"{sign}{size:.0f}{THIN}ms"
