"""The events: the live stream, the history with its filters, and one event on a page of its own."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from starlette.responses import Response

from saytics_server.dashboard import one_event
from saytics_server.dashboard.arrivals import ROWS_MAX, ArrivalRow, Arrivals, arrivals, history
from saytics_server.dashboard.render import render
from saytics_server.dashboard.shell import Choice, Shell
from saytics_server.dashboard.visit import Visit
from saytics_server.errors import Refused
from saytics_server.query import catalogue, event_list

SECTION = "/events"
# As many names as a reader still chooses from by typing.
NAMES_SUGGESTED = 200


class Filters(msgspec.Struct, frozen=True):
    """What the form asks for, as typed. Times are wall times of the workspace's zone."""

    event: str
    user: str
    anonymous: str
    from_: str
    to: str

    def is_empty(self) -> bool:
        """Tell whether nothing is asked for but the latest."""
        return not any(msgspec.structs.astuple(self))

    def query(self) -> dict[str, str]:
        """Return the parameters of the page's address."""
        return {
            "event": self.event,
            "user": self.user,
            "anonymous": self.anonymous,
            "from": self.from_,
            "to": self.to,
        }


class EventRows(msgspec.Struct, frozen=True):
    """A page of the history, and where the next is; '' at the end."""

    rows: list[ArrivalRow]
    older_address: str
    older_fragment: str


class EventsPage(msgspec.Struct, frozen=True):
    """The history."""

    shell: Shell
    views: list[Choice]
    filters: Filters
    names: list[str]
    zone: str
    events: EventRows
    refusal: str
    clear_address: str


class LivePage(msgspec.Struct, frozen=True):
    """The live stream."""

    shell: Shell
    views: list[Choice]
    arrivals: Arrivals


class EventPage(msgspec.Struct, frozen=True):
    """One event."""

    shell: Shell
    event: one_event.EventDetail
    back_address: str


def show_history(visit: Visit) -> Response:
    """GET /events: the latest events that fit the filters, or, with a cursor, older ones."""
    filters = _filters(visit)
    refusal, found = "", EventRows([], "", "")
    try:
        found = _rows(visit, filters)
    except Refused as refused:
        if refused.kind.status != 400:
            raise
        refusal = refused.rejection.message
    names = catalogue.events(
        visit.context.store,
        catalogue.parse_events([("limit", str(NAMES_SUGGESTED))], visit.frame),
    )
    page = EventsPage(
        shell=visit.shell(SECTION),
        views=_views(visit, live=False),
        filters=filters,
        names=[each["event"] for each in names["data"]],
        zone=visit.workspace.timezone,
        events=found,
        refusal=refusal,
        clear_address=visit.address(SECTION),
    )
    return render("events.html", page, status=400 if refusal else 200)


def show_older(visit: Visit) -> Response:
    """GET /events/older: the next page of the history, to be put below the last."""
    return render("events_older.html", _rows(visit, _filters(visit)))


def show_live(visit: Visit) -> Response:
    """GET /events/live: what arrives, as it arrives."""
    live, workspace = visit.context.live, visit.workspace
    # The position first: what arrives in between then comes with the first poll, not never.
    last_position = live.last_position(workspace.id)
    recent = live.recent(workspace.id, 0, ROWS_MAX)
    shown = arrivals(recent, workspace, last_position, visit.context.clock.now_ms())
    return render(
        "events_live.html", LivePage(visit.shell(SECTION), _views(visit, live=True), shown)
    )


def show_event(visit: Visit) -> Response:
    """GET /events/one?id=…: one event in full."""
    found = one_event.find(visit.context, visit.workspace, visit.asked("id"))
    return render("event.html", EventPage(visit.shell(SECTION), found, visit.address(SECTION)))


def _views(visit: Visit, *, live: bool) -> list[Choice]:
    return [
        Choice("History", visit.address(SECTION), not live),
        Choice("Live", visit.address(f"{SECTION}/live"), live),
    ]


def _filters(visit: Visit) -> Filters:
    return Filters(
        visit.asked("event"),
        visit.asked("user"),
        visit.asked("anonymous"),
        visit.asked("from"),
        visit.asked("to"),
    )


def _rows(visit: Visit, filters: Filters) -> EventRows:
    zone = ZoneInfo(visit.workspace.timezone)
    asked = {
        "event": filters.event,
        "userId": filters.user,
        "anonymousId": filters.anonymous,
        "from": _instant("from", filters.from_, zone),
        "to": _instant("to", filters.to, zone, end=True),
        "cursor": visit.asked("cursor"),
        "limit": str(ROWS_MAX),
    }
    given = [(name, value) for name, value in asked.items() if value]
    answer: dict[str, Any] = event_list.run(
        visit.context.store, event_list.parse(given, visit.frame)
    )
    cursor = answer["next_cursor"]
    older = {**filters.query(), "cursor": cursor}
    return EventRows(
        history(answer["data"], visit.workspace, visit.context.clock.now_ms()),
        visit.address(SECTION, **older) if cursor else "",
        visit.address(f"{SECTION}/older", **older) if cursor else "",
    )


def _instant(name: str, text: str, zone: ZoneInfo, *, end: bool = False) -> str:
    """Return a wall time of the form as a time of the API; `end` means the end of that minute."""
    if not text:
        return ""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        words = f"`{name}` is a date and a time, such as 2026-11-23T14:30."
        raise Refused("invalid_parameter", words, field=name) from None
    if end and not parsed.second:
        parsed += timedelta(seconds=59, milliseconds=999)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=zone)).isoformat()
