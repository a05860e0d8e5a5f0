"""Invitations: links that make whoever has one a member, once, until they expire.

Only the hash of a link's token is stored. An invitation that was accepted or cancelled is deleted;
the audit log keeps what became of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import msgspec
import sqlalchemy as sa

from saytics_server.accounts import audit, keys, members, rows, rules, tables
from saytics_server.accounts.model import ROLES, Account, Actor, Limits
from saytics_server.accounts.passwords import hash_password
from saytics_server.clock import Clock
from saytics_server.errors import Refused

# The contract's: long enough for a holiday, short enough that a forgotten mail opens nothing.
INVITATION_LIFE_MS = 7 * 86_400_000
# More links than these lie around are no team but a leak.
PENDING_MAX = 100

_GONE = "This invitation was used, cancelled or has expired. Ask for a new one."

Change = Callable[[], contextlib.AbstractContextManager[sa.Connection]]


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    """One open invitation. `invited` says for whom it is meant; whoever has the link may use it."""

    id: int
    workspace_id: int
    role: str
    invited: str
    created_at_ms: int
    expires_at_ms: int


class Invitations:
    """The open invitations of every workspace. Thread-safe."""

    def __init__(
        self,
        engine: sa.Engine,
        change: Change,
        clock: Clock,
        limits: Callable[[int], Limits],
    ) -> None:
        """Take `change`, which runs one writing transaction at a time, and a workspace's limits."""
        self._engine = engine
        self._change = change
        self._clock = clock
        self._limits = limits

    def pending(self, workspace_id: int) -> list[Invitation]:
        """Return a workspace's open invitations, the latest first."""
        invitations = tables.invitations
        statement = (
            sa.select(*_COLUMNS)
            .where(
                invitations.c.workspace_id == workspace_id,
                invitations.c.expires_at_ms > self._clock.now_ms(),
            )
            .order_by(invitations.c.id.desc())
        )
        with self._engine.connect() as connection:
            return [Invitation(**row._mapping) for row in connection.execute(statement)]

    def find(self, token: str) -> Invitation:
        """Return the open invitation of a token. Raises Refused("not_found")."""
        with self._engine.connect() as connection:
            return self._open(connection, token)

    def create(
        self, workspace_id: int, role: str, invited: str, by: Actor
    ) -> tuple[Invitation, str]:
        """Make an invitation and return it with its token, which is never told again.

        Raises Refused("invalid_parameter" | "not_found").
        """
        if role not in ROLES:
            raise _invalid("role", f"is one of {', '.join(ROLES)}")
        if problem := rules.name_problem(invited):
            raise _invalid("invited", problem)
        token, now_ms = keys.new_token(), self._clock.now_ms()
        row = {
            "workspace_id": workspace_id,
            "role": role,
            "invited": invited.strip(),
            "created_at_ms": now_ms,
            "expires_at_ms": now_ms + INVITATION_LIFE_MS,
        }
        invitations = tables.invitations
        with self._change() as connection:
            if not rows.has_row(connection, tables.workspaces, id=workspace_id):
                raise Refused("not_found")
            connection.execute(sa.delete(invitations).where(invitations.c.expires_at_ms <= now_ms))
            count = sa.select(sa.func.count()).select_from(invitations)
            opened = connection.execute(count.filter_by(workspace_id=workspace_id)).scalar_one()
            if opened >= PENDING_MAX:
                raise _invalid("invited", f"is one more than {PENDING_MAX} open invitations")
            stored = row | {"digest": keys.digest(token)}
            inserted = connection.execute(
                sa.insert(invitations).values(stored)
            ).inserted_primary_key
            assert inserted is not None
            about = f"{row['invited']} as {role}"
            audit.record(connection, by, workspace_id, "member.invited", about, now_ms=now_ms)
        return Invitation(id=inserted[0], **row), token  # type: ignore[arg-type]

    def cancel(self, workspace_id: int, invitation_id: int, by: Actor) -> None:
        """Make a link worthless, from the next request on. Raises Refused("not_found")."""
        identity = {"workspace_id": workspace_id, "id": invitation_id}
        with self._change() as connection:
            found = connection.execute(
                sa.select(tables.invitations.c.invited).filter_by(**identity)
            ).scalar_one_or_none()
            if found is None:
                raise Refused("not_found", "There is no such invitation.")
            connection.execute(sa.delete(tables.invitations).filter_by(**identity))
            now_ms = self._clock.now_ms()
            audit.record(connection, by, workspace_id, "invitation.cancelled", found, now_ms=now_ms)

    def accept(self, token: str, account: Account) -> int:
        """Make an account a member and use the invitation up; return the workspace's id.

        Raises Refused("not_found"), and Refused("invalid_parameter") for a member and for a full
        workspace; the invitation stays then.
        """
        with self._change() as connection:
            return self._use(connection, token, account)

    def accept_as_new(self, token: str, email: str, password: str) -> int:
        """Make an account that is a member, all or nothing. Blocks for a password hash.

        Raises as `accept` and `Accounts.create_account` do.
        """
        self.find(token)  # before anything that costs: without a link there is nothing to try
        email = rules.compared_email(email)
        if problem := rules.email_problem(email):
            raise _invalid("email", problem)
        if problem := rules.password_problem(password):
            raise _invalid("password", problem)
        password_hash = hash_password(password)
        with self._change() as connection:
            if rows.has_row(connection, tables.accounts, email=email):
                raise _invalid("email", "has an account already; log in with it")
            now_ms = self._clock.now_ms()
            account = rows.insert_account(connection, email, password_hash, now_ms)
            return self._use(connection, token, account)

    def _use(self, connection: sa.Connection, token: str, account: Account) -> int:
        found = self._open(connection, token)
        roles = rows.read_roles(connection, found.workspace_id)
        if account.id in roles:
            raise _invalid("account", "is a member of this workspace already")
        members.require_room(roles, account.id, self._limits(found.workspace_id))
        now_ms = self._clock.now_ms()
        rows.put_member(connection, found.workspace_id, account.id, found.role, now_ms)
        connection.execute(sa.delete(tables.invitations).filter_by(id=found.id))
        by = Actor(account.id, account.email)
        about = f"as {found.role}, invited as {found.invited}"
        audit.record(connection, by, found.workspace_id, "member.joined", about, now_ms=now_ms)
        return found.workspace_id

    def _open(self, connection: sa.Connection, token: str) -> Invitation:
        row = connection.execute(
            sa.select(*_COLUMNS).where(
                tables.invitations.c.digest == keys.digest(token),
                tables.invitations.c.expires_at_ms > self._clock.now_ms(),
            )
        ).one_or_none()
        if row is None:
            raise Refused("not_found", _GONE)
        return Invitation(**row._mapping)


_COLUMNS = [tables.invitations.c[name] for name in Invitation.__struct_fields__]


def _invalid(field: str, problem: str) -> Refused:
    return Refused("invalid_parameter", f"`{field}` {problem}.", field=field)
