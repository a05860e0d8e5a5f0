"""GET /v1/users/:id: what is known of one user, with everything that resolves to them now."""

from __future__ import annotations

from typing import Any

from saytics_server.errors import Refused
from saytics_server.people import Links, anonymous_ids_of, links_of, traits_of
from saytics_server.query import event_row
from saytics_server.query.model import Frame
from saytics_server.query.periods import utc_text
from saytics_server.query.scan import TIMESTAMP_MS
from saytics_server.sql import Sql, int64, sql, string, uint32
from saytics_server.store import Store

EVENTS_MAX = 100


def run(store: Store, frame: Frame, user_id: str) -> dict[str, Any]:
    """Return id, traits, first and last activity, latest events and anonymous ids of a user.

    Activity is events, those of linked anonymous ids included, and identify calls.
    Raises Refused("user_not_found") for an id that neither an event nor an identify named.
    """
    links = links_of(store, frame.workspace_id)
    times = _times(store, frame, links, user_id)
    if times is None:
        raise Refused("user_not_found")
    return {
        "id": user_id,
        "traits": traits_of(store, frame.workspace_id, user_id),
        "created_at": utc_text(times[0]),
        "last_seen": utc_text(times[1]),
        "events": _latest_events(store, frame, links, user_id),
        "anonymous_ids": _anonymous_ids(store, links, user_id),
    }


def _times(store: Store, frame: Frame, links: Links, user_id: str) -> tuple[int, int] | None:
    """Return first and last activity; None where there was none."""
    statement = sql(
        "SELECT count(), min(at_ms), max(at_ms) FROM ("
        " SELECT {ms} AS at_ms FROM ({events}) UNION ALL"
        " SELECT {ms} AS at_ms FROM identifies WHERE workspace_id = {workspace}"
        "  AND user_id = {user})",
        ms=TIMESTAMP_MS,
        events=_events(frame, links, user_id, sql("timestamp")),
        workspace=uint32(frame.workspace_id),
        user=string(user_id),
    )
    count, first_ms, last_ms = store.query(*statement.render())[0]
    return (first_ms, last_ms) if count else None


def _latest_events(store: Store, frame: Frame, links: Links, user_id: str) -> list[dict[str, Any]]:
    # Only the places of the events are sorted; their texts are read for the latest alone.
    latest = sql(
        "SELECT day, position FROM ({events}) ORDER BY timestamp DESC, position DESC LIMIT {most}",
        events=_events(frame, links, user_id, sql("day, timestamp, position")),
        most=int64(EVENTS_MAX),
    )
    statement = sql(
        "SELECT {columns} FROM events WHERE workspace_id = {workspace}"
        " AND (day, position) IN ({latest}) ORDER BY timestamp DESC, position DESC",
        columns=event_row.COLUMNS,
        workspace=uint32(frame.workspace_id),
        latest=latest,
    )
    return [event_row.shown(row) for row in store.query(*statement.render())]


def _events(frame: Frame, links: Links, user_id: str, columns: Sql) -> Sql:
    """Return a SELECT of `columns` of the events that resolve to the user."""
    own = sql(
        "workspace_id = {workspace} AND user_id = {user}",
        workspace=uint32(frame.workspace_id),
        user=string(user_id),
    )
    if not links.present:
        return sql("SELECT {columns} FROM events WHERE {own}", columns=columns, own=own)
    linked = anonymous_ids_of(links, user_id)
    anonymous = sql(
        "SELECT day, position, user_id, anonymous_id, key_type, timestamp FROM events"
        " WHERE workspace_id = {workspace} AND user_id = '' AND anonymous_id IN ({linked})",
        workspace=uint32(frame.workspace_id),
        linked=linked,
    )
    return sql(
        "SELECT {columns} FROM events WHERE {own} UNION ALL"
        " SELECT {columns} FROM ({resolved}) WHERE known_user = {user}",
        columns=columns,
        own=own,
        resolved=links.resolve(anonymous, only_anonymous=linked),
        user=string(user_id),
    )


def _anonymous_ids(store: Store, links: Links, user_id: str) -> list[str]:
    if not links.present:
        return []
    statement = sql("{ids} ORDER BY anonymous_id", ids=anonymous_ids_of(links, user_id))
    return [row[0] for row in store.query(*statement.render())]
