"""The first tables: workspaces, keys, accounts, memberships, sessions, set-up tokens."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables. Frozen here, whatever `tables` becomes later."""
    _create_workspaces()
    _create_keys()
    _create_accounts()


def _create_workspaces() -> None:
    op.create_table(
        "workspaces",
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


def _create_keys() -> None:
    op.create_table(
        "keys",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column(
            "workspace_id", sa.Integer, sa.ForeignKey("workspaces.id"), nullable=False, index=True
        ),
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


def _create_accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("email", sa.Text, nullable=False, unique=True),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "memberships",
        sa.Column("workspace_id", sa.Integer, sa.ForeignKey("workspaces.id"), primary_key=True),
        sa.Column(
            "account_id", sa.Integer, sa.ForeignKey("accounts.id"), primary_key=True, index=True
        ),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.CheckConstraint("role IN ('admin', 'editor', 'viewer')", name="role"),
    )
    op.create_table(
        "sessions",
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
        sa.Column(
            "account_id", sa.Integer, sa.ForeignKey("accounts.id"), nullable=False, index=True
        ),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger, nullable=False, index=True),
    )
    op.create_table(
        "setup_tokens",
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    )
