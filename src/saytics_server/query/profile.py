"""GET /v1/users/:id: what is known of one user, with everything that resolves to them now."""

from __future__ import annotations

from typing import Any

import msgspec

from saytics_server.errors import Refused
from saytics_server.people import Links, anonymous_ids_of, links_of, traits_of
from saytics_server.query import event_row
from saytics_server.query.links import warnings_of_user
from saytics_server.query.model import Frame
from saytics_server.query.periods import utc_text
from saytics_server.query.scan import TIMESTAMP_MS
from saytics_server.sql import Sql, int64, sql, string, strings, uint32, uint64s
from saytics_server.sql import day as bind_day
from saytics_server.store import Store

EVENTS_MAX = 100
# Traits that have a place of their own on a profile, in this order. `created_at` is when the
# product made the account; the profile's own is the first activity here.
RESERVED_TRAITS = ("name", "email", "phone", "avatar", "created_at")


def run(store: Store, frame: Frame, user_id: str) -> dict[str, Any]:
    """Return id, traits, first and last activity, latest events and anonymous ids of a user.

    Activity is events, those of linked anonymous ids included, and identify calls. Where there are
    any, `reserved_traits` has those of RESERVED_TRAITS, and `warnings` the ids in quarantine.
    Raises Refused("user_not_found") for an id that neither an event nor an identify named.
    """
    links = links_of(store, frame.workspace_id)
    user = _User(frame, links, user_id, anonymous_ids_of(store, links, user_id))
    times = _times(store, user)
    if times is None:
        raise Refused("user_not_found")
    traits = traits_of(store, frame.workspace_id, user_id)
    reserved = {name: traits[name] for name in RESERVED_TRAITS if _is_text(traits.get(name))}
    warned = warnings_of_user(store, links, user_id)
    return {
        "id": user_id,
        "traits": traits,
        **({"reserved_traits": reserved} if reserved else {}),
        "created_at": utc_text(times[0]),
        "last_seen": utc_text(times[1]),
        "events": _latest_events(store, user),
        "anonymous_ids": user.anonymous_ids,
        **({"warnings": warned} if warned else {}),
    }


def _is_text(value: Any) -> bool:
    """Tell whether a trait can be shown on a line: a phone may be sent as a number, say."""
    return isinstance(value, str | int | float) and not isinstance(value, bool) and value != ""


class _User(msgspec.Struct, frozen=True):
    """A user with the anonymous ids that may be theirs, depending on the time of the event."""

    frame: Frame
    links: Links
    id: str
    anonymous_ids: list[str]

    def events(self, columns: str) -> Sql:
        """Return a SELECT of `columns`, written in code, of the events that resolve to the user."""
        workspace = sql("workspace_id = {id}", id=uint32(self.frame.workspace_id))
        user = string(self.id)
        own = sql(
            "SELECT {columns} FROM events WHERE {workspace} AND user_id = {user}",
            columns=sql(columns),
            workspace=workspace,
            user=user,
        )
        if not self.anonymous_ids:
            return own
        anonymous = sql(
            "SELECT day, position, user_id, anonymous_id, key_type, timestamp FROM events"
            " WHERE {workspace} AND user_id = '' AND anonymous_id IN {ids}",
            workspace=workspace,
            ids=strings(self.anonymous_ids),
        )
        return sql(
            "{own} UNION ALL SELECT {columns} FROM ({resolved}) WHERE known_user = {user}",
            own=own,
            columns=sql(columns),
            resolved=self.links.resolve(anonymous, only_anonymous=self.anonymous_ids),
            user=user,
        )


def _times(store: Store, user: _User) -> tuple[int, int] | None:
    """Return first and last activity; None where there was none."""
    statement = sql(
        "SELECT count(), min(at_ms), max(at_ms) FROM ("
        " SELECT {ms} AS at_ms FROM ({events}) UNION ALL"
        " SELECT {ms} AS at_ms FROM identifies WHERE workspace_id = {workspace}"
        "  AND user_id = {user})",
        ms=TIMESTAMP_MS,
        events=user.events("timestamp"),
        workspace=uint32(user.frame.workspace_id),
        user=string(user.id),
    )
    count, first_ms, last_ms = store.query(*statement.render())[0]
    return (first_ms, last_ms) if count else None


def _latest_events(store: Store, user: _User) -> list[dict[str, Any]]:
    # Only the places of the events are sorted; their texts are read for the latest alone.
    latest = sql(
        "SELECT day, position FROM ({events}) ORDER BY timestamp DESC, position DESC LIMIT {most}",
        events=user.events("day, timestamp, position"),
        most=int64(EVENTS_MAX),
    )
    places = store.query(*latest.render())
    if not places:
        return []
    days = [day for day, _ in places]
    statement = sql(
        "SELECT {columns} FROM events WHERE workspace_id = {workspace}"
        " AND day >= {first} AND day <= {last} AND position IN {positions}"
        " ORDER BY timestamp DESC, position DESC",
        columns=event_row.COLUMNS,
        workspace=uint32(user.frame.workspace_id),
        first=bind_day(min(days)),
        last=bind_day(max(days)),
        positions=uint64s(position for _, position in places),
    )
    return [event_row.shown(row) for row in store.query(*statement.render())]
