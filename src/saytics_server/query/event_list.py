"""GET /v1/events: events in order of their time, page by page, stable while new ones arrive.

A cursor holds the whole question, where the last page ended, and the highest position there was
when the first page was read. Later pages see nothing above that position, so nothing that arrives
meanwhile shifts, repeats or sneaks in. It carries a checksum, not a secret: it names events of the
workspace it is used in and grants nothing.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from hashlib import blake2b
from typing import Any, Literal, cast

import msgspec

from saytics_server.errors import Refused
from saytics_server.query import event_row
from saytics_server.query.model import Frame, Parameters, invalid
from saytics_server.query.periods import parse_bounds
from saytics_server.query.scan import TIMESTAMP_MS, utc_day
from saytics_server.sql import Sql, all_of, int64, sql, string, uint32, uint64
from saytics_server.sql import day as bind_day
from saytics_server.store import Row, Store

PARAMETERS = ("userId", "anonymousId", "event", "from", "to", "limit", "cursor", "order")
LIMIT_DEFAULT, LIMIT_MAX = 100, 1_000

Order = Literal["desc", "asc"]

_CHECKSUM_BYTES = 8


class Question(msgspec.Struct, frozen=True, array_like=True):
    """Which events, in which order; all of it goes into the cursor."""

    workspace_id: int
    user_id: str | None
    anonymous_id: str | None
    event: str | None
    from_ms: int | None
    to_ms: int | None
    order: Order


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where the last page ended, and the position above which nothing belongs to the list."""

    timestamp_ms: int
    position: int
    ceiling: int


class EventListQuery(msgspec.Struct, frozen=True):
    """One page of a question; `after` is None for the first."""

    question: Question
    limit: int
    after: Place | None


def parse(parameters: Sequence[tuple[str, str]], frame: Frame) -> EventListQuery:
    """Return the page that decoded query parameters ask for.

    With a cursor the question need not be repeated; if it is, it must be the cursor's.
    Raises Refused("invalid_parameter" | "invalid_cursor").
    """
    given = Parameters(parameters, PARAMETERS)
    limit = given.whole_number("limit", LIMIT_DEFAULT, most=LIMIT_MAX)
    from_ms, to_ms = parse_bounds(given.one("from"), given.one("to"), frame)
    if from_ms is not None and to_ms is not None and from_ms > to_ms:
        raise invalid("from", "`from` is later than `to`.")
    question = Question(
        frame.workspace_id,
        given.one("userId"),
        given.one("anonymousId"),
        given.one("event"),
        from_ms,
        to_ms,
        cast("Order", given.choice("order", ("desc", "asc"), "desc")),
    )
    cursor = given.one("cursor")
    if cursor is None:
        return EventListQuery(question, limit, None)
    pinned, place = _read_cursor(cursor, frame.workspace_id)
    asked = {name: value for name, value in msgspec.structs.asdict(question).items() if value}
    if given.one("order") is None:
        del asked["order"]
    if any(getattr(pinned, name) != value for name, value in asked.items()):
        raise Refused(
            "invalid_cursor", "The cursor belongs to a list with other filters.", field="cursor"
        )
    return EventListQuery(pinned, limit, place)


def run(store: Store, query: EventListQuery) -> dict[str, Any]:
    """Return one page and the cursor of the next, null where there is none."""
    rows: list[Row] = []
    for first, last in _day_windows(store, query):
        missing = query.limit + 1 - len(rows)
        rows += store.query(*_statement(query, first, last, missing).render())
        if len(rows) > query.limit:
            break
    page = rows[: query.limit]
    cursor = None
    if len(rows) > query.limit:
        end = page[-1]
        ceiling = query.after.ceiling if query.after else _highest_position(store, query.question)
        place = Place(event_row.row_ms(end[4]), end[0], ceiling)
        cursor = _write_cursor(query.question, place)
    return {
        "status": "ok",
        "data": [event_row.shown(row) for row in page],
        "next_cursor": cursor,
    }


def _statement(query: EventListQuery, first: date, last: date, limit: int) -> Sql:
    backward = query.question.order == "desc"
    conditions = [
        *_conditions(query.question),
        sql("day >= {day}", day=bind_day(first)),
        sql("day <= {day}", day=bind_day(last)),
    ]
    if query.after is not None:
        conditions.append(
            sql(
                f"({{ms}}, position) {'<' if backward else '>'} ({{after}}, {{position}})",
                ms=TIMESTAMP_MS,
                after=int64(query.after.timestamp_ms),
                position=uint64(query.after.position),
            )
        )
        conditions.append(sql("position <= {ceiling}", ceiling=uint64(query.after.ceiling)))
    return sql(
        "SELECT {columns} FROM events WHERE {conditions}"
        " ORDER BY timestamp {way}, position {way} LIMIT {limit}",
        columns=event_row.COLUMNS,
        conditions=all_of(conditions),
        way=sql("DESC" if backward else "ASC"),
        limit=int64(limit),
    )


def _conditions(question: Question) -> list[Sql]:
    conditions = [sql("workspace_id = {workspace}", workspace=uint32(question.workspace_id))]
    for column, value in (
        (sql("user_id"), question.user_id),
        (sql("anonymous_id"), question.anonymous_id),
        (sql("event"), question.event),
    ):
        if value is not None:
            conditions.append(sql("{column} = {value}", column=column, value=string(value)))
    if question.from_ms is not None:
        conditions.append(sql("{ms} >= {at}", ms=TIMESTAMP_MS, at=int64(question.from_ms)))
    if question.to_ms is not None:
        conditions.append(sql("{ms} <= {at}", ms=TIMESTAMP_MS, at=int64(question.to_ms)))
    return conditions


def _day_windows(store: Store, query: EventListQuery) -> Iterator[tuple[date, date]]:
    """Yield spans of days in the list's order: one day, two, four … until all have been.

    The store is sorted by day, so a page of the latest events reads a day and not a year.
    """
    question = query.question
    extent = _extent(store, question.workspace_id)
    if extent is None:
        return
    oldest, newest = extent
    if question.from_ms is not None:
        oldest = max(oldest, utc_day(question.from_ms))
    if question.to_ms is not None:
        newest = min(newest, utc_day(question.to_ms))
    backward = question.order == "desc"
    if query.after is not None:
        reached = utc_day(query.after.timestamp_ms)
        if backward:
            newest = min(newest, reached)
        else:
            oldest = max(oldest, reached)
    days = 1
    while oldest <= newest:
        step = timedelta(days=days - 1)
        if backward:
            first = max(oldest, newest - step)
            yield first, newest
            newest = first - timedelta(days=1)
        else:
            last = min(newest, oldest + step)
            yield oldest, last
            oldest = last + timedelta(days=1)
        days *= 2


def _extent(store: Store, workspace_id: int) -> tuple[date, date] | None:
    """Return the first and the last UTC day of a workspace's events, read off the sort key."""
    ends: list[date] = []
    for way in ("ASC", "DESC"):
        statement = sql(
            "SELECT day FROM events WHERE workspace_id = {workspace}"
            " ORDER BY workspace_id {way}, day {way} LIMIT 1",
            workspace=uint32(workspace_id),
            way=sql(way),
        )
        rows = store.query(*statement.render())
        if not rows:
            return None
        ends.append(rows[0][0])
    return ends[0], ends[1]


def _highest_position(store: Store, question: Question) -> int:
    """Return the highest position of the workspace.

    The newest day gives a floor near it; above the floor an index over positions leaves little to
    read, where the maximum over all events would read them all.
    """
    workspace = sql("workspace_id = {id}", id=uint32(question.workspace_id))
    extent = _extent(store, question.workspace_id)
    assert extent is not None, "a page was full"
    newest = sql("{workspace} AND day = {day}", workspace=workspace, day=bind_day(extent[1]))
    floor = _maximum(store, newest)
    above = sql("{workspace} AND position > {floor}", workspace=workspace, floor=uint64(floor))
    return max(floor, _maximum(store, above))


def _maximum(store: Store, condition: Sql) -> int:
    statement = sql("SELECT max(position) FROM events WHERE {condition}", condition=condition)
    return int(store.query(*statement.render())[0][0])


def _write_cursor(question: Question, place: Place) -> str:
    body = msgspec.json.encode((question, place))
    return base64.urlsafe_b64encode(_checksum(body) + body).rstrip(b"=").decode()


def _read_cursor(cursor: str, workspace_id: int) -> tuple[Question, Place]:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        checksum, body = raw[:_CHECKSUM_BYTES], raw[_CHECKSUM_BYTES:]
        if _checksum(body) != checksum:
            raise Refused("invalid_cursor", field="cursor")
        question, place = msgspec.json.decode(body, type=tuple[Question, Place])
    except (binascii.Error, UnicodeError, ValueError, msgspec.MsgspecError):
        raise Refused("invalid_cursor", field="cursor") from None
    if question.workspace_id != workspace_id:
        raise Refused("invalid_cursor", field="cursor")
    return question, place


def _checksum(body: bytes) -> bytes:
    return blake2b(body, digest_size=_CHECKSUM_BYTES, person=b"saytics-cursor").digest()
