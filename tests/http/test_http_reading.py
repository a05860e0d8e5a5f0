"""The other routes from outside: who may ask, what is answered where nothing is."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from refusals import error

from factories import unique, wire_event
from serving import Serving

READING = ["/v1/events", "/v1/users/u", "/v1/reports/events?event=X", "/v1/reports/users"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_and_readiness_need_no_key(server: Serving, path: str):
    """For the program that restarts it."""
    answer = server.client.get(path)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_the_openapi_document_needs_no_key(server: Serving):
    """It says what version it is of."""
    document = server.client.get("/v1/openapi.json")
    assert document.status_code == 200
    assert document.json()["openapi"].startswith("3.1")


@pytest.mark.parametrize("path", READING)
def test_reading_takes_a_secret_key(server: Serving, path: str):
    """No key, an unknown key, the write key: each its code."""
    assert error(server.client.get(path)) == (401, "missing_key", None)
    assert error(server.get(path, "sk_live_" + "x" * 32)) == (401, "invalid_key", None)
    assert error(server.get(path, server.write_key)) == (403, "insufficient_scope", None)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "not_found"),
        ("POST", "/v1/nothing", 404, "not_found"),
        ("GET", "/v1/reports/nothing", 404, "not_found"),
        ("PUT", "/v1/events", 405, "method_not_allowed"),
        ("DELETE", "/v1/events/batch", 405, "method_not_allowed"),
        ("GET", "/v1/events/batch", 405, "method_not_allowed"),
        ("POST", "/v1/reports/events", 405, "method_not_allowed"),
        ("POST", "/healthz", 405, "method_not_allowed"),
    ],
)
def test_what_is_not_there_is_said_in_json(
    server: Serving, method: str, path: str, status: int, code: str
):
    """The one error shape, for addresses and methods too."""
    headers = {"Authorization": f"Bearer {server.secret_key}"}
    answer = server.client.request(method, path, headers=headers)
    assert error(answer) == (status, code, None)


def test_an_unknown_user_is_404(server: Serving):
    """With a code of its own."""
    assert error(server.get(f"/v1/users/{unique('nobody')}")) == (404, "user_not_found", None)


def test_the_id_in_the_path_is_percent_decoded_once(server: Serving):
    """Whatever text an id is, its encoded form finds it."""
    tails = ["a/b", "a%2Fb", "ü", "a b", "a+b", "..", "100%", "identify", "a?b", "a#b"]
    users = [f"{unique('user')}-{tail}" for tail in tails]
    server.batch([wire_event(userId=user) for user in users])
    server.wait_visible()
    for user in users:
        answer = server.get(f"/v1/users/{quote(user, safe='')}")
        assert (answer.status_code, answer.json()["id"]) == (200, user)


@pytest.mark.parametrize(
    ("path", "parameters", "code", "field"),
    [
        ("/v1/events", {"limit": "0"}, "invalid_parameter", "limit"),
        ("/v1/events", {"limit": "1001"}, "invalid_parameter", "limit"),
        ("/v1/events", {"limit": "ten"}, "invalid_parameter", "limit"),
        ("/v1/events", {"order": "up"}, "invalid_parameter", "order"),
        ("/v1/events", {"from": "soon"}, "invalid_parameter", "from"),
        ("/v1/events", {"cursor": "made up"}, "invalid_cursor", "cursor"),
        ("/v1/events", {"userid": "u"}, "invalid_parameter", "userid"),
        ("/v1/reports/events", {"event": "X", "interval": "year"}, "invalid_parameter", "interval"),
        ("/v1/reports/events", {"event": "X", "metric": "mean:a"}, "invalid_parameter", "metric"),
        ("/v1/reports/users", {"metric": "yau"}, "invalid_parameter", "metric"),
        (
            "/v1/reports/events",
            {"event": "X", "from": "2000-01-01", "to": "2026-01-01", "interval": "hour"},
            "range_too_large",
            None,
        ),
    ],
)
def test_a_wrong_parameter_is_named(
    server: Serving, path: str, parameters: dict[str, str], code: str, field: Any
):
    """400 with the parameter's name as field."""
    status, found, named = error(server.get(path, **parameters))
    assert (status, found) == (400, code)
    if field is not None:
        assert named == field


def test_an_event_is_in_a_report_within_two_seconds(server: Serving):
    """Counted once, in today's bucket."""
    name = unique("Report")
    server.batch([wire_event(event=name) for _ in range(7)])
    server.wait_visible(limit_s=2)
    report = server.get("/v1/reports/events", event=name).json()
    assert report["total"] == 7
    assert report["data"][-1]["count"] == 7
    assert report["definition"]


def test_pages_of_events_are_stable_while_events_arrive(server: Serving):
    """Following cursors gives each event that was there once, in order."""
    name = unique("Page")
    server.batch([wire_event(event=name, userId=f"u{n}") for n in range(10)])
    server.wait_visible()
    seen: list[str] = []
    cursor = None
    while True:
        wanted = {"event": name, "limit": 3} | ({"cursor": cursor} if cursor else {})
        page = server.get("/v1/events", **wanted).json()
        seen += [event["userId"] for event in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        server.track(wire_event(event=name, userId="later"))
        server.wait_visible()
    assert sorted(seen) == sorted(f"u{n}" for n in range(10))


def test_a_host_that_is_not_ours_gets_no_page(server: Serving):
    """Against DNS rebinding; a request with a key needs no check, a sender's neither."""
    foreign = {"Host": "attacker.example"}
    assert error(server.client.get("/", headers=foreign)) == (400, "invalid_host", None)
    assert server.track(wire_event(), Host="events.example.com").status_code == 200
    with_key = {**foreign, "Authorization": f"Bearer {server.secret_key}"}
    assert server.client.get("/v1/events", headers=with_key).status_code == 200
