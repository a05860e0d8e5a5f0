"""One event in full: who, when, by what; as it was sent and as the reports read it.

The newest events are found in memory before the store has them.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import msgspec

from saytics_server import event as event_module
from saytics_server.accounts import Workspace
from saytics_server.dashboard import arrivals, wording
from saytics_server.dashboard.arrivals import Property
from saytics_server.dashboard.context import DashboardContext
from saytics_server.errors import Refused
from saytics_server.query import one_event
from saytics_server.query.model import Frame

# More than memory ever holds of one workspace.
LIVE_EVENTS_MAX = 1000
# Within this an event sent at once is expected to be here; beyond it the delay is worth saying.
_DELAY_SHOWN_FROM_MS = 60_000


class Stored(msgspec.Struct, frozen=True):
    """What the columns hold, as readable JSON."""

    properties: str
    context: str


class EventDetail(msgspec.Struct, frozen=True):
    """One event in full. `stored` is None for the second until the store has it."""

    id: str
    event: str
    user_id: str
    anonymous_id: str
    person_address: str
    page_address: str
    happened: str
    received: str
    delay: str
    moved: str
    key_class: str
    library: str
    message_id: str
    properties: list[Property]
    context: list[Property]
    as_json: str
    stored: Stored | None
    zone: str


def find(context: DashboardContext, workspace: Workspace, event_id: str) -> EventDetail:
    """Return an event of the workspace by its public id. Raises Refused("not_found")."""
    try:
        position = event_module.position_of(event_id)
    except ValueError:
        raise Refused("not_found", "That is not the id of an event.") from None
    now_ms = context.clock.now_ms()
    frame = Frame(workspace.id, workspace.timezone, workspace.week_start, now_ms)
    stored = one_event.find(context.store, frame, position)
    if stored is not None:
        return _detail(stored.shown, stored, workspace)
    for event in context.live.recent(workspace.id, position - 1, LIVE_EVENTS_MAX):
        if event["id"] == event_id:
            return _detail(event, None, workspace)
    raise Refused("not_found", "This event is no longer kept, or never was.")


def _detail(
    event: dict[str, Any], stored: one_event.StoredEvent | None, workspace: Workspace
) -> EventDetail:
    zone = ZoneInfo(workspace.timezone)
    happened = wording.wire_instant(event["timestamp"], zone)
    received = wording.wire_instant(event["receivedAt"], zone)
    delay_ms = round((received - happened).total_seconds() * 1000)
    sent_at = stored.sent_timestamp if stored else None
    return EventDetail(
        id=event["id"],
        event=event["event"],
        user_id=event.get("userId") or "",
        anonymous_id=event.get("anonymousId") or "",
        person_address=person_address(workspace, event),
        page_address="/events/one?" + urlencode({"workspace": workspace.slug, "id": event["id"]}),
        happened=wording.full_time(happened),
        received=wording.full_time(received),
        delay=_delay(delay_ms),
        moved=wording.full_time(wording.wire_instant(sent_at, zone)) if sent_at else "",
        key_class=event.get("keyType") or "",
        library=_library((event.get("context") or {}).get("library")),
        message_id=event.get("messageId") or "",
        properties=arrivals.properties_of(event.get("properties") or {}),
        context=arrivals.properties_of(event.get("context") or {}),
        # The live list's events carry their position beside; the public shape has only the id.
        as_json=_json({name: value for name, value in event.items() if name != "position"}),
        stored=Stored(_readable(stored.properties_column), _readable(stored.context_column))
        if stored
        else None,
        zone=workspace.timezone,
    )


def person_address(workspace: Workspace, event: dict[str, Any]) -> str:
    """Return the address of the profile that an event's own ids lead to."""
    kind = "user" if event.get("userId") else "anonymous"
    query = {kind: event.get("userId") or event.get("anonymousId") or ""}
    return "/persons/one?" + urlencode({"workspace": workspace.slug, **query})


def _delay(delay_ms: int) -> str:
    if abs(delay_ms) < _DELAY_SHOWN_FROM_MS:
        return ""
    side = "after" if delay_ms > 0 else "before"
    return f"{wording.duration(abs(delay_ms))} {side} it happened"


def _library(value: Any) -> str:
    """Word `context.library`, which an SDK sends as name and version, and anybody as anything."""
    if isinstance(value, dict):
        return " ".join(str(value[part]) for part in ("name", "version") if value.get(part))
    return value if isinstance(value, str) else ""


def _json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _readable(text: str) -> str:
    # Decoded first: the engine escapes every slash.
    return _json(msgspec.json.decode(text))
