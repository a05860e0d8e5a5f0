"""What an operator may have done to workspaces and keys by command, running server or not.

A command is a value: the control socket carries it as JSON to the server that has the directory
open, and without one the command line carries it out itself, on the same accounts.
"""

from __future__ import annotations

from typing import Any

import msgspec

from saytics_server.accounts import PLANS, Accounts, Key, Workspace
from saytics_server.accounts.accounts import WorkspaceChanges
from saytics_server.errors import Refused
from saytics_server.event import iso


class CreateWorkspace(msgspec.Struct, tag=True):
    """Make a workspace with two keys of the given name, in the first workspace's time zone."""

    name: str
    key_name: str
    demo: bool = False


class ListWorkspaces(msgspec.Struct, tag=True):
    """Tell all workspaces and their limits."""


class ChangeWorkspace(msgspec.Struct, tag=True):
    """Change what is given of a workspace; None leaves a thing as it is."""

    workspace: str
    plan: str | None = None
    enforce_quota: bool | None = None
    requests_per_minute: int | None = None
    timezone: str | None = None
    secret_only_events: list[str] | None = None


class ListKeys(msgspec.Struct, tag=True):
    """Tell a workspace's keys; of secret ones only how they begin."""

    workspace: str


class CreateKey(msgspec.Struct, tag=True):
    """Make a key; the answer holds it in full, once."""

    workspace: str
    key_class: str
    name: str
    scope: str = "all"


class RevokeKey(msgspec.Struct, tag=True):
    """Revoke a key, from the next request on."""

    workspace: str
    key_id: int


Command = CreateWorkspace | ListWorkspaces | ChangeWorkspace | ListKeys | CreateKey | RevokeKey


def administer(accounts: Accounts, command: Command) -> dict[str, Any]:
    """Carry a command out and return its answer. Raises Refused."""
    match command:
        case CreateWorkspace():
            return _create_workspace(accounts, command)
        case ListWorkspaces():
            return {"workspaces": [_workspace(found) for found in accounts.workspaces()]}
        case ChangeWorkspace():
            return _workspace(_change_workspace(accounts, command))
        case ListKeys(workspace=slug):
            keys = accounts.keys(_by_slug(accounts, slug).id)
            return {"keys": [_key(key) for key in keys]}
        case CreateKey():
            workspace = _by_slug(accounts, command.workspace)
            key, full = accounts.create_key(
                workspace.id, command.key_class, command.name, command.scope
            )
            return {**_key(key), "key": full}
        case RevokeKey():
            return _revoke_key(accounts, command)


def _create_workspace(accounts: Accounts, command: CreateWorkspace) -> dict[str, Any]:
    first = accounts.workspaces()[0]
    workspace = accounts.create_workspace(
        command.name, timezone=first.timezone, week_start=first.week_start, demo=command.demo
    )
    accounts.add_every_admin(workspace.id)
    _, secret_key = accounts.create_key(workspace.id, "secret", command.key_name)
    _, write_key = accounts.create_key(workspace.id, "write", command.key_name)
    return {**_workspace(workspace), "secret_key": secret_key, "write_key": write_key}


def _change_workspace(accounts: Accounts, command: ChangeWorkspace) -> Workspace:
    workspace = _by_slug(accounts, command.workspace)
    limits = workspace.limits
    if command.plan is not None:
        if command.plan not in PLANS:
            raise Refused("invalid_parameter", f"Plans are {', '.join(PLANS)}.", field="plan")
        limits = PLANS[command.plan]
    if command.enforce_quota is not None:
        limits = msgspec.structs.replace(limits, enforce_quota=command.enforce_quota)
    if command.requests_per_minute is not None:
        limits = msgspec.structs.replace(
            limits, requests_per_minute=command.requests_per_minute or None
        )
    changes = WorkspaceChanges(limits=limits)
    if command.timezone is not None:
        changes["timezone"] = command.timezone
    if command.secret_only_events is not None:
        changes["secret_only_events"] = command.secret_only_events
    return accounts.update_workspace(workspace.id, **changes)


def _revoke_key(accounts: Accounts, command: RevokeKey) -> dict[str, Any]:
    workspace = _by_slug(accounts, command.workspace)
    if command.key_id not in {key.id for key in accounts.keys(workspace.id)}:
        raise Refused("not_found", f"The workspace has no key {command.key_id}.", field="key_id")
    accounts.revoke_key(command.key_id)
    return {"revoked": command.key_id}


def _by_slug(accounts: Accounts, slug: str) -> Workspace:
    workspace = accounts.workspace_by_slug(slug)
    if workspace is None:
        raise Refused("not_found", f"There is no workspace {slug!r}.", field="workspace")
    return workspace


def _workspace(workspace: Workspace) -> dict[str, Any]:
    limits: dict[str, Any] = msgspec.to_builtins(workspace.limits)
    return {
        "id": workspace.id,
        "slug": workspace.slug,
        "name": workspace.name,
        "timezone": workspace.timezone,
        "limits": limits,
        "secret_only_events": sorted(workspace.secret_only_events),
    }


def _key(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "class": key.key_class,
        "scope": key.scope,
        "name": key.name,
        "begins": key.prefix,
        "created_at": iso(key.created_at_ms),
        "last_used_at": iso(key.last_used_at_ms) if key.last_used_at_ms else None,
        "revoked_at": iso(key.revoked_at_ms) if key.revoked_at_ms else None,
    }
