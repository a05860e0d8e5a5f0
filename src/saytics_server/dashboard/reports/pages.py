"""The pages of all reports: the builder at once, the answer on its own, persons on a click.

GET /reports/NAME            the page: the builder, and where the answer will be
GET /reports/NAME/answer     the answer; a refused question says what to change
GET /reports/NAME/persons    who is behind one number
GET /reports/NAME/why        why one person counts as they do
GET /reports/NAME/table.csv  the table for a spreadsheet
GET /reports/names/KIND      what the builder's fields suggest
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from saytics_server.dashboard.context import DashboardContext
from saytics_server.dashboard.render import MemberHandler, redirect, render
from saytics_server.dashboard.reports import (
    active_users,
    funnels,
    lifecycle,
    names,
    paths,
    persons,
    retention,
    stickiness,
    trends,
    verdicts,
)
from saytics_server.dashboard.reports.api_call import ApiCall, api_call
from saytics_server.dashboard.reports.given import RANGES
from saytics_server.dashboard.reports.report_page import Known, ReportPage
from saytics_server.dashboard.reports.result import Result, as_csv, name_cohort
from saytics_server.dashboard.reports.visit import Visit
from saytics_server.dashboard.shell import Shell, shell_of
from saytics_server.dashboard.visitor import Visitor
from saytics_server.errors import Refused
from saytics_server.query import catalogue, reports

PAGES: tuple[ReportPage, ...] = tuple(
    report.PAGE
    for report in (trends, active_users, funnels, retention, lifecycle, stickiness, paths)
)

# Where to look for what a shorter range does not have.
_LONGEST_RANGE = "365"
# The most frequent names that a first question is made of.
STARTER_EVENTS = 2

# A refusal of one of these is the question's, and is told in the page; others are the server's.
_OF_THE_QUESTION = ("invalid_parameter", "missing_parameter", "range_too_large", "query_too_large")
_FIRST_WORD = re.compile(r"(?P<name>\w+)(\[(?P<place>\d+)\])?")
_SAME_CONTROL = {"from": "range", "to": "range", "breakdown_limit": "breakdown"}


class Page(msgspec.Struct, frozen=True):
    """A report's page before its answer has come."""

    shell: Shell
    name: str
    title: str
    purpose: str
    workspace: str
    builder: msgspec.Struct
    address: str
    answer_address: str
    zone: str


class Nothing(msgspec.Struct, frozen=True):
    """Why there is no answer, and what to do. `field` and `place` name the control."""

    title: str
    told: str
    address: str
    next_step: str
    link: str
    link_address: str
    field: str = ""
    place: str = ""


class Answer(msgspec.Struct, frozen=True):
    """An answer as it is shown, with the ways to take it elsewhere."""

    name: str
    title: str
    result: Result
    zone: str
    address: str
    persons_address: str
    csv_address: str
    call: ApiCall


def handlers() -> list[tuple[str, str, MemberHandler]]:
    """Return method, path and handler of every page and of its parts."""
    return [
        ("GET", "/reports/{name}", _show_page),
        ("GET", "/reports/{name}/answer", _show_answer),
        ("GET", "/reports/{name}/persons", _show_persons),
        ("GET", "/reports/{name}/why", _show_why),
        ("GET", "/reports/{name}/table.csv", _export),
        ("GET", "/reports/names/{kind}", _suggest),
    ]


def _page_in(request: Request) -> ReportPage:
    name = request.path_params["name"]
    found = next((page for page in PAGES if page.name == name), None)
    if found is None:
        raise Refused("not_found", "There is no report of this name.")
    return found


async def _show_page(request: Request, context: DashboardContext, member: Visitor) -> Response:
    page = _page_in(request)
    visit = Visit(request, context, member)
    path = f"/reports/{page.name}"
    if "workspace" not in request.query_params:
        # So that the address says which workspace the numbers are of.
        return redirect(visit.address(path))
    shown = Page(
        shell=shell_of(member, visit.workspace, path),
        name=page.name,
        title=page.title,
        purpose=page.purpose,
        workspace=visit.workspace.slug,
        builder=page.builder(visit.given),
        address=path,
        answer_address=visit.address(f"{path}/answer"),
        zone=visit.workspace.timezone,
    )
    return render(f"reports/{page.name}.html", shown)


async def _show_answer(request: Request, context: DashboardContext, member: Visitor) -> Response:
    page = _page_in(request)
    visit = Visit(request, context, member)
    try:
        shown = await visit.found(_answer, page)
    except Refused as refused:
        if refused.kind.code not in _OF_THE_QUESTION:
            raise
        return render("reports/nothing.html", _refused(visit, page, refused))
    template = "reports/answer.html" if isinstance(shown, Answer) else "reports/nothing.html"
    return render(template, shown)


def _answer(visit: Visit, page: ReportPage) -> Answer | Nothing:
    path = f"/reports/{page.name}"
    address = visit.address(f"{path}/answer")
    missing = page.missing(visit.given)
    if missing or not _has_events(visit):
        return _nothing_yet(visit, page, missing)
    document = visit.document(page)
    result = _result(visit, page, document)
    if result.is_empty:
        return _nothing_found(visit, page)
    return Answer(
        name=page.name,
        title=page.title,
        result=result,
        zone=visit.workspace.timezone,
        address=address,
        persons_address=visit.address(f"{path}/persons"),
        csv_address=visit.address(f"{path}/table.csv"),
        call=api_call(visit.context.public_url(visit.request), document),
    )


def _result(visit: Visit, page: ReportPage, document: dict[str, Any]) -> Result:
    reader, asked = visit.asked(document)
    found = reports.answer(reader, asked)
    if visit.cohort:
        name_cohort(found, visit.cohort)
    return page.result(found, Known(visit.given, document))


def _has_events(visit: Visit) -> bool:
    if visit.context.live.last_position(visit.workspace.id):
        return True
    # Memory holds only what came lately; the store knows whether anything ever did.
    query = catalogue.EventsQuery(visit.frame, "", 1)
    return bool(catalogue.events(visit.context.store, query)["data"])


def _nothing_yet(visit: Visit, page: ReportPage, missing: str) -> Nothing:
    path = f"/reports/{page.name}"
    address = visit.address(f"{path}/answer")
    query = catalogue.EventsQuery(visit.frame, "", STARTER_EVENTS)
    events = [row["event"] for row in catalogue.events(visit.context.store, query)["data"]]
    if not events:
        home = f"/?workspace={visit.workspace.slug}#set-up"
        told = "No event has arrived in this workspace yet."
        return Nothing(page.would_be, told, address, "", "Send an event", home)
    fields = page.starter(events)
    names = [value for _, value in fields if value]
    link = f"Try it with {' and '.join(names)}" if names else ""
    query_string = urlencode([("workspace", visit.workspace.slug), *fields])
    return Nothing(page.would_be, missing, address, "", link, f"{path}?{query_string}")


def _nothing_found(visit: Visit, page: ReportPage) -> Nothing:
    replaced = ("workspace", "range", "from", "to")
    fields = [("workspace", visit.workspace.slug), ("range", _LONGEST_RANGE)]
    fields += [pair for pair in visit.given.pairs if pair[0] not in replaced]
    return Nothing(
        title="Nothing matches this question in this range.",
        told="Check the names and filters above, or look further back.",
        address=visit.address(f"/reports/{page.name}/answer"),
        next_step="",
        link=f"Look at {RANGES[_LONGEST_RANGE][0]}",
        link_address=f"/reports/{page.name}?{urlencode(fields)}",
    )


def _refused(visit: Visit, page: ReportPage, refused: Refused) -> Nothing:
    said = _FIRST_WORD.match(refused.rejection.field or "")
    field = said["name"] if said else ""
    return Nothing(
        title="This question cannot be answered as it is.",
        told=refused.rejection.message,
        address=visit.address(f"/reports/{page.name}/answer"),
        next_step="Change it above; nothing you chose is lost.",
        link="",
        link_address="",
        field=_SAME_CONTROL.get(field, field),
        place=(said["place"] or "") if said else "",
    )


async def _show_persons(request: Request, context: DashboardContext, member: Visitor) -> Response:
    page = _page_in(request)
    visit = Visit(request, context, member)
    return render("reports/persons.html", await visit.found(persons.behind, page))


async def _show_why(request: Request, context: DashboardContext, member: Visitor) -> Response:
    page = _page_in(request)
    visit = Visit(request, context, member)
    return render("reports/why.html", await visit.found(verdicts.why, page))


async def _export(request: Request, context: DashboardContext, member: Visitor) -> Response:
    page = _page_in(request)
    visit = Visit(request, context, member)
    text = await visit.found(_csv, page)
    headers = {
        "Cache-Control": "no-store",
        "Content-Disposition": f'attachment; filename="{page.name}.csv"',
        "X-Content-Type-Options": "nosniff",
    }
    return Response(text, headers=headers, media_type="text/csv")


def _csv(visit: Visit, page: ReportPage) -> str:
    return as_csv(_result(visit, page, visit.document(page)).tables)


_SUGGESTING: dict[str, Callable[[Visit], names.Suggestions]] = {
    "events": names.events,
    "properties": names.properties,
    "values": names.values,
}


async def _suggest(request: Request, context: DashboardContext, member: Visitor) -> Response:
    visit = Visit(request, context, member)
    find = _SUGGESTING.get(request.path_params["kind"])
    if find is None:
        raise Refused("not_found")
    return render("reports/suggestions.html", await visit.found(find))
