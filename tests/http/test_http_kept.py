"""Answers that are kept: shown again while nothing was written, and never after anything was."""

from __future__ import annotations

from typing import Any

import pytest
from tenant import Tenant

from factories import unique, wire_event
from serving import Serving


@pytest.fixture
def tenant(operated: Serving) -> Tenant:
    """A workspace that nobody else writes to, so that what is kept of it stays."""
    return Tenant(operated)


def _asked(tenant: Tenant, name: str, **parameters: Any) -> tuple[str, int]:
    """Return whether a trend's total was kept, and the total."""
    answer = tenant.serving.get("/v1/reports/events", tenant.secret, event=name, **parameters)
    assert answer.status_code == 200, answer.text
    return answer.headers["X-Saytics-Cache"], answer.json()["total"]


def _persons(tenant: Tenant, name: str) -> tuple[str, int]:
    document = {"query": {"report": "events", "event": name}}
    answer = tenant.serving.post("/v1/reports/persons", document, tenant.secret)
    return answer.headers["X-Saytics-Cache"], answer.json()["count"]


def _sent(tenant: Tenant, *events: dict[str, Any]) -> None:
    assert tenant.serving.batch(list(events), tenant.secret).status_code == 200
    tenant.serving.wait_visible()


def test_a_question_asked_again_is_not_worked_out_again(tenant: Tenant):
    """The second answer is the first, byte for byte, in either form, and says that it was kept."""
    name = unique("Kept")
    _sent(tenant, wire_event(event=name))
    serving = tenant.serving
    asked = [serving.get("/v1/reports/events", tenant.secret, event=name) for _ in range(2)]
    asked.append(
        serving.post("/v1/reports/query", {"report": "events", "event": name}, tenant.secret)
    )
    assert [answer.headers["X-Saytics-Cache"] for answer in asked] == ["miss", "hit", "hit"]
    assert asked[0].json()["total"] == 1
    assert {answer.content for answer in asked} == {asked[0].content}


def test_a_new_event_is_in_the_next_answer(tenant: Tenant):
    """What was kept before it was visible is not shown after: a number, and who is behind it."""
    name = unique("Kept")
    _sent(tenant, wire_event(event=name, userId=unique("user")))
    assert [_asked(tenant, name) for _ in range(2)] == [("miss", 1), ("hit", 1)]
    assert [_persons(tenant, name) for _ in range(2)] == [("miss", 1), ("hit", 1)]
    _sent(tenant, wire_event(event=name, userId=unique("user")))
    assert [_asked(tenant, name) for _ in range(2)] == [("miss", 2), ("hit", 2)]
    assert _persons(tenant, name) == ("miss", 2)


def test_what_another_workspace_sends_changes_nothing(tenant: Tenant):
    """Each workspace's answers are kept apart: another's events neither show nor disturb."""
    name, other = unique("Kept"), Tenant(tenant.serving)
    _sent(tenant, wire_event(event=name))
    assert _asked(tenant, name) == ("miss", 1)
    _sent(other, wire_event(event=name), wire_event(event=name))
    assert _asked(other, name) == ("miss", 2)
    assert _asked(tenant, name) == ("hit", 1)


def test_links_and_undone_links_are_in_the_next_answer(tenant: Tenant):
    """Two persons are one after a link, and two again when the link is undone."""
    name, visitor, user = unique("Kept"), unique("visitor"), unique("user")
    serving = tenant.serving
    _sent(
        tenant,
        wire_event(event=name, userId=None, anonymousId=visitor),
        wire_event(event=name, userId=user),
    )
    counts = [_asked(tenant, name, metric="users")]
    link = {"userId": user, "anonymousId": visitor}
    assert serving.post("/v1/users/identify", link, tenant.secret).status_code == 200
    serving.wait_visible()
    counts.append(_asked(tenant, name, metric="users"))
    assert serving.post("/v1/links/undo", link, tenant.secret).status_code == 200
    counts.append(_asked(tenant, name, metric="users"))
    assert counts == [("miss", 2), ("miss", 1), ("miss", 2)]


def test_a_changed_cohort_is_in_the_next_answer(tenant: Tenant):
    """A report on a cohort uses the definition as it was saved last."""
    name, users = unique("Kept"), [unique("user"), unique("user")]
    serving = tenant.serving
    _sent(tenant, *(wire_event(event=name, userId=user) for user in users))
    saved = {"name": "Few", "definition": {"list": {"user_ids": users[:1]}}}
    made = serving.post("/v1/cohorts", saved, tenant.secret).json()["cohort"]
    filtered = {"filter": f"cohort={made['id']}"}
    assert [_asked(tenant, name, **filtered) for _ in range(2)] == [("miss", 1), ("hit", 1)]
    saved["definition"] = {"list": {"user_ids": users}}
    address = f"/v1/cohorts/{made['id']}"
    headers = {"Authorization": f"Bearer {tenant.secret}"}
    assert serving.client.put(address, json=saved, headers=headers).status_code == 200
    assert _asked(tenant, name, **filtered) == ("miss", 2)


def test_a_changed_time_zone_is_in_the_next_answer(tenant: Tenant):
    """The same day is another range of time in another zone."""
    name = unique("Kept")
    _sent(tenant, wire_event(event=name, timestamp="2024-01-15T02:00:00Z"))
    day = {"from": "2024-01-15", "to": "2024-01-15"}
    assert [_asked(tenant, name, **day) for _ in range(2)] == [("miss", 1), ("hit", 1)]
    tenant.operate("update_workspace({id}, timezone='America/New_York')")
    assert _asked(tenant, name, **day) == ("miss", 0)


def test_what_is_deleted_in_the_store_is_in_no_answer(tenant: Tenant):
    """A deletion takes every kept answer with it."""
    name = unique("Kept")
    _sent(tenant, wire_event(event=name))
    assert [_asked(tenant, name) for _ in range(2)] == [("miss", 1), ("hit", 1)]
    tenant.serving.operate(f"store.command('DELETE FROM events WHERE workspace_id = {tenant.id}')")
    assert _asked(tenant, name) == ("miss", 0)
