"""`Accounts`: the one object the rest of the server asks about workspaces, keys and people.

Reads run in any thread beside each other; changes run one after another. Workspaces and valid
keys are also in memory, as one immutable `Directory` that a change replaces between its commit
and its return: whoever reads sees the old one whole or the new one whole, without a lock.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Collection, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, TypedDict, Unpack

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from saytics_server.accounts import audit, keys, members, rows, rules, sessions, tables
from saytics_server.accounts.audit import Audit
from saytics_server.accounts.cohorts import Cohorts
from saytics_server.accounts.database import is_disk_full, open_database, write_transactions
from saytics_server.accounts.invitations import Invitations
from saytics_server.accounts.members import Members
from saytics_server.accounts.model import (
    COMMAND,
    ROLES,
    Account,
    Actor,
    Key,
    Limits,
    Session,
    Workspace,
)
from saytics_server.accounts.passwords import hash_password, is_outdated, verify_password
from saytics_server.accounts.sessions import Sessions
from saytics_server.accounts.throttle import LoginThrottle
from saytics_server.clock import Clock
from saytics_server.errors import Failure, Refused

SETUP_TOKEN_FILE = "setup-token"  # noqa: S105 - the file's name
FIRST_WORKSPACE_NAME = "My workspace"

# One sentence for both, so that nobody can find out which e-mails have accounts.
_WRONG_LOGIN = "The e-mail or the password is wrong."


class WorkspaceChanges(TypedDict, total=False):
    """What `update_workspace` can change."""

    name: str
    slug: str
    timezone: str
    week_start: int
    limits: Limits
    secret_only_events: Collection[str]


class Accounts:
    """Workspaces, keys, accounts, memberships, sessions and the set-up token. Thread-safe."""

    def __init__(self, engine: sa.Engine, directory: Path, clock: Clock) -> None:
        self._engine = engine
        self._writes = write_transactions(engine)
        self._clock = clock
        self._setup_token_path = directory / SETUP_TOKEN_FILE
        self._throttle = LoginThrottle(clock)
        self._changing = threading.Lock()
        # Only ever added to, and copied whole before it is read: no lock on the hot path.
        self._last_used_ms: dict[int, int] = {}
        self._flushed_ms: dict[int, int] = {}
        with engine.connect() as connection:
            self._directory = rows.read_directory(connection)
        self.cohorts = Cohorts(engine, self._change, clock)
        self.members = Members(engine, self._change, clock)
        self.invitations = Invitations(engine, self._change, clock, self._limits_of)
        self.sessions = Sessions(engine, self._change, clock)
        self.audit = Audit(engine, self._change, clock)

    @classmethod
    def open(cls, path: Path, clock: Clock, *, url: str | None = None) -> Accounts:
        """Open the accounts in the data directory `path`, which exists; make or migrate them.

        `url` names another database than `meta.db` in that directory; the set-up token's file
        stays there. Raises Failure if the database is damaged, foreign, newer or not writable.
        """
        return cls(open_database(path, url), path, clock)

    def close(self) -> None:
        """Write the times of last use and close the database."""
        # A full disk loses a time of last use at worst, and must not keep the server from ending.
        with contextlib.suppress(Refused):
            self.flush_last_used()
        self._engine.dispose()

    @contextlib.contextmanager
    def _change(self) -> Iterator[sa.Connection]:
        """Run one writing transaction; leaving it normally commits and renews the directory."""
        with self._changing:
            try:
                with self._writes.begin() as connection:
                    yield connection
                    # Read before the commit: were it read after and fail, a revoked key would
                    # stay valid in memory.
                    directory = rows.read_directory(connection)
            except DBAPIError as error:
                if is_disk_full(error):
                    raise Refused("storage_full") from error
                raise
            self._directory = directory

    def _limits_of(self, workspace_id: int) -> Limits:
        return self._directory.workspaces[workspace_id].limits

    # Keys

    def authenticate(self, key: str) -> tuple[Key, Workspace] | None:
        """Return the valid key and its workspace, or None. Lock-free, for every request."""
        try:
            found = self._directory.keys.get(sha256(key.encode()).digest())
        except UnicodeEncodeError:
            return None
        if found is not None:
            self._last_used_ms[found[0].id] = self._clock.now_ms()
        return found

    def flush_last_used(self) -> None:
        """Write the times of last use. About once a minute; blocks for an fsync."""
        used = self._last_used_ms.copy()
        changed = [
            {"key_id": key_id, "used_ms": used_ms}
            for key_id, used_ms in used.items()
            if self._flushed_ms.get(key_id) != used_ms
        ]
        if not changed:
            return
        statement = (
            sa.update(tables.keys)
            .where(tables.keys.c.id == sa.bindparam("key_id"))
            .values(last_used_at_ms=sa.bindparam("used_ms"))
        )
        with self._change() as connection:
            connection.execute(statement, changed)
        self._flushed_ms = used

    def keys(self, workspace_id: int) -> list[Key]:
        """Return a workspace's keys, revoked ones too, oldest first."""
        with self._engine.connect() as connection:
            found = rows.read_keys(connection, tables.keys.c.workspace_id == workspace_id)
        return [
            msgspec.structs.replace(
                key, last_used_at_ms=self._last_used_ms.get(key.id, key.last_used_at_ms)
            )
            for key in found
        ]

    def create_key(  # noqa: PLR0913 - what there is to say of a key
        self,
        workspace_id: int,
        key_class: str,
        name: str,
        scope: str = "all",
        *,
        full: str | None = None,
        by: Actor = COMMAND,
    ) -> tuple[Key, str]:
        """Create a key, valid at once, and return it with its full text, once for secret keys.

        `full` chooses the text instead of chance. A write key's scope is always "send". Raises
        Refused("invalid_parameter").
        """
        assert key_class in keys.KEY_PREFIXES, key_class
        assert scope in keys.KEY_SCOPES, scope
        _require("name", rules.name_problem(name))
        if full is None:
            full = keys.new_key(key_class)
        else:
            _require("key", keys.chosen_key_problem(full, key_class))
        values = {"key_class": key_class, "name": name.strip(), "scope": scope}
        with self._change() as connection:
            _require_row(connection, tables.workspaces, id=workspace_id)
            if rows.has_row(connection, tables.keys, digest=keys.digest(full)):
                raise _invalid("key", "was in use before; choose another")
            key_id = rows.insert_key(
                connection,
                full,
                values | {"workspace_id": workspace_id, "created_at_ms": self._clock.now_ms()},
            )
            (key,) = rows.read_keys(connection, tables.keys.c.id == key_id)
            about, now_ms = _named(key), self._clock.now_ms()
            audit.record(connection, by, workspace_id, "key.created", about, now_ms=now_ms)
        return key, full

    def revoke_key(self, key_id: int, by: Actor = COMMAND) -> None:
        """Make a key invalid before returning. Revoking again changes nothing.

        Raises Refused("not_found").
        """
        with self._change() as connection:
            _require_row(connection, tables.keys, id=key_id)
            (key,) = rows.read_keys(connection, tables.keys.c.id == key_id)
            if key.revoked_at_ms is not None:
                return
            now_ms = self._clock.now_ms()
            connection.execute(
                sa.update(tables.keys).filter_by(id=key_id).values(revoked_at_ms=now_ms)
            )
            about = _named(key)
            audit.record(connection, by, key.workspace_id, "key.revoked", about, now_ms=now_ms)

    # Workspaces

    def workspaces(self) -> list[Workspace]:
        """Return all workspaces, oldest first. From memory."""
        return list(self._directory.workspaces.values())

    def workspace(self, workspace_id: int) -> Workspace | None:
        """Return the workspace with this id. From memory."""
        return self._directory.workspaces.get(workspace_id)

    def workspace_by_slug(self, slug: str) -> Workspace | None:
        """Return the workspace with this slug. From memory."""
        return next((found for found in self.workspaces() if found.slug == slug), None)

    def create_workspace(
        self,
        name: str,
        slug: str | None = None,
        timezone: str = "UTC",
        week_start: int = 0,
        demo: bool = False,
    ) -> Workspace:
        """Create a workspace without limits, keys or members; without `slug`, one from its name.

        Raises Refused("invalid_parameter").
        """
        _require("name", rules.name_problem(name))
        _require("timezone", rules.timezone_problem(timezone))
        _require("week_start", rules.week_start_problem(week_start))
        if slug is not None:
            _require("slug", rules.slug_problem(slug))
        values = {"name": name.strip(), "timezone": timezone, "week_start": week_start}
        with self._change() as connection:
            if slug is None:
                taken = connection.scalars(sa.select(tables.workspaces.c.slug)).all()
                slug = rules.slug_from_name(name, taken)
            else:
                _require_free_slug(connection, slug)
            workspace_id = rows.insert_workspace(
                connection,
                values | {"slug": slug, "demo": demo, "created_at_ms": self._clock.now_ms()},
            )
        return self._directory.workspaces[workspace_id]

    def update_workspace(
        self, workspace_id: int, by: Actor = COMMAND, **changes: Unpack[WorkspaceChanges]
    ) -> Workspace:
        """Change a workspace, for the very next request on.

        Raises Refused("invalid_parameter" | "not_found"); nothing is changed then.
        """
        columns = _workspace_columns(changes)
        with self._change() as connection:
            _require_row(connection, tables.workspaces, id=workspace_id)
            current = self._directory.workspaces[workspace_id]
            if "slug" in changes and changes["slug"] != current.slug:
                _require_free_slug(connection, changes["slug"])
            if about := _differences(current, changes):
                connection.execute(
                    sa.update(tables.workspaces).filter_by(id=workspace_id).values(columns)
                )
                now_ms = self._clock.now_ms()
                audit.record(
                    connection, by, workspace_id, "workspace.changed", about, now_ms=now_ms
                )
        return self._directory.workspaces[workspace_id]

    # First start

    def create_first_workspace(
        self,
        *,
        timezone: str,
        week_start: int,
        secret_key: str,
        write_key: str,
        login: tuple[str, str] | None,
    ) -> Workspace:
        """Create the first workspace, its two keys and its admin's `login`, all or nothing.

        `login` is e-mail and password. The values have been checked. Raises Failure if there is a
        workspace already.
        """
        now_ms = self._clock.now_ms()
        password_hash = hash_password(login[1]) if login else ""
        with self._change() as connection:
            if rows.has_row(connection, tables.workspaces):
                raise Failure(
                    "making the first workspace",
                    "this data directory has one already",
                    "Start without the bootstrap settings, or on an empty data directory.",
                )
            workspace_id = rows.insert_workspace(
                connection,
                {
                    "name": FIRST_WORKSPACE_NAME,
                    "slug": rules.slug_from_name(FIRST_WORKSPACE_NAME, ()),
                    "timezone": timezone,
                    "week_start": week_start,
                    "demo": False,
                    "created_at_ms": now_ms,
                },
            )
            for key_class, full in (("secret", secret_key), ("write", write_key)):
                common = {"workspace_id": workspace_id, "created_at_ms": now_ms, "scope": "all"}
                names = {"key_class": key_class, "name": f"First {key_class} key"}
                rows.insert_key(connection, full, common | names)
            if login:
                email = rules.compared_email(login[0])
                account = rows.insert_account(connection, email, password_hash, now_ms)
                rows.put_member(connection, workspace_id, account.id, "admin", now_ms)
        return self._directory.workspaces[workspace_id]

    def has_accounts(self) -> bool:
        """Tell whether anybody can log in yet."""
        with self._engine.connect() as connection:
            return rows.has_row(connection, tables.accounts)

    def setup_token(self) -> str:
        """Return the token that lets its bearer make the first account.

        It is the same on every call, also after a restart, until it is used; the database has its
        hash, a file only the owner can read has it in full. Raises Failure once there is an
        account.
        """
        with self._change() as connection:
            if rows.has_row(connection, tables.accounts):
                raise Failure(
                    "making a set-up link", "an account exists already", "Log in with it."
                )
            token = self._kept_setup_token()
            if token and rows.has_row(connection, tables.setup_tokens, digest=keys.digest(token)):
                return token
            token = keys.new_token()
            # The file first: a crash in between leaves a file that the next call replaces.
            _write_private_file(self._setup_token_path, token)
            connection.execute(sa.delete(tables.setup_tokens))
            row = {"digest": keys.digest(token), "created_at_ms": self._clock.now_ms()}
            connection.execute(sa.insert(tables.setup_tokens).values(row))
            return token

    def _kept_setup_token(self) -> str | None:
        try:
            return self._setup_token_path.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None

    def create_first_account(self, token: str, email: str, password: str) -> Account:
        """Create the first account, admin of every workspace, and use up the set-up token.

        Blocks for a password hash. Raises Refused("invalid_setup_token"), or
        Refused("invalid_parameter") with the field "email" or "password".
        """
        identity = {"digest": keys.digest(token)}
        # Before anything else: without the token nobody may learn or cost anything.
        with self._engine.connect() as connection:
            _require_setup_token(connection, identity)
        _require("email", rules.email_problem(rules.compared_email(email)))
        _require("password", rules.password_problem(password))
        password_hash = hash_password(password)
        now_ms = self._clock.now_ms()
        with self._change() as connection:
            # Again: somebody else may have used it meanwhile.
            _require_setup_token(connection, identity)
            account = rows.insert_account(
                connection, rules.compared_email(email), password_hash, now_ms
            )
            for workspace_id in self._directory.workspaces:
                rows.put_member(connection, workspace_id, account.id, "admin", now_ms)
        self._setup_token_path.unlink(missing_ok=True)
        return account

    # People

    def create_account(self, email: str, password: str) -> Account:
        """Create an account that is a member of nothing yet. Blocks for a password hash.

        Raises Refused("invalid_parameter"), its field "email" or "password".
        """
        email = rules.compared_email(email)
        _require("email", rules.email_problem(email))
        _require("password", rules.password_problem(password))
        password_hash = hash_password(password)
        with self._change() as connection:
            if rows.has_row(connection, tables.accounts, email=email):
                raise _invalid("email", "has an account already")
            account = rows.insert_account(connection, email, password_hash, self._clock.now_ms())
        self._setup_token_path.unlink(missing_ok=True)
        return account

    def add_member(self, workspace_id: int, account_id: int, role: str) -> None:
        """Give an account a role in a workspace, or another role than it had.

        Raises Refused("not_found" | "invalid_parameter"): a plan limits the members, and an admin
        always remains.
        """
        assert role in ROLES, role
        member = {"workspace_id": workspace_id, "account_id": account_id}
        with self._change() as connection:
            _require_row(connection, tables.workspaces, id=workspace_id)
            _require_row(connection, tables.accounts, id=account_id)
            roles = rows.read_roles(connection, workspace_id)
            members.require_room(roles, account_id, self._limits_of(workspace_id))
            members.require_admin_left(roles, account_id, role)
            rows.put_member(connection, **member, role=role, now_ms=self._clock.now_ms())

    def add_every_admin(self, workspace_id: int) -> None:
        """Make whoever is admin anywhere an admin here too: for workspaces made by command."""
        admins = sa.select(tables.memberships.c.account_id).filter_by(role="admin").distinct()
        with self._change() as connection:
            _require_row(connection, tables.workspaces, id=workspace_id)
            for account_id in connection.scalars(admins).all():
                rows.put_member(connection, workspace_id, account_id, "admin", self._clock.now_ms())

    def workspaces_of(self, account_id: int) -> list[tuple[Workspace, str]]:
        """Return the workspaces an account is a member of, oldest first, each with its role."""
        statement = (
            sa.select(tables.memberships.c.workspace_id, tables.memberships.c.role)
            .filter_by(account_id=account_id)
            .order_by(tables.memberships.c.workspace_id)
        )
        directory = self._directory
        with self._engine.connect() as connection:
            return [
                (directory.workspaces[workspace_id], role)
                for workspace_id, role in connection.execute(statement)
                if workspace_id in directory.workspaces
            ]

    # Sessions

    def login(
        self, email: str, password: str, *, client_address: str = "", user_agent: str = ""
    ) -> Session:
        """Begin a session for the right e-mail and password. Call from a worker thread.

        `client_address` is the IP address that failures are counted for, `user_agent` what the
        browser calls itself, for the list of sessions. Raises
        Refused("login_throttled"), and Refused("invalid_login") in the same words and after
        the same time whether or not the e-mail has an account.
        """
        account = self._right_account(email, password, client_address)
        if account is None:
            raise Refused("invalid_login", _WRONG_LOGIN, field="password")
        if is_outdated(account.password_hash):
            self._replace_hash(account.id, hash_password(password))
        return self.sessions.begin(account.id, user_agent)

    def _right_account(self, email: str, password: str, client_address: str) -> sa.Row[Any] | None:
        """Return the account whose password this is. Raises Refused("login_throttled")."""
        # Cut one past the limit: too long to be right, and cheap to handle.
        email = rules.compared_email(email[: rules.EMAIL_MAX_CHARACTERS + 1])
        password = password[: rules.PASSWORD_MAX_CHARACTERS + 1]
        wait_s = self._throttle.admit(email, client_address)
        if wait_s > 0:
            seconds = math.ceil(wait_s)
            raise Refused(
                "login_throttled",
                f"Too many failed logins; try again in {seconds} s.",
                headers={"Retry-After": str(seconds)},
            )
        account = self._account_row(email)
        try:
            is_right = verify_password(password, account.password_hash if account else None)
        except Refused:
            self._throttle.withdrawn(email, client_address)
            raise
        if account is None or not is_right:
            return None
        self._throttle.succeeded(email, client_address)
        return account

    def _account_row(self, email: str) -> sa.Row[Any] | None:
        if rules.email_problem(email):
            return None
        with self._engine.connect() as connection:
            found = connection.execute(sa.select(tables.accounts).filter_by(email=email))
            return found.one_or_none()

    def _replace_hash(self, account_id: int, password_hash: str) -> None:
        with self._change() as connection:
            connection.execute(
                sa.update(tables.accounts)
                .filter_by(id=account_id)
                .values(password_hash=password_hash)
            )

    def session(self, token: str) -> tuple[Session, Account] | None:
        """Return the session with this token and whose it is; None if it ended or never was.

        Each visit moves its end two weeks away.
        """
        return self.sessions.find(token)

    def logout(self, token: str) -> None:
        """End a session before returning. An unknown token changes nothing."""
        self.sessions.end(token)

    def change_password(
        self, account: Account, current: str, new: str, *, token: str, client_address: str = ""
    ) -> None:
        """Set a new password and end all other sessions than the one of `token`.

        Wrong tries at `current` count as failed logins. Raises Refused("login_throttled"), and
        Refused("invalid_parameter"), its field "current" or "password".
        """
        _require("password", rules.password_problem(new))
        if self._right_account(account.email, current, client_address) is None:
            raise _invalid("current", "is not your password")
        password_hash = hash_password(new)
        with self._change() as connection:
            connection.execute(
                sa.update(tables.accounts)
                .filter_by(id=account.id)
                .values(password_hash=password_hash)
            )
            sessions.end_others_in(connection, account.id, token)
            by = Actor(account.id, account.email)
            now_ms = self._clock.now_ms()
            audit.record(connection, by, None, "account.password_changed", "", now_ms=now_ms)


def _workspace_columns(changes: WorkspaceChanges) -> dict[str, Any]:
    """Check the changes and return the columns they set."""
    columns: dict[str, Any] = {}
    if "name" in changes:
        _require("name", rules.name_problem(changes["name"]))
        columns["name"] = changes["name"].strip()
    if "slug" in changes:
        _require("slug", rules.slug_problem(changes["slug"]))
        columns["slug"] = changes["slug"]
    if "timezone" in changes:
        _require("timezone", rules.timezone_problem(changes["timezone"]))
        columns["timezone"] = changes["timezone"]
    if "week_start" in changes:
        _require("week_start", rules.week_start_problem(changes["week_start"]))
        columns["week_start"] = changes["week_start"]
    if "limits" in changes:
        _require("limits", rules.limits_problem(changes["limits"]))
        columns |= rows.limits_columns(changes["limits"])
    if "secret_only_events" in changes:
        names = changes["secret_only_events"]
        _require("secret_only_events", rules.secret_only_events_problem(names))
        columns["secret_only_events"] = sorted(set(names))
    return columns


def _differences(current: Workspace, changes: WorkspaceChanges) -> str:
    """Return in words what the changes change: `name: Shop → Store`; '' if nothing."""
    told = []
    for name, given in changes.items():
        before: Any = getattr(current, name)
        value: Any = given
        if name == "secret_only_events":
            before, value = sorted(before), sorted(set(value))
        if before == value:
            continue
        if isinstance(value, Limits):
            fields = zip(
                msgspec.structs.fields(Limits), msgspec.structs.astuple(before), strict=True
            )
            told += [
                f"{field.name}: {old} → {getattr(value, field.name)}"
                for field, old in fields
                if old != getattr(value, field.name)
            ]
        else:
            told.append(f"{name}: {before} → {value}")
    return "; ".join(told)


def _named(key: Key) -> str:
    """Return how the audit log names a key: no more of it than its list shows."""
    return f"{key.key_class} key “{key.name}” ({key.prefix}…)"


def _require(field: str, problem: str | None) -> None:
    if problem is not None:
        raise _invalid(field, problem)


def _require_row(connection: sa.Connection, table: sa.Table, **values: Any) -> None:
    if not rows.has_row(connection, table, **values):
        raise Refused("not_found")


def _require_free_slug(connection: sa.Connection, slug: str) -> None:
    if rows.has_row(connection, tables.workspaces, slug=slug):
        raise _invalid("slug", "is taken by another workspace")


def _require_setup_token(connection: sa.Connection, identity: dict[str, bytes]) -> None:
    if not rows.has_row(connection, tables.setup_tokens, **identity):
        raise Refused(
            "invalid_setup_token", "The set-up link is wrong or has been used.", field="token"
        )


def _invalid(field: str, problem: str) -> Refused:
    return Refused("invalid_parameter", f"`{field}` {problem}.", field=field)


def _write_private_file(path: Path, text: str) -> None:
    """Write a new file that only its owner can read, in place of an old one."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")
