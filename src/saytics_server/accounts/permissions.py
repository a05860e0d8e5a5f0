"""Which role may do what: one table, asked before every act of somebody logged in.

A role belongs to a membership, so to one workspace. What anybody logged in may do whatever their
roles are (their own password, their own sessions) is `Act.OWN_ACCOUNT`.
"""

from __future__ import annotations

from enum import StrEnum

from saytics_server.accounts.model import ROLES
from saytics_server.errors import Refused


class Act(StrEnum):
    """What somebody logged in wants to do, worded to follow "may"."""

    OWN_ACCOUNT = "look after their own account"
    VIEW = "look at the workspace"
    EDIT = "save and change what others see, such as cohorts"
    UNDO_LINKS = "undo links between ids"
    MANAGE_KEYS = "create and revoke keys"
    MANAGE_TEAM = "invite people and change their roles"
    MANAGE_WORKSPACE = "change the workspace's settings"
    READ_AUDIT_LOG = "read who did what"


_EVERYBODY = frozenset(ROLES)
_EDITORS = frozenset({"admin", "editor"})
_ADMINS = frozenset({"admin"})

# Act: the roles that may. An act that is missing here is a bug, which a test finds.
PERMISSIONS: dict[Act, frozenset[str]] = {
    Act.OWN_ACCOUNT: _EVERYBODY,
    Act.VIEW: _EVERYBODY,
    Act.EDIT: _EDITORS,
    Act.UNDO_LINKS: _EDITORS,
    Act.MANAGE_KEYS: _ADMINS,
    Act.MANAGE_TEAM: _ADMINS,
    Act.MANAGE_WORKSPACE: _ADMINS,
    Act.READ_AUDIT_LOG: _ADMINS,
}


def allows(role: str, act: Act) -> bool:
    """Tell whether a role may do this."""
    return role in PERMISSIONS[act]


def require(role: str, act: Act) -> None:
    """Raise Refused("insufficient_scope") unless the role may do this."""
    if not allows(role, act):
        able = " and ".join(f"{each}s" for each in ROLES if allows(each, act))
        raise Refused("insufficient_scope", f"Only {able} of the workspace may {act}.")
