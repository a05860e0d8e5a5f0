"""What has arrived: events as rows of the live list and of the history.

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


def history(events: list[dict[str, Any]], workspace: Workspace, now_ms: int) -> list[ArrivalRow]:
    """Return rows by the time the events happened, in the order given."""
    return [_row(event, workspace, now_ms, "timestamp") for event in events]


def _row(
    event: dict[str, Any], workspace: Workspace, now_ms: int, moment: str = "receivedAt"
) -> ArrivalRow:
    zone = ZoneInfo(workspace.timezone)
    received = wording.wire_instant(event[moment], zone)
    today = wording.instant(now_ms, zone).date()
    properties = properties_of(event.get("properties") or {})
    query = urlencode({"workspace": workspace.slug, "id": event["id"]})
    return ArrivalRow(
        id=event["id"],
        event=event["event"],
        person=event.get("userId") or event.get("anonymousId") or "",
        identified=bool(event.get("userId")),
        time=wording.clock_time(received),
        day="" if received.date() == today else wording.short_day(received.date()),
        full_time=("received " if moment == "receivedAt" else "") + wording.full_time(received),
        properties=[
            msgspec.structs.replace(found, value=_shortened(found.value))
            for found in properties[:_PROPERTIES_SHOWN]
        ],
        more_properties=max(0, len(properties) - _PROPERTIES_SHOWN),
        detail_address=f"/home/event?{query}",
    )


def properties_of(values: dict[str, Any], prefix: str = "") -> list[Property]:
    """Flatten nested objects to dotted keys, the way filters address them."""
    found: list[Property] = []
    for key, value in values.items():
        if isinstance(value, dict) and value:
            found += properties_of(value, f"{prefix}{key}.")
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
