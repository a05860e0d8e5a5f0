"""Persons: whose event it was, what is known of a user, and what the public key cannot do."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rows import fresh_workspace_id, insert_history, instant_ms

from oracle.people import events_of, person_of, traits_of
from saytics_server.errors import Refused
from saytics_server.people import LINK_COUNTERPARTS_MAX, links_of
from saytics_server.query import profile, top_events, trends
from saytics_server.query.model import Frame
from saytics_server.query.periods import utc_text
from saytics_server.query.reading import Reader
from saytics_server.store import Store

NOON_MS = instant_ms("2024-01-15T12:00:00Z")


def frame(workspace_id: int) -> Frame:
    return Frame(workspace_id, "UTC", 0, NOON_MS + 1)


def users(store, workspace_id: int) -> int:
    query = trends.parse([("metric", "users")], frame(workspace_id))
    total: int = trends.run(Reader(store, query.frame), query)["total"]
    return total


def anonymous(**fields: object) -> dict:
    return {"event": "A", "anonymousId": "a", "timestamp": NOON_MS, **fields}


def identify(**fields: object) -> dict:
    return {"type": "identify", "userId": "u", "timestamp": NOON_MS, **fields}


def test_user_and_anonymous_id_of_the_same_text_are_two_persons(store, workspace_id):
    """The two kinds of ids do not share a space."""
    insert_history(
        store,
        workspace_id,
        [anonymous(anonymousId="x"), {"event": "A", "userId": "x", "timestamp": NOON_MS}],
    )
    assert users(store, workspace_id) == 2


def test_a_link_of_the_public_key_moves_no_event_of_a_secret_key(store, workspace_id):
    """What a write key links joins what write keys sent, and nothing else."""
    insert_history(
        store,
        workspace_id,
        [
            {"event": "A", "userId": "u", "timestamp": NOON_MS},
            anonymous(keyType="secret"),
            identify(anonymousId="a", keyType="write"),
        ],
    )
    assert users(store, workspace_id) == 2
    insert_history(store, workspace_id, [anonymous(keyType="write", position=9)])
    assert users(store, workspace_id) == 2


def test_an_id_linked_to_a_crowd_is_no_longer_used(store, workspace_id):
    """Beyond the limit none of a user's links counts; a crowd made with the public key hides
    nothing that a secret key linked."""
    crowd = [
        identify(anonymousId=f"a{number}", keyType="write")
        for number in range(LINK_COUNTERPARTS_MAX)
    ]
    secret = identify(anonymousId="a", keyType="secret")
    visits = [
        {"event": "A", "userId": "u", "timestamp": NOON_MS},
        anonymous(anonymousId="a1", keyType="write"),
        anonymous(anonymousId="a", keyType="secret"),
    ]
    insert_history(store, workspace_id, [*crowd, *visits])
    assert users(store, workspace_id) == 2
    insert_history(store, workspace_id, [secret])
    assert links_of(store, workspace_id).quarantined == {("write", "user_id", "u")}
    assert users(store, workspace_id) == 2


def test_an_unknown_user_is_not_found(store, workspace_id):
    """Neither an event of another user nor an anonymous id of the same text makes one known."""
    insert_history(store, workspace_id, [anonymous(anonymousId="u")])
    with pytest.raises(Refused, match="user_not_found"):
        profile.run(store, frame(workspace_id), "u")


def test_a_user_is_known_from_identify_alone(store, workspace_id):
    """Traits and the time of the call are there, events are not."""
    insert_history(store, workspace_id, [identify(traits={"plan": "pro", "größe": {"a.b": 1}})])
    assert profile.run(store, frame(workspace_id), "u") == {
        "id": "u",
        "traits": {"größe": {"a.b": 1}, "plan": "pro"},
        "created_at": "2024-01-15T12:00:00.000Z",
        "last_seen": "2024-01-15T12:00:00.000Z",
        "events": [],
        "anonymous_ids": [],
    }


def test_a_profile_shows_the_latest_hundred_events(store, workspace_id):
    """Newest first; first and last activity reach over all of them."""
    history = [
        {"event": "A", "userId": "u", "timestamp": NOON_MS - number} for number in range(130)
    ]
    insert_history(store, workspace_id, history)
    found = profile.run(store, frame(workspace_id), "u")
    assert [event["timestamp"] for event in found["events"]] == [
        utc_text(NOON_MS - number) for number in range(100)
    ]
    assert (found["created_at"], found["last_seen"]) == (
        utc_text(NOON_MS - 129),
        utc_text(NOON_MS),
    )


times = st.sampled_from([NOON_MS, NOON_MS - 1, NOON_MS - 5, NOON_MS - 86_400_000])
keys = st.sampled_from(["secret", "write"])
messages = st.sampled_from(["", "m1", "m2"])
histories = st.lists(
    st.one_of(
        st.builds(
            lambda **item: item,
            event=st.just("A"), timestamp=times, keyType=keys, messageId=messages,
            anonymousId=st.sampled_from(["u", "a", "b"]),
            userId=st.sampled_from([None, None, "u", "v"]),
        ),
        st.builds(
            lambda **item: item,
            type=st.just("identify"), timestamp=times, keyType=keys, messageId=messages,
            userId=st.sampled_from(["u", "v", "w"]), anonymousId=st.sampled_from([None, "a", "b"]),
            traits=st.dictionaries(
                st.sampled_from(["plan", "a.b"]), st.sampled_from([None, 1, "x"]), max_size=2
            ),
        ),
    ),
    max_size=10,
)  # fmt: skip


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(history=histories)
def test_a_profile_holds_what_resolves_to_the_user(store, history):
    """Events, activity and traits are those of the naive definition, for links in any order."""
    workspace_id = fresh_workspace_id()
    insert_history(store, workspace_id, history)
    for user_id in ("u", "v"):
        person = ("user", user_id)
        own = [event for event in events_of(history) if person_of(event, history) == person]
        called = [i for i in history if i.get("type") == "identify" and i["userId"] == user_id]
        if not own and not called:
            with pytest.raises(Refused, match="user_not_found"):
                profile.run(store, frame(workspace_id), user_id)
            continue
        found = profile.run(store, frame(workspace_id), user_id)
        assert sorted(event["timestamp"] for event in found["events"]) == sorted(
            utc_text(event["timestamp"]) for event in own
        )
        active = [item["timestamp"] for item in own + called]
        assert (found["created_at"], found["last_seen"]) == (
            utc_text(min(active)),
            utc_text(max(active)),
        )
        assert found["traits"] == traits_of(person, history)


def test_top_events_are_counted_with_their_persons(store, workspace_id):
    """Most frequent first, equal ones by name, a merged visitor once."""
    insert_history(
        store,
        workspace_id,
        [
            anonymous(event="B"),
            anonymous(event="B", userId="u"),
            anonymous(event="Ä"),
            anonymous(event="A"),
            anonymous(event="late", timestamp=NOON_MS + 1),
        ],
    )
    found = top_events.run(store, frame(workspace_id), NOON_MS, NOON_MS, limit=2)
    assert found == [
        {"event": "B", "count": 2, "users": 1},
        {"event": "A", "count": 1, "users": 1},
    ]


def test_what_a_crash_kept_from_a_view_is_filled_in_again(store, workspace_id):
    """Links that are stored while their heads are not count again after the next start."""
    history = [
        anonymous(messageId="m1"),
        {"event": "A", "userId": "u", "timestamp": NOON_MS},
        identify(anonymousId="a"),
    ]
    insert_history(store, workspace_id, history)
    assert users(store, workspace_id) == 1
    store.command(
        "ALTER TABLE link_heads DELETE WHERE workspace_id = {workspace:UInt32}"
        " SETTINGS mutations_sync = 2",
        {"workspace": workspace_id},
    )
    assert users(store, workspace_id) == 2
    store.derive_again(0)
    assert users(store, workspace_id) == 1


def test_a_view_that_is_missing_is_made_from_what_there_is(store, workspace_id):
    """After a crash while it was filled, too; from then on it takes part in every insert."""
    store.command("DROP TABLE heads_of_links")
    history = [anonymous(messageId="m1"), {"event": "A", "userId": "u", "timestamp": NOON_MS}]
    insert_history(store, workspace_id, [*history, identify(anonymousId="a")])
    assert users(store, workspace_id) == 2
    Store(store._path).close()
    assert users(store, workspace_id) == 1
    insert_history(store, workspace_id, [identify(anonymousId="b"), anonymous(anonymousId="b")])
    assert users(store, workspace_id) == 1
