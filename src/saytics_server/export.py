"""Writes all events, identify calls and persons to files, page by page, so that memory stays flat.

An export is of one moment: what is stored up to a position, which its list of files keeps. A file
is finished or not there, so the same order given again goes on behind the last finished file, and
gives the same files in the end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from saytics_server.accounts import Accounts, Workspace
from saytics_server.errors import Failure
from saytics_server.event import event_id
from saytics_server.export_files import Columns, write
from saytics_server.orders import ExportOrder, Report
from saytics_server.people import links_of
from saytics_server.query.model import Frame
from saytics_server.query.periods import parse_bounds
from saytics_server.sql import Sql, all_of, int64, sql, string, uint32, uint64
from saytics_server.store import Store

LIST = "export.json"
# Rows of a file: what a cut-off export does again. Their keys are in memory, about 25 MB.
FILE_ROWS = 250_000
# Rows read at once. An event may be 32 KiB, though most are half of one.
PAGE_ROWS = 10_000
_DEADLINE_S = 600
_OPERATION = "exporting"

_EVENT: Columns = {
    "id": "text",
    "event": "text",
    "userId": "text",
    "anonymousId": "text",
    "timestamp": "time",
    "receivedAt": "time",
    "properties": "json",
    "context": "json",
    "messageId": "text",
    "keyType": "text",
}
_IDENTIFY: Columns = {
    "id": "text",
    "type": "text",
    "userId": "text",
    "anonymousId": "text",
    "timestamp": "time",
    "receivedAt": "time",
    "traits": "json",
    "messageId": "text",
    "keyType": "text",
}
_PERSON: Columns = {"userId": "text", "traits": "json", "anonymousIds": "texts"}


class ExportedFile(msgspec.Struct, frozen=True):
    """One finished file; the next of its kind begins behind `last`."""

    name: str
    rows: int
    last: int | str


class _List(msgspec.Struct):
    order: ExportOrder
    through: int
    files: list[ExportedFile] = []


class _Source(msgspec.Struct, frozen=True):
    """One kind of rows of one workspace: which there are, in order of a key, and their columns."""

    name: str
    columns: Columns
    nothing: int | str
    count: Callable[[], int]
    keys: Callable[[Any, int], list[Any]]
    page: Callable[[Any, Any], Sequence[Sequence[Any]]]


def export(
    store: Store, accounts: Accounts, order: ExportOrder, through: int, report: Report
) -> dict[str, Any]:
    """Write what is stored as ordered; return what was written.

    `through` is how far the store is loaded. Raises Failure.
    """
    workspaces = [
        workspace
        for workspace in accounts.workspaces()
        if order.workspace in (None, workspace.slug)
    ]
    if not workspaces:
        raise Failure(_OPERATION, f"there is no workspace {order.workspace!r}", "See the list.")
    folder = Path(order.destination)
    try:
        list_ = _begun(folder, order, through)
        exported = _Export(store, folder, list_, report)
        for workspace in workspaces:
            exported.add(_sources(store, workspace, list_))
        exported.run()
    except OSError as error:
        raise Failure(
            _OPERATION,
            f"{folder} cannot be written ({error.strerror})",
            "Put that right and give the same command again: finished files are kept.",
        ) from error
    return {
        "destination": order.destination,
        "through": event_id(list_.through),
        "files": [{"name": file.name, "rows": file.rows} for file in list_.files],
    }


def _begun(folder: Path, order: ExportOrder, through: int) -> _List:
    """Return the list of an export to go on with, or of a new one."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / LIST
    if not path.exists():
        if any(folder.iterdir()):
            raise Failure(_OPERATION, f"{folder} is not empty", "Name another folder.")
        list_ = _List(order, through)
        _keep(folder, list_)
        return list_
    try:
        list_ = msgspec.json.decode(path.read_bytes(), type=_List)
    except msgspec.MsgspecError:
        raise Failure(_OPERATION, f"{path} cannot be read", "Name another folder.") from None
    if list_.order != order:
        raise Failure(
            _OPERATION, f"{folder} holds an export by another command", "Name another folder."
        )
    return list_


def _keep(folder: Path, list_: _List) -> None:
    beside = folder / f"{LIST}.partial"
    with beside.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(list_)))
        file.flush()
        os.fsync(file.fileno())
    beside.rename(folder / LIST)


class _Export:
    def __init__(self, store: Store, folder: Path, list_: _List, report: Report) -> None:
        self._store = store
        self._folder = folder
        self._list = list_
        self._report = report
        self._sources: list[_Source] = []
        self._done = sum(file.rows for file in list_.files)
        self._total = 0

    def add(self, sources: Sequence[_Source]) -> None:
        self._sources += sources
        self._total += sum(source.count() for source in sources)

    def run(self) -> None:
        self._report(self._done, self._total)
        for source in self._sources:
            while self._write_next(source):
                pass

    def _write_next(self, source: _Source) -> bool:
        """Write the next file of a source; False if there are no more rows."""
        before = [file for file in self._list.files if file.name.startswith(f"{source.name}-")]
        after = before[-1].last if before else source.nothing
        keys = source.keys(after, FILE_ROWS)
        if not keys:
            return False
        name = f"{source.name}-{len(before) + 1:05}.{self._list.order.format}"
        rows = write(
            self._folder / name,
            self._list.order.format,
            source.columns,
            self._pages(source, after, keys),
        )
        self._list.files.append(ExportedFile(name, rows, keys[-1]))
        _keep(self._folder, self._list)
        return True

    def _pages(
        self, source: _Source, after: Any, keys: list[Any]
    ) -> Iterator[Sequence[Sequence[Any]]]:
        for start in range(0, len(keys), PAGE_ROWS):
            last = keys[min(start + PAGE_ROWS, len(keys)) - 1]
            page = source.page(after, last)
            after = last
            yield page
            self._done += len(page)
            self._report(self._done, self._total)


def _sources(store: Store, workspace: Workspace, list_: _List) -> list[_Source]:
    slug = workspace.slug
    # The present time matters to reports only.
    frame = Frame(workspace.id, workspace.timezone, workspace.week_start, 0)

    def rows_of(statement: Sql) -> Sequence[Sequence[Any]]:
        return store.query(*statement.render(), deadline_s=_DEADLINE_S)

    from_ms, to_ms = parse_bounds(list_.order.from_, list_.order.to, frame)
    within = all_of(
        [
            sql("workspace_id = {workspace}", workspace=uint32(frame.workspace_id)),
            sql("position <= {through}", through=uint64(list_.through)),
            *(
                sql(f"timestamp {sign} fromUnixTimestamp64Milli({{ms}}, 'UTC')", ms=int64(ms))
                for sign, ms in ((">=", from_ms), ("<=", to_ms))
                if ms is not None
            ),
        ]
    )
    by_position = (
        ("events", _EVENT, _events),
        ("identifies", _IDENTIFY, _identifies),
    )
    made = [
        _positioned(f"{table}-{slug}", columns, within, page, rows_of)
        for table, columns, page in by_position
    ]
    return [*made, _persons(store, f"persons-{slug}", frame, list_.through, rows_of)]


RowsOf = Callable[[Sql], Sequence[Sequence[Any]]]


def _positioned(
    name: str, columns: Columns, within: Sql, page: Callable[[Sql], Sql], rows_of: RowsOf
) -> _Source:
    table = name.split("-", 1)[0]
    source = sql(f"{table} WHERE {{within}}", within=within)

    def keys(after: int, most: int) -> list[int]:
        statement = sql(
            "SELECT position FROM {source} AND position > {after} ORDER BY position LIMIT {most}",
            source=source,
            after=uint64(after),
            most=int64(most),
        )
        return [int(row[0]) for row in rows_of(statement)]

    def read(after: int, last: int) -> Sequence[Sequence[Any]]:
        span = sql(
            "{within} AND position > {after} AND position <= {last}",
            within=within,
            after=uint64(after),
            last=uint64(last),
        )
        return [(event_id(row[0]), *row[1:]) for row in rows_of(page(span))]

    def count() -> int:
        return int(rows_of(sql("SELECT count() FROM {source}", source=source))[0][0])

    return _Source(name, columns, 0, count, keys, read)


def _events(span: Sql) -> Sql:
    return sql(
        "SELECT position, event, nullIf(user_id, ''), nullIf(anonymous_id, ''),"
        " toUnixTimestamp64Milli(timestamp), toUnixTimestamp64Milli(received_at),"
        " properties_text, context_text, nullIf(message_id, ''), toString(key_type)"
        " FROM events WHERE {span} ORDER BY position",
        span=span,
    )


def _identifies(span: Sql) -> Sql:
    # A call is in three tables: who, which traits, whose anonymous id.
    return sql(
        "SELECT call.position, 'identify', call.user_id, nullIf(link.anonymous_id, ''),"
        " toUnixTimestamp64Milli(call.timestamp), toUnixTimestamp64Milli(call.received_at),"
        " concat('{{', arrayStringConcat(arrayMap(pair -> concat(toJSONString(pair.1), ':',"
        "  if(pair.2 = '', 'null', pair.2)), arraySort(sent.traits)), ','), '}}'),"
        " nullIf(if(sent.id = '', link.id, sent.id), ''), toString(call.key_type)"
        " FROM (SELECT * FROM identifies WHERE {span}) AS call"
        " LEFT JOIN (SELECT position, any(message_id) AS id, groupArray((trait, value)) AS traits"
        "  FROM traits WHERE {span} GROUP BY position) AS sent ON sent.position = call.position"
        " LEFT JOIN (SELECT position, any(anonymous_id) AS anonymous_id, any(message_id) AS id"
        "  FROM links WHERE {span} AND cause = 'identify' GROUP BY position) AS link"
        " ON link.position = call.position ORDER BY call.position",
        span=span,
    )


def _persons(store: Store, name: str, frame: Frame, through: int, rows_of: RowsOf) -> _Source:
    within = sql(
        "workspace_id = {workspace} AND position <= {through} AND user_id != ''",
        workspace=uint32(frame.workspace_id),
        through=uint64(through),
    )
    users = sql(
        "SELECT user_id FROM events WHERE {within} UNION DISTINCT"
        " SELECT user_id FROM identifies WHERE {within}",
        within=within,
    )

    def keys(after: str, most: int) -> list[str]:
        statement = sql(
            "SELECT user_id FROM ({users}) WHERE user_id > {after} ORDER BY user_id LIMIT {most}",
            users=users,
            after=string(after),
            most=int64(most),
        )
        return [row[0] for row in rows_of(statement)]

    def read(after: str, last: str) -> Sequence[Sequence[Any]]:
        among = sql(
            "user_id > {after} AND user_id <= {last}", after=string(after), last=string(last)
        )
        span = sql("{within} AND {among}", within=within, among=among)
        links = links_of(store, frame.workspace_id).usable(span)
        who = sql("({users}) WHERE {among}", users=users, among=among)
        return rows_of(_profiles(who, span, links))

    def count() -> int:
        return int(rows_of(sql("SELECT count() FROM ({users})", users=users))[0][0])

    return _Source(name, _PERSON, "", count, keys, read)


def _profiles(users: Sql, span: Sql, links: Sql) -> Sql:
    """Return a SELECT of each user with the latest traits and the anonymous ids linked now."""
    return sql(
        "SELECT who.user_id,"
        " concat('{{', arrayStringConcat(arrayMap(pair -> concat(toJSONString(pair.1), ':',"
        "  pair.2), arraySort(known.traits)), ','), '}}'), theirs.ids"
        " FROM (SELECT user_id FROM {users}) AS who"
        " LEFT JOIN (SELECT user_id, groupArray((trait, value)) AS traits FROM ("
        "  SELECT user_id, trait,"
        "   argMax(traits.value, (key_type, timestamp, message_id, position)) AS value"
        "  FROM traits WHERE {span} GROUP BY user_id, trait HAVING value != '')"
        "  GROUP BY user_id) AS known ON known.user_id = who.user_id"
        " LEFT JOIN (SELECT user_id, arraySort(groupUniqArray(anonymous_id)) AS ids"
        "  FROM ({links}) GROUP BY user_id) AS theirs ON theirs.user_id = who.user_id"
        " ORDER BY who.user_id",
        users=users,
        span=span,
        links=links,
    )
