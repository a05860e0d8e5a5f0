"""Invitations, the audit log, and the browser of each session."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create and change the tables. Frozen here, whatever `tables` becomes later."""
    _add_browser_to_sessions()
    op.create_table(
        "invitations",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column(
            "workspace_id", sa.Integer, sa.ForeignKey("workspaces.id"), nullable=False, index=True
        ),
        sa.Column("digest", sa.LargeBinary(32), nullable=False, unique=True),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("invited", sa.Text, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger, nullable=False),
        sa.CheckConstraint("role IN ('admin', 'editor', 'viewer')", name="role"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "audit_log",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("workspace_id", sa.Integer, sa.ForeignKey("workspaces.id"), index=True),
        sa.Column("actor_id", sa.Integer, index=True),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("act", sa.Text, nullable=False),
        sa.Column("about", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )


def _add_browser_to_sessions() -> None:
    """Make the table anew with its rows: a column added in place differs in the file's schema."""
    connection = op.get_bind()
    rows = [
        {**row, "user_agent": ""}
        for row in connection.execute(
            sa.text("SELECT digest, account_id, created_at_ms, expires_at_ms FROM sessions")
        ).mappings()
    ]
    op.drop_table("sessions")
    sessions = op.create_table(
        "sessions",
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
        sa.Column(
            "account_id", sa.Integer, sa.ForeignKey("accounts.id"), nullable=False, index=True
        ),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger, nullable=False, index=True),
        sa.Column("user_agent", sa.Text, nullable=False),
    )
    if rows:
        op.bulk_insert(sessions, rows)
