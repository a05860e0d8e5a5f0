"""The period before: how far a range is moved, and that its buckets stay side by side."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle import reports as oracle
from oracle.reports import Question
from saytics_server.errors import Refused
from saytics_server.query.comparison import Period, parse_compare, period_before
from saytics_server.query.model import Frame
from saytics_server.query.periods import buckets_of, parse_range, utc_text

NOW_MS = 1_711_886_400_000


def moved(from_, to, interval, timezone="UTC", week_start=0):
    frame = Frame(1, timezone, week_start, NOW_MS)
    span = parse_range(from_, to, frame)
    return period_before(Period(span, buckets_of(span, interval, frame)), frame)


@pytest.mark.parametrize(
    ("from_", "to", "interval", "labels", "span"),
    [
        # Whole days: as many whole days, ending where the range begins.
        ("2024-01-08", "2024-01-10", "day", ["2024-01-05", "2024-01-06", "2024-01-07"],
         ("2024-01-05T00:00:00.000Z", "2024-01-07T23:59:59.999Z")),
        ("2024-03-01", "2024-03-01", "day", ["2024-02-29"],
         ("2024-02-29T00:00:00.000Z", "2024-02-29T23:59:59.999Z")),
        # A running day is compared with the same part of the day before.
        ("2024-01-08", "2024-01-08T15:00:00Z", "day", ["2024-01-07"],
         ("2024-01-07T00:00:00.000Z", "2024-01-07T15:00:00.000Z")),
        ("2024-01-08T12:00:00Z", "2024-01-10T11:59:59.999Z", "day",
         ["2024-01-06", "2024-01-07", "2024-01-08"],
         ("2024-01-06T12:00:00.000Z", "2024-01-08T11:59:59.999Z")),
        # Weeks keep their seven days; a first one that the range cuts is cut as much.
        ("2024-01-08", "2024-01-21", "week", ["2023-12-25", "2024-01-01"],
         ("2023-12-25T00:00:00.000Z", "2024-01-07T23:59:59.999Z")),
        ("2024-01-10", "2024-01-16", "week", ["2024-01-01", "2024-01-08"],
         ("2024-01-03T00:00:00.000Z", "2024-01-09T23:59:59.999Z")),
        # Equal length: 29 days of February against the 29 days before.
        ("2024-02-01", "2024-02-29", "month", ["2024-01-03"],
         ("2024-01-03T00:00:00.000Z", "2024-01-31T23:59:59.999Z")),
        ("2024-01-08T10:00:00Z", "2024-01-08T11:59:59.999Z", "hour",
         ["2024-01-08T08:00:00+00:00", "2024-01-08T09:00:00+00:00"],
         ("2024-01-08T08:00:00.000Z", "2024-01-08T09:59:59.999Z")),
        ("2024-01-08T10:30:00Z", "2024-01-08T11:15:00Z", "hour",
         ["2024-01-08T09:00:00+00:00", "2024-01-08T10:00:00+00:00"],
         ("2024-01-08T09:30:00.000Z", "2024-01-08T10:15:00.000Z")),
        ("1970-01-01", "1970-01-02", "day", ["1969-12-30", "1969-12-31"],
         ("1969-12-30T00:00:00.000Z", "1969-12-31T23:59:59.999Z")),
    ],
)  # fmt: skip
def test_a_range_is_moved_back_by_its_length(from_, to, interval, labels, span):
    """Days by local days, hours by hours; every bucket has its counterpart."""
    period = moved(from_, to, interval)
    assert list(period.buckets.labels) == labels
    assert (utc_text(period.span.from_ms), utc_text(period.span.to_ms)) == span


def test_a_long_day_is_compared_with_a_day():
    """The 25 hours of the 27th of October in Berlin stand beside the 24 of the 26th."""
    period = moved("2024-10-27", "2024-10-27", "day", "Europe/Berlin")
    assert period.buckets.labels == ("2024-10-26",)
    assert utc_text(period.span.from_ms) == "2024-10-25T22:00:00.000Z"
    assert utc_text(period.span.to_ms) == "2024-10-26T21:59:59.999Z"


def test_the_last_hour_of_a_long_day_ends_with_the_day_before():
    """What lies 24.5 hours after midnight has no counterpart on a day of 24: it ends with it."""
    period = moved("2024-10-27", "2024-10-27T22:30:00Z", "day", "Europe/Berlin")
    assert utc_text(period.span.to_ms) == "2024-10-26T21:59:59.998Z"


def test_a_day_that_never_was_is_no_day_to_compare_with():
    """Apia had no 30th of December 2011: the 31st is compared with the 29th."""
    period = moved("2011-12-31", "2011-12-31", "day", "Pacific/Apia")
    assert period.buckets.labels == ("2011-12-29",)


@settings(max_examples=30)
@given(
    zone=st.sampled_from(
        ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "America/Sao_Paulo"]
    ),
    # Apia's lost day; the end of summer time in Berlin and Sao Paulo.
    begin=st.builds(
        lambda base, past: base + past,
        st.sampled_from([1_325_000_000_000, 1_729_900_000_000, 1_518_900_000_000]),
        st.integers(0, 400_000_000),
    ),
    length=st.integers(0, 40 * 86_400_000),
    interval=st.sampled_from(["hour", "day", "week", "month"]),
    week_start=st.integers(0, 6),
)
def test_any_range_is_moved_as_the_oracle_moves_it(zone, begin, length, interval, week_start):
    """Edges and labels are those of a walk over the local clock; the moved range never overlaps."""
    length = min(length, 3 * 86_400_000) if interval == "hour" else length
    frame = Frame(1, zone, week_start, NOW_MS)
    span = parse_range(utc_text(begin), utc_text(begin + length), frame)
    found = period_before(Period(span, buckets_of(span, interval, frame)), frame)
    question = Question(
        zone, week_start, NOW_MS, begin, begin + length, interval, None, [], "count", None, None
    )
    expected = oracle.period_before(question)
    rows = list(
        zip(found.buckets.labels, found.buckets.starts_ms, found.buckets.ends_ms(), strict=True)
    )
    assert (found.span.from_ms, found.span.to_ms + 1, rows) == (
        expected.begin,
        expected.end,
        expected.rows,
    )
    assert found.span.to_ms < span.from_ms


def test_only_the_period_before_can_be_compared_with():
    """Another word answers invalid_parameter with the field; none compares with nothing."""
    frame = Frame(1, "UTC", 0, NOW_MS)
    span = parse_range("2024-01-01", "2024-01-02", frame)
    period = Period(span, buckets_of(span, "day", frame))
    assert parse_compare(None, period, frame) is None
    with pytest.raises(Refused) as refusal:
        parse_compare("previous_year", period, frame)
    assert refusal.value.rejection.field == "compare"
