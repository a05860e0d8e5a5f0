"""What has arrived: events as rows of the live list, and one event in full.

In: events in the public API's shape. Out: finished rows. Names, ids and values are strangers'
text; they stay plain strings here and are escaped by the templates.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import msgspec

from saytics_server import event as event_module
from saytics_server.accounts import Workspace
from saytics_server.dashboard import wording

# As many rows as a large screen shows twice over; older events have a page of their own.
ROWS_MAX = 50
# What fits beside an event's name on a wide screen.
_PROPERTIES_SHOWN = 6
_VALUE_CHARACTERS_SHOWN = 48
# Within this an event sent at once is expected to be here; beyond it the delay is worth saying.
_DELAY_SHOWN_FROM_MS = 60_000


class Property(msgspec.Struct, frozen=True):
    """One property as `key value`; `kind` is the JSON type it was sent as."""

    key: str
    value: str
    kind: str


class ArrivalRow(msgspec.Struct, frozen=True):
    """One event in the list."""

    id: str
    event: str
    person: str
    identified: bool
    time: str
    day: str
    full_time: str
    properties: list[Property]
    more_properties: int
    detail_address: str


class Arrivals(msgspec.Struct, frozen=True):
    """Rows newest first, and where the next poll goes on."""

    rows: list[ArrivalRow]
    poll_address: str
    zone: str
    gap: bool


class EventDetail(msgspec.Struct, frozen=True):
    """One event in full: when, who, by what, and everything that was sent."""

    id: str
    event: str
    user_id: str
    anonymous_id: str
    happened: str
    received: str
    delay: str
    key_class: str
    message_id: str
    properties: list[Property]
    context: list[Property]
    as_json: str
    zone: str


def arrivals(
    events: list[dict[str, Any]],
    workspace: Workspace,
    after: int,
    now_ms: int,
    *,
    polled: bool = False,
) -> Arrivals:
    """Return the rows of `events`, newest first, as people in the workspace's zone read them.

    `after` is the position the next poll goes on from if there are none. A full answer to a poll
    means there may be more between its oldest event and what the page shows: that is a `gap`.
    """
    position = max((event_module.position_of(event["id"]) for event in events), default=after)
    query = urlencode({"workspace": workspace.slug, "after": position})
    return Arrivals(
        rows=[_row(event, workspace, now_ms) for event in events],
        poll_address=f"/home/arrivals?{query}",
        zone=workspace.timezone,
        gap=polled and len(events) >= ROWS_MAX,
    )


def _row(event: dict[str, Any], workspace: Workspace, now_ms: int) -> ArrivalRow:
    zone = ZoneInfo(workspace.timezone)
    received = wording.wire_instant(event["receivedAt"], zone)
    today = wording.instant(now_ms, zone).date()
    properties = _properties(event.get("properties") or {})
    query = urlencode(
        {
            "workspace": workspace.slug,
            "id": event["id"],
            "event": event["event"],
            "at": event["timestamp"],
        }
    )
    return ArrivalRow(
        id=event["id"],
        event=event["event"],
        person=event.get("userId") or event.get("anonymousId") or "",
        identified=bool(event.get("userId")),
        time=wording.clock_time(received),
        day="" if received.date() == today else wording.short_day(received.date()),
        full_time=wording.full_time(received),
        properties=[
            msgspec.structs.replace(found, value=_shortened(found.value))
            for found in properties[:_PROPERTIES_SHOWN]
        ],
        more_properties=max(0, len(properties) - _PROPERTIES_SHOWN),
        detail_address=f"/home/event?{query}",
    )


def event_detail(event: dict[str, Any], workspace: Workspace) -> EventDetail:
    """Return one event in full."""
    zone = ZoneInfo(workspace.timezone)
    happened = wording.wire_instant(event["timestamp"], zone)
    received = wording.wire_instant(event["receivedAt"], zone)
    delay_ms = round((received - happened).total_seconds() * 1000)
    return EventDetail(
        id=event["id"],
        event=event["event"],
        user_id=event.get("userId") or "",
        anonymous_id=event.get("anonymousId") or "",
        happened=wording.full_time(happened),
        received=wording.full_time(received),
        delay=_delay(delay_ms),
        key_class=event.get("keyType") or "",
        message_id=event.get("messageId") or "",
        properties=_properties(event.get("properties") or {}),
        context=_properties(event.get("context") or {}),
        as_json=json.dumps(_public(event), ensure_ascii=False, indent=2),
        zone=workspace.timezone,
    )


def _public(event: dict[str, Any]) -> dict[str, Any]:
    # The live list's events carry their position beside; the public shape has only the id.
    return {name: value for name, value in event.items() if name != "position"}


def _delay(delay_ms: int) -> str:
    if abs(delay_ms) < _DELAY_SHOWN_FROM_MS:
        return ""
    side = "after" if delay_ms > 0 else "before"
    return f"{wording.duration(abs(delay_ms))} {side} it happened"


def _properties(values: dict[str, Any], prefix: str = "") -> list[Property]:
    """Flatten nested objects to dotted keys, the way filters address them."""
    found: list[Property] = []
    for key, value in values.items():
        if isinstance(value, dict) and value:
            found += _properties(value, f"{prefix}{key}.")
        else:
            found.append(Property(f"{prefix}{key}", _value_text(value), _kind(value)))
    return found


def _value_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _kind(value: Any) -> str:
    # bool first: it is an int to Python.
    for kind, types in (("boolean", bool), ("number", (int, float)), ("string", str)):
        if isinstance(value, types):
            return kind
    return "null" if value is None else "list" if isinstance(value, list) else "object"


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    if len(line) <= _VALUE_CHARACTERS_SHOWN:
        return line
    return line[: _VALUE_CHARACTERS_SHOWN - 1].rstrip() + "…"
