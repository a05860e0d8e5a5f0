"""Who is meant by what somebody typed: an id, the beginning of one, or the value of a trait.

Ids are compared letter by letter. The beginning of an id is found among users that an identify
named and anonymous ids that were ever linked, both of which are sorted by id; of all others the
whole id is needed. Values of traits are found by any part, in whatever case, as they stand now.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from saytics_server.people import Person, person_of
from saytics_server.query.model import Range, Selection
from saytics_server.query.reading import Reader
from saytics_server.query.scan import TIMESTAMP_MS
from saytics_server.sql import Sql, int64, joined, sql, string, strings, uint32

# More are no answer but another question.
FOUND_MAX = 50
# Users with the text in any value a trait ever had, of whom the present values are then looked at.
CANDIDATES_MAX = 1_000
# A day of a busy product names more persons than a page lists.
LATEST_DAYS = 7

_DAY_MS = 86_400_000


class Found(msgspec.Struct, frozen=True):
    """A person, and what of theirs the text was found in: an id or a trait's name and value."""

    person: Person
    where: str
    value: str


class Seen(msgspec.Struct, frozen=True):
    """A person, and when something of theirs happened last."""

    person: Person
    last_ms: int


def search(reader: Reader, text: str) -> list[Found]:
    """Return the persons a text may mean: ids first, then traits; each person once."""
    found: dict[str, Found] = {}
    for each in (*_users(reader, text), *_anonymous(reader, text), *_traits(reader, text)):
        found.setdefault(each.person.key, each)
    return list(found.values())[:FOUND_MAX]


def latest(reader: Reader) -> list[Seen]:
    """Return the persons seen last, the very last first."""
    now_ms = reader.frame.now_ms
    events = reader.scan(
        Selection(), Range(now_ms - LATEST_DAYS * _DAY_MS, now_ms + _DAY_MS), persons=True
    )
    rows = reader.rows(
        sql(
            "SELECT person, max(ms) AS last FROM ({events}) GROUP BY person"
            " ORDER BY last DESC, person LIMIT {most}",
            events=events.select({"ms": TIMESTAMP_MS}),
            most=int64(FOUND_MAX),
        )
    )
    return [Seen(person_of(key), last) for key, last in rows]


def names_of(reader: Reader, user_ids: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the traits `name` and `email` of users who have one, as text, by user and trait."""
    rows = reader.rows(
        sql(
            "SELECT user_id, trait, {latest} AS value FROM traits WHERE workspace_id = {workspace}"
            " AND trait IN ('name', 'email') AND user_id IN {users}"
            " GROUP BY user_id, trait HAVING value NOT IN ('', 'null')",
            latest=_LATEST,
            workspace=_workspace(reader),
            users=strings(sorted(user_ids)),
        )
    )
    names: dict[str, dict[str, str]] = {}
    for user_id, trait, value in rows:
        names.setdefault(user_id, {})[trait] = _text(value)
    return names


def owner_of(reader: Reader, anonymous_id: str) -> Person:
    """Return whose an event of this anonymous id would be now, sent with either class of key."""
    return _owners(reader, [anonymous_id])[anonymous_id]


# The value that counts, as people.latest_traits has it.
_LATEST = sql("argMax(value, (key_type, timestamp, message_id, position))")


def _users(reader: Reader, text: str) -> list[Found]:
    known = sql(
        "SELECT DISTINCT user_id AS id FROM identifies WHERE workspace_id = {workspace}"
        " AND startsWith(user_id, {text}) ORDER BY id LIMIT {most}",
        workspace=_workspace(reader),
        text=string(text),
        most=int64(FOUND_MAX),
    )
    ids = _ids(reader, [known, _exact(reader, sql("user_id"), text)])
    return [Found(Person("user", each), "user id", each) for each in ids]


def _anonymous(reader: Reader, text: str) -> list[Found]:
    linked = sql(
        "SELECT DISTINCT anonymous_id AS id FROM link_heads WHERE workspace_id = {workspace}"
        " AND startsWith(anonymous_id, {text}) ORDER BY id LIMIT {most}",
        workspace=_workspace(reader),
        text=string(text),
        most=int64(FOUND_MAX),
    )
    ids = _ids(reader, [linked, _exact(reader, sql("anonymous_id"), text)])
    owners = _owners(reader, ids)
    return [Found(owners[each], "anonymous id", each) for each in ids]


def _traits(reader: Reader, text: str) -> list[Found]:
    def holds(value: Sql) -> Sql:
        # JSON writes some characters in another way than somebody types them.
        return sql(
            "positionCaseInsensitiveUTF8(if(startsWith({value}, '\"'),"
            " JSONExtractString({value}), {value}), {text}) > 0",
            value=value,
            text=string(text),
        )

    rows = reader.rows(
        sql(
            "SELECT user_id, trait, {latest} AS now FROM traits WHERE workspace_id = {workspace}"
            " AND (user_id, trait) IN (SELECT DISTINCT user_id, trait FROM traits"
            "  WHERE workspace_id = {workspace} AND {ever} LIMIT {candidates})"
            " GROUP BY user_id, trait HAVING {still} ORDER BY user_id, trait LIMIT {most}",
            latest=_LATEST,
            workspace=_workspace(reader),
            ever=holds(sql("value")),
            candidates=int64(CANDIDATES_MAX),
            still=holds(sql("now")),
            most=int64(FOUND_MAX),
        )
    )
    return [Found(Person("user", user), trait, _text(value)) for user, trait, value in rows]


def _exact(reader: Reader, column: Sql, text: str) -> Sql:
    return sql(
        "SELECT {column} AS id FROM events WHERE workspace_id = {workspace} AND {column} = {text}"
        " LIMIT 1",
        column=column,
        workspace=_workspace(reader),
        text=string(text),
    )


def _ids(reader: Reader, statements: list[Sql]) -> list[str]:
    union = joined(
        " UNION ALL ", [sql("SELECT id FROM ({each})", each=each) for each in statements]
    )
    rows = reader.rows(sql("SELECT DISTINCT id FROM ({union}) ORDER BY id", union=union))
    return [row[0] for row in rows]


def _owners(reader: Reader, anonymous_ids: list[str]) -> dict[str, Person]:
    if not anonymous_ids:
        return {}
    # With a write key, which sees the links of both classes.
    events = sql(
        "SELECT '' AS user_id, arrayJoin({ids}) AS anonymous_id,"
        " CAST('write', 'Enum8(\\'write\\' = 0, \\'secret\\' = 1)') AS key_type,"
        " fromUnixTimestamp64Milli({now}, 'UTC') AS timestamp",
        ids=strings(anonymous_ids),
        now=int64(reader.frame.now_ms),
    )
    resolved = reader.links.resolve(events, only_anonymous=anonymous_ids)
    rows = reader.rows(sql("SELECT anonymous_id, person FROM ({resolved})", resolved=resolved))
    return {anonymous_id: person_of(key) for anonymous_id, key in rows}


def _workspace(reader: Reader) -> Sql:
    return uint32(reader.frame.workspace_id)


def _text(json: str) -> str:
    value = msgspec.json.decode(json)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
