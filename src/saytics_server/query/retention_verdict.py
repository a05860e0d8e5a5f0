"""Why a person is in which cohorts of a retention, and in which of their cells. Pure.

What comes in is what was seen of the person in each stretch of time: how many start and return
events, the first and the last of each. That is what the report itself goes by, so both agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from saytics_server.query.evidence import Evidence, length_text, shown_event
from saytics_server.query.model import Range
from saytics_server.query.periods import utc_text
from saytics_server.query.retention_periods import Cohorts

Mode = Literal["on", "on_or_after"]
Kind = Literal["first_time", "first_ever", "recurring"]

# Cohorts of one person in an explanation: nobody reads on.
COHORTS_SHOWN_MAX = 50

BEFORE, INSIDE, AFTER = 0, 1, 2


class Seen(msgspec.Struct, frozen=True):
    """A person's events in a stretch before, inside or after the range (`part`).

    First and last mean something only where there are any.
    """

    part: int
    bucket: int
    starts: int
    first_start: Evidence
    last_start: Evidence
    returns: int
    first_return: Evidence
    last_return: Evidence


class Anchor(msgspec.Struct, frozen=True):
    """The start event that puts a person into the cohort of a bucket."""

    cohort: int
    start: Evidence


def anchors_of(seen: Sequence[Seen], kind: Kind) -> list[Anchor]:
    """Return a person's anchors, earliest first."""
    starting = [stretch for stretch in seen if stretch.starts]
    if kind == "first_ever" and any(stretch.part == BEFORE for stretch in starting):
        return []
    firsts: dict[int, Evidence] = {}
    for stretch in starting:
        if stretch.part == INSIDE:
            known = firsts.get(stretch.bucket, stretch.first_start)
            firsts[stretch.bucket] = min(known, stretch.first_start)
    anchors = [Anchor(cohort, start) for cohort, start in sorted(firsts.items())]
    return anchors if kind == "recurring" else anchors[:1]


def verdict(seen: Sequence[Seen], anchor: Anchor, cohorts: Cohorts, mode: Mode) -> dict[str, Any]:
    """Return for each period of a cohort what filled it, or what was missing and by how much."""
    returns = list(_returns(seen))
    filled: dict[int, Evidence] = {}
    for bucket, event in returns:
        if event[0] >= anchor.start[0]:
            period = cohorts.period_of(anchor.cohort, anchor.start[0], bucket, event[0])
            filled[period] = min(filled.get(period, event), event)
    times = sorted(event[0] for _, event in returns)
    periods = []
    for period in range(cohorts.periods):
        begin, end = cohorts.bounds(anchor.cohort, anchor.start[0], period)
        event_ = _filling(filled, anchor, period, mode)
        periods.append(
            {
                "period": period,
                "from": utc_text(begin),
                "to": utc_text(end - 1),
                "complete": cohorts.complete(anchor.cohort, period),
                "counted": event_ is not None,
                **(
                    {"missing": _missing_return(times, anchor, begin, end, mode)}
                    if event_ is None
                    else {"event": shown_event(event_)}
                ),
            }
        )
    return {
        "date": cohorts.buckets.labels[anchor.cohort],
        "start_event": shown_event(anchor.start),
        "periods": periods,
    }


def missing_start(seen: Sequence[Seen], span: Range, kind: Kind) -> str | None:
    """Return why a person with start events is in no cohort; None without any."""
    starts = [stretch for stretch in seen if stretch.starts]
    before = [stretch for stretch in starts if stretch.part == BEFORE]
    if kind == "first_ever" and before:
        first_ms = min(stretch.first_start[0] for stretch in before)
        early = length_text(span.from_ms - first_ms)
        return f"The first start event ever came {early} before the range begins."
    near = []
    if before:
        last_ms = max(stretch.last_start[0] for stretch in before)
        near.append(f"one came {length_text(span.from_ms - last_ms)} before it begins")
    if after := [stretch.first_start[0] for stretch in starts if stretch.part == AFTER]:
        near.append(f"one came {length_text(min(after) - span.to_ms)} after it ends")
    return f"No start event in the range: {', '.join(near)}." if near else None


def events_in(seen: Sequence[Seen]) -> Iterator[Evidence]:
    """Yield every event that a verdict may name."""
    for stretch in seen:
        if stretch.starts:
            yield from (stretch.first_start, stretch.last_start)
    yield from (event for _, event in _returns(seen))


def _returns(seen: Sequence[Seen]) -> Iterator[tuple[int, Evidence]]:
    for stretch in seen:
        if stretch.returns:
            yield stretch.bucket, stretch.first_return
            yield stretch.bucket, stretch.last_return


def _filling(
    filled: Mapping[int, Evidence], anchor: Anchor, period: int, mode: Mode
) -> Evidence | None:
    if mode == "on":
        return filled.get(period)
    if period == 0:
        return anchor.start
    return min((event for at, event in filled.items() if at >= period), default=None)


def _missing_return(
    times: Sequence[int], anchor: Anchor, begin_ms: int, end_ms: int, mode: Mode
) -> str:
    """Return what there was instead: the nearest return before the period and after it."""
    begin_ms = max(begin_ms, anchor.start[0])
    before = [instant for instant in times if instant < begin_ms]
    after = [instant for instant in times if instant >= end_ms]
    near = []
    if before:
        since = " and before the start event" if before[-1] < anchor.start[0] else ""
        near.append(f"one came {length_text(begin_ms - before[-1])} too early{since}")
    if after:
        near.append(f"one came {length_text(after[0] - end_ms + 1)} too late")
    what = "No return event in the period" + (" or later" if mode == "on_or_after" else "")
    return f"{what}: {', '.join(near)}." if near else f"{what}, nor near it."
