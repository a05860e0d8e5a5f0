"""Who is behind a number: the persons of a cell of the answer, page by page."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import msgspec

from saytics_server.dashboard import wording
from saytics_server.dashboard.reports.report_page import ReportPage
from saytics_server.dashboard.reports.result import cohort_words, shown_value
from saytics_server.dashboard.reports.verdicts import LIFECYCLE_KINDS, node_words
from saytics_server.dashboard.reports.visit import Visit
from saytics_server.query import reports
from saytics_server.query.model import invalid

# What a screen shows and an eye reads over; the next page is a button.
PERSONS_SHOWN = 50


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


def behind(visit: Visit, page: ReportPage) -> Persons:
    """Return the persons of the cell that the address names. Blocks. Raises Refused."""
    params = visit.request.query_params
    text = params.get("cell", "{}")
    cell = _cell(text)
    cursor = params.get("cursor")
    document = visit.document(page)
    reader, asked = visit.asked(document)
    wanted = reports.PersonsDocument(query={}, cell=cell, limit=PERSONS_SHOWN, cursor=cursor)
    found = reports.persons(reader, asked, wanted)
    path = f"/reports/{page.name}"
    after = found["next_cursor"]
    return Persons(
        count=wording.number(found["count"]),
        noun=wording.counted(found["count"], "person"),
        about=_about(cell, visit, document.get("interval", "day")),
        persons=[
            ListedPerson(
                person["id"],
                person["type"] == "anonymous",
                _profile(visit, person),
                visit.address(f"{path}/why", **{f"{person['type']}_id": person["id"]}),
            )
            for person in found["persons"]
        ],
        why="Why not converted?" if cell.get("dropped") else "Why?",
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


def _about(cell: dict[str, Any], visit: Visit, interval: str) -> list[str]:
    """Word a cell, label by label."""
    told = []
    if "compare" in cell:
        told.append("the period before")
    if isinstance(cell.get("date"), str):
        # Daily and monthly persons stand by day, whatever the interval of the question.
        told.append(wording.bucket(cell["date"], "day" if "metric" in cell else interval))
    if "period" in cell:
        told.append(f"period {cell['period']}")
    if "step" in cell:
        what = "left before" if cell.get("dropped") else "reached"
        told.append(f"{what} step {cell['step']}")
    if "intervals" in cell:
        told.append(f"active in exactly {cell['intervals']}")
    if "kind" in cell:
        told.append(LIFECYCLE_KINDS.get(str(cell["kind"]), ""))
    if "node" in cell:
        told.append(node_words(cell["node"]))
    if "source" in cell:
        told.append(
            f"{node_words(cell['source'])} \N{RIGHTWARDS ARROW} {node_words(cell.get('target'))}"
        )
    if "value" in cell and visit.cohort:
        told.append(cohort_words(cell["value"], visit.cohort))
    elif "value" in cell or "other" in cell:
        told.append(shown_value(cell))
    return [words for words in told if words]
