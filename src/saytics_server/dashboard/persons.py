"""The persons: found by an id or a trait, and one of them with all that is known.

A person is addressed by what they are: `?user=ID`, or `?anonymous=ID` where no user is known.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from saytics_server.accounts.permissions import Act
from saytics_server.dashboard import arrivals, wording
from saytics_server.dashboard.arrivals import ArrivalRow, Property
from saytics_server.dashboard.context import DashboardContext
from saytics_server.dashboard.render import render
from saytics_server.dashboard.shell import Shell
from saytics_server.dashboard.visit import Visit, visit_of
from saytics_server.dashboard.visitor import Visitor
from saytics_server.errors import Refused
from saytics_server.people import Person
from saytics_server.query import links, person_search, profile, timeline
from saytics_server.query.catalogue import SEARCH_CHARACTERS_MAX

SECTION = "/persons"
TIMELINE_ROWS = 50
# Pairs of linked ids on one page; a person has a few dozen devices at most.
LINKS_SHOWN = 200


class PersonRow(msgspec.Struct, frozen=True):
    """One person in a list. `note` is why they are in it, or when they were seen."""

    address: str
    id: str
    identified: bool
    name: str
    email: str
    note: str
    note_value: str


class PersonsPage(msgspec.Struct, frozen=True):
    """The search and what it found; without one the persons seen last."""

    shell: Shell
    search: str
    persons: list[PersonRow]
    found_max: int
    is_full: bool
    zone: str


class Day(msgspec.Struct, frozen=True):
    """The events of one day of a timeline."""

    name: str
    rows: list[ArrivalRow]


class TimelinePart(msgspec.Struct, frozen=True):
    """A page of a timeline, and where the next is; '' at the end."""

    days: list[Day]
    older_address: str
    older_fragment: str


class LinkRow(msgspec.Struct, frozen=True):
    """Two ids and whether they are one person. `address` leads to the other of the two."""

    other: str
    address: str
    anonymous_id: str
    user_id: str
    stated: str
    cause: str
    key_class: str
    state: str
    may_undo: bool


class PersonPage(msgspec.Struct, frozen=True):
    """One person."""

    shell: Shell
    id: str
    identified: bool
    name: str
    first_seen: str
    last_seen: str
    traits: list[Property]
    warnings: list[str]
    owner: str
    owner_address: str
    links: list[LinkRow]
    may_undo: bool
    timeline: TimelinePart
    zone: str
    events_address: str
    csrf_token: str
    slug: str


def show_persons(visit: Visit) -> Response:
    """GET /persons?q=…: who may be meant; without `q` who was seen last."""
    text = visit.asked("q")[:SEARCH_CHARACTERS_MAX]
    rows = _found(visit, text) if text else _latest(visit)
    page = PersonsPage(
        shell=visit.shell(SECTION),
        search=text,
        persons=rows,
        found_max=person_search.FOUND_MAX,
        is_full=len(rows) >= person_search.FOUND_MAX,
        zone=visit.workspace.timezone,
    )
    return render("persons.html", page)


def _found(visit: Visit, text: str) -> list[PersonRow]:
    found = person_search.search(visit.reader, text)
    names = _names(visit, [each.person for each in found])
    return [person_row(visit, each.person, names, each.where, each.value) for each in found]


def _latest(visit: Visit) -> list[PersonRow]:
    seen = person_search.latest(visit.reader)
    names = _names(visit, [each.person for each in seen])
    zone = ZoneInfo(visit.workspace.timezone)
    return [
        person_row(
            visit,
            each.person,
            names,
            "",
            wording.short_time(wording.instant(each.last_ms, zone)),
        )
        for each in seen
    ]


def _names(visit: Visit, persons: list[Person]) -> dict[str, dict[str, str]]:
    users = [person.id for person in persons if person.kind == "user"]
    return person_search.names_of(visit.reader, users) if users else {}


def rows_of(visit: Visit, persons: list[Person]) -> list[PersonRow]:
    """Return persons as rows of a list, with their names."""
    names = _names(visit, persons)
    return [person_row(visit, person, names, "", "") for person in persons]


def person_row(
    visit: Visit, person: Person, names: dict[str, dict[str, str]], note: str, value: str
) -> PersonRow:
    """Return one row. `names` has `name` and `email` by user."""
    known = names.get(person.id, {}) if person.kind == "user" else {}
    return PersonRow(
        address=person_address(visit, person),
        id=person.id,
        identified=person.kind == "user",
        name=known.get("name", ""),
        email=known.get("email", ""),
        note=note,
        note_value=value,
    )


def person_address(visit: Visit, person: Person, **query: str) -> str:
    """Return the address of a person's page."""
    return visit.address(f"{SECTION}/one", **{person.kind: person.id}, **query)


def show_person(visit: Visit) -> Response:
    """GET /persons/one?user=… or ?anonymous=…: what is known of one person."""
    person = _asked_person(visit)
    page = _user_page(visit, person) if person.kind == "user" else _anonymous_page(visit, person)
    return render("person.html", page)


def show_older(visit: Visit) -> Response:
    """GET /persons/one/older: the next page of a timeline, to be put below the last."""
    return render("timeline.html", _timeline(visit, _asked_person(visit)))


async def undo_link(request: Request, context: DashboardContext, member: Visitor) -> Response:
    """POST /persons/undo: two ids are no longer one person; nothing that was sent is lost."""
    visit = await visit_of(request, context, member)
    pair = links.parse_undo(
        {"anonymousId": visit.form.get("anonymous", ""), "userId": visit.form.get("user", "")}
    )
    await run_in_threadpool(_require_link, visit, pair)
    await context.unlink(visit.workspace.id, pair.anonymousId, pair.userId)
    await run_in_threadpool(
        context.accounts.audit.add,
        visit.by,
        visit.workspace.id,
        "link.undone",
        f"{pair.anonymousId} is not {pair.userId}",
    )
    seen_from = "anonymous" if visit.sent("seen_from") == "anonymous" else "user"
    other = pair.anonymousId if seen_from == "anonymous" else pair.userId
    return visit.to(f"{SECTION}/one", **{seen_from: other}, done="undone")


def _require_link(visit: Visit, pair: links.UndoDocument) -> None:
    query = links.LinksQuery(pair.userId, pair.anonymousId, 1, None)
    if not links.latest_of_pairs(visit.reader, query):
        raise Refused("not_found", "These two ids were never linked in this workspace.")


def _asked_person(visit: Visit) -> Person:
    # As they stand: an id may begin or end in spaces.
    user = visit.request.query_params.get("user", "")
    anonymous = visit.request.query_params.get("anonymous", "")
    if bool(user) == bool(anonymous):
        raise Refused("not_found", "A person is named by a user id or by an anonymous id.")
    return Person("user", user) if user else Person("anonymous", anonymous)


def _user_page(visit: Visit, person: Person) -> PersonPage:
    known = profile.run(visit.context.store, visit.frame, person.id)
    zone = ZoneInfo(visit.workspace.timezone)
    name = known["traits"].get("name")
    return _page(
        visit,
        person,
        name=name if isinstance(name, str) else "",
        first_seen=wording.full_time(wording.wire_instant(known["created_at"], zone)),
        last_seen=wording.full_time(wording.wire_instant(known["last_seen"], zone)),
        traits=arrivals.properties_of(known["traits"]),
        warnings=[_warning(each) for each in known.get("warnings", ())],
    )


def _anonymous_page(visit: Visit, person: Person) -> PersonPage:
    owner = person_search.owner_of(visit.reader, person.id)
    page = _page(
        visit,
        person,
        warnings=[_warning(each) for each in links.warnings(visit.reader.links, (), {person.id})],
        owner=owner.id if owner.kind == "user" else "",
        owner_address=person_address(visit, owner),
    )
    if not page.timeline.days and not page.links:
        raise Refused("user_not_found", "No event and no link names this id.")
    return page


def _page(visit: Visit, person: Person, **known: Any) -> PersonPage:
    nothing = {
        "name": "", "first_seen": "", "last_seen": "", "traits": [], "owner": "",
        "owner_address": "",
    }  # fmt: skip
    may_undo = visit.may(Act.UNDO_LINKS)
    return PersonPage(
        shell=visit.shell(SECTION),
        id=person.id,
        identified=person.kind == "user",
        links=_links(visit, person, may_undo=may_undo),
        may_undo=may_undo,
        timeline=_timeline(visit, person),
        zone=visit.workspace.timezone,
        events_address=visit.address("/events", **{person.kind: person.id}),
        csrf_token=visit.member.session.csrf_token,
        slug=visit.workspace.slug,
        **{**nothing, **known},
    )


def _warning(warning: dict[str, Any]) -> str:
    kind = "user id" if warning["field"] == "userId" else "anonymous id"
    return f"The {kind} {warning['id']}: {warning['message']}"


def _links(visit: Visit, person: Person, *, may_undo: bool) -> list[LinkRow]:
    user_id = person.id if person.kind == "user" else None
    anonymous_id = person.id if person.kind == "anonymous" else None
    query = links.LinksQuery(user_id, anonymous_id, LINKS_SHOWN, None)
    zone = ZoneInfo(visit.workspace.timezone)
    rows = []
    for link in links.latest_of_pairs(visit.reader, query):
        other = (
            Person("anonymous", link["anonymousId"])
            if person.kind == "user"
            else Person("user", link["userId"])
        )
        rows.append(
            LinkRow(
                other=other.id,
                address=person_address(visit, other),
                anonymous_id=link["anonymousId"],
                user_id=link["userId"],
                stated=wording.short_time(wording.wire_instant(link["timestamp"], zone)),
                cause="identify call" if link["cause"] == "identify" else "event with both ids",
                key_class=link["keyType"],
                state=_link_state(link, zone),
                may_undo=may_undo and not link["undone"],
            )
        )
    return rows


def _link_state(link: dict[str, Any], zone: ZoneInfo) -> str:
    if link["undone"]:
        undone = wording.short_time(wording.wire_instant(link["undoneAt"], zone))
        return f"undone {undone}"
    if link["quarantined"]:
        return "too many others" if not link["used"] else "partly used"
    return "in use"


def _timeline(visit: Visit, person: Person) -> TimelinePart:
    cursor = visit.asked("cursor") or None
    found = timeline.read(visit.reader, person, limit=TIMELINE_ROWS, cursor=cursor)
    zone = ZoneInfo(visit.workspace.timezone)
    rows = arrivals.history(found.events, visit.workspace, visit.context.clock.now_ms())
    days = [
        wording.day(wording.wire_instant(event["timestamp"], zone).date()) for event in found.events
    ]
    older = {"cursor": found.next_cursor} if found.next_cursor else {}
    return TimelinePart(
        days=[
            # The day stands above its rows.
            Day(day, [msgspec.structs.replace(row, day="") for _, row in pairs])
            for day, pairs in groupby(zip(days, rows, strict=True), key=lambda pair: pair[0])
        ],
        older_address=person_address(visit, person, **older) if older else "",
        older_fragment=visit.address(f"{SECTION}/one/older", **{person.kind: person.id}, **older)
        if older
        else "",
    )
