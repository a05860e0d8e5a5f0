"""The wire cases every SDK shares, run against this one."""

import dataclasses
import hashlib
import re
import time
from pathlib import Path
from typing import Any

import pytest
from contract_cases import load_cases, mismatch
from scripted_server import Recorded, ScriptedServer

from saytics import Saytics, SayticsError
from saytics.ledger import Counts

KEY = "sk_live_contract"

# As docs/spool.md describes it, not as the SDK's code happens to.
FILE_NAME = re.compile(r"[0-9a-f]{32}-[0-9a-f]{8}-\d+-\d+\.spool")

# For what happens soon.
WAIT_S = 10.0


class Spool:
    """The spool's folder as the cases see it: files as lists of lines."""

    def __init__(self, root: Path, host: str) -> None:
        self.root = root
        self._folder = root / hashlib.sha256(f"{host}\n{KEY}".encode()).hexdigest()[:16]

    def fill(self, files: list[list[Any]]) -> None:
        """Leave files there as a process does that lets go of them."""
        if files:
            self._folder.mkdir(parents=True)
        for number, lines in enumerate(files):
            name = f"{number:032x}-0a0b0c0d-1-1.spool"
            (self._folder / name).write_bytes(b"".join(map(_written, lines)))

    def files(self) -> list[list[str]]:
        """Return what is there, oldest first."""
        names = sorted(path.name for path in self._folder.glob("*"))
        assert all(map(FILE_NAME.fullmatch, names)), names
        texts = [(self._folder / name).read_text("utf-8") for name in names]
        assert all(text.endswith("\n") for text in texts), "a line without its end"
        # Not `splitlines`, which also splits at line separators within a text.
        return [text[:-1].split("\n") for text in texts]

    def wait_until_empty(self) -> None:
        """Return once no file is there."""
        limit_s = time.monotonic() + WAIT_S
        while any(self.root.glob("*/*")):
            assert time.monotonic() < limit_s, "the spool stays full"
            time.sleep(0.01)


def _written(line: Any) -> bytes:
    return (line["$torn"] if isinstance(line, dict) else f"{line}\n").encode()


@pytest.mark.parametrize("case", load_cases(), ids=lambda case: case["id"])
def test_wire_case(case: dict[str, Any], tmp_path: Path) -> None:
    """The SDK sends the case's requests and reacts to its answers with its errors and counts."""
    errors: list[tuple[SayticsError, list[dict[str, Any]]]] = []
    with ScriptedServer(case.get("answers", [])) as server:
        spool = Spool(tmp_path / "case", server.host)
        spool.fill(case.get("spool_before", []))
        options = {"flush_interval_s": 60, "spool": "off", **case.get("options", {})}
        saytics = Saytics(
            KEY,
            host=server.host,
            spool_dir=spool.root,
            on_error=lambda error, events: errors.append((error, events)),
            **options,
        )
        for call in case["calls"]:
            _perform(saytics, server, spool, call)
        counts = saytics.shutdown(case.get("shutdown_s", 10.0))

    _check_requests(case, server.requests)
    assert _error_mismatch(case["errors"], errors) is None
    _check_counts(case.get("counts", {}), counts)
    if "spool" in case:
        assert spool.files() == case["spool"]
    if "connections" in case:
        assert len({request.connection for request in server.requests}) == case["connections"]


def _perform(saytics: Saytics, server: ScriptedServer, spool: Spool, call: dict[str, Any]) -> None:
    if "wait_for_requests" in call:
        server.wait_for_requests(call["wait_for_requests"])
    elif "wait_for_empty_spool" in call:
        spool.wait_until_empty()
    elif "sleep_s" in call:
        time.sleep(call["sleep_s"])
    elif "counts" in call:
        _check_counts(call["counts"], saytics.counts())
    elif "spool" in call:
        assert spool.files() == call["spool"]
    else:
        getattr(saytics, call["call"])(**call.get("with", {}))


def _check_counts(expected: dict[str, int], counts: Counts) -> None:
    columns = dataclasses.asdict(counts)
    assert {name: columns[name] for name in expected} == expected
    assert columns.pop("tracked") == sum(columns.values())


def _check_requests(case: dict[str, Any], requests: list[Recorded]) -> None:
    assert len(requests) == len(case["requests"])
    for index, (pattern, request) in enumerate(zip(case["requests"], requests, strict=True)):
        assert (request.method, request.path) == ("POST", "/v1/events/batch")
        for name, value in pattern.get("headers", {}).items():
            assert request.headers.get(name) == value
        if "events" in pattern:
            assert mismatch(pattern["events"], request.events(), "events") is None
        if "dropped" in pattern:
            assert request.document().get("dropped") == pattern["dropped"]
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
