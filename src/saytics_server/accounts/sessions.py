"""Sessions: log-ins of browsers. Begun, found by their token, listed and ended.

Only the hash of a token is stored. In lists a session goes by the beginning of that hash, which
finds it among its account's and opens nothing.
"""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import Callable

import msgspec
import sqlalchemy as sa

from saytics_server.accounts import audit, keys, tables
from saytics_server.accounts.model import Account, Actor, Session
from saytics_server.clock import Clock
from saytics_server.errors import Refused

_DAY_MS = 86_400_000
# Two weeks without a visit end a session.
SESSION_LIFE_MS = 14 * _DAY_MS
# A visit moves the end at most this often, so that reading pages does not write to disk.
SESSION_EXTEND_AFTER_MS = 3_600_000
# Browsers' names for themselves are 100 to 200 characters long; they are shown on one line.
USER_AGENT_CHARACTERS_MAX = 300
# 64 bits tell a person's sessions apart.
_HANDLE_BYTES = 8

Change = Callable[[], contextlib.AbstractContextManager[sa.Connection]]


class OpenSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session as its owner sees it. `seen_at_ms` is exact to the hour."""

    handle: str
    user_agent: str
    created_at_ms: int
    seen_at_ms: int


class Sessions:
    """The sessions of every account. Thread-safe."""

    def __init__(self, engine: sa.Engine, change: Change, clock: Clock) -> None:
        """Take `change`, which runs one writing transaction at a time."""
        self._engine = engine
        self._change = change
        self._clock = clock

    def begin(self, account_id: int, user_agent: str) -> Session:
        """Begin a session, and forget those that have expired."""
        token, now_ms = keys.new_token(), self._clock.now_ms()
        row = {
            "account_id": account_id,
            "created_at_ms": now_ms,
            "expires_at_ms": now_ms + SESSION_LIFE_MS,
        }
        with self._change() as connection:
            connection.execute(
                sa.delete(tables.sessions).where(tables.sessions.c.expires_at_ms <= now_ms)
            )
            stored = row | {
                "digest": keys.digest(token),
                "user_agent": user_agent[:USER_AGENT_CHARACTERS_MAX],
            }
            connection.execute(sa.insert(tables.sessions).values(stored))
        return Session(token=token, csrf_token=_csrf_token(token), **row)

    def find(self, token: str) -> tuple[Session, Account] | None:
        """Return the session with this token and whose it is; None if it ended or never was.

        Each visit moves its end two weeks away.
        """
        now_ms = self._clock.now_ms()
        stored, accounts = tables.sessions, tables.accounts
        statement = (
            sa.select(
                stored.c.created_at_ms.label("begun_at_ms"),
                stored.c.expires_at_ms,
                accounts.c.id,
                accounts.c.email,
                accounts.c.created_at_ms,
            )
            .join_from(stored, accounts)
            .where(stored.c.digest == keys.digest(token), stored.c.expires_at_ms > now_ms)
        )
        with self._engine.connect() as connection:
            row = connection.execute(statement).one_or_none()
        if row is None:
            return None
        session = Session(
            token=None,
            account_id=row.id,
            csrf_token=_csrf_token(token),
            created_at_ms=row.begun_at_ms,
            expires_at_ms=self._extended(token, row.expires_at_ms, now_ms),
        )
        return session, Account(id=row.id, email=row.email, created_at_ms=row.created_at_ms)

    def _extended(self, token: str, expires_at_ms: int, now_ms: int) -> int:
        """Move a session's end if that is worth a write; return the end it has."""
        later_ms = now_ms + SESSION_LIFE_MS
        if later_ms - expires_at_ms < SESSION_EXTEND_AFTER_MS:
            return expires_at_ms
        try:
            with self._change() as connection:
                connection.execute(
                    sa.update(tables.sessions)
                    .filter_by(digest=keys.digest(token))
                    .values(expires_at_ms=later_ms)
                )
        except Refused:
            # A full disk must not keep people from reading.
            return expires_at_ms
        return later_ms

    def end(self, token: str) -> None:
        """End a session before returning. An unknown token changes nothing."""
        with self._change() as connection:
            connection.execute(sa.delete(tables.sessions).filter_by(digest=keys.digest(token)))

    def of_account(self, account_id: int) -> list[OpenSession]:
        """Return an account's open sessions, the one seen last first."""
        stored = tables.sessions.c
        statement = (
            sa.select(tables.sessions)
            .where(stored.account_id == account_id, stored.expires_at_ms > self._clock.now_ms())
            .order_by(stored.expires_at_ms.desc(), stored.created_at_ms.desc())
        )
        with self._engine.connect() as connection:
            return [
                OpenSession(
                    handle=_handle(row.digest),
                    user_agent=row.user_agent,
                    created_at_ms=row.created_at_ms,
                    seen_at_ms=row.expires_at_ms - SESSION_LIFE_MS,
                )
                for row in connection.execute(statement)
            ]

    def end_one(self, account: Account, handle: str) -> None:
        """End one of an account's sessions. Raises Refused("not_found")."""
        stored = tables.sessions.c
        with self._change() as connection:
            digests = connection.scalars(
                sa.select(stored.digest).where(stored.account_id == account.id)
            )
            digest = next((each for each in digests if _handle(each) == handle), None)
            if digest is None:
                raise Refused("not_found", "This session has ended already.")
            connection.execute(sa.delete(tables.sessions).filter_by(digest=digest))
            self._record(connection, account, "account.session_ended", "")

    def end_others(self, account: Account, token: str) -> None:
        """End all of an account's sessions but the one of this token."""
        with self._change() as connection:
            end_others_in(connection, account.id, token)
            self._record(connection, account, "account.session_ended", "all others")

    def _record(self, connection: sa.Connection, account: Account, act: str, about: str) -> None:
        by = Actor(account.id, account.email)
        audit.record(connection, by, None, act, about, now_ms=self._clock.now_ms())


def end_others_in(connection: sa.Connection, account_id: int, token: str) -> None:
    """End all of an account's sessions but the one of this token, in a transaction under way."""
    stored = tables.sessions.c
    connection.execute(
        sa.delete(tables.sessions).where(
            stored.account_id == account_id, stored.digest != keys.digest(token)
        )
    )


def handle_of(token: str) -> str:
    """Return what the session of this token goes by in its owner's list."""
    return _handle(keys.digest(token))


def _handle(digest: bytes) -> str:
    return bytes(digest[:_HANDLE_BYTES]).hex()


def _csrf_token(token: str) -> str:
    """Return the token that a session's forms carry. Derived, so there is nothing to store."""
    return hmac.digest(token.encode("utf-8", "surrogatepass"), b"csrf", "sha256").hex()
