"""Links as people look at them: who was said to be whom, when, by what, and whether it counts.

In: a user id, an anonymous id or both. Out: pages of the statements that link them, newest first,
undone and quarantined ones among them, with a warning for each id that has too many counterparts.
An undoing voids every link between its two ids that was received before it; what is stated later
links again. As of a time before the undoing the link still holds.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from saytics_server.errors import Refused
from saytics_server.event import ID_CHARACTERS_MAX
from saytics_server.people import LINK_COUNTERPARTS_MAX, Links
from saytics_server.query.document import read_document
from saytics_server.query.event_row import row_ms
from saytics_server.query.model import Parameters, invalid
from saytics_server.query.periods import utc_text
from saytics_server.query.reading import Reader
from saytics_server.query.scan import TIMESTAMP_MS
from saytics_server.sql import Sql, all_of, int64, sql, string, strings, uint32, uint64
from saytics_server.store import Row, Store

PARAMETERS = ("userId", "anonymousId", "limit", "cursor")
PAGE_PARAMETERS = ("limit", "cursor")
LIMIT_DEFAULT, LIMIT_MAX = 100, 1_000

QUARANTINED = "link_quarantined"

# Whose events see the links that a class of key made (people.py).
_SEEN_BY = {"secret": ("secret", "write"), "write": ("write",)}
# Both sides of a link: the column, and its name on the wire.
_SIDES = {"user_id": "userId", "anonymous_id": "anonymousId"}

# Two ids that are linked: anonymous id, user id.
_Pair = tuple[str, str]


class LinksQuery(msgspec.Struct, frozen=True):
    """One page of the links of an id; `after` is (time, position) of the last one shown."""

    user_id: str | None
    anonymous_id: str | None
    limit: int
    after: tuple[int, int] | None


class UndoDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Between which two ids every link is undone."""

    anonymousId: str  # noqa: N815 - the wire's own spelling
    userId: str  # noqa: N815


class _Undone(msgspec.Struct, frozen=True):
    """When links between two ids were undone: (milliseconds, position), ascending."""

    moments: dict[_Pair, list[tuple[int, int]]]

    def after(self, pair: _Pair, received: tuple[int, int]) -> int | None:
        """Return when a link received then was undone, None if it was not."""
        return next((at[0] for at in self.moments.get(pair, ()) if at > received), None)


def parse(parameters: Sequence[tuple[str, str]]) -> LinksQuery:
    """Return the page that decoded query parameters ask for.

    Raises Refused("invalid_parameter" | "missing_parameter" | "invalid_cursor").
    """
    given = Parameters(parameters, PARAMETERS)
    user_id, anonymous_id = given.one("userId"), given.one("anonymousId")
    if user_id is None and anonymous_id is None:
        raise Refused("missing_parameter", "Give `userId`, `anonymousId` or both.", field="userId")
    return _query(given, user_id, anonymous_id)


def parse_of_user(user_id: str, parameters: Sequence[tuple[str, str]]) -> LinksQuery:
    """Return the page of one user's links."""
    return _query(Parameters(parameters, PAGE_PARAMETERS), user_id, None)


def _query(given: Parameters, user_id: str | None, anonymous_id: str | None) -> LinksQuery:
    limit = given.whole_number("limit", LIMIT_DEFAULT, most=LIMIT_MAX)
    cursor = given.one("cursor")
    return LinksQuery(user_id, anonymous_id, limit, None if cursor is None else _read(cursor))


def parse_undo(content: Any) -> UndoDocument:
    """Return the two ids of a decoded body. Raises Refused("invalid_parameter")."""
    document = read_document(content, UndoDocument)
    for name in ("anonymousId", "userId"):
        if not 1 <= len(getattr(document, name)) <= ID_CHARACTERS_MAX:
            raise invalid(name, f"`{name}` has 1 to {ID_CHARACTERS_MAX} characters.")
    return document


def run(reader: Reader, query: LinksQuery) -> dict[str, Any]:
    """Return one page of links, and the cursor of the next, null where there is none."""
    rows = reader.rows(_statement(reader, query))
    page = rows[: query.limit]
    undone = _undone(reader, page)
    cursor = None
    if len(rows) > query.limit:
        cursor = _write(row_ms(page[-1][3]), page[-1][0])
    users = {row[2] for row in page} | ({query.user_id} if query.user_id else set())
    ids = {row[1] for row in page} | ({query.anonymous_id} if query.anonymous_id else set())
    return {
        "status": "ok",
        "data": [_shown(row, undone, reader.links) for row in page],
        "next_cursor": cursor,
        "warnings": warnings(reader.links, users, ids),
    }


def latest_of_pairs(reader: Reader, query: LinksQuery) -> list[dict[str, Any]]:
    """Return of each two linked ids, per class of key, what was stated last, the latest first.

    An event with both ids states their link anew, so that the whole list of a busy person is
    thousands of times the same; whether a pair is joined now is told by its last statements.
    """
    statement = sql(
        "SELECT * FROM (SELECT position, anonymous_id, user_id, timestamp, received_at, message_id,"
        " key_type, cause FROM links WHERE {conditions} ORDER BY received_at DESC, position DESC"
        " LIMIT 1 BY anonymous_id, user_id, key_type)"
        " ORDER BY timestamp DESC, position DESC LIMIT {most}",
        conditions=all_of(_conditions(reader, query)),
        most=int64(query.limit),
    )
    rows = reader.rows(statement)
    undone = _undone(reader, rows)
    return [_shown(row, undone, reader.links) for row in rows]


def warnings(links: Links, user_ids: Iterable[str], anonymous_ids: Iterable[str]) -> list[Any]:
    """Return a warning for each of these ids whose links are in quarantine, in order."""
    ids = {("user_id", each) for each in user_ids} | {
        ("anonymous_id", each) for each in anonymous_ids
    }
    return [
        {
            "code": QUARANTINED,
            "field": _SIDES[side],
            "id": each,
            "keyType": universe,
            "message": (
                f"More than {LINK_COUNTERPARTS_MAX:,} others are linked to this id, so none of its"
                f" links counts for events sent with a {universe} key."
            ),
        }
        for universe, side, each in sorted(links.quarantined)
        if (side, each) in ids
    ]


def warnings_of_user(store: Store, links: Links, user_id: str) -> list[Any]:
    """Return the warnings for a user and for the anonymous ids linked to it, used or not."""
    crowded = sorted({each for _, side, each in links.quarantined if side == "anonymous_id"})
    linked = sql(
        "SELECT DISTINCT anonymous_id FROM links WHERE workspace_id = {workspace}"
        " AND user_id = {user} AND anonymous_id IN {ids}",
        workspace=uint32(links.workspace_id),
        user=string(user_id),
        ids=strings(crowded),
    )
    rows = store.query(*linked.render()) if crowded else ()
    return warnings(links, {user_id}, {row[0] for row in rows})


def _conditions(reader: Reader, query: LinksQuery) -> list[Sql]:
    conditions = [sql("workspace_id = {id}", id=uint32(reader.frame.workspace_id))]
    if query.user_id is not None:
        conditions.append(sql("user_id = {id}", id=string(query.user_id)))
    if query.anonymous_id is not None:
        conditions.append(sql("anonymous_id = {id}", id=string(query.anonymous_id)))
    return conditions


def _statement(reader: Reader, query: LinksQuery) -> Sql:
    conditions = _conditions(reader, query)
    if query.after is not None:
        conditions.append(
            sql(
                "({ms}, position) < ({at}, {position})",
                ms=TIMESTAMP_MS,
                at=int64(query.after[0]),
                position=uint64(query.after[1]),
            )
        )
    return sql(
        "SELECT position, anonymous_id, user_id, timestamp, received_at, message_id, key_type,"
        " cause FROM links WHERE {conditions}"
        " ORDER BY timestamp DESC, position DESC LIMIT {beyond}",
        conditions=all_of(conditions),
        beyond=int64(query.limit + 1),
    )


def _undone(reader: Reader, links: Sequence[Row]) -> _Undone:
    """Return what was undone between the ids of a page of links."""
    statement = sql(
        "SELECT anonymous_id, user_id, received_at, position FROM unlinks"
        " WHERE workspace_id = {workspace} AND anonymous_id IN {ids} AND user_id IN {users}"
        " ORDER BY received_at, position",
        workspace=uint32(reader.frame.workspace_id),
        ids=strings(sorted({row[1] for row in links})),
        users=strings(sorted({row[2] for row in links})),
    )
    moments: dict[_Pair, list[tuple[int, int]]] = {}
    for anonymous_id, user_id, received_at, position in reader.rows(statement) if links else ():
        moments.setdefault((anonymous_id, user_id), []).append((row_ms(received_at), position))
    return _Undone(moments)


def _shown(row: Row, undone: _Undone, links: Links) -> dict[str, Any]:
    position, anonymous_id, user_id, timestamp, received_at, message_id, key_type, cause = row
    received_ms = row_ms(received_at)
    undone_ms = undone.after((anonymous_id, user_id), (received_ms, position))
    free = [
        universe
        for universe in _SEEN_BY[key_type]
        if (universe, "user_id", user_id) not in links.quarantined
        and (universe, "anonymous_id", anonymous_id) not in links.quarantined
    ]
    used_for = free if undone_ms is None else []
    return {
        "anonymousId": anonymous_id,
        "userId": user_id,
        "timestamp": utc_text(row_ms(timestamp)),
        "receivedAt": utc_text(received_ms),
        "cause": cause,
        "messageId": message_id or None,
        "keyType": key_type,
        "used": bool(used_for),
        # Events sent with which class of key it can move.
        "usedFor": used_for,
        "undone": undone_ms is not None,
        "undoneAt": None if undone_ms is None else utc_text(undone_ms),
        "quarantined": len(free) < len(_SEEN_BY[key_type]),
    }


def _write(timestamp_ms: int, position: int) -> str:
    place = msgspec.json.encode((timestamp_ms, position))
    return base64.urlsafe_b64encode(place).rstrip(b"=").decode()


def _read(cursor: str) -> tuple[int, int]:
    try:
        place = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        timestamp_ms, position = msgspec.json.decode(place, type=tuple[int, int])
        if -(2**63) <= timestamp_ms < 2**63 and 0 <= position < 2**64:
            return timestamp_ms, position
    except (binascii.Error, UnicodeError, ValueError, msgspec.MsgspecError):
        pass
    raise Refused("invalid_cursor", field="cursor")
