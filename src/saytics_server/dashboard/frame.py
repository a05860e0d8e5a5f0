"""The frame in which every page asks: whose events, in which calendar, now, with which cohorts."""

from __future__ import annotations

from saytics_server.accounts import Workspace
from saytics_server.dashboard.context import DashboardContext
from saytics_server.query.model import Frame


def frame_of(context: DashboardContext, workspace: Workspace) -> Frame:
    """Return the frame that the API would ask in for this workspace."""
    saved = context.accounts.cohorts.all(workspace.id)
    return Frame(
        workspace_id=workspace.id,
        timezone=workspace.timezone,
        week_start=workspace.week_start,
        now_ms=context.clock.now_ms(),
        cohorts={str(id_): cohort.definition for id_, cohort in saved.items()},
    )
