"""The tables of the metadata database, as the newest migration leaves them.

Plain SQL types only, so that SQLite and PostgreSQL hold the same. Times are milliseconds since
1970 in UTC. A change here needs a script in `migrations/versions`; a test compares the two.
"""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

# `sqlite_autoincrement`: an id is never given again, for events outlive their workspace's row.
workspaces = sa.Table(
    "workspaces",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("slug", sa.Text, nullable=False, unique=True),
    sa.Column("timezone", sa.Text, nullable=False),
    sa.Column("week_start", sa.SmallInteger, nullable=False),
    sa.Column("plan", sa.Text, nullable=False),
    sa.Column("events_per_month", sa.BigInteger),
    sa.Column("requests_per_minute", sa.BigInteger),
    sa.Column("batch_max", sa.Integer, nullable=False),
    sa.Column("members_max", sa.Integer),
    sa.Column("retention_days", sa.Integer),
    sa.Column("enforce_quota", sa.Boolean, nullable=False),
    sa.Column("secret_only_events", sa.JSON, nullable=False),
    sa.Column("demo", sa.Boolean, nullable=False),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.CheckConstraint("week_start BETWEEN 0 AND 6", name="week_start"),
    sqlite_autoincrement=True,
)

# `full_key` is for write keys alone, which are public; the check holds it.
keys = sa.Table(
    "keys",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("workspace_id", sa.ForeignKey("workspaces.id"), nullable=False, index=True),
    sa.Column("key_class", sa.Text, nullable=False),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("prefix", sa.Text, nullable=False),
    sa.Column("full_key", sa.Text),
    sa.Column("digest", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("revoked_at_ms", sa.BigInteger),
    sa.Column("last_used_at_ms", sa.BigInteger),
    sa.CheckConstraint("key_class IN ('write', 'secret')", name="key_class"),
    sa.CheckConstraint("scope IN ('all', 'send')", name="scope"),
    sa.CheckConstraint("full_key IS NULL OR key_class = 'write'", name="secret_hidden"),
    sqlite_autoincrement=True,
)

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("email", sa.Text, nullable=False, unique=True),
    sa.Column("password_hash", sa.Text, nullable=False),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

memberships = sa.Table(
    "memberships",
    metadata,
    sa.Column("workspace_id", sa.ForeignKey("workspaces.id"), primary_key=True),
    sa.Column("account_id", sa.ForeignKey("accounts.id"), primary_key=True, index=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.CheckConstraint("role IN ('admin', 'editor', 'viewer')", name="role"),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("digest", sa.LargeBinary(32), primary_key=True),
    sa.Column("account_id", sa.ForeignKey("accounts.id"), nullable=False, index=True),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("expires_at_ms", sa.BigInteger, nullable=False, index=True),
    sa.Column("user_agent", sa.Text, nullable=False),
)

# `invited` is for whom it is meant, in the words of who invited.
invitations = sa.Table(
    "invitations",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("workspace_id", sa.ForeignKey("workspaces.id"), nullable=False, index=True),
    sa.Column("digest", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("invited", sa.Text, nullable=False),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("expires_at_ms", sa.BigInteger, nullable=False),
    sa.CheckConstraint("role IN ('admin', 'editor', 'viewer')", name="role"),
    sqlite_autoincrement=True,
)

# `actor` stands beside `actor_id`, for it must be readable when the account is no more.
audit_log = sa.Table(
    "audit_log",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("workspace_id", sa.ForeignKey("workspaces.id"), index=True),
    sa.Column("actor_id", sa.Integer, index=True),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("act", sa.Text, nullable=False),
    sa.Column("about", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)

# `definition` is a JSON document; what it means is known to the queries alone.
cohorts = sa.Table(
    "cohorts",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("workspace_id", sa.ForeignKey("workspaces.id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("definition", sa.JSON, nullable=False),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("updated_at_ms", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("workspace_id", "name"),
    sqlite_autoincrement=True,
)

# At most one row, and only while there is no account.
setup_tokens = sa.Table(
    "setup_tokens",
    metadata,
    sa.Column("digest", sa.LargeBinary(32), primary_key=True),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
)

# Alembic's own table, written here too so that a new database needs no Alembic.
alembic_version = sa.Table(
    "alembic_version",
    metadata,
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
