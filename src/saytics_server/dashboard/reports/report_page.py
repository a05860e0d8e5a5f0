"""What one report brings to its page; the page itself is the same for all (`pages`)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import msgspec

from saytics_server.dashboard.reports.given import Given
from saytics_server.dashboard.reports.result import Result


class Known(msgspec.Struct, frozen=True):
    """What a report may know beside its answer to word it."""

    given: Given
    document: dict[str, Any]


class ReportPage(msgspec.Struct, frozen=True):
    """A report as a page: `name` in the address, `report` as documents name it.

    `document` returns the question as JSON, without `report`; raises Refused.
    `missing` says in words what the question still lacks, "" if nothing; `starter` makes a whole
    one of the names of the most frequent events, for those who do not know what to ask.
    """

    name: str
    title: str
    purpose: str
    would_be: str
    report: str
    builder: Callable[[Given], msgspec.Struct]
    document: Callable[[Given, date], dict[str, Any]]
    result: Callable[[dict[str, Any], Known], Result]
    missing: Callable[[Given], str] = lambda _: ""
    starter: Callable[[list[str]], list[tuple[str, str]]] = lambda _: []
