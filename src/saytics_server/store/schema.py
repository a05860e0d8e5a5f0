"""The store's tables, as data definition, and why each is laid out as it is.

Every table is partitioned by month of receipt: retention counts from receipt, and an import of ten
years of history must not open 120 partitions in one insert. Every insert is durable when it returns
(the fsync settings: the engine's default is to sync nothing) and carries a token, so that a block
inserted again after a crash counts once (`non_replicated_deduplication_window`).
"""

from __future__ import annotations

import msgspec

# 1,000 blocks at one block per 0.5 s is more than eight minutes of inserts; a crash needs one.
_DURABLE_ONCE = (
    "non_replicated_deduplication_window = 1000, fsync_after_insert = 1, "
    "fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 0"
)

# Keys beyond this many distinct paths per part go to shared data: slower to read, never lost.
JSON_PATHS_MAX = 1024

_JSON = f"JSON(max_dynamic_paths = {JSON_PATHS_MAX})"

# Tables whose rows carry the position of the log's row they came from.
POSITIONED = ("events", "identifies", "traits", "links", "unlinks", "rejected_events")

TABLES: dict[str, str] = {
    # One row per accepted event. `properties_text` is what was sent, `properties` what is asked;
    # the latter is cast from the former unless keys or numbers had to be encoded for the column
    # (event.column_key). ZSTD halves the JSON columns against the default: 58 instead of 76 bytes
    # per event of the demo, for scans slower by a third. `day` is the UTC day of the event's own
    # time: ranges prune by it.
    "events": f"""
        CREATE TABLE IF NOT EXISTS events (
            workspace_id UInt32,
            day Date,
            event LowCardinality(String),
            timestamp DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
            position UInt64 CODEC(DoubleDelta, ZSTD(1)),
            received_at DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
            user_id String CODEC(ZSTD(1)),
            anonymous_id String CODEC(ZSTD(1)),
            key_type Enum8('write' = 0, 'secret' = 1),
            message_id String CODEC(ZSTD(1)),
            original_timestamp Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)),
            properties_text String CODEC(ZSTD(3)),
            context_text String CODEC(ZSTD(3)),
            properties_column String EPHEMERAL,
            context_column String EPHEMERAL,
            properties {_JSON}
                DEFAULT if(properties_column = '', properties_text, properties_column)::{_JSON}
                CODEC(ZSTD(1)),
            context {_JSON}
                DEFAULT if(context_column = '', context_text, context_column)::{_JSON}
                CODEC(ZSTD(1)),
            INDEX by_user user_id TYPE bloom_filter(0.01) GRANULARITY 1,
            INDEX by_anonymous anonymous_id TYPE bloom_filter(0.01) GRANULARITY 1,
            INDEX by_position position TYPE minmax GRANULARITY 1
        )
        ENGINE = MergeTree
        PARTITION BY toYYYYMM(received_at)
        ORDER BY (workspace_id, day, event, user_id, anonymous_id, timestamp, position)
        SETTINGS {_DURABLE_ONCE}
    """,
    # One row per trait of each identify call; the latest wins at query time (people.py).
    # `value` is JSON text; '' means removed by null.
    "traits": f"""
        CREATE TABLE IF NOT EXISTS traits (
            workspace_id UInt32,
            trait LowCardinality(String),
            user_id String CODEC(ZSTD(1)),
            timestamp DateTime64(3, 'UTC') CODEC(ZSTD(1)),
            message_id String CODEC(ZSTD(1)),
            position UInt64 CODEC(ZSTD(1)),
            received_at DateTime64(3, 'UTC') CODEC(ZSTD(1)),
            key_type Enum8('write' = 0, 'secret' = 1),
            value String CODEC(ZSTD(3))
        )
        ENGINE = MergeTree
        PARTITION BY toYYYYMM(received_at)
        ORDER BY (workspace_id, trait, user_id, timestamp, position)
        SETTINGS {_DURABLE_ONCE}
    """,
    # One row per identify call, traits or none: it makes the user known.
    "identifies": f"""
        CREATE TABLE IF NOT EXISTS identifies (
            workspace_id UInt32,
            user_id String CODEC(ZSTD(1)),
            timestamp DateTime64(3, 'UTC') CODEC(ZSTD(1)),
            position UInt64 CODEC(ZSTD(1)),
            received_at DateTime64(3, 'UTC') CODEC(ZSTD(1)),
            key_type Enum8('write' = 0, 'secret' = 1)
        )
        ENGINE = MergeTree
        PARTITION BY toYYYYMM(received_at)
        ORDER BY (workspace_id, user_id, timestamp, position)
        SETTINGS {_DURABLE_ONCE}
    """,
    # One row per statement "this anonymous id is this user", from identify or from an event that
    # carries both ids, repeated ones too (store/blocks.py says why).
    "links": f"""
        CREATE TABLE IF NOT EXISTS links (
            workspace_id UInt32,
            anonymous_id String CODEC(ZSTD(1)),
            user_id String CODEC(ZSTD(1)),
            timestamp DateTime64(3, 'UTC') CODEC(ZSTD(1)),
            message_id String CODEC(ZSTD(1)),
            position UInt64 CODEC(ZSTD(1)),
            received_at DateTime64(3, 'UTC') CODEC(ZSTD(1)),
            key_type Enum8('write' = 0, 'secret' = 1),
            cause Enum8('identify' = 0, 'event' = 1),
            INDEX by_user user_id TYPE bloom_filter(0.01) GRANULARITY 1
        )
        ENGINE = MergeTree
        PARTITION BY toYYYYMM(received_at)
        ORDER BY (workspace_id, anonymous_id, timestamp, position)
        SETTINGS {_DURABLE_ONCE}
    """,
    # The least and the greatest user of each anonymous id, filled by VIEWS. Where they are one, as
    # for most, its thousands of links need not be read (people.py). Minimum and maximum do not mind
    # what comes twice or in another order.
    "link_heads": f"""
        CREATE TABLE IF NOT EXISTS link_heads (
            workspace_id UInt32,
            anonymous_id String CODEC(ZSTD(1)),
            key_type Enum8('write' = 0, 'secret' = 1),
            low SimpleAggregateFunction(min, String) CODEC(ZSTD(1)),
            high SimpleAggregateFunction(max, String) CODEC(ZSTD(1))
        )
        ENGINE = AggregatingMergeTree
        ORDER BY (workspace_id, anonymous_id, key_type)
        SETTINGS {_DURABLE_ONCE}
    """,
    # One row per undoing: it voids every link between the two ids received before it, that is with
    # a smaller (received_at, position). What is stated later links again.
    "unlinks": f"""
        CREATE TABLE IF NOT EXISTS unlinks (
            workspace_id UInt32,
            anonymous_id String CODEC(ZSTD(1)),
            user_id String CODEC(ZSTD(1)),
            position UInt64 CODEC(ZSTD(1)),
            received_at DateTime64(3, 'UTC') CODEC(ZSTD(1))
        )
        ENGINE = MergeTree
        PARTITION BY toYYYYMM(received_at)
        ORDER BY (workspace_id, anonymous_id, user_id, position)
        SETTINGS {_DURABLE_ONCE}
    """,
    # What was sent and not accepted, so that it can be shown, repaired and replayed.
    "rejected_events": f"""
        CREATE TABLE IF NOT EXISTS rejected_events (
            workspace_id UInt32,
            received_at DateTime64(3, 'UTC') CODEC(ZSTD(1)),
            position UInt64 CODEC(ZSTD(1)),
            key_type Enum8('write' = 0, 'secret' = 1),
            code LowCardinality(String),
            message String CODEC(ZSTD(1)),
            field String CODEC(ZSTD(1)),
            body String CODEC(ZSTD(3))
        )
        ENGINE = MergeTree
        PARTITION BY toYYYYMM(received_at)
        ORDER BY (workspace_id, received_at, position)
        SETTINGS {_DURABLE_ONCE}
    """,
    # Every messageId ever accepted, as a keyed 96-bit hash (log/ids.py), with 32 bits of its
    # event's content. Sorted by hash; small granules, because a look-up of 1,000 random ids in the
    # usual ones of 8,192 rows would read the whole table. It outlives the events: no receipt.
    "message_ids": f"""
        CREATE TABLE IF NOT EXISTS message_ids (
            id FixedString(12) CODEC(NONE),
            content UInt32 CODEC(NONE)
        )
        ENGINE = MergeTree
        ORDER BY id
        SETTINGS index_granularity = 1024, {_DURABLE_ONCE}
    """,
    # Which keys the properties and the context of each event's name have, with which types, and
    # which traits users have: filled by VIEWS, for completion while somebody types. No values: what
    # must be forgotten would have to be found here too. `path` is encoded as in the JSON columns
    # (event.column_path), a trait's name is as sent; `month` is that of receipt.
    "property_keys": f"""
        CREATE TABLE IF NOT EXISTS property_keys (
            workspace_id UInt32,
            month UInt32,
            source Enum8('properties' = 0, 'context' = 1, 'user' = 2),
            event LowCardinality(String),
            path String CODEC(ZSTD(1)),
            type LowCardinality(String),
            last_day SimpleAggregateFunction(max, Date)
        )
        ENGINE = AggregatingMergeTree
        PARTITION BY month
        ORDER BY (workspace_id, source, event, path, type)
        SETTINGS {_DURABLE_ONCE}
    """,
}


class View(msgspec.Struct, frozen=True):
    """What the engine adds to `target` with every block of `source`, by a SELECT of `{rows}`.

    The block's token holds in the target, too (the store's setting
    deduplicate_blocks_in_dependent_materialized_views). It must not fail on a block that its source
    takes, and its target must not mind a row that comes twice.
    """

    target: str
    source: str
    select: str


VIEWS: dict[str, View] = {
    "event_keys": View(
        "property_keys",
        "events",
        """
        SELECT workspace_id, month, found.1 AS source, event, found.2 AS path,
            arrayJoin(found.3) AS type, day AS last_day
        FROM (
            SELECT workspace_id, toYYYYMM(received_at) AS month, event, max(events.day) AS day,
                distinctJSONPathsAndTypes(properties) AS of_properties,
                distinctJSONPathsAndTypes(context) AS of_context
            FROM {rows} AS events GROUP BY workspace_id, month, event
        )
        ARRAY JOIN arrayConcat(
            arrayMap((path, types) -> ('properties', path, types),
                mapKeys(of_properties), mapValues(of_properties)),
            arrayMap((path, types) -> ('context', path, types),
                mapKeys(of_context), mapValues(of_context))
        ) AS found
        """,
    ),
    "heads_of_links": View(
        "link_heads",
        "links",
        """
        SELECT workspace_id, anonymous_id, key_type, min(user_id) AS low, max(user_id) AS high
        FROM {rows} GROUP BY workspace_id, anonymous_id, key_type
        """,
    ),
    "trait_keys": View(
        "property_keys",
        "traits",
        """
        SELECT workspace_id, toYYYYMM(received_at) AS month, 'user' AS source, '' AS event,
            trait AS path, toString(JSONType(value)) AS type, max(toDate(timestamp)) AS last_day
        FROM {rows} WHERE value != '' GROUP BY workspace_id, month, path, type
        """,
    ),
}
