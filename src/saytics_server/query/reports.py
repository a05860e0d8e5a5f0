"""The reports by name, and what can be asked of each: its answer, who is behind a cell, and why.

    query string ─┐
                  ├─► Document ─► question ─► run / persons / explain
    JSON document ┘

A report is a module with these faces; none of them is written twice for the two forms:

    Document                            the JSON shape (query/document.py)
    document_of(parameters)             the same from a decoded query string
    question(document, frame)           checked and typed; pure
    run(reader, question)               the JSON answer
    persons(reader, question, cell)     a SELECT of the distinct `person` behind one cell
    explain(reader, question, person)   the JSON verdict on one person
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import msgspec

from saytics_server.people import Person, person_of
from saytics_server.query import (
    active_users,
    funnels,
    lifecycle,
    paths,
    retention,
    stickiness,
    trends,
)
from saytics_server.query.document import ReportDocument, read_document
from saytics_server.query.model import Frame, invalid
from saytics_server.query.periods import parse_as_of
from saytics_server.query.reading import Reader
from saytics_server.sql import Sql, int64, sql, string

PERSONS_DEFAULT, PERSONS_MAX = 100, 10_000


class Report(Protocol):
    """What a module of a report offers."""

    Document: type[ReportDocument]

    def document_of(self, parameters: Sequence[tuple[str, str]]) -> Any: ...  # noqa: D102
    def question(self, document: Any, frame: Frame) -> Any: ...  # noqa: D102
    def run(self, reader: Reader, query: Any) -> dict[str, Any]: ...  # noqa: D102
    def persons(self, reader: Reader, query: Any, cell: Mapping[str, Any]) -> Sql: ...  # noqa: D102
    def explain(self, reader: Reader, query: Any, person: Person) -> dict[str, Any]: ...  # noqa: D102


# By the last part of their address; `report` in a document says the same.
REPORTS: dict[str, Report] = {
    "events": cast("Report", trends),
    "users": cast("Report", active_users),
    "funnels": cast("Report", funnels),
    "retention": cast("Report", retention),
    "lifecycle": cast("Report", lifecycle),
    "stickiness": cast("Report", stickiness),
    "paths": cast("Report", paths),
}


class Asked(msgspec.Struct, frozen=True):
    """A report with its question, and the frame it is asked in (`as_of` included)."""

    report: Report
    question: Any
    frame: Frame


class PersonsDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which cell of which report, and how many of its persons from where on."""

    query: dict[str, Any]
    cell: dict[str, Any] = msgspec.field(default_factory=dict)
    limit: int = PERSONS_DEFAULT
    cursor: str | None = None


class PersonDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One person, by user id or by anonymous id."""

    user_id: str | None = None
    anonymous_id: str | None = None


class ExplainDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which report, and whose part in it."""

    query: dict[str, Any]
    person: PersonDocument


def asked_by_parameters(name: str, parameters: Sequence[tuple[str, str]], frame: Frame) -> Asked:
    """Return the question of a query string. Raises Refused."""
    report = REPORTS[name]
    return _asked(report, report.document_of(parameters), frame)


def asked_by_document(content: Any, frame: Frame, at: str = "") -> Asked:
    """Return the question of a decoded JSON document. Raises Refused("invalid_parameter")."""
    if not isinstance(content, dict):
        raise invalid(at or "report", "The query is a JSON object.")
    rest = dict(content)
    name = rest.pop("report", None)
    if not isinstance(name, str) or name not in REPORTS:
        known = ", ".join(f"`{known}`" for known in REPORTS)
        raise invalid(f"{at}report", f"`report` is one of {known}.")
    report = REPORTS[name]
    return _asked(report, read_document(rest, report.Document, at), frame)


def _asked(report: Report, document: ReportDocument, frame: Frame) -> Asked:
    then = parse_as_of(document.as_of, frame)
    return Asked(report, report.question(document, then), then)


def answer(reader: Reader, asked: Asked) -> dict[str, Any]:
    """Return the answer of a report."""
    return asked.report.run(reader, asked.question)


def persons(reader: Reader, asked: Asked, document: PersonsDocument) -> dict[str, Any]:
    """Return how many persons are behind a cell, and one page of them in order of their key."""
    if not 1 <= document.limit <= PERSONS_MAX:
        raise invalid("limit", f"`limit` is from 1 to {PERSONS_MAX:,}.")
    behind = asked.report.persons(reader, asked.question, document.cell)
    count = reader.rows(sql("SELECT uniqExact(person) FROM ({behind})", behind=behind))[0][0]
    page = reader.rows(
        sql(
            "SELECT DISTINCT person FROM ({behind}) WHERE person > {after}"
            " ORDER BY person LIMIT {limit}",
            behind=behind,
            after=string(document.cursor or ""),
            limit=int64(document.limit + 1),
        )
    )
    keys = [row[0] for row in page[: document.limit]]
    return {
        "status": "ok",
        "count": count,
        "persons": [shown_person(person_of(key)) for key in keys],
        "next_cursor": keys[-1] if len(page) > document.limit else None,
    }


def explain(reader: Reader, asked: Asked, document: ExplainDocument) -> dict[str, Any]:
    """Return what one person did for a report, and what was missing."""
    person = named_person(document.person)
    return {
        "status": "ok",
        "person": shown_person(person),
        **asked.report.explain(reader, asked.question, person),
    }


def named_person(document: PersonDocument) -> Person:
    """Return the person of a document. Raises Refused("invalid_parameter")."""
    if document.user_id and not document.anonymous_id:
        return Person("user", document.user_id)
    if document.anonymous_id and not document.user_id:
        return Person("anonymous", document.anonymous_id)
    raise invalid("person", "`person` has one of `user_id` and `anonymous_id`.")


def shown_person(person: Person) -> dict[str, str]:
    """Return a person as answers name them."""
    return {"type": person.kind, "id": person.id}
