"""Usage and losses as a client sees them: counted once, nobody's activity."""

from __future__ import annotations

from typing import Any

import pytest

from factories import unique
from serving import Serving


def batch(*ids: str, dropped: int, library: str) -> dict[str, Any]:
    """Return a batch of an SDK that has lost events."""
    context = {"library": {"name": library, "version": "1"}}
    events = [{"event": "E", "userId": "u", "messageId": each, "context": context} for each in ids]
    return {"events": events, "dropped": dropped}


def send(server: Serving, body: dict[str, Any], key: str) -> dict[str, Any]:
    """Send a batch and return the answer."""
    answer = server.client.post(
        "/v1/events/batch", json=body, headers={"Authorization": f"Bearer {key}"}
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def usage(server: Serving) -> dict[str, Any]:
    """Return the answer of the usage address."""
    answer = server.client.get(
        "/v1/usage", headers={"Authorization": f"Bearer {server.secret_key}"}
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_losses_are_counted_once(server: Serving):
    """A retry of an SDK (same messageIds, same number) adds nothing; losses are no events."""
    before, library = usage(server), unique("größte")
    one, two, three, four = (unique("m") for _ in range(4))
    first = batch(one, two, dropped=3, library=library)
    assert send(server, first, server.secret_key) == {"status": "ok", "received": 2}
    again = {"status": "ok", "received": 2, "duplicates": 2}
    assert send(server, first, server.secret_key) == again
    send(server, batch(three, dropped=4, library=library), server.secret_key)
    send(server, batch(four, dropped=5, library=library + "x" * 100), server.write_key)
    found = usage(server)
    mine = [lost for lost in found["dropped"] if lost["library"].startswith(library)]
    dates = {lost.pop("date") for lost in mine}
    assert dates <= {before["month"] + "-" + f"{day:02}" for day in range(1, 32)}
    prefixes = {lost["key"]["class"]: lost["key"].pop("prefix") for lost in mine}
    assert server.secret_key.startswith(prefixes["secret"])
    assert server.write_key.startswith(prefixes["write"])
    names = [lost["key"].pop("name") for lost in mine]
    assert all(names)
    whole = (library + "x" * 100)[:64]
    assert sorted(mine, key=lambda lost: str(lost["library"])) == [
        {"key": {"class": "secret"}, "library": library, "events": 7},
        {"key": {"class": "write"}, "library": whole, "events": 5},
    ]
    assert found["events"] - before["events"] == 4


@pytest.mark.parametrize("name", ['"a\\ud800b"', '"a\\u0000b"', "7", "null", "[]"])
def test_a_library_of_no_name_costs_nobody_anything(server: Serving, name: str):
    """Whatever stands in its place, what was lost is counted and the server goes on."""
    good, bad = (
        f'{{"event":"E","userId":"u","messageId":"{unique("m")}"{context}}}'
        for context in ("", f',"context":{{"library":{{"name":{name}}}}}')
    )
    count = sum(lost["events"] for lost in usage(server)["dropped"])
    answer = server.client.post(
        "/v1/events/batch",
        content=f'{{"events":[{bad},{good}],"dropped":1}}',
        headers={"Authorization": f"Bearer {server.write_key}"},
    )
    assert answer.status_code == 200, answer.text
    assert sum(lost["events"] for lost in usage(server)["dropped"]) == count + 1
