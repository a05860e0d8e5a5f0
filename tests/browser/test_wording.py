"""Numbers, comparisons and times are worded as people say them."""

from __future__ import annotations

from datetime import date
from zoneinfo import ZoneInfo

import pytest

from saytics_server.dashboard import wording
from saytics_server.dashboard.visitor import safe_next

NARROW = "\N{NARROW NO-BREAK SPACE}"


@pytest.mark.parametrize(
    ("value", "short", "full"),
    [
        (0, "0", "0"),
        (9_999, "9,999", "9,999"),
        (10_000, f"10.0{NARROW}k", "10,000"),
        (12_431, f"12.4{NARROW}k", "12,431"),
        (999_949, f"1.00{NARROW}M", "999,949"),
        (1_234_567, f"1.23{NARROW}M", "1,234,567"),
        (-12_431, f"\N{MINUS SIGN}12.4{NARROW}k", "\N{MINUS SIGN}12,431"),
    ],
)
def test_numbers_are_shortened_from_ten_thousand(value: int, short: str, full: str):
    """A headline is short, its full value is kept beside it."""
    assert wording.number(value) == wording.Number(value, short, full)


@pytest.mark.parametrize(
    ("now", "before", "words"),
    [
        (112, 100, f"+12{NARROW}%"),
        (88, 100, f"\N{MINUS SIGN}12{NARROW}%"),
        (100, 100, "unchanged"),
        (1_001, 1_000, f"\N{PLUS-MINUS SIGN}0{NARROW}%"),
        (1_000, 100, f"10{NARROW}\N{MULTIPLICATION SIGN}"),
        (0, 100, f"\N{MINUS SIGN}100{NARROW}%"),
    ],
)
def test_changes_are_said_in_words(now: int, before: int, words: str):
    """A change is a percentage, or a factor from tenfold on."""
    assert wording.compared(now, before, "the day before").change == words


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [(120, "120 ms"), (4_200, "4.2 s"), (90_000, "2 min"), (86_400_000, "24 h")],
)
def test_durations_take_the_unit_that_fits(milliseconds: int, words: str):
    """A duration is one number and one unit."""
    assert wording.duration(milliseconds) == words.replace(" ", NARROW)


def test_times_are_in_the_zone_asked_for():
    """A stored time is worded in the workspace's zone, its offset shown."""
    found = wording.wire_instant("2026-11-23T13:03:22.120Z", ZoneInfo("Asia/Kathmandu"))
    assert wording.full_time(found) == "Mon 23 Nov 2026, 18:48:22.120 +05:45"
    assert wording.short_day(date(2026, 11, 3)) == "3 Nov"


@pytest.mark.parametrize(
    ("target", "leads_to"),
    [
        ("/", "/"),
        ("/?workspace=acme&days=7", "/?workspace=acme&days=7"),
        ("/persons/one?workspace=acme&user=a%2Fb+c", "/persons/one?workspace=acme&user=a%2Fb+c"),
        ("/home/arrivals?after=0", "/"),
        ("/events/older?cursor=x", "/"),
        ("/logout", "/"),
        ("//evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("/?x=\r\nSet-Cookie: a=b", "/"),
        ("/\n", "/"),
        ("javascript:alert(1)", "/"),
    ],
)
def test_a_login_leads_only_to_our_pages(target: str, leads_to: str):
    """Whatever an address asks for, the login leads to a page of this server."""
    assert safe_next(target) == leads_to
