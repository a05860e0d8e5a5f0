"""The figures of the home page: report answers worded, and shaped for the chart and its table.

In: a store and a workspace's frame. Out: finished figures. The numbers come from the reports in
`query/`; here they are only put into words. Everything here blocks: call it in a thread.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from saytics_server.accounts import Workspace
from saytics_server.dashboard import wording
from saytics_server.dashboard.chart import Chart, Kind, Line, encoded
from saytics_server.query import active_users, top_events, trends
from saytics_server.query.model import Frame
from saytics_server.query.reading import Reader
from saytics_server.store import Store

TOP_EVENTS_MAX = 10

# metric: how a bucket is called, days until it can be compared with itself, what it counts
PEOPLE_METRICS: dict[str, tuple[str, int, str]] = {
    "dau": ("Daily", 7, "on that local day"),
    "wau": ("Weekly", 7, "on that local day or the 6 before it"),
    "mau": ("Monthly", 30, "on that local day or the 29 before it"),
}


class Headline(msgspec.Struct, frozen=True):
    """The number of a figure, what it counts, and how it compares, where that can be said."""

    number: wording.Number
    label: str
    comparison: wording.Comparison | None


class Look(msgspec.Struct, frozen=True):
    """What stays the same about a figure whatever its numbers."""

    name: str
    title: str
    kind: Kind
    unit: str
    would_be: str


EVENTS_PER_DAY = Look(
    name="events-per-day",
    title="Events per day",
    kind="bar",
    unit="event",
    would_be="One bar a day: how many events happened.",
)
ACTIVE_USERS = Look(
    name="active-users",
    title="Active users",
    kind="line",
    unit="person",
    would_be="A line of how many different persons did something.",
)


class WayOut(msgspec.Struct, frozen=True):
    """Why a range is empty, and the one thing to do next."""

    why: str
    action: str
    address: str


class Empty(WayOut, frozen=True):
    """What would be here, why it is not, and what to do."""

    would_be: str


class TableRow(msgspec.Struct, frozen=True):
    """One day of the table behind a chart."""

    label: str
    number: wording.Number
    running: bool


class Figure(msgspec.Struct, frozen=True):
    """One chart with its headline, its table and the sentence that defines its number."""

    look: Look
    headline: Headline
    summary: str
    series: str
    table: list[TableRow]
    definition: str
    running_note: str
    empty: Empty | None


class TopEvent(msgspec.Struct, frozen=True):
    """One row of the top events; `bar` is its length in percent of the longest."""

    event: str
    count: wording.Number
    persons: wording.Number
    bar: int


class TopEvents(msgspec.Struct, frozen=True):
    """The most frequent events of the range."""

    rows: list[TopEvent]
    definition: str
    empty: Empty | None


class Period(msgspec.Struct, frozen=True):
    """The last `days` local days of a workspace, today included; `way_out` if nothing is there."""

    workspace: Workspace
    days: int
    frame: Frame
    way_out: WayOut

    @property
    def zone(self) -> ZoneInfo:
        """The workspace's time zone."""
        return ZoneInfo(self.workspace.timezone)

    @property
    def now(self) -> datetime:
        """The present moment on the workspace's clock."""
        return wording.instant(self.frame.now_ms, self.zone)

    @property
    def first_day(self) -> date:
        """The first day of the range."""
        return self.now.date() - timedelta(days=self.days - 1)

    @property
    def begin(self) -> datetime:
        """Local midnight of the first day."""
        return datetime.combine(self.first_day, time(), self.zone)


def events_per_day(store: Store, period: Period) -> Figure:
    """Count the events of each day of the period, and compare with the period before."""
    answer = _trend(store, period, period.first_day.isoformat(), period.now.date().isoformat())
    buckets, total = answer["data"], int(answer["total"])
    before = _events_before(store, period)
    headline = Headline(
        number=wording.number(total),
        label=f"{wording.counted(total, 'event')} in {period.days} days",
        comparison=(
            wording.compared(total, before, f"the {period.days} days before") if before else None
        ),
    )
    definition = (
        f"Every event counts on the day of its own timestamp, from midnight to midnight in "
        f"{period.workspace.timezone}."
    )
    return _figure(EVENTS_PER_DAY, period, buckets, headline, definition)


def _events_before(store: Store, period: Period) -> int:
    # Up to the same time of day, so that the running day is compared with as much of a day; to the
    # minute, so that for a minute it is the same question, whose answer may be kept.
    earlier = timedelta(days=period.days)
    begin = period.begin - earlier
    end = period.now.replace(second=0, microsecond=0) - earlier
    return int(_trend(store, period, begin.isoformat(), end.isoformat())["total"])


def _trend(store: Store, period: Period, begin: str, end: str) -> dict[str, Any]:
    parameters = [("from", begin), ("to", end), ("interval", "day")]
    frame = period.frame
    return trends.run(Reader(store, frame), trends.parse(parameters, frame))


def active_persons(store: Store, period: Period, metric: str) -> Figure:
    """Count distinct persons per day; the headline is the last day that is over."""
    called, compare_days, counted = PEOPLE_METRICS[metric]
    # Days before the range are asked for too: the headline is compared with one of them.
    asked_from = period.first_day - timedelta(days=compare_days)
    parameters = [
        ("from", asked_from.isoformat()),
        ("to", period.now.date().isoformat()),
        ("interval", "day"),
        ("metric", metric),
    ]
    frame = period.frame
    answer = active_users.run(Reader(store, frame), active_users.parse(parameters, frame))
    buckets = answer["data"]
    definition = (
        f"{called} active users: distinct persons with at least one event {counted}, "
        f"in {period.workspace.timezone}. An anonymous visitor who later logs in is one person."
    )
    headline = _people_headline(buckets, metric)
    return _figure(ACTIVE_USERS, period, buckets[compare_days:], headline, definition)


def _people_headline(buckets: list[dict[str, Any]], metric: str) -> Headline:
    _, compare_days, _ = PEOPLE_METRICS[metric]
    # The last bucket is today, still running: the one before it is the latest whole one.
    today, latest, earlier = buckets[-1], buckets[-2], buckets[-2 - compare_days]
    count, before = int(latest["count"]), int(earlier["count"])
    if count == 0:
        # A workspace's first day: its people should not have to wait for midnight.
        count = int(today["count"])
        return Headline(
            wording.number(count), f"{wording.counted(count, 'person')} today so far", None
        )
    day = date.fromisoformat(latest["date"])
    span = {"dau": "on", "wau": "in the 7 days to", "mau": "in the 30 days to"}[metric]
    against = f"the {day:%A} before" if metric == "dau" else f"the {compare_days} days before"
    return Headline(
        number=wording.number(count),
        label=f"{wording.counted(count, 'person')} {span} {day:%a} {wording.short_day(day)}",
        comparison=wording.compared(count, before, against) if before else None,
    )


def most_frequent(store: Store, period: Period) -> TopEvents:
    """Return the most frequent events of the period with the persons behind them."""
    # To the end of today: a client's clock may run ahead, and the days' bars count that too.
    tomorrow = datetime.combine(period.now.date() + timedelta(days=1), time(), period.zone)
    begin_ms, end_ms = (round(edge.timestamp() * 1000) for edge in (period.begin, tomorrow))
    found = top_events.run(store, period.frame, begin_ms, end_ms - 1, limit=TOP_EVENTS_MAX)
    longest = max((int(row["count"]) for row in found), default=0)
    rows = [
        TopEvent(
            event=row["event"],
            count=wording.number(int(row["count"])),
            persons=wording.number(int(row["users"])),
            bar=max(1, round(100 * int(row["count"]) / longest)),
        )
        for row in found
    ]
    return TopEvents(
        rows=rows,
        definition=(
            f"Events of the last {period.days} days by name; persons are distinct. "
            f"The {TOP_EVENTS_MAX} most frequent."
        ),
        empty=None
        if rows
        else _empty("The names of your events, the most frequent first.", period),
    )


def _figure(
    look: Look,
    period: Period,
    buckets: list[dict[str, Any]],
    headline: Headline,
    definition: str,
) -> Figure:
    days = [date.fromisoformat(bucket["date"]) for bucket in buckets]
    values = [int(bucket["count"]) for bucket in buckets]
    running = next(
        (place for place, bucket in enumerate(buckets) if not bucket.get("complete", True)), None
    )
    chart = Chart(
        kind=look.kind,
        units=(look.unit, f"{look.unit}s"),
        ticks=[wording.short_day(day) for day in days],
        labels=[wording.day(day) for day in days],
        lines=[Line(look.title, list(values))],
        running=[] if running is None else [running],
    )
    return Figure(
        look=look,
        headline=headline,
        summary=_summary(look, days, values),
        series=encoded(chart),
        table=_table(days, values, running),
        definition=definition,
        running_note="" if running is None else _running_note(look, days[running]),
        empty=None if any(values) else _empty(look.would_be, period),
    )


def _table(days: list[date], values: list[int], running: int | None) -> list[TableRow]:
    """Return the rows of the table, the newest day first: it is looked for most."""
    rows = [
        TableRow(wording.day(day), wording.number(value), place == running)
        for place, (day, value) in enumerate(zip(days, values, strict=True))
    ]
    return rows[::-1]


def _running_note(look: Look, day: date) -> str:
    mark = "Hatched" if look.kind == "bar" else "Dashed"
    return f"{mark}: {wording.day(day)} is still running."


def _summary(look: Look, days: list[date], values: list[int]) -> str:
    """Say in a sentence what the chart shows, for those who do not see it."""
    highest = max(values)
    peak = wording.day(days[values.index(highest)])
    return (
        f"{look.title} from {wording.day(days[0])} to {wording.day(days[-1])}: "
        f"between {min(values):,} and {highest:,} {look.unit}s, most on {peak}. "
        "The table has every day."
    )


def _empty(would_be: str, period: Period) -> Empty:
    return Empty(**msgspec.structs.asdict(period.way_out), would_be=would_be)
