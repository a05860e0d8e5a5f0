"""What is kept of cohorts and what queries make of them, put together for the API and the pages.

Neither the accounts nor the queries know each other: here are the checks that a change of a saved
cohort brings along, its persons page by page, and the frame that every question is asked in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from saytics_server.accounts import Accounts, Workspace
from saytics_server.accounts.cohorts import Cohort
from saytics_server.errors import Refused
from saytics_server.query import cohorts, reports
from saytics_server.query.model import Frame
from saytics_server.query.reading import Reader
from saytics_server.query.reports import Asked, PersonsDocument
from saytics_server.sql import Sql


class _Membership:
    """A cohort as a report of one cell, so that its persons are paged as those of any cell."""

    def persons(self, reader: Reader, cohort_id: str, _: Mapping[str, Any]) -> Sql:
        return cohorts.persons_in(reader, cohort_id)


def frame_of(accounts: Accounts, workspace: Workspace, now_ms: int) -> Frame:
    """Return the frame in which a workspace is asked about: its calendar, now, its cohorts."""
    saved = accounts.cohorts.all(workspace.id)
    return Frame(
        workspace.id,
        workspace.timezone,
        workspace.week_start,
        now_ms,
        cohorts={str(id_): cohort.definition for id_, cohort in saved.items()},
    )


def persons_of(reader: Reader, cohort_id: int, page: PersonsDocument) -> dict[str, Any]:
    """Return how many persons are in a cohort of the reader's frame, and one page of them."""
    asked = Asked(cast("reports.Report", _Membership()), str(cohort_id), reader.frame)
    return reports.persons(reader, asked, page)


def saving(frame: Frame) -> Callable[[Mapping[int, Cohort], int], None]:
    """Return the check that refuses what cannot be worked out."""

    def check(after: Mapping[int, Cohort], cohort_id: int) -> None:
        cohorts.check(_by_id(after), str(cohort_id), frame)

    return check


def deleting(frame: Frame) -> Callable[[Mapping[int, Cohort], int], None]:
    """Return the check that refuses to delete what other cohorts are made of."""

    def check(before: Mapping[int, Cohort], cohort_id: int) -> None:
        if users := cohorts.users_of(_by_id(before), str(cohort_id), frame):
            names = ", ".join(f"`{name}`" for name in users)
            raise Refused(
                "invalid_parameter",
                f"Cohorts are made of this one: {names}. Change or delete them first.",
                field="id",
            )

    return check


def _by_id(saved: Mapping[int, Cohort]) -> dict[str, cohorts.Saved]:
    return {str(id_): cohorts.Saved(each.name, each.definition) for id_, each in saved.items()}
