r"""GET /v1/catalogue/…: what can be named in a question, for completion while somebody types.

    events        names, how many events each has, when the last one happened
    properties    keys of properties, context and traits, with types and a few values
    values        values of one of them

Names and counts are read off the events' sort key, keys from the small table that the store keeps
of them; values are read from the latest day that has the key, so that nothing is kept elsewhere
that would have to be forgotten. A key is named as filters and breakdowns write it: `cart.total`,
`a\.b`, `context.page.url`, `user.plan`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any
from urllib.parse import unquote

import msgspec

from saytics_server.event import column_path
from saytics_server.query.event_row import row_ms
from saytics_server.query.model import Frame, Parameters, Reference, invalid
from saytics_server.query.periods import utc_text
from saytics_server.query.values import ESCAPABLE, event_value, parse_reference
from saytics_server.sql import Sql, all_of, any_of, int64, joined, sql, string, strings, uint32
from saytics_server.sql import day as bind_day
from saytics_server.store import Row, Store

# A list under a text field shows a dozen; a page of a table some hundreds.
LIMIT_DEFAULT, LIMIT_MAX = 100, 1_000
SEARCH_CHARACTERS_MAX = 256
# Measured: finding a run of a name and day costs as much as counting 150 events; a year of days.
RUN_EVENTS_MIN, RUN_DAYS = 150, 365
# Values shown beside a key, and the events that are read for those of all keys of a page.
SAMPLES_MAX = 5
SAMPLED_EVENTS = 20
SAMPLED_NAMES_MAX = 20
# Keys so rare that these events did not have them are looked up one by one, 5 ms each.
SINGLE_KEYS_MAX = 20
# Values are counted over as many events that have the key.
VALUES_READ_MAX = 50_000
VALUES_NAMES_MAX = 20

Source = str
_SOURCES = ("properties", "context", "user")
_TYPES = {
    "String": "string", "Bool": "boolean", "Int64": "number", "UInt64": "number",
    "Float64": "number", "Double": "number", "Object": "object",
}  # fmt: skip

# A day's events of one name; the keys of a name's events stand on these days.
_Slice = tuple[str, date]


class EventsQuery(msgspec.Struct, frozen=True):
    """Which names, the most frequent first."""

    frame: Frame
    search: str
    limit: int


class PropertiesQuery(msgspec.Struct, frozen=True):
    """Which keys, those seen last first; traits have no event and are always among them."""

    frame: Frame
    event: str | None
    source: Source | None
    search: str
    limit: int


class ValuesQuery(msgspec.Struct, frozen=True):
    """Values of which key, the most frequent first."""

    frame: Frame
    reference: Reference
    name: str
    event: str | None
    search: str
    limit: int


class Key(msgspec.Struct, frozen=True):
    """A key there is: where, with which types, when last, and in which event then."""

    source: Source
    path: str
    types: tuple[str, ...]
    last_day: date
    event: str

    @property
    def keys(self) -> tuple[str, ...]:
        """Return the path as sent, decoded."""
        return (self.path,) if self.source == "user" else decoded_path(self.path)

    @property
    def reference(self) -> Reference:
        """Return the key as questions refer to it."""
        return Reference(self.source, self.keys)  # type: ignore[arg-type]


# --- events -----------------------------------------------------------------------------------


def parse_events(parameters: Sequence[tuple[str, str]], frame: Frame) -> EventsQuery:
    """Return which names are asked for. Raises Refused("invalid_parameter")."""
    given = Parameters(parameters, ("search", "limit"))
    return EventsQuery(frame, _search(given), _limit(given))


def events(store: Store, query: EventsQuery) -> dict[str, Any]:
    """Return names with their number of events and the time of the last one."""
    in_order = _has_long_runs(store, query.frame)
    rows = _rows(
        store,
        sql(
            "SELECT event, sum(number) AS events, max(last_day) FROM ("
            " SELECT event, max(day) AS last_day, count() AS number FROM events"
            " WHERE workspace_id = {workspace} AND {found} GROUP BY {keys})"
            " GROUP BY event ORDER BY events DESC, event LIMIT {most}"
            " SETTINGS optimize_aggregation_in_order = {in_order}",
            workspace=uint32(query.frame.workspace_id),
            found=_found(sql("event"), query.search),
            keys=sql("workspace_id, day, event" if in_order else "event"),
            most=int64(query.limit + 1),
            in_order=sql("1" if in_order else "0"),
        ),
    )
    page = rows[: query.limit]
    last_seen = _last_seen(store, query.frame, [(event, day) for event, _, day in page])
    return {
        "status": "ok",
        "data": [
            {"event": event, "count": count, "last_seen": last_seen[event]}
            for event, count, _ in page
        ],
        "more": len(rows) > query.limit,
    }


def _has_long_runs(store: Store, frame: Frame) -> bool:
    """Return whether to count names day by day, in order of the sort key.

    There the events of a name and day stand together and are counted at once, twice as fast as one
    by one, unless the names are so many that there are few of each.
    """
    rows = _rows(
        store,
        sql(
            "SELECT (SELECT count() FROM events WHERE workspace_id = {workspace}),"
            " (SELECT uniqExact(event) FROM property_keys WHERE workspace_id = {workspace})",
            workspace=uint32(frame.workspace_id),
        ),
    )
    events, names = rows[0]
    return bool(events > names * RUN_DAYS * RUN_EVENTS_MIN)


def _last_seen(store: Store, frame: Frame, slices: list[_Slice]) -> dict[str, str]:
    rows = _rows(
        store,
        sql(
            "SELECT event, max(timestamp) FROM events WHERE workspace_id = {workspace}"
            " AND (day, event) IN (SELECT slice.1, slice.2 FROM (SELECT arrayJoin(arrayZip("
            "arrayMap(day -> toDate(day), {days}), {events})) AS slice)) GROUP BY event",
            workspace=uint32(frame.workspace_id),
            days=strings(day.isoformat() for _, day in slices),
            events=strings(event for event, _ in slices),
        ),
    )
    return {event: utc_text(row_ms(moment)) for event, moment in rows}


# --- properties -------------------------------------------------------------------------------


def parse_properties(parameters: Sequence[tuple[str, str]], frame: Frame) -> PropertiesQuery:
    """Return which keys are asked for. Raises Refused("invalid_parameter")."""
    given = Parameters(parameters, ("event", "source", "search", "limit"))
    source = given.choice("source", _SOURCES, "properties") if given.one("source") else None
    return PropertiesQuery(frame, given.one("event"), source, _search(given), _limit(given))


def properties(store: Store, query: PropertiesQuery) -> dict[str, Any]:
    """Return keys with types, the UTC day they were last seen on, and a few of their values."""
    rows = _rows(store, _keys_statement(query))
    page = [
        Key(source, path, _type_names(types), last_day, event)
        for source, path, types, last_day, event in rows[: query.limit]
    ]
    samples = _samples(store, query.frame, page)
    return {
        "status": "ok",
        "data": [
            {
                "property": written(key.reference),
                "source": key.source,
                "types": list(key.types),
                "last_seen": key.last_day.isoformat(),
                "samples": [msgspec.json.decode(value) for value in samples.get(key, [])],
            }
            for key in page
        ],
        "more": len(rows) > query.limit,
    }


def _keys_statement(query: PropertiesQuery) -> Sql:
    # A search is for what is shown: with the prefix, and with the keys as they were sent.
    shown = sql(
        "concat(if(source = 'properties', '', concat(toString(source), '.')),"
        " if(source = 'user', path, decodeURLComponent(path)))"
    )
    conditions = [
        sql("workspace_id = {workspace}", workspace=uint32(query.frame.workspace_id)),
        _found(shown, query.search),
    ]
    if query.event is not None:
        conditions.append(sql("event IN {names}", names=strings(("", query.event))))
    if query.source is not None:
        conditions.append(sql("source = {source}", source=string(query.source)))
    return sql(
        "SELECT toString(source), path, groupUniqArray(type), max(last_day) AS latest,"
        " argMax(event, (last_day, event)) FROM property_keys WHERE {conditions}"
        " GROUP BY source, path ORDER BY latest DESC, source, path LIMIT {most}",
        conditions=all_of(conditions),
        most=int64(query.limit + 1),
    )


def _type_names(types: Iterable[str]) -> tuple[str, ...]:
    """Return the store's types as JSON knows them; what is none of these is an array."""
    return tuple(sorted({_TYPES.get(kind, "array") for kind in types}))


def _samples(store: Store, frame: Frame, page: list[Key]) -> dict[Key, list[bytes]]:
    """Return up to SAMPLES_MAX different values of each key, as JSON texts."""
    found: dict[Key, list[bytes]] = {}
    by_place = {(key.source, key.keys): key for key in page if key.source != "user"}
    for row in _latest_events(store, frame, page):
        for source, text in zip(_SOURCES, row, strict=False):
            for keys, value in _flattened(msgspec.json.decode(text)):
                if key := by_place.get((source, keys)):
                    _add(found, key, msgspec.json.encode(value))
    rest = [key for key in page if key.source != "user" and key not in found][:SINGLE_KEYS_MAX]
    rest += [key for key in page if key.source == "user"]
    for place, value in _union(store, [_single(frame, key, at) for at, key in enumerate(rest)]):
        _add(found, rest[place], value.encode())
    return found


def _add(found: dict[Key, list[bytes]], key: Key, value: bytes) -> None:
    values = found.setdefault(key, [])
    if value not in values and len(values) < SAMPLES_MAX:
        values.append(value)


def _latest_events(store: Store, frame: Frame, page: list[Key]) -> list[Row]:
    """Return properties and context of some events of the names that the keys were last seen in."""
    slices = list(dict.fromkeys((k.event, k.last_day) for k in page if k.source != "user"))
    return _union(
        store,
        [
            sql(
                "SELECT properties_text, context_text FROM events WHERE {slice} LIMIT {most}",
                slice=_in_slices(frame, [slice_]),
                most=int64(SAMPLED_EVENTS),
            )
            for slice_ in slices[:SAMPLED_NAMES_MAX]
        ],
    )


def _single(frame: Frame, key: Key, place: int) -> Sql:
    """Return a SELECT of (place, value) of the first rows that have one key."""
    if key.source == "user":
        values = sql(
            "SELECT value FROM traits WHERE workspace_id = {workspace} AND trait = {trait}"
            " AND value != '' LIMIT {most}",
            workspace=uint32(frame.workspace_id),
            trait=string(key.path),
            most=int64(SAMPLED_EVENTS),
        )
    else:
        values = sql(
            "SELECT assumeNotNull({json}) AS value FROM events WHERE {slice}"
            " AND isNotNull({json}) LIMIT {most}",
            json=event_value(key.reference).json,
            slice=_in_slices(frame, [(key.event, key.last_day)]),
            most=int64(SAMPLES_MAX),
        )
    return sql("SELECT {place} AS place, value FROM ({values})", place=int64(place), values=values)


def _flattened(
    value: dict[str, Any], above: tuple[str, ...] = ()
) -> Iterable[tuple[tuple[str, ...], Any]]:
    """Yield every value with the keys that lead to it; null and objects are none."""
    for key, item in value.items():
        keys = (*above, key)
        if isinstance(item, dict):
            yield from _flattened(item, keys)
        elif item is not None:
            yield keys, item


# --- values -----------------------------------------------------------------------------------


def parse_values(parameters: Sequence[tuple[str, str]], frame: Frame) -> ValuesQuery:
    """Return whose values are asked for. Raises Refused("invalid_parameter")."""
    given = Parameters(parameters, ("property", "event", "search", "limit"))
    name = given.one("property")
    if name is None:
        raise invalid("property", "`property` is missing: the key whose values are wanted.")
    reference = parse_reference(name, "property")
    if reference.source not in _SOURCES:
        raise invalid("property", "`property` is a key of properties, of `context.` or of `user.`.")
    return ValuesQuery(
        frame, reference, name, given.one("event"), _search(given), _limit(given, default=20)
    )


def values(store: Store, query: ValuesQuery) -> dict[str, Any]:
    """Return values among the latest events with the key, the most frequent first."""
    rows: Sequence[Row] = []
    found = _trait_values(query) if query.reference.source == "user" else _values(store, query)
    if found is not None:
        rows = _rows(
            store,
            sql(
                "SELECT value FROM (SELECT value FROM ({values})"
                " WHERE {found} LIMIT {read}) GROUP BY value ORDER BY count() DESC, value"
                " LIMIT {most}",
                values=found,
                # JSON writes some characters in another way than somebody types them.
                found=_found(
                    sql("if(startsWith(value, '\"'), JSONExtractString(value), value)"),
                    query.search,
                ),
                read=int64(VALUES_READ_MAX),
                most=int64(query.limit + 1),
            ),
        )
    return {
        "status": "ok",
        "property": query.name,
        "data": [msgspec.json.decode(row[0]) for row in rows[: query.limit]],
        "more": len(rows) > query.limit,
    }


def _trait_values(query: ValuesQuery) -> Sql:
    """Return a SELECT of the values that a trait ever had, as JSON texts."""
    trait, *inside = query.reference.keys
    value = sql("traits.value")
    if inside:
        path = joined(", ", map(string, inside))
        value = sql("JSONExtractRaw(traits.value, {path})", path=path)
    return sql(
        "SELECT {value} AS value FROM traits WHERE workspace_id = {workspace}"
        " AND trait = {trait} AND {value} NOT IN ('', 'null') AND NOT startsWith({value}, '{{')",
        value=value,
        workspace=uint32(query.frame.workspace_id),
        trait=string(trait),
    )


def _values(store: Store, query: ValuesQuery) -> Sql | None:
    """Return a SELECT of the values on the days that last had the key; None if none has."""
    conditions = [
        sql("workspace_id = {workspace}", workspace=uint32(query.frame.workspace_id)),
        sql("source = {source}", source=string(query.reference.source)),
        sql("path = {path}", path=string(column_path(query.reference.keys))),
    ]
    if query.event is not None:
        conditions.append(sql("event = {event}", event=string(query.event)))
    slices = _rows(
        store,
        sql(
            "SELECT event, max(last_day) AS latest FROM property_keys WHERE {conditions}"
            " GROUP BY event ORDER BY latest DESC, event LIMIT {most}",
            conditions=all_of(conditions),
            most=int64(VALUES_NAMES_MAX),
        ),
    )
    if not slices:
        return None
    return sql(
        "SELECT assumeNotNull({json}) AS value FROM events WHERE {slices} AND isNotNull({json})",
        json=event_value(query.reference).json,
        slices=_in_slices(query.frame, [(event, day) for event, day in slices]),
    )


# --- names ------------------------------------------------------------------------------------


def decoded_path(path: str) -> tuple[str, ...]:
    """Return the keys that event.column_path made a path of."""
    return tuple("" if part == "%" else unquote(part, errors="strict") for part in path.split("."))


def written(reference: Reference) -> str:
    """Return the name by which values.parse_reference finds a key."""
    escaped = [re.sub(rf"([{re.escape(ESCAPABLE)}])", r"\\\1", key) for key in reference.keys]
    name = ".".join(escaped)
    is_short = reference.source == "properties" and name != ""
    if is_short and parse_reference(name, "property") == reference:
        return name
    return f"{reference.source}.{name}"


# --- what all three have ----------------------------------------------------------------------


def _search(given: Parameters) -> str:
    search = given.one("search") or ""
    if len(search) > SEARCH_CHARACTERS_MAX:
        raise invalid("search", f"`search` has at most {SEARCH_CHARACTERS_MAX} characters.")
    return search


def _limit(given: Parameters, default: int = LIMIT_DEFAULT) -> int:
    return given.whole_number("limit", default, most=LIMIT_MAX)


def _found(text: Sql, search: str) -> Sql:
    """Return the condition that a text holds what is searched, in whatever case."""
    if not search:
        return sql("true")
    return sql(
        "positionCaseInsensitiveUTF8({text}, {search}) > 0", text=text, search=string(search)
    )


def _in_slices(frame: Frame, slices: Sequence[_Slice]) -> Sql:
    return sql(
        "workspace_id = {workspace} AND {slices}",
        workspace=uint32(frame.workspace_id),
        slices=any_of(
            [
                sql("(day = {day} AND event = {event})", day=bind_day(day), event=string(event))
                for event, day in slices
            ]
        ),
    )


def _union(store: Store, statements: Sequence[Sql]) -> list[Row]:
    return list(_rows(store, joined(" UNION ALL ", statements))) if statements else []


def _rows(store: Store, statement: Sql) -> Sequence[Row]:
    return store.query(*statement.render())
