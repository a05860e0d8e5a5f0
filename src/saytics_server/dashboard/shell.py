"""What frames every page for members: the workspaces, the sidebar's section, who is logged in."""

from __future__ import annotations

from urllib.parse import urlencode

import msgspec

from saytics_server.accounts import Workspace
from saytics_server.dashboard.visitor import Visitor


class Choice(msgspec.Struct, frozen=True):
    """One of several links, of which one is where the reader is."""

    label: str
    address: str
    selected: bool
    fragment_address: str = ""
    note: str = ""


class Shell(msgspec.Struct, frozen=True):
    """What frames every page for members. `section` is the sidebar's address of the page."""

    email: str
    csrf_token: str
    workspace: str
    slug: str
    demo: bool
    home_address: str
    workspaces: list[Choice]
    section: str


def shell_of(member: Visitor, workspace: Workspace, section: str) -> Shell:
    """Return the frame of a page of `section`, such as `/events`.

    The other workspaces are led to at the section's own start: ids are of one workspace.
    """
    return Shell(
        email=member.account.email,
        csrf_token=member.session.csrf_token,
        workspace=workspace.name,
        slug=workspace.slug,
        demo=workspace.demo,
        home_address="/?" + urlencode({"workspace": workspace.slug}),
        workspaces=[
            Choice(
                other.name,
                f"{section}?{urlencode({'workspace': other.slug})}",
                other.id == workspace.id,
                note="demo" if other.demo else "",
            )
            for other in (membership.workspace for membership in member.memberships)
        ],
        section=section,
    )
