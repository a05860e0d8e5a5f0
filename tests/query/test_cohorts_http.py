"""Saved cohorts from outside: made, changed, used in reports, and refused by name."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from factories import unique, wire_event
from serving import Serving

LIST = {"list": {"user_ids": ["nobody"]}}


def send(
    server: Serving, method: str, path: str, body: Any = None, key: str = ""
) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key or server.secret_key}"}
    return server.client.request(method, path, json=body, headers=headers)


def made(server: Serving, definition: Any, name: str = "") -> dict[str, Any]:
    """Return a new cohort as the answer shows it."""
    body = {"name": name or unique("Cohort"), "definition": definition}
    answer = send(server, "POST", "/v1/cohorts", body)
    assert answer.status_code == 200, answer.text
    cohort: dict[str, Any] = answer.json()["cohort"]
    return cohort


def error(answer: httpx.Response) -> tuple[int, str, str | None]:
    shown = answer.json()["error"]
    return answer.status_code, shown["code"], shown.get("field")


def test_a_cohort_is_made_changed_listed_and_deleted(server):
    """Its answer is the cohort as it is kept, times in UTC; the list leaves definitions out."""
    name, other = unique("Größe"), unique("Other")
    cohort = made(server, LIST, name)
    assert cohort == {
        "id": cohort["id"],
        "name": name,
        "definition": LIST,
        "created_at": cohort["updated_at"],
        "updated_at": cohort["updated_at"],
    }
    address = f"/v1/cohorts/{cohort['id']}"
    assert send(server, "GET", address).json() == {"status": "ok", "cohort": cohort}
    shown = {key: value for key, value in cohort.items() if key != "definition"}
    assert shown in send(server, "GET", "/v1/cohorts").json()["data"]
    definition = {"not": LIST}
    changed = send(server, "PUT", address, {"name": other, "definition": definition}).json()
    assert changed["cohort"] == {
        **cohort,
        "name": other,
        "definition": definition,
        "updated_at": changed["cohort"]["updated_at"],
    }
    assert send(server, "DELETE", address).json() == {"status": "ok"}
    for method in ("GET", "DELETE"):
        assert error(send(server, method, address)) == (404, "not_found", None)
    assert error(send(server, "PUT", address, {"name": name, "definition": LIST}))[0] == 404


def test_a_saved_cohort_narrows_a_report_and_shows_its_persons(server):
    """At once after it is saved, and differently at once after it is changed."""
    event, user, other = unique("Bought"), unique("u"), unique("v")
    visitor = unique("ø")
    server.batch(
        [
            *(wire_event(event=event, userId=user) for _ in range(3)),
            wire_event(event=event, userId=other),
            {"event": event, "anonymousId": visitor},
        ]
    )
    server.wait_visible()
    cohort = made(server, {"did": {"event": event, "at_least": 2, "last_days": 1_000}})
    address = f"/v1/cohorts/{cohort['id']}"

    def total(filter_: str) -> int:
        wanted = {"event": event, "metric": "users", "from": "2020-01-01", "filter": filter_}
        answer = server.get("/v1/reports/events", interval="month", **wanted)
        assert answer.status_code == 200, answer.text
        number: int = answer.json()["total"]
        return number

    assert (total(f"cohort={cohort['id']}"), total(f"cohort!={cohort['id']}")) == (1, 2)
    assert server.get(f"{address}/persons").json() == {
        "status": "ok",
        "count": 1,
        "persons": [{"type": "user", "id": user}],
        "next_cursor": None,
    }
    body = {"name": cohort["name"], "definition": {"did": {"event": event}}}
    assert send(server, "PUT", address, body).status_code == 200
    assert total(f"cohort={cohort['id']}") == 3
    first = server.get(f"{address}/persons", limit=2).json()
    second = server.get(f"{address}/persons", limit=2, cursor=first["next_cursor"]).json()
    assert [first["count"], second["count"], second["next_cursor"]] == [3, 3, None]
    assert first["persons"] + second["persons"] == [
        {"type": "anonymous", "id": visitor},
        *({"type": "user", "id": each} for each in sorted([user, other])),
    ]


def test_a_cohort_of_others_keeps_them(server):
    """No circle is made, and what another is made of is not deleted; both by name."""
    one = made(server, LIST)
    two = made(server, {"not": {"cohort": one["id"]}})
    circle = {"name": one["name"], "definition": {"cohort": two["id"]}}
    refused = send(server, "PUT", f"/v1/cohorts/{one['id']}", circle)
    assert error(refused) == (400, "invalid_parameter", "definition")
    assert two["name"] in refused.json()["error"]["message"]
    refused = send(server, "DELETE", f"/v1/cohorts/{one['id']}")
    assert error(refused) == (400, "invalid_parameter", "id")
    assert two["name"] in refused.json()["error"]["message"]
    assert send(server, "GET", f"/v1/cohorts/{one['id']}").json()["cohort"] == one
    for cohort in (two, one):
        assert send(server, "DELETE", f"/v1/cohorts/{cohort['id']}").status_code == 200


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"definition": LIST}, "invalid_parameter", ""),
        ({"name": "X"}, "invalid_parameter", ""),
        ({"name": "X", "definition": LIST, "id": 7}, "invalid_parameter", "id"),
        ({"name": "", "definition": LIST}, "invalid_parameter", "name"),
        ({"name": "X", "definition": {}}, "invalid_parameter", "definition"),
        ({"name": "X", "definition": {"cohort": "99999"}}, "invalid_parameter", "definition"),
        ({"name": "X", "definition": {"did": {"days": 7}}}, "invalid_parameter",
         "definition.did.days"),
        ([], "invalid_parameter", ""),
    ],
)  # fmt: skip
def test_a_wrong_cohort_is_refused_by_field(server, body, code, field):
    """And is not there afterwards."""
    before = send(server, "GET", "/v1/cohorts").json()
    status, found, named = error(send(server, "POST", "/v1/cohorts", body))
    assert (status, found, named or "") == (400, code, field)
    assert send(server, "GET", "/v1/cohorts").json() == before


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/cohorts"),
        ("POST", "/v1/cohorts"),
        ("GET", "/v1/cohorts/1"),
        ("PUT", "/v1/cohorts/1"),
        ("DELETE", "/v1/cohorts/1"),
        ("GET", "/v1/cohorts/1/persons"),
        ("GET", "/v1/links?userId=u"),
        ("GET", "/v1/users/u/links"),
    ],
)
def test_cohorts_and_links_take_a_secret_key(server, method, path):
    """The public key learns nothing and changes nothing."""
    assert error(server.client.request(method, path)) == (401, "missing_key", None)
    refused = send(server, method, path, {}, server.write_key)
    assert error(refused) == (403, "insufficient_scope", None)


@pytest.mark.parametrize("cohort_id", ["0", "abc", "٣", "9" * 30, "1.5", "-1"])
@pytest.mark.parametrize("tail", ["", "/persons"])
def test_what_is_no_id_is_not_found(server, cohort_id, tail):
    """404, whatever stands there."""
    assert error(send(server, "GET", f"/v1/cohorts/{cohort_id}{tail}")) == (404, "not_found", None)


@pytest.mark.parametrize(
    ("parameters", "field"),
    [({"limit": "0"}, "limit"), ({"limit": "10001"}, "limit"), ({"a": "b"}, "a")],
)
def test_a_wrong_page_is_refused_by_name(server, parameters, field):
    """Persons come in pages of up to 10,000."""
    cohort = made(server, LIST)
    answer = server.get(f"/v1/cohorts/{cohort['id']}/persons", **parameters)
    assert error(answer) == (400, "invalid_parameter", field)
