"""One request for a report's page or a part of it: who asks, of which workspace, what.

The address holds the whole question, so every part is asked for with the page's own query string.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import cached_property
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from starlette.requests import Request

from saytics_server.accounts import Workspace
from saytics_server.dashboard import wording
from saytics_server.dashboard.context import DashboardContext, Found
from saytics_server.dashboard.reports.given import Given
from saytics_server.dashboard.reports.report_page import ReportPage
from saytics_server.dashboard.visitor import Visitor
from saytics_server.query import reports
from saytics_server.query.model import Frame
from saytics_server.query.reading import Reader

# Fields of a part's address that are no part of the question.
_OF_PARTS = ("cell", "cursor", "user_id", "anonymous_id")


class Visit:
    """A member's request, with the parts a page is made of."""

    def __init__(self, request: Request, context: DashboardContext, member: Visitor) -> None:
        """Raises Refused("not_found") for a workspace that is none of theirs."""
        self.request = request
        self.context = context
        self.member = member
        self.workspace: Workspace = member.membership(
            request.query_params.get("workspace")
        ).workspace
        pairs = request.query_params.multi_items()
        self.given = Given([pair for pair in pairs if pair[0] not in _OF_PARTS])

    async def found(self, work: Callable[..., Found], *more: Any) -> Found:
        """Return what `work` finds for this visit in the store, once it is its turn there."""
        return await self.context.found(
            self.request, self.member, self.workspace, work, self, *more
        )

    @cached_property
    def frame(self) -> Frame:
        """Return the frame of this request."""
        return self.context.frame(self.workspace)

    @property
    def today(self) -> date:
        """Return the present day in the workspace's zone."""
        return wording.instant(self.frame.now_ms, ZoneInfo(self.workspace.timezone)).date()

    def address(self, path: str, *, workspace: str = "", **more: str) -> str:
        """Return the address of `path` with this question, in this workspace or another."""
        asked = [pair for pair in self.given.pairs if pair[0] != "workspace"]
        slug = workspace or self.workspace.slug
        return f"{path}?{urlencode([('workspace', slug), *asked, *more.items()])}"

    def document(self, page: ReportPage) -> dict[str, Any]:
        """Return the question as JSON, `report` included. Raises Refused."""
        return {"report": page.report, **page.document(self.given, self.today)}

    def asked(self, document: dict[str, Any]) -> tuple[Reader, reports.Asked]:
        """Return the typed question and who reads for it. Raises Refused."""
        asked = reports.asked_by_document(document, self.frame)
        return Reader(self.context.store, asked.frame), asked

    @property
    def cohort(self) -> str:
        """Return the name of the cohort that the question is broken down by, "" if by none."""
        kind, _, id_ = self.given.one("breakdown").partition("=")
        return self.cohort_names().get(id_, "") if kind == "cohort" else ""

    def cohort_names(self) -> dict[str, str]:
        """Return the names of the saved cohorts by id."""
        saved = self.context.accounts.cohorts.all(self.workspace.id)
        return {str(id_): cohort.name for id_, cohort in saved.items()}
