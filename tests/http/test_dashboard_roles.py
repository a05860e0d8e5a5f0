"""Every page and every form, with every role, signed out, and from another workspace."""

from __future__ import annotations

import json
from typing import Any

import pytest
from somebody import Somebody, Team

from saytics_server.accounts import ROLES
from saytics_server.accounts.permissions import PERMISSIONS, Act, allows
from saytics_server.dashboard import MEMBERS
from serving import Serving

ROUTES = [(method, path, act) for method, path, _, act in MEMBERS]
# What would end the session that asks; each is tried elsewhere.
ENDING = {"/logout", "/settings/account/end-others", "/settings/account/password"}
# A role that is allowed gets a page, a redirect, or a refusal of what was not filled in.
LET_THROUGH = {200, 204, 303, 400, 404}


@pytest.fixture(scope="module")
def teams(operated: Serving) -> tuple[Team, Team]:
    """Return two workspaces, of which the first has one of everything."""
    ours, theirs = Team(operated), Team(operated)
    operated.post(
        "/v1/users/identify", {"userId": "roles-user", "anonymousId": "roles-device"}, ours.secret
    )
    operated.track({"event": "Roles Walked", "userId": "roles-user"}, ours.secret)
    operated.wait_visible()
    cohort = {"name": "Everybody", "definition": {"list": {"user_ids": ["roles-user"]}}}
    assert operated.post("/v1/cohorts", cohort, ours.secret).status_code == 200
    ours.operate(
        "accounts.invitations.create({id}, 'viewer', 'Bob',"
        " __import__('saytics_server.accounts').accounts.Actor(None, 'test'))[0].id"
    )
    return ours, theirs


@pytest.fixture(scope="module")
def visitors(teams: tuple[Team, Team]) -> dict[str, Somebody]:
    """Return who asks, by role; `stranger` is the admin of the other workspace."""
    ours, theirs = teams
    return {
        **{role: ours.member(role) for role in ROLES},
        "stranger": theirs.member("admin"),
        "nobody": Somebody(ours.serving),
    }


def everything(team: Team) -> str:
    """Return all that is kept of a workspace, but for what only looking at it changes."""
    kept = team.operate(
        "__import__('json').dumps([accounts.workspace({id}), accounts.members.all({id}),"
        " accounts.invitations.pending({id}), list(accounts.cohorts.all({id}).values()),"
        " [(key.id, key.revoked_at_ms) for key in accounts.keys({id})],"
        " accounts.audit.entries({id}, limit=1000)], default=str)"
    )
    links = team.serving.get("/v1/links", team.secret, userId="roles-user").json()
    return json.dumps([kept, links])


@pytest.fixture(scope="module")
def ids(teams: tuple[Team, Team]) -> dict[str, Any]:
    """Return the ids of what the first workspace has."""
    team, _ = teams
    found: dict[str, Any] = team.operate(
        "{{'cohort': next(iter(accounts.cohorts.all({id}))), 'key': accounts.keys({id})[0].id,"
        " 'invitation': accounts.invitations.pending({id})[0].id,"
        " 'event': 'evt_0000000000000'}}"
    )
    events = team.serving.events(team.secret)
    return {**found, "event": events[0]["id"], "viewer": team.account_ids["viewer"]}


def ask(visitor: Somebody, ids: dict[str, Any], slug: str, route: Any) -> int:
    """Ask for a route with real `ids`, in the workspace `slug`; return the status."""
    method, path, _ = route
    address = path.replace("{cohort_id}", str(ids["cohort"]))
    if method == "GET":
        query = {"workspace": slug, "id": ids["event"], "user": "roles-user", "after": "0"}
        if "/events" in path:
            del query["user"]
        return visitor.get(address, **query).status_code
    id_of = {
        "/settings/keys/revoke": ids["key"],
        "/settings/team/cancel": ids["invitation"],
        "/settings/team/role": ids["viewer"],
        "/settings/team/remove": ids["viewer"],
        "/cohorts/delete": ids["cohort"],
        "/cohorts/save": ids["cohort"],
    }
    fields = {
        "workspace": slug, "id": str(id_of.get(path, "")), "role": "editor", "invited": "Eve",
        "name": "Planted", "key_class": "secret", "scope": "all", "new_name": "Taken",
        "new_slug": "taken-over", "new_timezone": "UTC", "new_week_start": "0",
        "user": "roles-user", "anonymous": "roles-device", "session": "0" * 16,
        "d.kind": "all", "d.0.kind": "list", "d.0.users": "somebody",
    }  # fmt: skip
    return visitor.post(address, visitor.known_token, **fields).status_code


def test_every_act_is_in_the_table_and_admins_may_all():
    """The table names every act; roles are the known ones."""
    assert set(PERMISSIONS) == set(Act)
    assert all(roles <= set(ROLES) and "admin" in roles for roles in PERMISSIONS.values())


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route[0]} {route[1]}")
def test_a_route_lets_through_whom_the_table_does(teams, visitors, ids, route):
    """Without the right 403, strangers 404, signed-out ones the login; and nothing changes."""
    ours, theirs = teams
    method, path, act = route
    before = everything(ours)
    assert ask(visitors["nobody"], ids, ours.slug, route) == 303
    if path in ENDING:
        return
    if act is not Act.OWN_ACCOUNT:
        assert ask(visitors["stranger"], ids, ours.slug, route) == 404
        if "{cohort_id}" in path or path in FOREIGN_IDS:
            assert ask(visitors["stranger"], ids, theirs.slug, route) == 404
    for role in ROLES:
        if not allows(role, act):
            assert ask(visitors[role], ids, ours.slug, route) == 403
    assert everything(ours) == before
    if method == "GET" or path in HARMLESS:
        for role in ROLES:
            if allows(role, act):
                assert ask(visitors[role], ids, ours.slug, route) in LET_THROUGH


# These name something by an id that a stranger may know.
FOREIGN_IDS = {
    "/home/event", "/events/one", "/persons/one", "/persons/undo", "/cohorts/delete",
    "/cohorts/save", "/settings/keys/revoke", "/settings/team/cancel", "/settings/team/role",
    "/settings/team/remove",
}  # fmt: skip
# Forms that change nothing the other routes need.
HARMLESS = {"/cohorts/builder", "/settings/account/end"}


@pytest.mark.parametrize(
    "route", [each for each in ROUTES if each[0] == "POST"], ids=lambda route: route[1]
)
def test_a_form_of_another_site_changes_nothing(teams, visitors, route):
    """Without the session's own token every form is refused, an admin's too."""
    ours, _ = teams
    before = everything(ours)
    answer = visitors["admin"].post(route[1], "guessed", workspace=ours.slug, id="1", name="x")
    assert answer.status_code == 403
    assert "invalid_csrf_token" in answer.text
    assert everything(ours) == before
