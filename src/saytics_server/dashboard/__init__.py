"""The pages: server-rendered, refreshed by htmx, drawn by ECharts; no other host, no inline script.

In: a `DashboardContext`, the parts the pages stand on. Out: routes. Each page has one context
class of finished numbers; templates compute nothing, and no page knows SQL.
"""

from __future__ import annotations

from starlette.routing import BaseRoute, Route

from saytics_server.dashboard import entry, home, reports
from saytics_server.dashboard.assets import asset_route
from saytics_server.dashboard.context import DashboardContext, Live
from saytics_server.dashboard.render import Handler, MemberHandler, for_anyone, for_members

__all__ = ["DashboardContext", "Live", "routes"]

_ANYONE: list[tuple[str, str, Handler]] = [
    ("GET", "/login", entry.show_login),
    ("POST", "/login", entry.log_in),
    ("GET", "/setup", entry.show_set_up),
    ("POST", "/setup", entry.make_first_account),
]
_MEMBERS: list[tuple[str, str, MemberHandler]] = [
    ("POST", "/logout", entry.log_out),
    ("GET", "/", home.show_home),
    ("GET", "/home/events-per-day", home.show_events_per_day),
    ("GET", "/home/active-users", home.show_active_users),
    ("GET", "/home/top-events", home.show_top_events),
    ("GET", "/home/arrivals", home.show_arrivals),
    ("GET", "/home/first-event", home.show_first_event),
    ("GET", "/home/event", home.show_event),
    ("POST", "/keys", home.create_secret_key),
    *reports.handlers(),
]


def routes(context: DashboardContext) -> list[BaseRoute]:
    """Return the routes of all pages and of their static files."""
    return [
        *(
            Route(path, for_anyone(handler, context), methods=[method])
            for method, path, handler in _ANYONE
        ),
        *(
            Route(path, for_members(handler, context), methods=[method])
            for method, path, handler in _MEMBERS
        ),
        asset_route(),
    ]
