"""Members: who belongs to a workspace, with which role. An admin always remains."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

import msgspec
import sqlalchemy as sa

from saytics_server.accounts import audit, rows, tables
from saytics_server.accounts.model import ROLES, Actor, Limits
from saytics_server.clock import Clock
from saytics_server.errors import Refused

Change = Callable[[], contextlib.AbstractContextManager[sa.Connection]]


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody with a role in a workspace."""

    account_id: int
    email: str
    role: str
    since_ms: int


class Members:
    """The members of every workspace. Thread-safe."""

    def __init__(self, engine: sa.Engine, change: Change, clock: Clock) -> None:
        """Take `change`, which runs one writing transaction at a time."""
        self._engine = engine
        self._change = change
        self._clock = clock

    def all(self, workspace_id: int) -> list[Member]:
        """Return the members of a workspace, admins first, then by e-mail."""
        members, accounts = tables.memberships, tables.accounts
        statement = (
            sa.select(
                accounts.c.id.label("account_id"),
                accounts.c.email,
                members.c.role,
                members.c.created_at_ms.label("since_ms"),
            )
            .join_from(members, accounts)
            .where(members.c.workspace_id == workspace_id)
        )
        with self._engine.connect() as connection:
            found = [Member(**row._mapping) for row in connection.execute(statement)]
        return sorted(found, key=lambda member: (ROLES.index(member.role), member.email))

    def change_role(self, workspace_id: int, account_id: int, role: str, by: Actor) -> None:
        """Give a member another role.

        Raises Refused("not_found"), and Refused("invalid_parameter") for the last admin.
        """
        if role not in ROLES:
            raise Refused(
                "invalid_parameter", f"`role` is one of {', '.join(ROLES)}.", field="role"
            )
        with self._change() as connection:
            roles = rows.read_roles(connection, workspace_id)
            before = _require_member(roles, account_id)
            if before == role:
                return
            require_admin_left(roles, account_id, role)
            now_ms = self._clock.now_ms()
            rows.put_member(connection, workspace_id, account_id, role, now_ms)
            about = f"{_email(connection, account_id)}: {before} → {role}"
            audit.record(connection, by, workspace_id, "member.role_changed", about, now_ms=now_ms)

    def remove(self, workspace_id: int, account_id: int, by: Actor) -> None:
        """Take somebody's membership, from the next request on. Raises as `change_role` does."""
        with self._change() as connection:
            roles = rows.read_roles(connection, workspace_id)
            _require_member(roles, account_id)
            require_admin_left(roles, account_id, None)
            connection.execute(
                sa.delete(tables.memberships).filter_by(
                    workspace_id=workspace_id, account_id=account_id
                )
            )
            about = _email(connection, account_id)
            now_ms = self._clock.now_ms()
            audit.record(connection, by, workspace_id, "member.removed", about, now_ms=now_ms)


def require_admin_left(roles: Mapping[int, str], account_id: int, role: str | None) -> None:
    """Raise Refused unless an admin remains once this member has `role`, or (None) is gone."""
    others = {held for other, held in roles.items() if other != account_id}
    if roles.get(account_id) == "admin" and role != "admin" and "admin" not in others:
        raise Refused(
            "invalid_parameter", "`role` must stay admin: a workspace needs one.", field="role"
        )


def require_room(roles: Mapping[int, str], account_id: int | None, limits: Limits) -> None:
    """Raise Refused where the plan has no room for somebody who is no member yet."""
    is_full = limits.members_max is not None and len(roles) >= limits.members_max
    if account_id not in roles and is_full:
        raise Refused(
            "invalid_parameter",
            f"`account` is more than the plan's {limits.members_max} members.",
            field="account",
        )


def _require_member(roles: Mapping[int, str], account_id: int) -> str:
    if account_id not in roles:
        raise Refused("not_found", "There is no such member.")
    return roles[account_id]


def _email(connection: sa.Connection, account_id: int) -> str:
    found = sa.select(tables.accounts.c.email).filter_by(id=account_id)
    return str(connection.execute(found).scalar_one())
