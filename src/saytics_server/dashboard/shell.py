"""The frame around every page for members: who they are, where they are, and where they can go.

A page says its own name and how its address is written for another workspace; it gets a `Shell`.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlencode

import msgspec

from saytics_server.accounts import Workspace
from saytics_server.dashboard.visitor import Visitor

# The last part of a report's address, and how the navigation calls it; its icon has its name.
REPORT_PAGES = {
    "trends": "Trends",
    "active-users": "Active users",
    "funnels": "Funnels",
    "retention": "Retention",
    "lifecycle": "Lifecycle",
    "stickiness": "Stickiness",
    "paths": "Paths",
}


class Choice(msgspec.Struct, frozen=True):
    """One of several links, of which one is where the reader is."""

    label: str
    address: str
    selected: bool
    fragment_address: str = ""
    note: str = ""


class Destination(msgspec.Struct, frozen=True):
    """One entry of the navigation."""

    name: str
    label: str
    address: str


class Shell(msgspec.Struct, frozen=True):
    """What frames every page for members; `here` is the name of the page they are on."""

    email: str
    csrf_token: str
    workspace: str
    demo: bool
    here: str
    home_address: str
    reports: list[Destination]
    workspaces: list[Choice]


def shell_of(
    member: Visitor,
    workspace: Workspace,
    here: str,
    home_address: str,
    address_in: Callable[[str], str],
) -> Shell:
    """Return the frame of the page `here`; `address_in` is its address in a workspace, by slug."""
    query = urlencode({"workspace": workspace.slug})
    return Shell(
        email=member.account.email,
        csrf_token=member.session.csrf_token,
        workspace=workspace.name,
        demo=workspace.demo,
        here=here,
        home_address=home_address,
        reports=[
            Destination(name, label, f"/reports/{name}?{query}")
            for name, label in REPORT_PAGES.items()
        ],
        workspaces=[
            Choice(
                membership.workspace.name,
                address_in(membership.workspace.slug),
                membership.workspace.id == workspace.id,
                note="demo" if membership.workspace.demo else "",
            )
            for membership in member.memberships
        ],
    )
