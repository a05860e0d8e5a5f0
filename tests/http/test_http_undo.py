"""Links over HTTP: listed with their cause, undone durably, linked again by what comes later."""

from __future__ import annotations

from factories import unique, wire_event
from serving import Serving


def test_an_undone_link_no_longer_merges_and_survives_in_the_list(server: Serving):
    """Visitor and user are two persons in the next report, and one again when it is said again."""
    name, visitor, user = unique("Undo"), unique("visitor"), unique("user")
    server.batch(
        [
            wire_event(event=name, userId=None, anonymousId=visitor),
            wire_event(event=name, userId=user, anonymousId=None),
        ]
    )
    link = {"userId": user, "anonymousId": visitor}
    assert server.post("/v1/users/identify", link).status_code == 200
    server.wait_visible()
    assert _persons(server, name) == 1
    listed = server.get("/v1/links", userId=user).json()["data"]
    assert [(row["anonymousId"], row["cause"]) for row in listed] == [(visitor, "identify")]
    assert server.post("/v1/links/undo", link).json() == {"status": "ok"}
    assert _persons(server, name) == 2
    assert server.get(f"/v1/users/{user}").json()["anonymous_ids"] == []
    assert server.post("/v1/users/identify", link).status_code == 200
    server.wait_visible()
    assert _persons(server, name) == 1


def _persons(server: Serving, name: str) -> int:
    total: int = server.get("/v1/reports/events", event=name, metric="users").json()["total"]
    return total
