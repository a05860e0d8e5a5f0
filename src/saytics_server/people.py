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

from saytics_server.sql import Sql, all_of, any_of, int64, sql, string, strings, uint32
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
    # Whether some anonymous ids had several users, and whether links were undone.
    shared: bool = True
    undone: bool = False

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
        among = _among(only_anonymous)
        if self.as_of_ms is None:
            resolved = self._with_settled(events, among)
            if self.shared or self.undone:
                resolved = self._with_timeline(resolved, self._unsettled(among))
        else:
            # The heads hold no times of receipt.
            unknown = sql("SELECT *, user_id AS known FROM ({events})", events=events)
            resolved = self._with_timeline(unknown, _ids_in(events, only_anonymous))
        return sql(
            "SELECT {person} FROM (SELECT * EXCEPT known, known AS known_user FROM ({resolved}))",
            person=person,
            resolved=resolved,
        )

    def _with_settled(self, events: Sql, among: Sql) -> Sql:
        """Return `events` with `known`: the user, where an id only ever had the one."""
        return sql(
            "SELECT raw.*, if(raw.user_id != '', raw.user_id,"
            " if(raw.key_type = {secret}, head.secret_user, head.write_user)) AS known"
            " FROM (SELECT *, if(user_id = '', anonymous_id, '') AS lookup_id FROM ({events}))"
            " AS raw LEFT ANY JOIN ({heads}) AS head ON raw.lookup_id = head.anonymous_id",
            secret=string(_SECRET),
            events=events,
            heads=self._settled(among),
        )

    def _settled(self, among: Sql) -> Sql:
        """Return (anonymous_id, secret_user, write_user): for each universe the one user, or ''."""
        users = {
            universe: sql(
                "if({low} != {high} OR {quarantined}, '', {low})",
                low=sql(low),
                high=sql(high),
                quarantined=self._is_quarantined(universe, sql(low)),
            )
            for universe, low, high in (
                (_SECRET, "secret_low", "secret_high"),
                (_WRITE, "any_low", "any_high"),
            )
        }
        settled = [among, sql("NOT {undone}", undone=self._had_undone())]
        return sql(
            "SELECT anonymous_id, {secret} AS secret_user, {write} AS write_user"
            " FROM ({heads}) WHERE {settled}",
            secret=users[_SECRET],
            write=users[_WRITE],
            heads=heads_of(self.workspace_id),
            settled=all_of(settled),
        )

    def _unsettled(self, among: Sql) -> Sql:
        """Return the condition on links that only their whole history tells whose an id is."""
        return sql(
            "anonymous_id IN (SELECT anonymous_id FROM ({heads}) WHERE {among}"
            " AND (any_low != any_high OR {undone}))",
            heads=heads_of(self.workspace_id),
            among=among,
            undone=self._had_undone(),
        )

    def _had_undone(self) -> Sql:
        return _had_undone(self.workspace_id) if self.undone else sql("false")

    def _is_quarantined(self, universe: str, user: Sql) -> Sql:
        sides = {"user_id": user, "anonymous_id": sql("anonymous_id")}
        found = [
            sql("{column} IN {ids}", column=column, ids=strings(ids))
            for side, column in sides.items()
            if (ids := sorted(i for of, on, i in self.quarantined if (of, on) == (universe, side)))
        ]
        return any_of(found)

    def _with_timeline(self, events: Sql, where: Sql) -> Sql:
        """Return `events` with `known` filled from the links that fulfil `where`, by time."""
        return sql(
            "SELECT raw.* EXCEPT known, if(raw.known != '', raw.known, link.linked_user) AS known"
            " FROM (SELECT *, if(known = '', concat({key}, anonymous_id), '') AS timed_key,"
            "  toUnixTimestamp64Milli(timestamp) AS timed_ms FROM ({events})) AS raw"
            " ASOF LEFT JOIN ({links}) AS link"
            " ON raw.timed_key = link.timed_key AND raw.timed_ms >= link.from_ms",
            key=sql("if(key_type = {secret}, 's', 'w')", secret=string(_SECRET)),
            events=events,
            links=self._timeline(where),
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
        links = sql(
            "SELECT * FROM links WHERE workspace_id = {workspace} AND {received} AND {where}",
            workspace=uint32(self.workspace_id),
            received=received_by(self.as_of_ms),
            where=where,
        )
        return sql(
            "SELECT * FROM (SELECT anonymous_id, user_id, message_id,"
            " arrayJoin(if(key_type = {secret}, [{secret}, {write}], [{write}])) AS universe,"
            " toUnixTimestamp64Milli(timestamp) AS at_ms FROM ({links})) WHERE {conditions}",
            links=_not_undone(links, self.workspace_id, self.as_of_ms) if self.undone else links,
            secret=string(_SECRET),
            write=string(_WRITE),
            conditions=all_of(conditions),
        )

    def _timeline(self, where: Sql) -> Sql:
        """Return (timed_key, from_ms, linked_user): who an id is from when on, in each universe.

        Only changes are kept: a browser states its link with every event. The first row holds for
        what came before it, too. `timed_key` is the universe's letter and the id.
        """
        moments = sql(
            "SELECT concat(substring(universe, 1, 1), anonymous_id) AS timed_key, at_ms,"
            " argMax(user_id, (message_id, user_id)) AS linked_user"
            " FROM ({usable}) GROUP BY timed_key, at_ms",
            usable=self.usable(where),
        )
        return sql(
            "SELECT timed_key, if(before = '', {always}, at_ms) AS from_ms, linked_user FROM ("
            "SELECT timed_key, at_ms, linked_user, lagInFrame(linked_user) OVER"
            " (PARTITION BY timed_key ORDER BY at_ms ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)"
            " AS before FROM ({moments})) WHERE linked_user != before",
            always=int64(_ALWAYS_MS),
            moments=moments,
        )


def heads_of(workspace_id: int) -> Sql:
    """Return a SELECT of (anonymous_id, secret_low, secret_high, any_low, any_high).

    These are the least and the greatest user an id was linked to, by secret keys and by any; where
    both are one, there was no other, and its time does not matter. Quarantined and undone links
    count.
    """
    return sql(
        "SELECT anonymous_id, minIf(low, key_type = {secret}) AS secret_low,"
        " maxIf(high, key_type = {secret}) AS secret_high, min(low) AS any_low,"
        " max(high) AS any_high FROM link_heads WHERE workspace_id = {workspace}"
        " GROUP BY anonymous_id",
        secret=string(_SECRET),
        workspace=uint32(workspace_id),
    )


def _had_undone(workspace_id: int) -> Sql:
    """Return the condition that a link of an anonymous id was undone: its head tells too much."""
    return sql(
        "anonymous_id IN (SELECT anonymous_id FROM unlinks WHERE workspace_id = {workspace})",
        workspace=uint32(workspace_id),
    )


def _not_undone(links: Sql, workspace_id: int, as_of_ms: int | None) -> Sql:
    """Return `links` without those received before the two ids were last unlinked."""
    return sql(
        "SELECT link.* FROM ({links}) AS link LEFT ANY JOIN"
        " (SELECT anonymous_id, user_id, max((received_at, position)) AS undone"
        " FROM unlinks WHERE workspace_id = {workspace} AND {received}"
        " GROUP BY anonymous_id, user_id) AS last"
        " ON link.anonymous_id = last.anonymous_id AND link.user_id = last.user_id"
        " WHERE (link.received_at, link.position) > last.undone",
        links=links,
        workspace=uint32(workspace_id),
        received=received_by(as_of_ms),
    )


def _among(only_anonymous: Sequence[str] | None) -> Sql:
    if only_anonymous is None:
        return sql("true")
    return sql("anonymous_id IN {ids}", ids=strings(only_anonymous))


def _ids_in(events: Sql, only_anonymous: Sequence[str] | None) -> Sql:
    """Return the condition on links that can matter to `events`: of ids that stand there alone.

    A browser states its link with every event, so there are more links than events that need one.
    """
    if only_anonymous is not None:
        return _among(only_anonymous)
    return sql(
        "anonymous_id IN (SELECT anonymous_id FROM ({events}) WHERE user_id = '')", events=events
    )


def received_by(as_of_ms: int | None) -> Sql:
    """Return the condition that a row was there at a time; None is now."""
    if as_of_ms is None:
        return sql("true")
    return sql("received_at <= fromUnixTimestamp64Milli({ms}, 'UTC')", ms=int64(as_of_ms))


def links_of(store: Store, workspace_id: int, *, as_of_ms: int | None = None) -> Links:
    """Return how a workspace's links stand, or stood. A few milliseconds without links."""
    heads = sql(
        "SELECT sum(ids), sum(shared), max(ids - shared), (SELECT count() FROM unlinks"
        " WHERE workspace_id = {workspace} AND {received}) FROM (SELECT count() AS ids,"
        " countIf(any_low != any_high) AS shared FROM ({heads}) GROUP BY any_low)",
        workspace=uint32(workspace_id),
        received=received_by(as_of_ms),
        heads=heads_of(workspace_id),
    )
    ids, shared, most_own_ids, undone = store.query(*heads.render())[0]
    # A user has at most its own ids and all shared ones; an undoing only makes them fewer.
    likely = most_own_ids + shared > LINK_COUNTERPARTS_MAX if as_of_ms is None else ids > 0
    likely = likely or (shared > 0 and _most_users(store, workspace_id) > LINK_COUNTERPARTS_MAX)
    crowded: set[tuple[str, str, str]] = set()
    if likely:
        for universe in (_SECRET, _WRITE):
            for side in ("user_id", "anonymous_id"):
                crowd = _crowded(workspace_id, universe, side, as_of_ms, undone=undone > 0)
                found = store.query(*crowd.render())
                crowded |= {(universe, side, row[0]) for row in found}
    return Links(
        workspace_id,
        ids > 0,
        frozenset(crowded),
        as_of_ms,
        shared=shared > 0,
        undone=undone > 0,
    )


def _most_users(store: Store, workspace_id: int) -> int:
    """Return how many users the anonymous id with the most of them was linked to."""
    statement = sql(
        "SELECT max(users) FROM (SELECT uniqExact(user_id) AS users FROM links"
        " WHERE workspace_id = {workspace} AND anonymous_id IN"
        " (SELECT anonymous_id FROM ({heads}) WHERE any_low != any_high) GROUP BY anonymous_id)",
        heads=heads_of(workspace_id),
        workspace=uint32(workspace_id),
    )
    return int(store.query(*statement.render())[0][0])


def _crowded(
    workspace_id: int, universe: str, side: str, as_of_ms: int | None, *, undone: bool
) -> Sql:
    """Return a SELECT of ids with too many counterparts by links that stand.

    Only ids that had several users, or a link undone, are looked up among the links: the others'
    one counterpart stands in their head. As of an earlier time all are looked up.
    """
    low, high = ("secret_low", "secret_high") if universe == _SECRET else ("any_low", "any_high")
    had_undone = _had_undone(workspace_id) if undone else sql("false")
    unsettled = sql("true")
    if as_of_ms is None:
        unsettled = sql(
            "anonymous_id IN (SELECT anonymous_id FROM ({heads}) WHERE {low} != {high}"
            " OR {had_undone})",
            heads=heads_of(workspace_id),
            low=sql(low),
            high=sql(high),
            had_undone=had_undone,
        )
    links = sql(
        "SELECT anonymous_id, user_id, received_at, position FROM links"
        " WHERE workspace_id = {workspace} AND {received} AND {class} AND {unsettled}",
        **{"class": sql("key_type = 'secret'" if universe == _SECRET else "true")},
        workspace=uint32(workspace_id),
        received=received_by(as_of_ms),
        unsettled=unsettled,
    )
    if undone:
        links = _not_undone(links, workspace_id, as_of_ms)
    pairs = sql("SELECT DISTINCT anonymous_id, user_id FROM ({links})", links=links)
    if side == "user_id" and as_of_ms is None:
        pairs = sql(
            "{pairs} UNION ALL SELECT anonymous_id, {low} AS user_id FROM ({heads})"
            " WHERE {low} = {high} AND {low} != '' AND NOT {had_undone}",
            pairs=pairs,
            heads=heads_of(workspace_id),
            low=sql(low),
            high=sql(high),
            had_undone=had_undone,
        )
    return sql(
        "SELECT {side} FROM ({pairs}) GROUP BY {side} HAVING count() > {most}",
        side=sql(side),
        pairs=pairs,
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
        received=received_by(as_of_ms),
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
