"""A report's address says its whole question: read into a document, and shown by the builder."""

from __future__ import annotations

import ast
import shlex
from datetime import date
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec
import pytest

from saytics_server.dashboard.render import render
from saytics_server.dashboard.reports.api_call import api_call
from saytics_server.dashboard.reports.given import Given
from saytics_server.dashboard.reports.pages import PAGES, Page
from saytics_server.dashboard.reports.report_page import ReportPage
from saytics_server.dashboard.reports.result import Column, Entry, Row, Table, as_csv
from saytics_server.dashboard.shell import Shell
from saytics_server.errors import Refused
from saytics_server.query import reports
from saytics_server.query.model import Frame

TODAY = date(2026, 11, 23)
FRAME = Frame(workspace_id=1, timezone="Europe/Berlin", week_start=0, now_ms=1_795_442_400_000)
SHELL = Shell("ann@example.com", "token", "Acme", "acme", False, "/", [], "/reports/trends")
LAST_30 = {"from": "2026-10-25", "to": "2026-11-23"}

CASES: list[tuple[str, str, dict[str, Any]]] = [
    (
        "trends",
        "event=Order+%C3%86&metric=sum&metric_property=amount&event=&metric=users"
        "&metric_property=&interval=week&range=custom&from=2026-01-01&to=2026-02-01"
        "&filter_property=plan&filter_operator=%21%3D&filter_value=a+%26+b&filter_property=utm"
        "&filter_operator=is_set&filter_value=&breakdown=user.plan&compare=previous_period"
        "&cumulative=true",
        {
            "series": [{"event": "Order Æ", "metric": "sum:amount"}, {"metric": "users"}],
            "interval": "week",
            "from": "2026-01-01",
            "to": "2026-02-01",
            "filter": [
                {"property": "plan", "operator": "!=", "value": "a & b"},
                {"property": "utm", "operator": "is_set"},
            ],
            "breakdown": "user.plan",
            "breakdown_limit": 7,
            "compare": "previous_period",
            "cumulative": True,
        },
    ),
    ("trends", "", {"series": [{"metric": "count"}], "interval": "day", **LAST_30}),
    (
        "active-users",
        "metric=wau&event=Login&range=7",
        {"metric": "wau", "interval": "day", "event": "Login", "from": "2026-11-17"}
        | {"to": "2026-11-23"},
    ),
    (
        "funnels",
        "step=A&optional=&step=B&optional=true&step=&optional=&step=C&optional="
        "&order=ordered&window=7d&range=today&breakdown=plan&attribution=last&interval=day",
        {
            "steps": [{"event": "A"}, {"event": "B", "optional": True}, {"event": "C"}],
            "order": "ordered",
            "window": "7d",
            "from": "2026-11-23",
            "to": "2026-11-23",
            "breakdown": "plan",
            "breakdown_limit": 7,
            "attribution": "last",
            "interval": "day",
        },
    ),
    (
        "retention",
        "start=A&return=B&interval=week&periods=12&mode=on_or_after&cohort=recurring",
        {"start": "A", "return": "B", "interval": "week", "periods": 12, "mode": "on_or_after"}
        | {"cohort": "recurring", **LAST_30},
    ),
    ("lifecycle", "event=A", {"event": "A", "interval": "week", **LAST_30}),
    ("stickiness", "interval=month", {"interval": "month", **LAST_30}),
    (
        "paths",
        "direction=end&event=A&depth=4&window=1d&collapse=false&exclude=B&exclude=C",
        {"end": "A", "depth": 4, "top": 12, "window": "1d", "collapse": False}
        | {"exclude": ["B", "C"], **LAST_30},
    ),
]


def _page(name: str) -> ReportPage:
    return next(page for page in PAGES if page.name == name)


def _given(query: str) -> Given:
    return Given(parse_qsl(query, keep_blank_values=True))


@pytest.mark.parametrize(("name", "query", "document"), CASES)
def test_an_address_is_a_question(name: str, query: str, document: dict[str, Any]):
    """The address becomes the JSON document that the API would be asked with, and is accepted."""
    page = _page(name)
    found = page.document(_given(query), TODAY)
    assert found == document
    assert reports.asked_by_document({"report": page.report, **found}, FRAME)


@pytest.mark.parametrize(("name", "query", "document"), CASES)
def test_a_builder_shows_its_address(name: str, query: str, document: dict[str, Any]):
    """Sending the form as it was drawn asks the same question again."""
    page = _page(name)
    builder = page.builder(_given(query))
    shown = Page(SHELL, name, page.title, page.purpose, "acme", builder, "/", "/", "UTC")
    html = bytes(render(f"reports/{name}.html", shown).body).decode()
    form = _Form()
    form.feed(html)
    assert page.document(_given(urlencode(form.fields)), TODAY) == document


def test_an_unknown_range_is_refused_by_name():
    """No range is put in the place of one that is not known."""
    with pytest.raises(Refused) as refused:
        _page("trends").document(_given("range=eternity"), TODAY)
    assert refused.value.rejection.field == "range"


def test_text_is_no_formula_in_a_spreadsheet():
    """What begins as a formula does is marked as text; negative numbers stay numbers."""
    hostile = ["=1+1", "+1", "-1", "@x", "\t=1"]
    rows = [Row(text, [Entry("\N{MINUS SIGN}5", -5.0), Entry("12.5", 12.5)]) for text in hostile]
    table = Table("", "=A", [Column("@B"), Column("plain, with a comma")], rows)
    assert as_csv([table]).splitlines() == [
        "'=A,'@B,\"plain, with a comma\"",
        *(f"'{text},-5,12.5" for text in hostile),
    ]


def test_an_api_call_keeps_quotes_apart():
    """A name with quotes and a command in it reaches both calls as it is."""
    name = 'it\'s "$(rm)" \\ æ'
    document = {"report": "events", "series": [{"event": name, "metric": "count"}]}
    call = api_call("http://127.0.0.1:8080/", document)
    sent = shlex.split(call.curl.replace("\\\n", " "))
    assert sent[1] == "http://127.0.0.1:8080/v1/reports/query"
    assert msgspec.json.decode(sent[-1]) == document
    question = call.python.split("question = ", 1)[1].split("\nrequest = ", 1)[0]
    assert ast.literal_eval(question) == document


class _Form(HTMLParser):
    """Collects the fields of the builder as a browser would send them; templates are no part."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: list[tuple[str, str]] = []
        self._inside = False
        self._templates = 0
        self._select = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self._inside = given.get("id") == "builder"
        self._templates += tag == "template"
        if not self._inside or self._templates:
            return
        name = given.get("name") or ""
        if tag == "select":
            self._select = name
        elif tag == "option" and "selected" in given:
            self.fields.append((self._select, given.get("value") or ""))
        elif tag == "input" and name:
            self.fields.append((name, given.get("value") or ""))

    def handle_endtag(self, tag: str) -> None:
        self._templates -= tag == "template"
        if tag == "form":
            self._inside = False
