"""The values accounts are made of, and the plans. No behaviour, no database."""

from __future__ import annotations

import msgspec

# What a role allows: admin views, edits, invites and sets; editor views and edits; viewer views.
ROLES = ("admin", "editor", "viewer")

# The contract's largest batch. A plan may lower it, none may raise it.
BATCH_MAX_EVENTS = 1_000


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a workspace may use; None is unlimited.

    Over `events_per_month`, events are refused only if `enforce_quota`, else accepted with a
    warning. `retention_days` counts from receipt.
    """

    plan: str
    events_per_month: int | None
    requests_per_minute: int | None
    batch_max: int
    members_max: int | None
    retention_days: int | None
    enforce_quota: bool = False


# A self-hosted workspace starts as "enterprise"; the others are presets for operators who host
# for somebody else.
PLANS: dict[str, Limits] = {
    limits.plan: limits
    for limits in (
        Limits(
            plan="free",
            events_per_month=10_000,
            requests_per_minute=100,
            batch_max=100,
            members_max=1,
            retention_days=30,
        ),
        Limits(
            plan="starter",
            events_per_month=100_000,
            requests_per_minute=500,
            batch_max=500,
            members_max=5,
            retention_days=365,
        ),
        Limits(
            plan="pro",
            events_per_month=1_000_000,
            requests_per_minute=2_000,
            batch_max=BATCH_MAX_EVENTS,
            members_max=None,
            retention_days=365,
        ),
        Limits(
            plan="enterprise",
            events_per_month=None,
            requests_per_minute=None,
            batch_max=BATCH_MAX_EVENTS,
            members_max=None,
            retention_days=None,
        ),
    )
}


class Workspace(msgspec.Struct, frozen=True, kw_only=True):
    """One product's events and their settings. Ids are never given twice."""

    id: int
    name: str
    slug: str
    timezone: str  # IANA name; every report's buckets follow it
    week_start: int  # 0 = Monday … 6 = Sunday
    limits: Limits
    secret_only_events: frozenset[str]
    demo: bool
    created_at_ms: int


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One API key as it may be shown: in full if it is a write key, else by its prefix."""

    id: int
    workspace_id: int
    key_class: str  # "write" | "secret"
    scope: str  # "all" | "send"; a write key's is always "send"
    name: str
    prefix: str
    full: str | None
    created_at_ms: int
    revoked_at_ms: int | None
    last_used_at_ms: int | None


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A person who can log in. `email` is in its compared form: trimmed and lower case."""

    id: int
    email: str
    created_at_ms: int


class Actor(msgspec.Struct, frozen=True):
    """Who does something: an account, or whoever may run commands on the server's machine."""

    account_id: int | None
    name: str


COMMAND = Actor(None, "saytics command")


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One log-in of one browser. `token` is known only in the answer that creates it."""

    token: str | None
    account_id: int
    csrf_token: str
    created_at_ms: int
    expires_at_ms: int
