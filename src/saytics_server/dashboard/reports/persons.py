"""Who is behind a number, and why: the list beside a report, and the verdict on one person."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import msgspec

from saytics_server.dashboard import wording
from saytics_server.dashboard.reports.report_page import ReportPage
from saytics_server.dashboard.reports.result import cohort_words, shown_value
from saytics_server.dashboard.reports.visit import Visit
from saytics_server.query import reports
from saytics_server.query.model import invalid

# What a screen shows and an eye reads over; the next page is a button.
PERSONS_SHOWN = 50
_KINDS = {
    "new": "new",
    "returning": "returning",
    "resurrecting": "come back",
    "dormant": "gone quiet",
}


class ListedPerson(msgspec.Struct, frozen=True):
    """One person of the list."""

    id: str
    anonymous: bool
    address: str
    why_address: str


class Persons(msgspec.Struct, frozen=True):
    """A page of the persons behind a cell; `is_first` has the heading."""

    count: wording.Number
    noun: str
    about: list[str]
    persons: list[ListedPerson]
    why: str
    more_address: str
    is_first: bool


class Step(msgspec.Struct, frozen=True):
    """One line of a verdict: what was asked, whether it was met, and by what or why not."""

    label: str
    met: bool
    told: str
    event_id: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """Why a person counts as they do."""

    told: str
    steps: list[Step]
    links: list[str]


def behind(visit: Visit, page: ReportPage) -> Persons:
    """Return the persons of the cell that the address names. Blocks. Raises Refused."""
    params = visit.request.query_params
    text = params.get("cell", "{}")
    cell = _cell(text)
    cursor = params.get("cursor")
    reader, asked = visit.asked(visit.document(page))
    wanted = reports.PersonsDocument(query={}, cell=cell, limit=PERSONS_SHOWN, cursor=cursor)
    found = reports.persons(reader, asked, wanted)
    path = f"/reports/{page.name}"
    after = found["next_cursor"]
    return Persons(
        count=wording.number(found["count"]),
        noun=wording.counted(found["count"], "person"),
        about=_about(cell, visit),
        persons=[
            ListedPerson(
                person["id"],
                person["type"] == "anonymous",
                _profile(visit, person),
                visit.address(f"{path}/why", **{f"{person['type']}_id": person["id"]}),
            )
            for person in found["persons"]
        ],
        why=page.why,
        more_address=visit.address(f"{path}/persons", cell=text, cursor=after) if after else "",
        is_first=not cursor,
    )


def _profile(visit: Visit, person: dict[str, str]) -> str:
    query = {"workspace": visit.workspace.slug, person["type"]: person["id"]}
    return f"/persons/one?{urlencode(query)}"


def _cell(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        raise invalid("cell", "That is not a cell of a report.") from None


def _about(cell: dict[str, Any], visit: Visit) -> list[str]:
    """Word a cell, label by label."""
    told = []
    if "compare" in cell:
        told.append("the period before")
    if isinstance(cell.get("date"), str):
        told.append(_date(cell["date"], visit.given.one("interval", "day")))
    if "period" in cell:
        told.append(f"period {cell['period']}")
    if "step" in cell:
        what = "left before" if cell.get("dropped") else "reached"
        told.append(f"{what} step {cell['step']}")
    if "intervals" in cell:
        told.append(f"active in exactly {cell['intervals']}")
    if "kind" in cell:
        told.append(_KINDS.get(str(cell["kind"]), ""))
    if "node" in cell:
        told.append(_node(cell["node"]))
    if "source" in cell:
        told.append(f"{_node(cell['source'])} \N{RIGHTWARDS ARROW} {_node(cell.get('target'))}")
    if "value" in cell and visit.cohort:
        told.append(cohort_words(cell["value"], visit.cohort))
    elif "value" in cell or "other" in cell:
        told.append(shown_value(cell))
    return [words for words in told if words]


def _date(label: str, interval: str) -> str:
    try:
        return wording.bucket(label, interval)
    except ValueError:
        return label


def _node(id_: Any) -> str:
    """Word a node of a path by its id, `STEP:EVENT` or `STEP~other`."""
    text = str(id_)
    step, colon, event = text.partition(":")
    return f"{event} (step {step})" if colon else f"other events (step {text.partition('~')[0]})"


def why(visit: Visit, page: ReportPage) -> Verdict:
    """Return the verdict on the person that the address names. Blocks. Raises Refused."""
    params = visit.request.query_params
    person = reports.PersonDocument(params.get("user_id"), params.get("anonymous_id"))
    reader, asked = visit.asked(visit.document(page))
    answer = reports.explain(reader, asked, reports.ExplainDocument(query={}, person=person))
    return _verdict(answer, ZoneInfo(visit.workspace.timezone))


def _verdict(answer: dict[str, Any], zone: ZoneInfo) -> Verdict:
    steps = [_funnel_step(step, zone) for step in answer.get("steps", ())]
    steps += [_counted_line(one) for one in answer.get("series", ())]
    told = answer.get("missing") or ("Counted." if answer.get("counted") else "Not counted.")
    if not isinstance(told, str):
        told = "Not counted."
    links = [
        f"{link['anonymous_id']} \N{RIGHTWARDS ARROW} {link['user_id']}"
        for link in answer.get("links", ())
    ]
    if not steps:
        steps = [_dated(row, zone) for row in answer.get("data", ()) if _is_worth(row)][-_LINES:]
        steps = steps[::-1]
    return Verdict(told, steps, links)


# Of a person's history the newest lines; the profile has the rest.
_LINES = 20


def _funnel_step(step: dict[str, Any], zone: ZoneInfo) -> Step:
    label = f"{step['step']}. {step['event']}"
    if not step["counted"]:
        return Step(label, False, step["missing"])
    event = step["filled_by"]
    told = wording.full_time(wording.wire_instant(event["timestamp"], zone))
    if step.get("after_previous_s") is not None:
        told += f", {wording.duration(1000 * step['after_previous_s'])} after the step before"
    return Step(label, True, told, event["id"])


def _counted_line(one: dict[str, Any]) -> Step:
    name = one.get("event") or "any event"
    counted = one["counted"]
    return Step(name, bool(counted), f"{counted:,} {wording.counted(counted, 'event')} counted")


def _is_worth(row: dict[str, Any]) -> bool:
    return bool(row.get("active", True))


def _dated(row: dict[str, Any], zone: ZoneInfo) -> Step:
    event = row.get("event") or row.get("previous_event") or {}
    told = []
    if "kind" in row:
        told.append(_KINDS.get(row["kind"], row["kind"]))
    if "events" in row:
        told.append(f"{row['events']:,} {wording.counted(row['events'], 'event')}")
    if event:
        moment = wording.full_time(wording.wire_instant(event["timestamp"], zone))
        told.append(f"{event['event']}, {moment}")
    return Step(_date(row["date"], "day"), row.get("kind") != "dormant", "; ".join(told))
