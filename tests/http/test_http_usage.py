"""Usage and losses as a client sees them: counted once, kept over a restart, nobody's activity."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serving import Serving


def batch(*ids: str, dropped: int, library: str = "größte") -> dict[str, Any]:
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


def test_losses_are_counted_once_and_kept(tmp_path: Path):
    """A retry of an SDK (same messageIds, same number) adds nothing; a kill takes nothing."""
    server = Serving(tmp_path / "data").start()
    started = datetime.now(UTC)
    try:
        assert usage(server)["dropped"] == []
        first = batch("m-1", "m-2", dropped=3)
        assert send(server, first, server.secret_key) == {"status": "ok", "received": 2}
        again = {"status": "ok", "received": 2, "duplicates": 2}
        assert send(server, first, server.secret_key) == again
        send(server, batch("m-3", dropped=4), server.secret_key)
        send(server, batch("m-4", dropped=5, library="x" * 100), server.write_key)
        server.kill()
        server.start()
        found = usage(server)
    finally:
        server.stop()
    dates = {each.pop("date") for each in found["dropped"]}
    assert dates <= {f"{started:%Y-%m-%d}", f"{datetime.now(UTC):%Y-%m-%d}"}
    keys = {each["key"].pop("class"): each.pop("key") for each in found["dropped"]}
    assert all(keys[kind]["prefix"] in getattr(server, f"{kind}_key") for kind in keys)
    assert found == {
        "status": "ok",
        "month": f"{started:%Y-%m}",
        "events": 4,
        "dropped": [{"library": "größte", "events": 7}, {"library": "x" * 64, "events": 5}],
    }
