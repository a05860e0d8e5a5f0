"""The settings of a workspace: itself, its keys, its team, and who did what.

Every change answers with a redirect, so that reloading repeats nothing; what can be shown only
once, a new key or an invitation's link, is in the answer itself. A refusal shows the page again
with the reason.
"""

from __future__ import annotations

from urllib.parse import urlencode
from zoneinfo import ZoneInfo, available_timezones

import msgspec
from starlette.responses import Response

from saytics_server.accounts import ROLES, Key
from saytics_server.accounts.accounts import WorkspaceChanges
from saytics_server.accounts.keys import KEY_PREFIXES, KEY_SCOPES
from saytics_server.accounts.permissions import Act
from saytics_server.accounts.rules import NAME_MAX_CHARACTERS, SLUG_MAX_CHARACTERS, WEEKDAYS
from saytics_server.dashboard import wording
from saytics_server.dashboard.render import render
from saytics_server.dashboard.shell import Choice, Shell
from saytics_server.dashboard.visit import Visit
from saytics_server.errors import Refused

SECTION = "/settings"
AUDIT_ROWS = 50
# Ids are counted up from one; a longer number is nobody's.
_ID_DIGITS_MAX = 18

# What the address of a redirect may say was done. Words come from here alone.
_DONE = {
    "saved": "Saved. The next request goes by it.",
    "revoked": "Revoked. The next request with this key is refused.",
    "cancelled": "The invitation's link opens nothing any more.",
    "role": "The role was changed.",
    "removed": "Removed. The next page they open is refused.",
    "password": "The password was changed, and every other session ended.",
    "ended": "The session was ended.",
    "others": "Every other session was ended.",
}

# Act of the audit log: how it is worded.
_ACTS = {
    "workspace.changed": "changed the workspace",
    "key.created": "created a key",
    "key.revoked": "revoked a key",
    "member.invited": "invited",
    "member.joined": "joined",
    "member.role_changed": "changed a role",
    "member.removed": "removed a member",
    "invitation.cancelled": "cancelled an invitation",
    "link.undone": "undid a link",
    "cohort.created": "created a cohort",
    "cohort.changed": "changed a cohort",
    "cohort.deleted": "deleted a cohort",
    "account.password_changed": "changed the password",
    "account.session_ended": "ended a session",
}


class Frame(msgspec.Struct, frozen=True):
    """What all pages of the settings have."""

    shell: Shell
    tabs: list[Choice]
    csrf_token: str
    slug: str
    zone: str
    done: str
    refusal: str


class WorkspacePage(msgspec.Struct, frozen=True):
    """The workspace's own settings."""

    frame: Frame
    shell: Shell
    may_change: bool
    name: str
    address_name: str
    timezone: str
    timezones: list[str]
    week_start: int
    weekdays: list[str]
    plan: str
    limits: list[tuple[str, str]]
    name_max: int
    slug_max: int


class KeyRow(msgspec.Struct, frozen=True):
    """One key as it may be shown."""

    id: int
    name: str
    shown: str
    is_whole: bool
    key_class: str
    scope: str
    created: str
    used: str
    revoked: str


class KeysPage(msgspec.Struct, frozen=True):
    """The keys. `new_key` is a secret one at the only moment it can be shown."""

    frame: Frame
    shell: Shell
    may_change: bool
    keys: list[KeyRow]
    revoked: list[KeyRow]
    new_name: str
    new_key: str
    name: str


class MemberRow(msgspec.Struct, frozen=True):
    """One member."""

    account_id: int
    email: str
    role: str
    since: str
    is_self: bool


class InvitationRow(msgspec.Struct, frozen=True):
    """One open invitation."""

    id: int
    invited: str
    role: str
    expires: str


class TeamPage(msgspec.Struct, frozen=True):
    """The members and the open invitations. `link` is there right after an invitation was made."""

    frame: Frame
    shell: Shell
    may_change: bool
    members: list[MemberRow]
    invitations: list[InvitationRow]
    roles: tuple[str, ...]
    link: str
    link_for: str
    invited: str


class AuditRow(msgspec.Struct, frozen=True):
    """One act in words."""

    at: str
    actor: str
    act: str
    about: str


class AuditPage(msgspec.Struct, frozen=True):
    """The latest acts, or those before one of them."""

    frame: Frame
    shell: Shell
    entries: list[AuditRow]
    older_address: str


def frame_of(visit: Visit, path: str, refused: Refused | None = None) -> Frame:
    """Return what the page at `path` shares with the others."""
    tabs = [
        ("Workspace", SECTION, Act.VIEW),
        ("Keys", f"{SECTION}/keys", Act.VIEW),
        ("Team", f"{SECTION}/team", Act.VIEW),
        ("Audit log", f"{SECTION}/audit", Act.READ_AUDIT_LOG),
        ("Your account", f"{SECTION}/account", Act.OWN_ACCOUNT),
    ]
    return Frame(
        shell=visit.shell(SECTION),
        tabs=[
            Choice(label, visit.address(target), target == path)
            for label, target, act in tabs
            if visit.may(act)
        ],
        csrf_token=visit.member.session.csrf_token,
        slug=visit.workspace.slug,
        zone=visit.workspace.timezone,
        done=_DONE.get(visit.asked("done"), ""),
        refusal=refused.rejection.message if refused else "",
    )


def status_of(refused: Refused | None) -> int:
    """Return the status of a page that shows why something was refused."""
    return refused.kind.status if refused else 200


def time_of(visit: Visit, at_ms: int | None, otherwise: str = "") -> str:
    """Word a stored time in the workspace's zone."""
    if at_ms is None:
        return otherwise
    return wording.short_time(wording.instant(at_ms, ZoneInfo(visit.workspace.timezone)))


def act_words(act: str) -> str:
    """Word an act of the audit log."""
    return _ACTS.get(act, act)


def number_of(text: str) -> int:
    """Return an id of a form. Raises Refused("not_found")."""
    if not (text.isascii() and text.isdigit() and len(text) <= _ID_DIGITS_MAX):
        raise Refused("not_found")
    return int(text)


# --- the workspace --------------------------------------------------------------------------------


def show_workspace(visit: Visit) -> Response:
    """GET /settings."""
    workspace = visit.workspace
    typed = {
        "name": workspace.name,
        "slug": workspace.slug,
        "timezone": workspace.timezone,
        "week_start": str(workspace.week_start),
    }
    return _workspace_page(visit, typed)


def change_workspace(visit: Visit) -> Response:
    """POST /settings/workspace."""
    typed = {name: visit.sent(f"new_{name}") for name in ("name", "slug", "timezone", "week_start")}
    week_start = typed["week_start"]
    changes = WorkspaceChanges(
        name=typed["name"],
        slug=typed["slug"],
        timezone=typed["timezone"],
        week_start=int(week_start) if week_start in "0123456" and week_start else -1,
    )
    try:
        changed = visit.context.accounts.update_workspace(
            visit.workspace.id, by=visit.by, **changes
        )
    except Refused as refused:
        if refused.kind.status != 400:
            raise
        return _workspace_page(visit, typed, refused)
    # Under its new name, if that was changed.
    return visit.to(SECTION, workspace=changed.slug, done="saved")


def _workspace_page(
    visit: Visit, typed: dict[str, str], refused: Refused | None = None
) -> Response:
    limits = visit.workspace.limits
    counts = {
        "Events a month": limits.events_per_month,
        "Requests a minute, per key": limits.requests_per_minute,
        "Members": limits.members_max,
        "Days events are kept": limits.retention_days,
    }
    frame = frame_of(visit, SECTION, refused)
    week_start = typed["week_start"]
    page = WorkspacePage(
        frame=frame,
        shell=frame.shell,
        may_change=visit.may(Act.MANAGE_WORKSPACE),
        name=typed["name"],
        address_name=typed["slug"],
        timezone=typed["timezone"],
        timezones=sorted(available_timezones()),
        week_start=int(week_start) if week_start.isdigit() else 0,
        weekdays=[day.capitalize() for day in WEEKDAYS],
        plan=limits.plan,
        limits=[
            (name, "no limit" if count is None else f"{count:,}") for name, count in counts.items()
        ],
        name_max=NAME_MAX_CHARACTERS,
        slug_max=SLUG_MAX_CHARACTERS,
    )
    return render("settings_workspace.html", page, status=status_of(refused))


# --- keys -----------------------------------------------------------------------------------------


def show_keys(visit: Visit) -> Response:
    """GET /settings/keys."""
    return _keys_page(visit)


def create_key(visit: Visit) -> Response:
    """POST /settings/keys/create: the new key, in this one answer."""
    key_class, name, scope = visit.sent("key_class"), visit.sent("name"), visit.sent("scope")
    if key_class not in KEY_PREFIXES or scope not in KEY_SCOPES:
        raise Refused("invalid_parameter", "A key is a write key or a secret key.")
    try:
        key, full = visit.context.accounts.create_key(
            visit.workspace.id, key_class, name, scope, by=visit.by
        )
    except Refused as refused:
        if refused.kind.status != 400:
            raise
        return _keys_page(visit, refused=refused)
    return _keys_page(visit, new=(key.name, full))


def revoke_key(visit: Visit) -> Response:
    """POST /settings/keys/revoke."""
    key_id = number_of(visit.sent("id"))
    accounts = visit.context.accounts
    if key_id not in {key.id for key in accounts.keys(visit.workspace.id)}:
        raise Refused("not_found", "The workspace has no such key.")
    accounts.revoke_key(key_id, by=visit.by)
    return visit.to(f"{SECTION}/keys", done="revoked")


def _keys_page(
    visit: Visit, *, new: tuple[str, str] = ("", ""), refused: Refused | None = None
) -> Response:
    rows = [_key_row(visit, key) for key in visit.context.accounts.keys(visit.workspace.id)]
    frame = frame_of(visit, f"{SECTION}/keys", refused)
    page = KeysPage(
        frame=frame,
        shell=frame.shell,
        may_change=visit.may(Act.MANAGE_KEYS),
        keys=[row for row in rows if not row.revoked],
        revoked=[row for row in rows if row.revoked],
        new_name=new[0],
        new_key=new[1],
        name=visit.sent("name") if refused else "",
    )
    return render("settings_keys.html", page, status=status_of(refused))


def _key_row(visit: Visit, key: Key) -> KeyRow:
    return KeyRow(
        id=key.id,
        name=key.name,
        shown=key.full or f"{key.prefix}…",
        is_whole=key.full is not None,
        key_class=key.key_class,
        scope="send" if key.scope == "send" else "send and read",
        created=time_of(visit, key.created_at_ms),
        used=time_of(visit, key.last_used_at_ms, "never"),
        revoked=time_of(visit, key.revoked_at_ms),
    )


# --- the team -------------------------------------------------------------------------------------


def show_team(visit: Visit) -> Response:
    """GET /settings/team."""
    return _team_page(visit)


def invite(visit: Visit) -> Response:
    """POST /settings/team/invite: the link, in this one answer."""
    try:
        invitation, token = visit.context.accounts.invitations.create(
            visit.workspace.id, visit.sent("role"), visit.sent("invited"), visit.by
        )
    except Refused as refused:
        if refused.kind.status != 400:
            raise
        return _team_page(visit, refused=refused)
    base = visit.context.public_url(visit.request).rstrip("/")
    link = f"{base}/invitation?{urlencode({'token': token})}"
    return _team_page(visit, link=link, link_for=invitation.invited)


def cancel_invitation(visit: Visit) -> Response:
    """POST /settings/team/cancel."""
    invitation_id = number_of(visit.sent("id"))
    visit.context.accounts.invitations.cancel(visit.workspace.id, invitation_id, visit.by)
    return visit.to(f"{SECTION}/team", done="cancelled")


def change_role(visit: Visit) -> Response:
    """POST /settings/team/role."""
    account_id, role = number_of(visit.sent("id")), visit.sent("role")
    try:
        visit.context.accounts.members.change_role(visit.workspace.id, account_id, role, visit.by)
    except Refused as refused:
        if refused.kind.status != 400:
            raise
        return _team_page(visit, refused=refused)
    return visit.to(f"{SECTION}/team", done="role")


def remove_member(visit: Visit) -> Response:
    """POST /settings/team/remove."""
    account_id = number_of(visit.sent("id"))
    try:
        visit.context.accounts.members.remove(visit.workspace.id, account_id, visit.by)
    except Refused as refused:
        if refused.kind.status != 400:
            raise
        return _team_page(visit, refused=refused)
    return visit.to(f"{SECTION}/team", done="removed")


def _team_page(
    visit: Visit, *, link: str = "", link_for: str = "", refused: Refused | None = None
) -> Response:
    accounts, workspace_id = visit.context.accounts, visit.workspace.id
    frame = frame_of(visit, f"{SECTION}/team", refused)
    page = TeamPage(
        frame=frame,
        shell=frame.shell,
        may_change=visit.may(Act.MANAGE_TEAM),
        members=[
            MemberRow(
                member.account_id,
                member.email,
                member.role,
                time_of(visit, member.since_ms),
                member.account_id == visit.member.account.id,
            )
            for member in accounts.members.all(workspace_id)
        ],
        invitations=[
            InvitationRow(each.id, each.invited, each.role, time_of(visit, each.expires_at_ms))
            for each in accounts.invitations.pending(workspace_id)
        ],
        roles=ROLES,
        link=link,
        link_for=link_for,
        invited=visit.sent("invited") if refused else "",
    )
    return render("settings_team.html", page, status=status_of(refused))


# --- the audit log --------------------------------------------------------------------------------


def show_audit(visit: Visit) -> Response:
    """GET /settings/audit?before=ID."""
    before = visit.asked("before")
    found = visit.context.accounts.audit.entries(
        visit.workspace.id,
        limit=AUDIT_ROWS + 1,
        before_id=number_of(before) if before else None,
    )
    shown = found[:AUDIT_ROWS]
    frame = frame_of(visit, f"{SECTION}/audit")
    page = AuditPage(
        frame=frame,
        shell=frame.shell,
        entries=[
            AuditRow(time_of(visit, each.at_ms), each.actor, act_words(each.act), each.about)
            for each in shown
        ],
        older_address=visit.address(f"{SECTION}/audit", before=shown[-1].id)
        if len(found) > AUDIT_ROWS
        else "",
    )
    return render("settings_audit.html", page)
