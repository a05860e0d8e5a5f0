"""The wire cases every SDK shares, run against this one."""

import time
from typing import Any

import pytest
from contract_cases import load_cases, mismatch
from scripted_server import Recorded, ScriptedServer

from saytics import Saytics, SayticsError


@pytest.mark.parametrize("case", load_cases(), ids=lambda case: case["id"])
def test_wire_case(case: dict[str, Any]) -> None:
    """The SDK sends the case's requests and reacts to its answers with its errors and counts."""
    errors: list[tuple[SayticsError, list[dict[str, Any]]]] = []
    with ScriptedServer(case.get("answers", [])) as server:
        options = {"flush_interval_s": 60, "spool": "off", **case.get("options", {})}
        saytics = Saytics(
            "sk_live_contract",
            host=server.host,
            on_error=lambda error, events: errors.append((error, events)),
            **options,
        )
        for call in case["calls"]:
            _perform(saytics, server, call)
        counts = saytics.shutdown()

    _check_requests(case, server.requests)
    assert _error_mismatch(case["errors"], errors) is None
    if "counts" in case:
        assert {name: getattr(counts, name) for name in case["counts"]} == case["counts"]
    if "connections" in case:
        assert len({request.connection for request in server.requests}) == case["connections"]


def _perform(saytics: Saytics, server: ScriptedServer, call: dict[str, Any]) -> None:
    if "wait_for_requests" in call:
        server.wait_for_requests(call["wait_for_requests"])
    elif "sleep_s" in call:
        time.sleep(call["sleep_s"])
    else:
        getattr(saytics, call["call"])(**call.get("with", {}))


def _check_requests(case: dict[str, Any], requests: list[Recorded]) -> None:
    assert len(requests) == len(case["requests"])
    for index, (pattern, request) in enumerate(zip(case["requests"], requests, strict=True)):
        assert (request.method, request.path) == ("POST", "/v1/events/batch")
        for name, value in pattern.get("headers", {}).items():
            assert request.headers.get(name) == value
        if "events" in pattern:
            assert mismatch(pattern["events"], request.events(), "events") is None
        if "same_body_as" in pattern:
            assert request.raw == requests[pattern["same_body_as"]].raw
        if "gap_s" in pattern:
            least, most = pattern["gap_s"]
            assert least <= request.at_s - requests[index - 1].at_s < most


def _error_mismatch(
    patterns: list[dict[str, Any]], errors: list[tuple[SayticsError, list[dict[str, Any]]]]
) -> str | None:
    if len(patterns) != len(errors):
        return f"{len(errors)} errors, not {len(patterns)}: {errors}"
    for pattern, (error, events) in zip(patterns, errors, strict=True):
        seen = {
            "code": error.code, "status": error.status, "field": error.field, "events": events,
        }  # fmt: skip
        found = mismatch({"$has": pattern}, seen, "error")
        if found is not None:
            return found
    return None
