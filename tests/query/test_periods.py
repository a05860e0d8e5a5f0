"""Ranges and buckets: which instants belong to which local day, hour, week and month."""

from __future__ import annotations

from datetime import date
from zoneinfo import ZoneInfo

import pytest
from rows import instant_ms

from saytics_server.errors import Refused
from saytics_server.query.model import Frame
from saytics_server.query.periods import (
    Buckets,
    buckets_of,
    day_start_ms,
    local_date,
    parse_range,
    utc_text,
)

NOW_MS = instant_ms("2024-03-31T12:00:00Z")


def frame(timezone: str = "Europe/Berlin", week_start: int = 0) -> Frame:
    return Frame(1, timezone, week_start, NOW_MS)


def asked(interval: str, begin: str, end: str, *, at: Frame) -> Buckets:
    return buckets_of(parse_range(begin, end, at), interval, at)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("zone", "interval", "begin", "end", "labels"),
    [
        ("UTC", "day", "2024-02-28", "2024-03-01", ["2024-02-28", "2024-02-29", "2024-03-01"]),
        (
            "Europe/Berlin", "hour", "2024-03-31T00:30:00Z", "2024-03-31T01:30:00Z",
            ["2024-03-31T01:00:00+01:00", "2024-03-31T03:00:00+02:00"],
        ),
        (
            "Europe/Berlin", "hour", "2024-10-27T00:00:00Z", "2024-10-27T02:00:00Z",
            ["2024-10-27T02:00:00+02:00", "2024-10-27T02:00:00+01:00", "2024-10-27T03:00:00+01:00"],
        ),
        (
            "Asia/Kolkata", "hour", "2024-01-01T00:00:00Z", "2024-01-01T00:30:00Z",
            ["2024-01-01T05:00:00+05:30", "2024-01-01T06:00:00+05:30"],
        ),
        (
            "Australia/Lord_Howe", "hour", "2024-10-05T15:00:00Z", "2024-10-05T16:00:00Z",
            ["2024-10-06T01:00:00+10:30", "2024-10-06T02:30:00+11:00", "2024-10-06T03:00:00+11:00"],
        ),
        ("UTC", "week", "2024-01-01", "2024-01-08", ["2024-01-01", "2024-01-08"]),
        ("UTC", "week", "2023-12-31", "2024-01-01", ["2023-12-25", "2024-01-01"]),
        ("UTC", "month", "2024-01-31", "2024-02-01", ["2024-01-01", "2024-02-01"]),
        ("Pacific/Apia", "day", "2011-12-29", "2011-12-31", ["2011-12-29", "2011-12-31"]),
    ],
)  # fmt: skip
def test_buckets_carry_the_label_of_where_they_start(zone, interval, begin, end, labels):
    """A bucket is called by its local start, also where the range cuts it or the clock changes."""
    assert list(asked(interval, begin, end, at=frame(zone)).labels) == labels


def test_the_week_starts_where_the_workspace_says():
    """With Sunday as first day, a Sunday opens the week."""
    assert asked("week", "2024-01-06", "2024-01-07", at=frame("UTC", 6)).labels == (
        "2023-12-31",
        "2024-01-07",
    )


@pytest.mark.parametrize(("day", "hours"), [("2024-03-31", 23), ("2024-10-27", 25)])
def test_a_range_of_dates_covers_whole_local_days(day, hours):
    """Both dates are included, and a day is as long as the clock makes it."""
    found = parse_range(day, day, frame())
    assert found.to_ms + 1 - found.from_ms == hours * 3_600_000


def test_a_range_of_times_is_included_at_both_ends():
    """A time without offset is UTC; nothing is rounded."""
    found = parse_range("2024-01-15T10:30:00.001", "2024-01-15T12:30:00.999+01:00", frame())
    assert (utc_text(found.from_ms), utc_text(found.to_ms)) == (
        "2024-01-15T10:30:00.001Z",
        "2024-01-15T11:30:00.999Z",
    )


def test_without_a_range_the_last_thirty_local_days_are_meant():
    """Today counts as the thirtieth."""
    at = frame("Asia/Kolkata")
    labels = buckets_of(parse_range(None, None, at), "day", at).labels
    assert (len(labels), labels[0], labels[-1]) == (30, "2024-03-02", "2024-03-31")


def test_a_running_bucket_is_known():
    """Only buckets whose time is over are complete."""
    assert asked("day", "2024-03-30", "2024-04-01", at=frame()).running(NOW_MS) == (
        False,
        True,
        True,
    )


@pytest.mark.parametrize(
    ("zone", "day", "start"),
    [
        ("America/Sao_Paulo", date(2018, 11, 4), "2018-11-04T03:00:00.000Z"),
        ("America/Havana", date(2024, 11, 3), "2024-11-03T04:00:00.000Z"),
        ("America/St_Johns", date(2006, 10, 29), "2006-10-29T02:30:00.000Z"),
        ("Pacific/Apia", date(2011, 12, 30), "2011-12-30T10:00:00.000Z"),
    ],
)
def test_a_day_starts_at_its_first_instant(zone, day, start):
    """Where midnight is skipped a day starts after the gap; where it comes twice, at the first."""
    assert utc_text(day_start_ms(day, ZoneInfo(zone))) == start


@pytest.mark.parametrize("zone", ["America/St_Johns", "America/Havana", "America/Sao_Paulo", "UTC"])
def test_the_day_of_an_instant_is_the_day_whose_edges_hold_it(zone):
    """Dates and day edges agree through both changes of the clock."""
    at = ZoneInfo(zone)
    for instant in range(1_160_000_000_000, 1_165_000_000_000, 1_700_000):
        day = local_date(instant, at)
        assert day_start_ms(day, at) <= instant
        assert instant < day_start_ms(date.fromordinal(day.toordinal() + 1), at)


def test_too_many_buckets_are_refused_with_a_way_out():
    """Ten years by hour name the next coarser interval; by day they are answered."""
    with pytest.raises(Refused) as refusal:
        asked("hour", "2014-01-01", "2023-12-31", at=frame())
    assert refusal.value.rejection.code == "range_too_large"
    assert "interval=day" in refusal.value.rejection.message
    assert len(asked("day", "2014-01-01", "2023-12-31", at=frame()).labels) == 3652


@pytest.mark.parametrize(
    ("begin", "end", "field"),
    [
        ("2024-02-30", "2024-03-01", "from"),
        ("yesterday", "2024-03-01", "from"),
        ("2024-01-01T00:00:00 01:00", "2024-03-01", "from"),
        ("2024-01-01\n", "2024-03-01", "from"),
        ("1969-12-31", "2024-03-01", "from"),
        ("2024-01-01", "9999-12-31", "to"),
        ("2024-01-01", "2024-13-01", "to"),
        ("2024-03-02", "2024-03-01", "from"),
    ],
)
def test_a_wrong_range_is_refused_by_name(begin, end, field):
    """The refusal names the parameter at fault."""
    with pytest.raises(Refused) as refusal:
        asked("day", begin, end, at=frame())
    assert (refusal.value.rejection.code, refusal.value.rejection.field) == (
        "invalid_parameter",
        field,
    )
