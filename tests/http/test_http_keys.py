"""Keys: classes, scopes, browsers, revocation; and what a workspace may limit."""

from __future__ import annotations

from typing import Any

import pytest
from refusals import error
from tenant import Tenant

from factories import unique, wire_event
from serving import Serving

OK = {"status": "ok", "received": 1}
BROWSER = {"Origin": "https://shop.example"}


@pytest.fixture
def tenant(operated: Serving) -> Tenant:
    return Tenant(operated)


SENDING: dict[str, Any] = {
    "/v1/events": wire_event(),
    "/v1/events/batch": {"events": [wire_event()]},
    "/v1/users/identify": {"userId": "user_1"},
}


@pytest.mark.parametrize("path", SENDING)
def test_no_key_and_a_wrong_key_are_the_two_bodies_of_the_contract(server: Serving, path: str):
    """Word for word, as the product's pages show them."""
    answer = server.client.post(path, json=SENDING[path])
    assert answer.status_code == 401
    assert answer.json() == {
        "error": {"code": "missing_key", "message": "Authorization header is required."}
    }
    answer = server.post(path, SENDING[path], "sk_live_" + "0" * 32)
    assert answer.status_code == 401
    assert answer.json() == {
        "error": {
            "code": "invalid_key",
            "message": "The provided API key is invalid or revoked.",
        }
    }


@pytest.mark.parametrize(
    "value",
    ["Bearer", "Basic {key}", "{key}", "bearer{key}", "Bearer {key}x", "Bearer x{key}",
     "Bearer {key} {key}", "Token {key}", "\xff\xfe", "Bearer \xe9" * 100],
)  # fmt: skip
def test_other_ways_to_authorise_are_invalid(server: Serving, value: str):
    """401 for every form but `Bearer KEY`."""
    sent = value.format(key=server.secret_key).encode("latin-1")
    answer = server.client.post("/v1/events", json=wire_event(), headers=[(b"Authorization", sent)])
    assert error(answer) == (401, "invalid_key", None)


def test_the_scheme_is_read_in_any_case(server: Serving):
    """As HTTP says."""
    headers = {"Authorization": f"BEARER {server.secret_key}"}
    assert server.client.post("/v1/events", json=wire_event(), headers=headers).json() == OK


@pytest.mark.parametrize("path", SENDING)
def test_both_classes_and_a_key_for_sending_may_send(tenant: Tenant, path: str):
    """Sending is what all keys are for."""
    for key in (tenant.write, tenant.secret, tenant.sending):
        assert tenant.serving.post(path, SENDING[path], key).json()["status"] == "ok"


def test_a_key_for_sending_may_not_read(tenant: Tenant):
    """A server that never reads cannot leak what it never had."""
    answer = tenant.serving.get("/v1/events", tenant.sending)
    assert error(answer) == (403, "insufficient_scope", None)


def test_a_revoked_key_is_refused_on_the_very_next_request(tenant: Tenant):
    """For sending and for reading, on a connection that is open; other keys go on."""
    assert tenant.track(tenant.secret).status_code == 200
    tenant.operate(f"revoke_key({tenant.secret_id})")
    assert error(tenant.track(tenant.secret)) == (401, "invalid_key", None)
    assert error(tenant.serving.get("/v1/events", tenant.secret))[1] == "invalid_key"
    assert tenant.track(tenant.write).status_code == 200
    tenant.operate(f"revoke_key({tenant.write_id})")
    assert error(tenant.track(tenant.write)) == (401, "invalid_key", None)


def test_workspaces_do_not_see_each_other(tenant: Tenant, operated: Serving):
    """Neither events nor messageIds."""
    event = wire_event(event=unique("Mine"), messageId=unique("m"))
    other = Tenant(operated)
    assert operated.track(event, tenant.secret).json() == OK
    assert operated.track(event, other.secret).json() == OK
    operated.wait_visible()
    assert len(operated.events(tenant.secret, event=event["event"])) == 1
    assert len(operated.events(other.secret)) == 1


# --- browsers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SENDING)
def test_a_preflight_is_answered_for_everybody(server: Serving, path: str):
    """Any origin, no credentials, a day long; without a key, as browsers ask."""
    answer = server.client.options(
        path,
        headers={
            **BROWSER,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
        },
    )
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-max-age"] == "86400"
    assert "access-control-allow-credentials" not in answer.headers
    assert "POST" in answer.headers["access-control-allow-methods"]
    allowed = answer.headers["access-control-allow-headers"].lower()
    for name in ("authorization", "content-type", "content-encoding", "idempotency-key"):
        assert name in allowed


def test_a_browser_may_read_answers_and_refusals(server: Serving):
    """Both carry CORS headers, so that a page can tell what to fix."""
    for sent in (wire_event(), {"event": "X"}, b"x"):
        answer = server.track(sent, server.write_key, **BROWSER)
        assert answer.headers["access-control-allow-origin"] == "*"
    answer = server.track(wire_event(), "wrong", **BROWSER)
    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("path", SENDING)
def test_a_secret_key_in_a_browser_is_refused(server: Serving, path: str):
    """It is exposed the moment it is there; reading is refused too."""
    answer = server.post(path, SENDING[path], **BROWSER)
    assert error(answer) == (403, "secret_key_exposed", None)
    headers = {**BROWSER, "Authorization": f"Bearer {server.secret_key}"}
    assert error(server.client.get("/v1/events", headers=headers))[1] == "secret_key_exposed"


@pytest.mark.parametrize("path", SENDING)
def test_sendbeacon_gives_its_write_key_in_the_url(server: Serving, path: str):
    """With text/plain and no header at all."""
    answer = server.client.post(
        path,
        params={"key": server.write_key},
        json=SENDING[path],
        headers={**BROWSER, "Content-Type": "text/plain;charset=UTF-8"},
    )
    assert answer.json()["status"] == "ok"
    refused = server.client.post(path, params={"key": server.secret_key}, json=SENDING[path])
    assert error(refused) == (403, "secret_key_exposed", None)
    wrong = server.client.post(path, params={"key": "sk_write_x"}, json=SENDING[path])
    assert error(wrong) == (401, "invalid_key", None)


def test_reading_takes_no_key_in_the_url(server: Serving):
    """URLs are logged everywhere."""
    answer = server.client.get("/v1/events", params={"key": server.write_key})
    assert answer.status_code in (400, 401)


def test_context_is_filled_for_browsers_alone(server: Serving):
    """Address and user agent of a write key's request; nothing of a backend's."""
    name = unique("Context")
    server.track(wire_event(event=name), server.write_key, User_Agent="Mozilla/5.0")
    server.track(wire_event(event=name), User_Agent="backend/1.0")
    server.wait_visible()
    contexts = {event["keyType"]: event["context"] for event in server.events(event=name)}
    assert contexts == {
        "write": {"ip": "127.0.0.1", "userAgent": "Mozilla/5.0"},
        "secret": {},
    }


def test_the_public_key_may_not_write_history(server: Serving):
    """Seven days; the server's key may."""
    old = wire_event(timestamp="2020-01-01T00:00:00Z")
    assert error(server.track(old, server.write_key)) == (400, "invalid_timestamp", "timestamp")
    assert server.track(old).json() == OK


# --- what a workspace limits ---------------------------------------------------------------------


def test_events_for_secret_keys_only_are_refused_to_the_public_one(tenant: Tenant):
    """Also in a batch, where the others are taken."""
    tenant.operate("update_workspace({id}, secret_only_events=frozenset(['Paid']))")
    paid, other = wire_event(event="Paid"), wire_event(event="Seen")
    answer = tenant.serving.track(paid, tenant.write)
    assert error(answer) == (400, "event_secret_only", "event")
    body = tenant.serving.batch([other, paid], tenant.write).json()
    assert (body["received"], body["rejected"][0]["code"]) == (1, "event_secret_only")
    assert tenant.serving.track(paid, tenant.secret).json() == OK


def test_without_a_limit_no_rate_is_told(tenant: Tenant):
    """The default plan has none."""
    answer = tenant.track()
    assert not any(name.startswith("ratelimit") for name in answer.headers)


def test_a_rate_is_counted_per_key_and_told_in_headers(tenant: Tenant):
    """The request after the last one is 429 with the time to wait; another key has its own."""
    tenant.limit(requests_per_minute=3)
    left = [tenant.track(tenant.secret).headers["ratelimit-remaining"] for _ in range(3)]
    assert left == ["2", "1", "0"]
    refused = tenant.track(tenant.secret)
    assert error(refused) == (429, "rate_limited", None)
    assert refused.headers["ratelimit-limit"] == "3"
    assert refused.headers["ratelimit-remaining"] == "0"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["ratelimit-reset"] == refused.headers["retry-after"]
    assert tenant.track(tenant.write).headers["ratelimit-remaining"] == "2"


def test_a_quota_that_is_enforced_refuses_and_one_that_is_not_warns(tenant: Tenant):
    """429 until the next month, or 200 with a warning, as the operator chose."""
    tenant.limit(events_per_month=2, enforce_quota=False)
    for _ in range(2):
        assert tenant.track().json() == OK
    warning = {"code": "quota_exceeded", "field": "events"}
    assert tenant.track().json() == {**OK, "warnings": [warning]}
    tenant.limit(enforce_quota=True)
    refused = tenant.track()
    assert error(refused) == (429, "quota_exceeded", None)
    assert int(refused.headers["retry-after"]) >= 1


def test_a_plan_may_take_smaller_batches(tenant: Tenant):
    """One over it is refused whole."""
    tenant.limit(batch_max=5)
    assert tenant.serving.batch([wire_event()] * 5, tenant.secret).json()["received"] == 5
    answer = tenant.serving.batch([wire_event()] * 6, tenant.secret)
    assert error(answer) == (400, "batch_too_large", "events")


def test_the_public_key_joins_only_so_many_ids_to_one_user(tenant: Tenant):
    """Twenty devices an hour; beyond it the event is kept and makes no link."""
    user = unique("user")

    def link(number: int, key: str) -> Any:
        event = wire_event(userId=user, anonymousId=f"device-{number}")
        return tenant.serving.track(event, key).json()

    assert all(link(number, tenant.write) == OK for number in [*range(20), *range(20)])
    warning = {"code": "link_limited", "field": "anonymousId"}
    assert link(20, tenant.write) == {**OK, "warnings": [warning]}
    assert link(5, tenant.write) == OK
    assert all(link(number, tenant.secret) == OK for number in range(30, 60))
    tenant.serving.wait_visible()
    profile = tenant.serving.get(f"/v1/users/{user}", tenant.secret).json()
    assert "device-20" not in profile["anonymous_ids"]
    assert "device-5" in profile["anonymous_ids"]
