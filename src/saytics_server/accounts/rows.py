"""Rows and the values they stand for: every statement more than one method needs.

All of it runs on a connection whose transaction the caller owns.
"""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from saytics_server.accounts import keys, tables
from saytics_server.accounts.model import PLANS, Account, Key, Limits, Workspace


class Directory(msgspec.Struct, frozen=True):
    """All workspaces and all valid keys, as one committed transaction left them."""

    workspaces: dict[int, Workspace]
    keys: dict[bytes, tuple[Key, Workspace]]  # by the key's digest; revoked ones are absent


def read_directory(connection: sa.Connection) -> Directory:
    """Return the workspaces and valid keys that this transaction sees."""
    workspaces = {
        row.id: _workspace(row)
        for row in connection.execute(sa.select(tables.workspaces).order_by(tables.workspaces.c.id))
    }
    valid = sa.select(tables.keys).where(tables.keys.c.revoked_at_ms.is_(None))
    return Directory(
        workspaces,
        {
            bytes(row.digest): (_key(row), workspaces[row.workspace_id])
            for row in connection.execute(valid)
        },
    )


def read_keys(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> list[Key]:
    """Return the keys that meet all conditions, revoked ones too, oldest first."""
    statement = sa.select(tables.keys).where(*conditions).order_by(tables.keys.c.id)
    return [_key(row) for row in connection.execute(statement)]


def insert_workspace(connection: sa.Connection, values: dict[str, Any]) -> int:
    """Insert a workspace with the default limits and return its id."""
    row = limits_columns(PLANS["enterprise"]) | {"secret_only_events": []} | values
    return _insert(connection, tables.workspaces, row)


def insert_key(connection: sa.Connection, full: str, values: dict[str, Any]) -> int:
    """Insert the key `full`, of which only write keys are stored, and return its id."""
    is_write = values["key_class"] == "write"
    row = values | {
        # A write key can do nothing but send, whatever was asked for.
        "scope": "send" if is_write else values["scope"],
        "prefix": full[: keys.KEY_SHOWN_CHARACTERS],
        "full_key": full if is_write else None,
        "digest": keys.digest(full),
    }
    return _insert(connection, tables.keys, row)


def insert_account(
    connection: sa.Connection, email: str, password_hash: str, now_ms: int
) -> Account:
    """Insert an account. Set-up is over with the first one, so its token goes."""
    connection.execute(sa.delete(tables.setup_tokens))
    row = {"email": email, "password_hash": password_hash, "created_at_ms": now_ms}
    return Account(id=_insert(connection, tables.accounts, row), email=email, created_at_ms=now_ms)


def read_roles(connection: sa.Connection, workspace_id: int) -> dict[int, str]:
    """Return the members of a workspace: account id to role."""
    members = tables.memberships
    statement = sa.select(members.c.account_id, members.c.role).filter_by(workspace_id=workspace_id)
    return {row.account_id: row.role for row in connection.execute(statement)}


def put_member(
    connection: sa.Connection, workspace_id: int, account_id: int, role: str, now_ms: int
) -> None:
    """Give an account a role in a workspace, its only one there."""
    identity = {"workspace_id": workspace_id, "account_id": account_id}
    changed = connection.execute(
        sa.update(tables.memberships).filter_by(**identity).values(role=role)
    )
    if changed.rowcount == 0:
        row = identity | {"role": role, "created_at_ms": now_ms}
        connection.execute(sa.insert(tables.memberships).values(row))


def has_row(connection: sa.Connection, table: sa.Table, **values: Any) -> bool:
    """Tell whether the table has a row with these values."""
    found = sa.select(sa.literal(1)).select_from(table).filter_by(**values).limit(1)
    return connection.execute(found).first() is not None


def limits_columns(limits: Limits) -> dict[str, Any]:
    """Return the columns that hold a workspace's limits."""
    return msgspec.structs.asdict(limits)


def _insert(connection: sa.Connection, table: sa.Table, row: dict[str, Any]) -> int:
    inserted = connection.execute(sa.insert(table).values(row)).inserted_primary_key
    assert inserted is not None
    return int(inserted[0])


def _workspace(row: sa.Row[Any]) -> Workspace:
    columns = row._mapping
    return Workspace(
        id=row.id,
        name=row.name,
        slug=row.slug,
        timezone=row.timezone,
        week_start=row.week_start,
        limits=Limits(**{name: columns[name] for name in Limits.__struct_fields__}),
        secret_only_events=frozenset(row.secret_only_events),
        demo=row.demo,
        created_at_ms=row.created_at_ms,
    )


def _key(row: sa.Row[Any]) -> Key:
    return Key(
        id=row.id,
        workspace_id=row.workspace_id,
        key_class=row.key_class,
        scope=row.scope,
        name=row.name,
        prefix=row.prefix,
        full=row.full_key,
        created_at_ms=row.created_at_ms,
        revoked_at_ms=row.revoked_at_ms,
        last_used_at_ms=row.last_used_at_ms,
    )
