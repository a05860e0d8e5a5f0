"""Why one person counts as they do: what a report explains, line by line, in words.

In: the answer of `explain`, whose shape is the report's own. Out: lines that say what was asked,
whether it was met, and by which event or why not.
"""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from saytics_server.dashboard import wording
from saytics_server.dashboard.reports.report_page import ReportPage
from saytics_server.dashboard.reports.visit import Visit
from saytics_server.query import reports

# Of a person's history the newest lines; the profile has the rest.
LINES_MAX = 30
LIFECYCLE_KINDS = {
    "new": "new",
    "returning": "stayed",
    "resurrecting": "came back",
    "dormant": "went quiet",
}
_ENDED = {
    "depth": "The path goes on; more steps can be asked for.",
    "no_event": "Nothing came after it.",
    "session": "The session ended here.",
    "window": "What came next was too late.",
}


class Line(msgspec.Struct, frozen=True):
    """One line of a verdict: what was asked, whether it was met, and by what or why not."""

    label: str
    met: bool
    told: str
    event_id: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """Why a person counts as they do."""

    told: str
    lines: list[Line]
    links: list[str]


class _Calendar(msgspec.Struct, frozen=True):
    """By which clock and in which intervals times are told."""

    zone: ZoneInfo
    interval: str

    def moment(self, event: dict[str, Any]) -> str:
        return wording.full_time(wording.wire_instant(event["timestamp"], self.zone))

    def bucket(self, label: str) -> str:
        return wording.bucket(label, self.interval)


def why(visit: Visit, page: ReportPage) -> Verdict:
    """Return the verdict on the person that the address names. Blocks. Raises Refused."""
    params = visit.request.query_params
    person = reports.PersonDocument(params.get("user_id"), params.get("anonymous_id"))
    document = visit.document(page)
    reader, asked = visit.asked(document)
    answer = reports.explain(reader, asked, reports.ExplainDocument(query={}, person=person))
    calendar = _Calendar(ZoneInfo(visit.workspace.timezone), document.get("interval", "day"))
    return verdict(answer, calendar)


def verdict(answer: dict[str, Any], calendar: _Calendar) -> Verdict:
    """Return an explanation in words."""
    links = {(link["anonymous_id"], link["user_id"]): None for link in answer.get("links", ())}
    return Verdict(
        _missing(answer.get("missing")) or _summary(answer),
        _lines(answer, calendar)[:LINES_MAX],
        [f"{anonymous} \N{RIGHTWARDS ARROW} {user}" for anonymous, user in links],
    )


def _summary(answer: dict[str, Any]) -> str:
    if steps := answer.get("steps"):
        reached = sum(step["counted"] for step in steps)
        return f"Reached {reached} of {len(steps)} steps."
    is_counted = answer.get("counted", answer.get("counts", False))
    return "Counted." if is_counted else "Not counted."


def _missing(missing: Any) -> str:
    if isinstance(missing, dict):
        others = missing["other_events_in_range"]
        return (
            f"There is {missing['what']}, but {others:,} other {wording.counted(others, 'event')}."
        )
    return missing or ""


def _lines(answer: dict[str, Any], calendar: _Calendar) -> list[Line]:
    if "steps" in answer:
        return [_step(step, calendar) for step in answer["steps"]]
    if "series" in answer:
        return [line for one in answer["series"] for line in _series(one, calendar)]
    if "cohorts" in answer:
        return [line for cohort in answer["cohorts"] for line in _cohort(cohort, calendar)]
    if "paths" in answer:
        return [line for path in answer["paths"] for line in _path(path, calendar)]
    rows = [row for row in answer.get("data", ()) if row.get("active", True)]
    return [_interval(row, calendar) for row in reversed(rows)]


def _step(step: dict[str, Any], calendar: _Calendar) -> Line:
    label = f"{step['step']}. {step['event']}"
    if not step["counted"]:
        return Line(label, False, step["missing"])
    event = step["filled_by"]
    told = calendar.moment(event)
    if step.get("after_previous_s") is not None:
        told += f", {wording.duration(1000 * step['after_previous_s'])} after the step before"
    return Line(label, True, told, event["id"])


def _series(one: dict[str, Any], calendar: _Calendar) -> list[Line]:
    name = one.get("event") or "any event"
    lines = [
        Line(
            calendar.bucket(row["date"]),
            True,
            f"{row['counted']:,} {wording.counted(row['counted'], 'event')} of {name}",
        )
        for row in reversed(one["data"])
    ]
    if one["missed"]:
        told = f"{one['missed']:,} {wording.counted(one['missed'], 'event')} of {name} left out"
        lines.append(Line("What the filters remove", False, told))
    return lines or [Line(name, False, "No such event in the range.")]


def _cohort(cohort: dict[str, Any], calendar: _Calendar) -> list[Line]:
    start = cohort["start_event"]
    begun = f"{start['event']}, {calendar.moment(start)}"
    lines = [Line(f"Started: {calendar.bucket(cohort['date'])}", True, begun, start["id"])]
    for period in cohort["periods"]:
        label = f"{calendar.interval.capitalize()} {period['period']}"
        if event := period.get("event"):
            told = f"{event['event']}, {calendar.moment(event)}"
            lines.append(Line(label, True, told, event["id"]))
        else:
            lines.append(Line(label, False, period["missing"]))
    return lines


def _path(path: dict[str, Any], calendar: _Calendar) -> list[Line]:
    lines = [
        Line(f"{step['step']}. {step['event']}", True, calendar.moment(step), step["id"])
        for step in path["steps"]
    ]
    return [*lines, Line("End of the path", False, _ENDED.get(path["ended"]["by"], ""))]


def _interval(row: dict[str, Any], calendar: _Calendar) -> Line:
    event = row.get("event") or row.get("previous_event") or {}
    told = []
    if "kind" in row:
        told.append(LIFECYCLE_KINDS.get(row["kind"], row["kind"]))
    if "events" in row:
        told.append(f"{row['events']:,} {wording.counted(row['events'], 'event')}")
    if event:
        first = "first " if "events" in row else ""
        told.append(f"{first}{event['event']}, {calendar.moment(event)}")
    is_met = row.get("kind") != "dormant"
    return Line(calendar.bucket(row["date"]), is_met, "; ".join(told), event.get("id", ""))


def node_words(id_: Any) -> str:
    """Word a node of a path by its id, `STEP:EVENT` or `STEP~other`."""
    text = str(id_)
    step, colon, event = text.partition(":")
    return f"{event} (step {step})" if colon else f"other events (step {text.partition('~')[0]})"
