"""What an explanation rests on: single events by their public id, and the links that moved them.

`EVIDENCE` is the tuple a report keeps of an event in SQL, ordered as events are: by time, then in
the order they were received. `shown_event` gives it as JSON; `shown_links` the links of the
anonymous ids among them, to whomever, because each of them can decide whose an event is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from saytics_server.event import event_id
from saytics_server.people import Person
from saytics_server.query.periods import utc_text
from saytics_server.query.reading import Reader
from saytics_server.query.scan import TIMESTAMP_MS
from saytics_server.sql import Sql, int64, sql, strings

# A shared device has a handful of links; nobody reads more than these.
LINKS_SHOWN_MAX = 100

# (milliseconds, position, event, the anonymous id it came under or ''), over the columns below.
Evidence = tuple[int, int, str, str]
EVIDENCE = sql("(ms, position, event, if(user_id = '', anonymous_id, ''))")
EVIDENCE_COLUMNS: dict[str, Sql] = {
    "ms": TIMESTAMP_MS,
    "position": sql("position"),
    "event": sql("event"),
}

_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1))


def shown_event(evidence: Evidence) -> dict[str, Any]:
    """Return an event as explanations name it."""
    instant_ms, position, name, anonymous_id = evidence
    shown = {"id": event_id(position), "event": name, "timestamp": utc_text(instant_ms)}
    return {**shown, "anonymous_id": anonymous_id} if anonymous_id else shown


def shown_links(reader: Reader, person: Person, events: Iterable[Evidence]) -> list[dict[str, Any]]:
    """Return the links in use of the anonymous ids under which a person's events came.

    Of an anonymous person its own id's: with a link, what it did is somebody else's.
    """
    ids = {anonymous_id for *_, anonymous_id in events if anonymous_id}
    if person.kind == "anonymous":
        ids.add(person.id)
    if not ids or not reader.links.present:
        return []
    rows = reader.rows(
        sql(
            "SELECT anonymous_id, user_id, at_ms FROM ({links})"
            " GROUP BY anonymous_id, user_id, at_ms ORDER BY at_ms, anonymous_id, user_id"
            " LIMIT {most}",
            links=reader.links.usable(sql("anonymous_id IN {ids}", ids=strings(sorted(ids)))),
            most=int64(LINKS_SHOWN_MAX),
        )
    )
    return [
        {"anonymous_id": anonymous_id, "user_id": user_id, "timestamp": utc_text(at_ms)}
        for anonymous_id, user_id, at_ms in rows
    ]


def length_text(milliseconds: int) -> str:
    """Return a length of time in its largest unit and the next, cut: `2 d 3 h`, `5 s`, `0 ms`."""
    parts = []
    rest = milliseconds
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        parts.append((count, unit))
    largest = next((place for place, (count, _) in enumerate(parts) if count), len(parts) - 1)
    shown = parts[largest : largest + 2]
    return " ".join(f"{count} {unit}" for count, unit in shown if count) or "0 ms"
