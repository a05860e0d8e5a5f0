"""The pages: server-rendered, refreshed by htmx, drawn by ECharts; no other host, no inline script.

In: a `DashboardContext`, the parts the pages stand on. Out: routes. Each page has one context
class of finished numbers; templates compute nothing, and no page knows SQL.
"""

from __future__ import annotations

from starlette.routing import BaseRoute, Route

from saytics_server.accounts.permissions import Act
from saytics_server.dashboard import (
    account,
    cohorts,
    entry,
    events,
    home,
    invitation,
    persons,
    reports,
    settings,
)
from saytics_server.dashboard.assets import asset_route
from saytics_server.dashboard.context import DashboardContext, Live
from saytics_server.dashboard.render import Handler, MemberHandler, for_anyone, for_members
from saytics_server.dashboard.visit import page

__all__ = ["MEMBERS", "DashboardContext", "Live", "routes"]

_ANYONE: list[tuple[str, str, Handler]] = [
    ("GET", "/login", entry.show_login),
    ("POST", "/login", entry.log_in),
    ("GET", "/setup", entry.show_set_up),
    ("POST", "/setup", entry.make_first_account),
    ("GET", "/invitation", invitation.show_invitation),
    ("POST", "/invitation", invitation.accept_invitation),
]
# Method, path, handler, and what the visitor's role must allow.
MEMBERS: list[tuple[str, str, MemberHandler, Act]] = [
    ("POST", "/logout", entry.log_out, Act.OWN_ACCOUNT),
    ("GET", "/", home.show_home, Act.VIEW),
    ("GET", "/home/events-per-day", home.show_events_per_day, Act.VIEW),
    ("GET", "/home/active-users", home.show_active_users, Act.VIEW),
    ("GET", "/home/top-events", home.show_top_events, Act.VIEW),
    ("GET", "/home/arrivals", home.show_arrivals, Act.VIEW),
    ("GET", "/home/first-event", home.show_first_event, Act.VIEW),
    ("GET", "/home/event", home.show_event, Act.VIEW),
    ("POST", "/keys", home.create_secret_key, Act.MANAGE_KEYS),
    ("GET", "/events", page(events.show_history), Act.VIEW),
    ("GET", "/events/older", page(events.show_older), Act.VIEW),
    ("GET", "/events/live", page(events.show_live), Act.VIEW),
    ("GET", "/events/one", page(events.show_event), Act.VIEW),
    ("GET", "/persons", page(persons.show_persons), Act.VIEW),
    ("GET", "/persons/one", page(persons.show_person), Act.VIEW),
    ("GET", "/persons/one/older", page(persons.show_older), Act.VIEW),
    ("POST", "/persons/undo", persons.undo_link, Act.UNDO_LINKS),
    ("GET", "/cohorts", page(cohorts.show_cohorts), Act.VIEW),
    ("GET", "/cohorts/new", page(cohorts.show_new), Act.EDIT),
    ("POST", "/cohorts/builder", page(cohorts.change_builder), Act.EDIT),
    ("POST", "/cohorts/save", page(cohorts.save_cohort), Act.EDIT),
    ("POST", "/cohorts/delete", page(cohorts.delete_cohort), Act.EDIT),
    ("GET", "/cohorts/{cohort_id}", page(cohorts.show_cohort), Act.VIEW),
    ("GET", "/cohorts/{cohort_id}/edit", page(cohorts.show_edit), Act.EDIT),
    ("GET", "/cohorts/{cohort_id}/persons", page(cohorts.show_members), Act.VIEW),
    ("GET", "/settings", page(settings.show_workspace), Act.VIEW),
    ("POST", "/settings/workspace", page(settings.change_workspace), Act.MANAGE_WORKSPACE),
    ("GET", "/settings/keys", page(settings.show_keys), Act.VIEW),
    ("POST", "/settings/keys/create", page(settings.create_key), Act.MANAGE_KEYS),
    ("POST", "/settings/keys/revoke", page(settings.revoke_key), Act.MANAGE_KEYS),
    ("GET", "/settings/team", page(settings.show_team), Act.VIEW),
    ("POST", "/settings/team/invite", page(settings.invite), Act.MANAGE_TEAM),
    ("POST", "/settings/team/cancel", page(settings.cancel_invitation), Act.MANAGE_TEAM),
    ("POST", "/settings/team/role", page(settings.change_role), Act.MANAGE_TEAM),
    ("POST", "/settings/team/remove", page(settings.remove_member), Act.MANAGE_TEAM),
    ("GET", "/settings/audit", page(settings.show_audit), Act.READ_AUDIT_LOG),
    ("GET", "/settings/account", page(account.show_account), Act.OWN_ACCOUNT),
    ("POST", "/settings/account/password", page(account.change_password), Act.OWN_ACCOUNT),
    ("POST", "/settings/account/end", page(account.end_session), Act.OWN_ACCOUNT),
    ("POST", "/settings/account/end-others", page(account.end_other_sessions), Act.OWN_ACCOUNT),
    *((method, path, handler, Act.VIEW) for method, path, handler in reports.handlers()),
]


def routes(context: DashboardContext) -> list[BaseRoute]:
    """Return the routes of all pages and of their static files."""
    return [
        *(
            Route(path, for_anyone(handler, context), methods=[method])
            for method, path, handler in _ANYONE
        ),
        *(
            Route(path, for_members(handler, context, act), methods=[method])
            for method, path, handler, act in MEMBERS
        ),
        asset_route(),
    ]
