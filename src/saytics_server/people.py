"""Who did it: links from anonymous ids to users, and the traits of users, resolved when asked.

An event with a user id is that user's. One with an anonymous id alone belongs to the user of the
latest link of that id at or before the event, else of its first link, else to the anonymous id.
Nothing resolved is stored, so a link that arrives late moves what it must on the next query.

Two link universes keep the public key from merging what a secret key sent: events sent with a
secret key see only links made with secret keys, those sent with a write key see all links.
The parts here are SQL; they read the store's `events`, `links`, `traits` and `identifies`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from saytics_server.sql import Sql, all_of, int64, sql, string, strings, uint32
from saytics_server.store import Store

# A shared device has a handful of users and a user a few dozen devices. An id linked to more
# counterparts than this is a test account or a bug in a client, and would merge strangers.
LINK_COUNTERPARTS_MAX = 1_000

_SECRET, _WRITE = "secret", "write"
# Before every event there can be: the first link of an id also holds for what came before it.
_ALWAYS_MS = -(2**62)


class Person(msgspec.Struct, frozen=True):
    """One person: a user, or an anonymous id without a link."""

    kind: Literal["user", "anonymous"]
    id: str

    @property
    def key(self) -> str:
        """Return the text of the column `person`, one for each person."""
        return self.kind[0] + self.id


def person_of(key: str) -> Person:
    """Return the person that a value of the column `person` stands for."""
    return Person("user" if key[0] == "u" else "anonymous", key[1:])


class Links(msgspec.Struct, frozen=True):
    """The links of one workspace as they stand: whether there are any, and whose are not used."""

    workspace_id: int
    present: bool
    # (universe, side, id), side being "user_id" or "anonymous_id".
    quarantined: frozenset[tuple[str, str, str]]
    # Links received later are not known.
    as_of_ms: int | None = None

    def resolve(self, events: Sql, *, only_anonymous: Sequence[str] | None = None) -> Sql:
        """Return a SELECT of `events` with the columns `known_user` and `person` added.

        `events` is a SELECT that has at least user_id, anonymous_id, key_type and timestamp.
        `known_user` is the user's id or ''; `person` is unique over users and anonymous ids.
        `only_anonymous` narrows the links that are read: all the anonymous ids among `events`.
        """
        person = sql(
            "*, concat(if(known_user = '', 'a', 'u'), "
            "if(known_user = '', anonymous_id, known_user)) AS person"
        )
        if not self.present:
            return sql(
                "SELECT {person} FROM (SELECT *, user_id AS known_user FROM ({events}))",
                person=person,
                events=events,
            )
        return sql(
            "SELECT {person} FROM ("
            " SELECT raw.*, if(raw.user_id != '', raw.user_id, link.linked_user) AS known_user"
            " FROM (SELECT *, if(user_id = '', anonymous_id, '') AS lookup_id,"
            "  toString(key_type) AS lookup_universe,"
            "  toUnixTimestamp64Milli(timestamp) AS lookup_ms FROM ({events})) AS raw"
            " ASOF LEFT JOIN ({links}) AS link"
            " ON raw.lookup_id = link.anonymous_id AND raw.lookup_universe = link.universe"
            " AND raw.lookup_ms >= link.from_ms)",
            person=person,
            events=events,
            links=self._timeline(_ids_in(events, only_anonymous)),
        )

    def usable(self, where: Sql) -> Sql:
        """Return a SELECT of the links fulfilling `where`, once per universe that sees them.

        Quarantined ones are left out.
        """
        conditions = [sql("true")]
        for universe in (_SECRET, _WRITE):
            for side in ("user_id", "anonymous_id"):
                ids = sorted(i for of, on, i in self.quarantined if (of, on) == (universe, side))
                if ids:
                    conditions.append(
                        sql(
                            "NOT (universe = {universe} AND {side} IN {ids})",
                            universe=string(universe),
                            side=sql(side),
                            ids=strings(ids),
                        )
                    )
        return sql(
            "SELECT * FROM (SELECT anonymous_id, user_id, message_id,"
            " arrayJoin(if(key_type = {secret}, [{secret}, {write}], [{write}])) AS universe,"
            " toUnixTimestamp64Milli(timestamp) AS at_ms"
            " FROM links WHERE workspace_id = {workspace} AND {received} AND {where})"
            " WHERE {conditions}",
            received=_received(self.as_of_ms),
            secret=string(_SECRET),
            write=string(_WRITE),
            workspace=uint32(self.workspace_id),
            where=where,
            conditions=all_of(conditions),
        )

    def _timeline(self, where: Sql) -> Sql:
        """Return (anonymous_id, universe, from_ms, linked_user): who an id is from when on.

        Most ids only ever have one user, and for them the first row, which holds always, will do.
        """
        shared = sql(
            "{where} AND anonymous_id IN (SELECT anonymous_id FROM links"
            " WHERE workspace_id = {workspace} AND {received} AND {where}"
            " GROUP BY anonymous_id HAVING min(user_id) != max(user_id))",
            received=_received(self.as_of_ms),
            where=where,
            workspace=uint32(self.workspace_id),
        )
        return sql(
            "SELECT anonymous_id, universe, {always} AS from_ms,"
            " argMax(user_id, (-at_ms, message_id, user_id)) AS linked_user"
            " FROM ({usable}) GROUP BY anonymous_id, universe"
            " UNION ALL"
            " SELECT anonymous_id, universe, at_ms AS from_ms,"
            " argMax(user_id, (message_id, user_id)) AS linked_user"
            " FROM ({shared}) GROUP BY anonymous_id, universe, at_ms",
            always=int64(_ALWAYS_MS),
            usable=self.usable(where),
            shared=self.usable(shared),
        )


def _ids_in(events: Sql, only_anonymous: Sequence[str] | None) -> Sql:
    """Return the condition on links that can matter to `events`: of ids that stand there alone.

    A browser states its link with every event, so there are more links than events that need one.
    """
    if only_anonymous is not None:
        return sql("anonymous_id IN {ids}", ids=strings(only_anonymous))
    return sql(
        "anonymous_id IN (SELECT anonymous_id FROM ({events}) WHERE user_id = '')", events=events
    )


def _received(as_of_ms: int | None) -> Sql:
    """Return the condition that a row was there at a time."""
    if as_of_ms is None:
        return sql("true")
    return sql("received_at <= fromUnixTimestamp64Milli({ms}, 'UTC')", ms=int64(as_of_ms))


def links_of(store: Store, workspace_id: int, *, as_of_ms: int | None = None) -> Links:
    """Return how a workspace's links stand, or stood. A few milliseconds without links."""
    received = _received(as_of_ms)
    statement = sql(
        "SELECT count() FROM links WHERE workspace_id = {workspace} AND {received}",
        workspace=uint32(workspace_id),
        received=received,
    )
    count = store.query(*statement.render())[0][0]
    quarantined: frozenset[tuple[str, str, str]] = frozenset()
    if count > LINK_COUNTERPARTS_MAX:
        quarantined = frozenset(
            (universe, side, row[0])
            for universe in (_SECRET, _WRITE)
            for side, other in (("user_id", "anonymous_id"), ("anonymous_id", "user_id"))
            for row in store.query(
                *_crowded(workspace_id, universe, side, other, received).render()
            )
        )
    return Links(workspace_id, count > 0, quarantined, as_of_ms)


def _crowded(workspace_id: int, universe: str, side: str, other: str, received: Sql) -> Sql:
    """Return a SELECT of ids with too many counterparts; distinct ones are counted only where
    the number of links, which costs far less to count, allows that many."""
    seen = sql(
        "workspace_id = {workspace} AND {received}",
        workspace=uint32(workspace_id),
        received=received,
    )
    if universe == _SECRET:
        seen = sql("{seen} AND key_type = 'secret'", seen=seen)
    return sql(
        "SELECT {side} FROM links WHERE {seen} AND {side} IN"
        " (SELECT {side} FROM links WHERE {seen} GROUP BY {side} HAVING count() > {most})"
        " GROUP BY {side} HAVING uniqExact({other}) > {most}",
        side=sql(side),
        other=sql(other),
        seen=seen,
        most=int64(LINK_COUNTERPARTS_MAX),
    )


def latest_traits(workspace_id: int, *, trait: str, as_of_ms: int | None = None) -> Sql:
    """Return a SELECT of (user_id, value): JSON text of one trait per user, '' where removed.

    The newest value wins, but where a secret key ever set the trait, only among secret keys'.
    """
    return sql(
        "SELECT user_id, argMax(value, (key_type, timestamp, message_id, position)) AS value"
        " FROM traits WHERE workspace_id = {workspace} AND trait = {trait} AND {received}"
        " GROUP BY user_id",
        workspace=uint32(workspace_id),
        received=_received(as_of_ms),
        trait=string(trait),
    )


def traits_of(store: Store, workspace_id: int, user_id: str) -> dict[str, Any]:
    """Return the traits of one user as sent, by name."""
    statement = sql(
        "SELECT trait, argMax(value, (key_type, timestamp, message_id, position)) AS latest"
        " FROM traits WHERE workspace_id = {workspace} AND user_id = {user}"
        " GROUP BY trait HAVING latest != '' ORDER BY trait",
        workspace=uint32(workspace_id),
        user=string(user_id),
    )
    rows = store.query(*statement.render())
    return {trait: msgspec.json.decode(value) for trait, value in rows}


def anonymous_ids_of(store: Store, links: Links, user_id: str) -> list[str]:
    """Return the anonymous ids with a link in use to a user, in order."""
    if not links.present:
        return []
    statement = sql(
        "SELECT DISTINCT anonymous_id FROM ({links}) ORDER BY anonymous_id",
        links=links.usable(sql("user_id = {user}", user=string(user_id))),
    )
    return [row[0] for row in store.query(*statement.render())]
