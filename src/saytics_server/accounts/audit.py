"""The audit log: who did which administrative act, when, in which workspace. Rows are only added.

An act on the accounts is written in the transaction that does it, so there is none without its row.
No row holds a secret: keys go by name and first characters, invitations by whom they were for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import msgspec
import sqlalchemy as sa

from saytics_server.accounts import tables
from saytics_server.accounts.model import Actor
from saytics_server.clock import Clock

# What `about` says beyond this is cut: names and ids have their limits, lists of changes have not.
ABOUT_CHARACTERS_MAX = 1_000

Change = Callable[[], contextlib.AbstractContextManager[sa.Connection]]


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One act. `workspace_id` is None for what somebody did to their own account."""

    id: int
    at_ms: int
    workspace_id: int | None
    actor_id: int | None
    actor: str
    act: str
    about: str


class Audit:
    """The acts of every workspace. Thread-safe."""

    def __init__(self, engine: sa.Engine, change: Change, clock: Clock) -> None:
        """Take `change`, which runs one writing transaction at a time."""
        self._engine = engine
        self._change = change
        self._clock = clock

    def add(self, by: Actor, workspace_id: int, act: str, about: str) -> None:
        """Write down an act that was done elsewhere, such as in the log of events."""
        with self._change() as connection:
            record(connection, by, workspace_id, act, about, now_ms=self._clock.now_ms())

    def entries(
        self, workspace_id: int, *, limit: int, before_id: int | None = None
    ) -> list[AuditEntry]:
        """Return a workspace's acts, the latest first; with `before_id` those before that one."""
        return self._read(limit, before_id, tables.audit_log.c.workspace_id == workspace_id)

    def of_account(self, account_id: int, *, limit: int) -> list[AuditEntry]:
        """Return what somebody did to their own account, the latest first."""
        log = tables.audit_log.c
        return self._read(limit, None, log.workspace_id.is_(None), log.actor_id == account_id)

    def _read(
        self, limit: int, before_id: int | None, *conditions: sa.ColumnElement[bool]
    ) -> list[AuditEntry]:
        log = tables.audit_log
        statement = sa.select(log).where(*conditions).order_by(log.c.id.desc()).limit(limit)
        if before_id is not None:
            statement = statement.where(log.c.id < before_id)
        with self._engine.connect() as connection:
            return [AuditEntry(**row._mapping) for row in connection.execute(statement)]


def record(  # noqa: PLR0913 - a row has these columns
    connection: sa.Connection,
    by: Actor,
    workspace_id: int | None,
    act: str,
    about: str,
    *,
    now_ms: int,
) -> None:
    """Write down an act in the transaction that does it."""
    row = {
        "at_ms": now_ms,
        "workspace_id": workspace_id,
        "actor_id": by.account_id,
        "actor": by.name,
        "act": act,
        "about": about[:ABOUT_CHARACTERS_MAX],
    }
    connection.execute(sa.insert(tables.audit_log).values(row))
