"""The cohorts: their list, one with who is in it, and the builder that makes the API's document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from starlette.responses import Response

from saytics_server.accounts.cohorts import Cohort
from saytics_server.accounts.permissions import Act
from saytics_server.dashboard import cohort_form, persons, wording
from saytics_server.dashboard.cohort_form import Node
from saytics_server.dashboard.persons import PersonRow
from saytics_server.dashboard.render import render
from saytics_server.dashboard.shell import Choice, Shell
from saytics_server.dashboard.visit import Visit
from saytics_server.errors import Refused
from saytics_server.people import Person
from saytics_server.query import catalogue
from saytics_server.query.reports import PersonsDocument
from saytics_server.saved_cohorts import deleting, persons_of, saving

SECTION = "/cohorts"
MEMBERS_SHOWN = 50
NAMES_SUGGESTED = 200
_ID_DIGITS_MAX = 18


class CohortRow(msgspec.Struct, frozen=True):
    """One cohort in the list."""

    name: str
    address: str
    words: str
    changed: str


class CohortsPage(msgspec.Struct, frozen=True):
    """All cohorts."""

    shell: Shell
    cohorts: list[CohortRow]
    new_address: str
    may_edit: bool
    zone: str


class CohortPage(msgspec.Struct, frozen=True):
    """One cohort; who is in it comes on its own."""

    shell: Shell
    id: str
    name: str
    words: str
    as_json: str
    persons_address: str
    edit_address: str
    may_edit: bool
    csrf_token: str
    slug: str
    refusal: str


class MembersPart(msgspec.Struct, frozen=True):
    """How many persons are in a cohort, and the first of them."""

    address: str
    count: wording.Number
    noun: str
    persons: list[PersonRow]
    next_address: str


class Builder(msgspec.Struct, frozen=True):
    """The definition as fields, and what can be chosen in them."""

    root: Node
    kinds: dict[str, str]
    operators: dict[str, str]
    windows: dict[str, str]
    cohorts: list[Choice]
    groups: tuple[str, ...]
    without_value: tuple[str, ...]


class FormPage(msgspec.Struct, frozen=True):
    """The builder's page. `id` is '' for a new cohort."""

    shell: Shell
    id: str
    name: str
    refusal: str
    builder: Builder
    events: list[str]
    traits: list[str]
    csrf_token: str
    cancel_address: str


def show_cohorts(visit: Visit) -> Response:
    """GET /cohorts."""
    zone = ZoneInfo(visit.workspace.timezone)
    saved = _saved(visit)
    names = _names(saved)
    page = CohortsPage(
        shell=visit.shell(SECTION),
        cohorts=[
            CohortRow(
                cohort.name,
                visit.address(f"{SECTION}/{cohort.id}"),
                _words(cohort, names),
                wording.short_time(wording.instant(cohort.updated_at_ms, zone)),
            )
            for cohort in sorted(saved.values(), key=lambda each: each.name.casefold())
        ],
        new_address=visit.address(f"{SECTION}/new"),
        may_edit=visit.may(Act.EDIT),
        zone=visit.workspace.timezone,
    )
    return render("cohorts.html", page)


def show_cohort(visit: Visit) -> Response:
    """GET /cohorts/{cohort_id}."""
    return _cohort_page(visit, _asked_cohort(visit))


def _cohort_page(visit: Visit, cohort: Cohort, refused: Refused | None = None) -> Response:
    address = f"{SECTION}/{cohort.id}"
    page = CohortPage(
        shell=visit.shell(SECTION),
        id=str(cohort.id),
        name=cohort.name,
        words=_words(cohort, _names(_saved(visit))),
        as_json=msgspec.json.format(msgspec.json.encode(cohort.definition), indent=2).decode(),
        persons_address=visit.address(f"{address}/persons"),
        edit_address=visit.address(f"{address}/edit"),
        may_edit=visit.may(Act.EDIT),
        csrf_token=visit.member.session.csrf_token,
        slug=visit.workspace.slug,
        refusal=refused.rejection.message if refused else "",
    )
    return render("cohort.html", page, status=refused.kind.status if refused else 200)


def show_members(visit: Visit) -> Response:
    """GET /cohorts/{cohort_id}/persons: how many, and a page of them."""
    cohort = _asked_cohort(visit)
    cursor = visit.request.query_params.get("cursor") or None
    asked = PersonsDocument(query={}, limit=MEMBERS_SHOWN, cursor=cursor)
    answer = persons_of(visit.reader, cohort.id, asked)
    found = [Person(each["type"], each["id"]) for each in answer["persons"]]
    address = f"{SECTION}/{cohort.id}/persons"
    part = MembersPart(
        address=visit.address(address),
        count=wording.number(answer["count"]),
        noun=wording.counted(answer["count"], "person"),
        persons=persons.rows_of(visit, found),
        next_address=visit.address(address, cursor=answer["next_cursor"])
        if answer["next_cursor"]
        else "",
    )
    return render("cohort_members.html", part)


def show_new(visit: Visit) -> Response:
    """GET /cohorts/new: the builder with one condition to fill in."""
    root = cohort_form.after(cohort_form.new_node(cohort_form.ROOT, "all"), "add:d")
    return _form(visit, "", "", root)


def show_edit(visit: Visit) -> Response:
    """GET /cohorts/{cohort_id}/edit."""
    cohort = _asked_cohort(visit)
    return _form(visit, str(cohort.id), cohort.name, cohort_form.tree_of(cohort.definition))


def change_builder(visit: Visit) -> Response:
    """POST /cohorts/builder: the fields after a button was pressed or a kind was chosen."""
    root = cohort_form.after(cohort_form.node_of(visit.form), visit.sent("action"))
    return render("cohort_builder.html", _builder(visit, root, visit.sent("id")))


def save_cohort(visit: Visit) -> Response:
    """POST /cohorts/save: a new cohort, or with `id` a changed one; or the form and the reason."""
    root, name, cohort_id = cohort_form.node_of(visit.form), visit.sent("name"), visit.sent("id")
    saved, workspace_id = visit.context.accounts.cohorts, visit.workspace.id
    try:
        definition = cohort_form.document_of(root)
        if cohort_id:
            number = _number(cohort_id)
            made = saved.update(workspace_id, number, name, definition, saving(visit.frame))
        else:
            made = saved.create(workspace_id, name, definition, saving(visit.frame))
    except Refused as refused:
        if refused.kind.status != 400:
            raise
        return _form(visit, cohort_id, name, root, refused)
    act = "cohort.changed" if cohort_id else "cohort.created"
    _record(visit, act, made.name)
    return visit.to(f"{SECTION}/{made.id}")


def delete_cohort(visit: Visit) -> Response:
    """POST /cohorts/delete, unless others are made of it."""
    saved, workspace_id = visit.context.accounts.cohorts, visit.workspace.id
    cohort = saved.get(workspace_id, _number(visit.sent("id")))
    try:
        saved.delete(workspace_id, cohort.id, deleting(visit.frame))
    except Refused as refused:
        if refused.kind.status != 400:
            raise
        return _cohort_page(visit, cohort, refused)
    _record(visit, "cohort.deleted", cohort.name)
    return visit.to(SECTION)


def _record(visit: Visit, act: str, about: str) -> None:
    visit.context.accounts.audit.add(visit.by, visit.workspace.id, act, about)


def _saved(visit: Visit) -> Mapping[int, Cohort]:
    return visit.context.accounts.cohorts.all(visit.workspace.id)


def _names(saved: Mapping[int, Cohort]) -> dict[str, str]:
    return {str(id_): cohort.name for id_, cohort in saved.items()}


def _words(cohort: Cohort, names: Mapping[str, str]) -> str:
    return cohort_form.words_of(cohort_form.tree_of(cohort.definition), names)


def _asked_cohort(visit: Visit) -> Cohort:
    number = _number(visit.request.path_params["cohort_id"])
    return visit.context.accounts.cohorts.get(visit.workspace.id, number)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _ID_DIGITS_MAX):
        raise Refused("not_found", "There is no cohort of this id.")
    return int(text)


def _form(
    visit: Visit, cohort_id: str, name: str, root: Node, refused: Refused | None = None
) -> Response:
    back = f"{SECTION}/{cohort_id}" if cohort_id else SECTION
    page = FormPage(
        shell=visit.shell(SECTION),
        id=cohort_id,
        name=name,
        refusal=refused.rejection.message if refused else "",
        builder=_builder(visit, root, cohort_id),
        events=_catalogue(visit, "event"),
        traits=_catalogue(visit, "trait"),
        csrf_token=visit.member.session.csrf_token,
        cancel_address=visit.address(back),
    )
    return render("cohort_form.html", page, status=refused.kind.status if refused else 200)


def _builder(visit: Visit, root: Node, cohort_id: str) -> Builder:
    names = _names(_saved(visit))
    return Builder(
        root=root,
        kinds=cohort_form.KINDS,
        operators=cohort_form.OPERATORS,
        windows=cohort_form.WINDOWS,
        cohorts=[
            Choice(name, id_, selected=False) for id_, name in names.items() if id_ != cohort_id
        ],
        groups=cohort_form.GROUPS,
        without_value=cohort_form.WITHOUT_VALUE,
    )


def _catalogue(visit: Visit, of: str) -> list[str]:
    """Return the names to choose from: of events, or of traits without the `user.` before them."""
    store, most = visit.context.store, ("limit", str(NAMES_SUGGESTED))
    if of == "event":
        found: dict[str, Any] = catalogue.events(store, catalogue.parse_events([most], visit.frame))
        return [each["event"] for each in found["data"]]
    asked = catalogue.parse_properties([("source", "user"), most], visit.frame)
    keys = catalogue.properties(store, asked)["data"]
    return [each["property"].removeprefix("user.") for each in keys]
