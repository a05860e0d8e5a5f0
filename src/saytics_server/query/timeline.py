"""What one person did, latest first, page by page: everything that resolves to them now.

A cursor is the time and the place of the last event shown. An event that arrives meanwhile with an
older time stands where it belongs; none is shown twice, none that was there is left out.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from saytics_server.errors import Refused
from saytics_server.people import Person
from saytics_server.query import event_row
from saytics_server.query.cohorts import EVER
from saytics_server.query.model import Selection
from saytics_server.query.reading import Reader
from saytics_server.query.scan import TIMESTAMP_MS
from saytics_server.sql import day as bind_day
from saytics_server.sql import int64, sql, uint32, uint64, uint64s

# (milliseconds, position) of the last event shown.
Place = tuple[int, int]


class Timeline(msgspec.Struct, frozen=True):
    """One page of events in the shape of the API, and the cursor of the next."""

    events: list[dict[str, Any]]
    next_cursor: str | None


def read(reader: Reader, person: Person, *, limit: int, cursor: str | None = None) -> Timeline:
    """Return a page of a person's events. Raises Refused("invalid_cursor")."""
    after = _place(cursor) if cursor else None
    events = reader.scan(Selection(), EVER, persons=True, person=person)
    # Only the places are sorted; the texts are read for one page.
    places = reader.rows(
        sql(
            "SELECT day, ms, position FROM ({events}) WHERE {older}"
            " ORDER BY ms DESC, position DESC LIMIT {limit}",
            events=events.select(
                {"day": sql("day"), "ms": TIMESTAMP_MS, "position": sql("position")}
            ),
            older=sql("true")
            if after is None
            else sql("(ms, position) < ({ms}, {at})", ms=int64(after[0]), at=uint64(after[1])),
            limit=int64(limit + 1),
        )
    )
    page = places[:limit]
    if not page:
        return Timeline([], None)
    days = [row[0] for row in page]
    rows = reader.rows(
        sql(
            "SELECT {columns} FROM events WHERE workspace_id = {workspace}"
            " AND day >= {first} AND day <= {last} AND position IN {positions}"
            " ORDER BY timestamp DESC, position DESC",
            columns=event_row.COLUMNS,
            workspace=uint32(reader.frame.workspace_id),
            first=bind_day(min(days)),
            last=bind_day(max(days)),
            positions=uint64s([row[2] for row in page]),
        )
    )
    more = len(places) > limit
    return Timeline(
        [event_row.shown(row) for row in rows],
        _cursor((page[-1][1], page[-1][2])) if more else None,
    )


def _cursor(place: Place) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).rstrip(b"=").decode()


def _place(cursor: str) -> Place:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        ms, position = msgspec.json.decode(text, type=tuple[int, int])
        if -(2**63) <= ms < 2**63 and 0 <= position < 2**64:
            return ms, position
    except (binascii.Error, UnicodeError, ValueError, msgspec.MsgspecError):
        pass
    raise Refused("invalid_cursor", field="cursor")
