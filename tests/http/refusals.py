"""The one shape every refusal has."""

from __future__ import annotations

from typing import Any


def error(answer: Any) -> tuple[int, str, str | None]:
    """Return status, code and field of a refusal, after checking its shape."""
    body = answer.json()
    assert set(body) <= {"error", "received", "rejected"}, body
    assert set(body["error"]) <= {"code", "message", "field", "index", "docs"}
    assert body["error"]["message"]
    assert answer.headers["content-type"] == "application/json"
    return answer.status_code, body["error"]["code"], body["error"].get("field")
