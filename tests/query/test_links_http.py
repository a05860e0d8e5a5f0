"""Links from outside: listed, undone for good, and linked again."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from factories import unique
from serving import Serving


def users_of(server: Serving, event: str, **more: str) -> int:
    """Return how many persons did an event today."""
    answer = server.get("/v1/reports/events", event=event, metric="users", **more)
    assert answer.status_code == 200, answer.text
    total: int = answer.json()["total"]
    return total


def linked(server: Serving, event: str, device: str, user: str) -> None:
    """Send a visit of the device, one of the user, and that they are one."""
    server.batch(
        [
            {"event": event, "anonymousId": device},
            {"event": event, "userId": user},
            {"type": "identify", "userId": user, "anonymousId": device},
        ]
    )
    server.wait_visible()


def undo(server: Serving, device: str, user: str) -> None:
    answer = server.post("/v1/links/undo", {"anonymousId": device, "userId": user})
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"}), answer.text
    server.wait_visible()


@pytest.mark.parametrize("tail", ["", "/links", "/a%2F", " ü+?#"])
def test_the_links_of_a_user_have_an_address(server, tail):
    """Also where the id itself looks like it; its profile has its own address still."""
    user, device = unique("user") + tail, unique("device")
    linked(server, unique("Visited"), device, user)
    address = f"/v1/users/{quote(user, safe='')}"
    found = server.get(f"{address}/links").json()
    assert [(one["userId"], one["anonymousId"], one["cause"]) for one in found["data"]] == [
        (user, device, "identify")
    ]
    assert server.get("/v1/links", userId=user).json() == found
    assert server.get("/v1/links", anonymousId=device).json() == found
    assert server.get(address).json()["id"] == user


@pytest.mark.parametrize(
    ("path", "parameters", "code", "field"),
    [
        ("/v1/links", {}, "missing_parameter", "userId"),
        ("/v1/links", {"userId": "u", "limit": "no"}, "invalid_parameter", "limit"),
        ("/v1/links", {"userId": "u", "cursor": "no"}, "invalid_cursor", "cursor"),
        ("/v1/users/u/links", {"userId": "u"}, "invalid_parameter", "userId"),
    ],
)
def test_a_wrong_list_is_refused_by_name(server, path, parameters, code, field):
    """The address names the user, or a parameter does."""
    answer = server.get(path, **parameters)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["field"]) == (400, code, field)


def test_an_undone_link_joins_nobody_until_it_is_stated_again(server):
    """Two persons again, at once; the list shows it; a later statement links, and counts."""
    event, device, user = unique("Visited"), unique("device"), unique("u")
    linked(server, event, device, user)
    assert users_of(server, event) == 1
    undo(server, device, user)
    assert users_of(server, event) == 2
    (shown,) = server.get("/v1/links", userId=user).json()["data"]
    assert (shown["undone"], shown["used"], shown["undoneAt"] >= shown["receivedAt"]) == (
        True,
        False,
        True,
    )
    assert users_of(server, event, as_of=shown["receivedAt"]) == 1
    server.batch([{"type": "identify", "userId": user, "anonymousId": device}])
    server.wait_visible()
    assert users_of(server, event) == 1
    assert [one["undone"] for one in server.get("/v1/links", userId=user).json()["data"]] == [
        False,
        True,
    ]


def test_undoing_takes_a_secret_key(server):
    """What the public key stated, the public key cannot take back."""
    body = {"anonymousId": "a", "userId": "u"}
    answer = server.post("/v1/links/undo", body, server.write_key)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "insufficient_scope")


@pytest.mark.slow
def test_an_undoing_survives_a_new_store(tmp_path_factory: pytest.TempPathFactory):
    """A store made anew from the log undoes the link again."""
    data_dir = tmp_path_factory.mktemp("rebuilt") / "data"
    server = Serving(data_dir).start()
    event, device, user = unique("Visited"), unique("device"), unique("u")
    linked(server, event, device, user)
    undo(server, device, user)
    assert users_of(server, event) == 2
    server.stop()
    _forget_store(data_dir)
    again = Serving(data_dir, secret_key=server.secret_key, write_key=server.write_key).start()
    again.wait_visible()
    assert users_of(again, event) == 2
    shown: list[dict[str, Any]] = again.get("/v1/links", userId=user).json()["data"]
    assert [one["undone"] for one in shown] == [True]
    again.stop()


def _forget_store(data_dir: Path) -> None:
    """Leave of the data what the log alone can fill a store with."""
    shutil.rmtree(data_dir / "store")
    (data_dir / "store").mkdir(mode=0o700)
    with closing(sqlite3.connect(data_dir / "log.db")) as file, file as log:
        first = "(SELECT min(first_position) - 1 FROM records)"
        log.execute(
            f"UPDATE readers SET position = {first}, planned = {first} WHERE name = 'store'"
        )
