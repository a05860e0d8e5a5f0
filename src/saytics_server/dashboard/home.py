"""The start page: what has arrived, how much, by whom; and how to send the first event.

The page itself asks no report, so it is there at once; each figure loads on its own. The address
holds the whole question: workspace, range, and which active users are shown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from saytics_server.accounts import Actor, Workspace
from saytics_server.accounts.permissions import Act, allows
from saytics_server.dashboard import figures, one_event, set_up
from saytics_server.dashboard.arrivals import (
    ROWS_MAX,
    ArrivalRow,
    Arrivals,
    arrivals,
)
from saytics_server.dashboard.context import DashboardContext
from saytics_server.dashboard.render import no_news, redirect, render
from saytics_server.dashboard.shell import Choice, Shell, shell_of
from saytics_server.dashboard.visitor import Visitor, read_form
from saytics_server.errors import Refused
from saytics_server.query import event_list

RANGES_DAYS = (7, 30, 90)
_DEFAULT_DAYS = 30
_DEFAULT_PEOPLE = "dau"


class Question(msgspec.Struct, frozen=True):
    """What the address of the home page asks."""

    workspace: str
    days: int
    people: str

    def address(self, path: str = "/", **changes: Any) -> str:
        """Return the address of this question with `changes`, at the page or one of its parts."""
        asked = msgspec.structs.replace(self, **changes)
        return f"{path}?{urlencode(msgspec.structs.asdict(asked))}"


class HomePage(msgspec.Struct, frozen=True):
    """The whole start page before its figures have come."""

    shell: Shell
    days: int
    zone: str
    ranges: list[Choice]
    events_address: str
    people_address: str
    top_address: str
    arrivals: Arrivals
    set_up: set_up.SetUpPanel


class FigureFragment(msgspec.Struct, frozen=True):
    """One chart, where to ask for it again, and the links whose address depends on it."""

    figure: figures.Figure
    address: str
    metrics: list[Choice]
    ranges: list[Choice]


class TopEventsFragment(msgspec.Struct, frozen=True):
    """The most frequent events, and where to ask for them again."""

    top: figures.TopEvents
    address: str


class FirstEvent(msgspec.Struct, frozen=True):
    """The event that ended the waiting."""

    row: ArrivalRow
    zone: str


class Visit(msgspec.Struct, frozen=True):
    """One request of a member: who asks, of which workspace, with which question."""

    request: Request
    context: DashboardContext
    member: Visitor
    workspace: Workspace
    role: str
    question: Question


def _visit(
    request: Request, context: DashboardContext, member: Visitor, slug: str | None = None
) -> Visit:
    """Read the question of a request; what the address asks wrongly falls back to the default.

    `slug` is the workspace where the address does not say it. Raises Refused("not_found").
    """
    asked = request.query_params
    membership = member.membership(slug or asked.get("workspace"))
    workspace = membership.workspace
    days = next((days for days in RANGES_DAYS if str(days) == asked.get("days")), _DEFAULT_DAYS)
    people = asked.get("people", _DEFAULT_PEOPLE)
    if people not in figures.PEOPLE_METRICS:
        people = _DEFAULT_PEOPLE
    question = Question(workspace.slug, days, people)
    return Visit(request, context, member, workspace, membership.role, question)


async def show_home(request: Request, context: DashboardContext, member: Visitor) -> Response:
    """GET /."""
    visit = _visit(request, context, member)
    if "workspace" not in request.query_params:
        # So that the address says which workspace the numbers are of.
        return redirect(visit.question.address())
    return render("home.html", await _found(visit, _home_page, visit))


async def _found(visit: Visit, work: Callable[..., Any], *arguments: Any) -> Any:
    """Return what `work` finds in the store."""
    return await visit.context.found(
        visit.request,
        visit.member,
        visit.workspace,
        work,
        *arguments,
    )


def _home_page(visit: Visit) -> HomePage:
    live, workspace, question = visit.context.live, visit.workspace, visit.question
    # The position first: what arrives in between then comes with the first poll, not never.
    last_position = live.last_position(workspace.id)
    events = live.recent(workspace.id, 0, ROWS_MAX)
    if not events:
        # Memory holds only what came lately; the store knows whether anything ever did.
        events = _stored_events(visit, [("limit", str(ROWS_MAX))])
    return HomePage(
        shell=_shell(visit),
        days=question.days,
        zone=workspace.timezone,
        ranges=_ranges(question),
        events_address=question.address("/home/events-per-day"),
        people_address=question.address("/home/active-users"),
        top_address=question.address("/home/top-events"),
        arrivals=arrivals(events, workspace, last_position, visit.context.clock.now_ms()),
        set_up=_panel(visit, waiting=not events),
    )


def _shell(visit: Visit) -> Shell:
    # Home keeps its question, also in another workspace.
    shell = shell_of(visit.member, visit.workspace, "/")
    kept = [
        msgspec.structs.replace(
            choice, address=visit.question.address(workspace=membership.workspace.slug)
        )
        for choice, membership in zip(shell.workspaces, visit.member.memberships, strict=True)
    ]
    return msgspec.structs.replace(shell, home_address=visit.question.address(), workspaces=kept)


def _ranges(question: Question) -> list[Choice]:
    return [
        Choice(f"{days} days", question.address(days=days), days == question.days)
        for days in RANGES_DAYS
    ]


# The figures


def _period(visit: Visit) -> figures.Period:
    frame = visit.context.frame(visit.workspace)
    return figures.Period(visit.workspace, visit.question.days, frame, _way_out(visit))


def _way_out(visit: Visit) -> figures.WayOut:
    if visit.context.live.last_position(visit.workspace.id) == 0:
        return figures.WayOut("No event has arrived lately.", "Send an event", "#set-up")
    why = f"No event is from the last {visit.question.days} days."
    longest = max(RANGES_DAYS)
    if visit.question.days < longest:
        address = visit.question.address(days=longest)
        return figures.WayOut(why, f"Look at {longest} days", address)
    return figures.WayOut(why, "Send an event", "#set-up")


async def show_events_per_day(
    request: Request, context: DashboardContext, member: Visitor
) -> Response:
    """GET /home/events-per-day: the bars."""
    visit = _visit(request, context, member)
    figure = await _found(visit, figures.events_per_day, context.store, _period(visit))
    address = visit.question.address("/home/events-per-day")
    return render("figure.html", FigureFragment(figure, address, metrics=[], ranges=[]))


async def show_active_users(
    request: Request, context: DashboardContext, member: Visitor
) -> Response:
    """GET /home/active-users: the line, and the switch between daily, weekly and monthly."""
    visit = _visit(request, context, member)
    question = visit.question
    figure = await _found(
        visit, figures.active_persons, context.store, _period(visit), question.people
    )
    metrics = [
        Choice(
            called,
            question.address(people=metric),
            metric == question.people,
            question.address("/home/active-users", people=metric),
        )
        for metric, (called, _, _) in figures.PEOPLE_METRICS.items()
    ]
    address = question.address("/home/active-users")
    return render("figure.html", FigureFragment(figure, address, metrics, _ranges(question)))


async def show_top_events(request: Request, context: DashboardContext, member: Visitor) -> Response:
    """GET /home/top-events: the table."""
    visit = _visit(request, context, member)
    found = await _found(visit, figures.most_frequent, context.store, _period(visit))
    address = visit.question.address("/home/top-events")
    return render("top_events.html", TopEventsFragment(found, address))


# What has arrived


async def show_arrivals(request: Request, context: DashboardContext, member: Visitor) -> Response:
    """GET /home/arrivals?after=POSITION: the rows since then, or 204."""
    workspace = _visit(request, context, member).workspace
    after = _position(request.query_params.get("after", ""))
    events = await run_in_threadpool(context.live.recent, workspace.id, after, ROWS_MAX)
    if not events:
        return no_news()
    fragment = arrivals(events, workspace, after, context.clock.now_ms(), polled=True)
    return render("arrivals_news.html", fragment, headers={"HX-Trigger": "arrived"})


def _position(text: str) -> int:
    # Positions are 64-bit; a longer number is nobody's.
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        raise Refused("invalid_parameter", "after is a position in the log.", field="after")
    return int(text)


def _stored_events(visit: Visit, parameters: list[tuple[str, str]]) -> list[dict[str, Any]]:
    frame = visit.context.frame(visit.workspace)
    answer = event_list.run(visit.context.store, event_list.parse(parameters, frame))
    events: list[dict[str, Any]] = answer["data"]
    return events


async def show_first_event(
    request: Request, context: DashboardContext, member: Visitor
) -> Response:
    """GET /home/first-event: 204 while waiting, then the event that came."""
    workspace = _visit(request, context, member).workspace
    events = await run_in_threadpool(context.live.recent, workspace.id, 0, ROWS_MAX)
    if not events:
        return no_news()
    shown = arrivals(events[-1:], workspace, 0, context.clock.now_ms())
    return render("first_event.html", FirstEvent(shown.rows[0], shown.zone))


async def show_event(request: Request, context: DashboardContext, member: Visitor) -> Response:
    """GET /home/event?id=…: one event in full, for the sheet."""
    visit = _visit(request, context, member)
    event_id = request.query_params.get("id", "")
    found = await _found(visit, one_event.find, context, visit.workspace, event_id)
    return render("event_detail.html", found)


# Keys and snippets


def _panel(
    visit: Visit, *, waiting: bool, new_key: set_up.NewKey | None = None
) -> set_up.SetUpPanel:
    context, request = visit.context, visit.request
    place = set_up.Place(
        context.public_url(request).rstrip("/"),
        context.node_package_path,
        context.python_package_path,
    )
    write_key, secret_keys = set_up.key_names(context.accounts.keys(visit.workspace.id))
    return set_up.SetUpPanel(
        workspace_slug=visit.workspace.slug,
        csrf_token=visit.member.session.csrf_token,
        write_key=write_key,
        secret_keys=secret_keys,
        new_key=new_key,
        may_create_keys=allows(visit.role, Act.MANAGE_KEYS),
        snippets=set_up.snippets(
            place,
            write_key,
            new_key.full if new_key else set_up.SECRET_KEY_PLACE,
            request.cookies.get(set_up.LANGUAGE_COOKIE, ""),
        ),
        waiting=waiting,
        wait_address=visit.question.address("/home/first-event"),
    )


async def create_secret_key(
    request: Request, context: DashboardContext, member: Visitor
) -> Response:
    """POST /keys: a new secret key, shown in this one answer and never again."""
    form = await read_form(request)
    visit = _visit(request, context, member, form.get("workspace"))
    name = " ".join(form.get("name", "").split()) or "Secret key"
    panel = await run_in_threadpool(
        _panel_with_new_key, visit, name[: set_up.KEY_NAME_CHARACTERS_MAX]
    )
    return render("keys_and_snippets.html", panel)


def _panel_with_new_key(visit: Visit, name: str) -> set_up.SetUpPanel:
    account = visit.member.account
    key, full = visit.context.accounts.create_key(
        visit.workspace.id, "secret", name, by=Actor(account.id, account.email)
    )
    # The answer replaces keys and snippets only, not the state of waiting above them.
    return _panel(visit, waiting=False, new_key=set_up.NewKey(key.name, full))
