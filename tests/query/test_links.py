"""Links as they are listed: every statement, its cause, and whether it counts."""

from __future__ import annotations

import itertools
from typing import Any

import pyarrow as pa
import pytest
from rows import insert_history

from factories import identify_row, track_row
from saytics_server.errors import Refused
from saytics_server.event import UnlinkRow
from saytics_server.log.records import decode_rows, encode_rows
from saytics_server.people import LINK_COUNTERPARTS_MAX
from saytics_server.query import links, profile
from saytics_server.query.model import Frame
from saytics_server.query.reading import Reader
from saytics_server.store.blocks import columns

NOON_MS = 1_705_320_000_000  # 2024-01-15T12:00:00Z
_token = itertools.count()


def listed(store: Any, workspace_id: int, **parameters: str) -> dict[str, Any]:
    """Return the answer for a query string."""
    reader = Reader(store, Frame(workspace_id, "UTC", 0, NOON_MS + 1))
    return links.run(reader, links.parse(list(parameters.items())))


def undo(store: Any, workspace_id: int, *undone: tuple[str, str, int, int]) -> None:
    """Store rows of (anonymous id, user id, receipt, position) as the loader would."""
    rows = [
        (position, UnlinkRow(workspace_id, 1, received_ms, anonymous_id, user_id))
        for anonymous_id, user_id, received_ms, position in undone
    ]
    (table,) = columns(rows).values()
    store.insert("unlinks", table, token=f"test-unlinks-{workspace_id}-{next(_token)}")


def link(number: int, **fields: Any) -> dict[str, Any]:
    """Return how the answer shows the link stated `number` ms after noon at position `number`."""
    shown = {
        "anonymousId": "ø",
        "userId": "u",
        "timestamp": f"2024-01-15T12:00:00.{number:03d}Z",
        "receivedAt": f"2024-01-15T12:00:00.{number:03d}Z",
        "cause": "event",
        "messageId": None,
        "keyType": "secret",
        "used": True,
        "usedFor": ["secret", "write"],
        "undone": False,
        "undoneAt": None,
        "quarantined": False,
    }
    return {**shown, **fields}


def said(number: int, **fields: Any) -> dict[str, Any]:
    """Return an event with both ids, sent `number` ms after noon."""
    item = {"event": "A", "anonymousId": "ø", "userId": "u", "timestamp": NOON_MS + number}
    return {**item, "position": number, **fields}


UNUSED = {"used": False, "usedFor": [], "undone": True}


def test_links_are_listed_newest_first_with_their_cause(store, workspace_id):
    """Of identify and events, of both classes of key, by either id or both."""
    insert_history(
        store,
        workspace_id,
        [
            said(1, messageId="m-1"),
            said(2, type="identify", keyType="write", receivedAt=NOON_MS + 9),
            said(3, userId="v"),
            said(4, anonymousId="other"),
            {"event": "A", "userId": "u", "timestamp": NOON_MS, "position": 5},
        ],
    )
    first = link(1, messageId="m-1")
    second = link(
        2, cause="identify", keyType="write", usedFor=["write"],
        receivedAt="2024-01-15T12:00:00.009Z",
    )  # fmt: skip
    third, fourth = link(3, userId="v"), link(4, anonymousId="other")

    def answer(*data: dict[str, Any]) -> dict[str, Any]:
        return {"status": "ok", "data": list(data), "next_cursor": None, "warnings": []}

    assert listed(store, workspace_id, anonymousId="ø") == answer(third, second, first)
    assert listed(store, workspace_id, userId="u") == answer(fourth, second, first)
    assert listed(store, workspace_id, userId="v", anonymousId="ø") == answer(third)
    assert listed(store, workspace_id, userId="ø") == answer()


def test_pages_end_between_links_of_one_moment(store, workspace_id):
    """Each link is on one page, whatever their times."""
    insert_history(store, workspace_id, [said(n, timestamp=NOON_MS + n // 3) for n in range(1, 9)])
    seen: list[str] = []
    pages = 0
    cursor: dict[str, str] = {}
    while pages == 0 or cursor:
        page = listed(store, workspace_id, userId="u", limit="2", **cursor)
        seen += [shown["timestamp"][-4:-1] for shown in page["data"]]
        cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else {}
        pages += 1
    assert (seen, pages) == (["002", "002", "002", "001", "001", "001", "000", "000"], 4)


def test_an_undone_link_is_shown_with_the_time(store, workspace_id):
    """What was received before the undoing is void, also what came in the same millisecond; what
    came after it counts, until it is undone too."""
    insert_history(store, workspace_id, [said(1), said(3, position=5), said(4)])
    undo(store, workspace_id, ("ø", "u", NOON_MS + 3, 6), ("ø", "v", NOON_MS + 9, 7))
    at = "2024-01-15T12:00:00.003Z"
    before = [link(3, **UNUSED, undoneAt=at), link(1, **UNUSED, undoneAt=at)]
    assert listed(store, workspace_id, userId="u")["data"] == [link(4), *before]
    undo(store, workspace_id, ("ø", "u", NOON_MS + 8, 9))
    again = link(4, **UNUSED, undoneAt="2024-01-15T12:00:00.008Z")
    assert listed(store, workspace_id, userId="u")["data"] == [again, *before]


def test_a_link_received_in_the_same_millisecond_after_the_undoing_counts(store, workspace_id):
    """Of one millisecond the order of the log decides."""
    insert_history(store, workspace_id, [said(3, position=7)])
    undo(store, workspace_id, ("ø", "u", NOON_MS + 3, 6))
    assert listed(store, workspace_id, userId="u")["data"] == [link(3)]


def test_a_crowd_is_warned_of(store, workspace_id):
    """Quarantined by the public key, a link of a secret key still moves what secret keys sent; the
    warning is in the list and on the profile."""
    crowd = [
        said(0, position=number, anonymousId=f"a{number}", keyType="write")
        for number in range(LINK_COUNTERPARTS_MAX)
    ]
    insert_history(store, workspace_id, [*crowd, said(1)])
    warning = {
        "code": "link_quarantined",
        "field": "userId",
        "id": "u",
        "keyType": "write",
        "message": "More than 1,000 others are linked to this id, so none of its links counts for"
        " events sent with a write key.",
    }
    first = listed(store, workspace_id, userId="u", limit="2")
    assert first["warnings"] == [warning]
    assert first["data"][0] == link(1, usedFor=["secret"], quarantined=True)
    assert first["data"][1] == link(
        0, anonymousId="a999", keyType="write", used=False, usedFor=[], quarantined=True
    )
    assert listed(store, workspace_id, anonymousId="a5")["warnings"] == [warning]
    assert listed(store, workspace_id, anonymousId="nobody")["warnings"] == []
    found = profile.run(store, Frame(workspace_id, "UTC", 0, NOON_MS), "u")
    assert found["warnings"] == [warning]


def test_a_profile_warns_of_a_crowded_device(store, workspace_id):
    """An anonymous id that too many users were linked to is named on the profile of each."""
    crowd = [said(0, position=n, userId=f"u{n}") for n in range(LINK_COUNTERPARTS_MAX + 1)]
    insert_history(store, workspace_id, [*crowd, said(0, position=5000, anonymousId="own")])
    frame = Frame(workspace_id, "UTC", 0, NOON_MS)
    found = profile.run(store, frame, "u7")
    assert [(w["field"], w["id"], w["keyType"]) for w in found["warnings"]] == [
        ("anonymousId", "ø", "secret"),
        ("anonymousId", "ø", "write"),
    ]
    assert found["anonymous_ids"] == []
    assert "warnings" not in profile.run(store, frame, "u")


def test_a_profile_shows_the_reserved_traits(store, workspace_id):
    """Those that are text or numbers, in their order; all traits stay where they were."""
    traits = {"plan": "pro", "phone": 4930, "email": "zoë@example.com", "name": "Zoë", "avatar": "",
              "created_at": "2023-05-01"}  # fmt: skip
    calls = [
        {"type": "identify", "userId": "u", "timestamp": NOON_MS, "traits": traits},
        {"type": "identify", "userId": "v", "timestamp": NOON_MS, "traits": {"name": {"a": 1}}},
    ]
    insert_history(store, workspace_id, calls)
    frame = Frame(workspace_id, "UTC", 0, NOON_MS)
    found = profile.run(store, frame, "u")
    assert list(found["reserved_traits"].items()) == [
        ("name", "Zoë"),
        ("email", "zoë@example.com"),
        ("phone", 4930),
        ("created_at", "2023-05-01"),
    ]
    assert (found["traits"], found["created_at"]) == (traits, "2024-01-15T12:00:00.000Z")
    assert "reserved_traits" not in profile.run(store, frame, "v")


@pytest.mark.parametrize(
    ("parameters", "code", "field"),
    [
        ([], "missing_parameter", "userId"),
        ([("userId", "")], "missing_parameter", "userId"),
        ([("userId", "u"), ("limit", "0")], "invalid_parameter", "limit"),
        ([("userId", "u"), ("limit", "1001")], "invalid_parameter", "limit"),
        ([("userId", "u"), ("user", "u")], "invalid_parameter", "user"),
        ([("userId", "u"), ("userId", "v")], "invalid_parameter", "userId"),
        ([("userId", "u"), ("cursor", "made up")], "invalid_cursor", "cursor"),
        ([("userId", "u"), ("cursor", "WzEsMiwzXQ")], "invalid_cursor", "cursor"),
        ([("userId", "u"), ("cursor", "WzEsLTFd")], "invalid_cursor", "cursor"),
    ],
)
def test_a_wrong_question_is_refused_by_name(parameters, code, field):
    """An id is needed, and nothing unknown."""
    with pytest.raises(Refused) as refused:
        links.parse(parameters)
    assert (refused.value.rejection.code, refused.value.rejection.field) == (code, field)


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"userId": "u"}, ""),
        ({"userId": "u", "anonymousId": ""}, "anonymousId"),
        ({"userId": "u" * 257, "anonymousId": "a"}, "userId"),
        ({"userId": 5, "anonymousId": "a"}, "userId"),
        ({"userId": "u", "anonymousId": "a", "all": True}, "all"),
        (["u", "a"], ""),
    ],
)
def test_a_wrong_undoing_is_refused_by_name(sent, field):
    """Two ids, and nothing else."""
    with pytest.raises(Refused) as refused:
        links.parse_undo(sent)
    assert (refused.value.rejection.code, refused.value.rejection.field) == (
        "invalid_parameter",
        field,
    )


def test_an_undoing_is_a_row_of_the_log_and_of_the_store():
    """It comes out of a record as it went in, beside the others, and fills a table of its own."""
    row = UnlinkRow(7, 1, NOON_MS, "ø", "u")
    rows = [track_row("m"), row, identify_row()]
    assert decode_rows(encode_rows(rows)) == rows
    table = columns([(40, row)])["unlinks"]
    assert table.to_pylist() == [
        {
            "workspace_id": 7,
            "anonymous_id": "ø",
            "user_id": "u",
            "position": 40,
            "received_at": pa.scalar(NOON_MS, pa.timestamp("ms", "UTC")).as_py(),
        }
    ]
