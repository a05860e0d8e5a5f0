"""Replay the cases of `contract/http` against a running server.

    python contract/replay.py --host http://127.0.0.1:8640 \\
        --secret-key sk_live_… --write-key sk_write_… [--send-key sk_live_…] [--only keys]

Tests of a server import `load_cases` and `replay` instead. Cases that need a key which was not
given are skipped and said. Every id in them is unique to the run, so a server may be used again.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import gzip
import http.client
import json
import sys
import time
import urllib.parse
import uuid
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patterns import expand, fill, mismatch, utc_now

CASES = Path(__file__).parent / "http"

# Between two looks at a report that is allowed some time to show an event.
LOOK_AGAIN_S = 0.1


@dataclass(frozen=True)
class Target:
    """A server and keys of one of its workspaces; `send_key` is a secret key of scope `send`."""

    host: str
    secret_key: str
    write_key: str
    send_key: str | None = None

    def key(self, name: str) -> str | None:
        """Return the key a case names."""
        return {"secret": self.secret_key, "write": self.write_key, "send": self.send_key}[name]


def load_cases() -> list[dict[str, Any]]:
    """Return all cases in order; `id` is file and name."""
    return [
        {**case, "id": f"{path.stem}/{case['name']}"}
        for path in sorted(CASES.glob("*.json"))
        for case in json.loads(path.read_text("utf-8"))["cases"]
    ]


def needs_send_key(case: dict[str, Any]) -> bool:
    """Return whether a step of the case uses the key of scope `send`."""
    return any(step["request"].get("key") == "send" for step in case["steps"])


def replay(target: Target, case: dict[str, Any]) -> str | None:
    """Run a case; return the first difference, None if every step answered as expected."""
    words = {
        "unique": uuid.uuid4().hex[:12],
        "secret_key": target.secret_key,
        "write_key": target.write_key,
    }
    for number, step in enumerate(case["steps"]):
        request = fill(expand(step["request"]), {**words, "now": utc_now()})
        # Here `{{now}}` stays, as a pattern.
        expected = fill(expand(step["expect"]), words)
        limit = time.monotonic() + expected.get("within_s", 0)
        while (found := _difference(expected, _send(target, request))) is not None:
            if time.monotonic() >= limit:
                return f"step {number}: {found}"
            time.sleep(LOOK_AGAIN_S)
    return None


def _send(target: Target, request: dict[str, Any]) -> dict[str, Any]:
    body, headers = _body_and_headers(target, request)
    path = request["path"]
    if "query" in request:
        path += "?" + urllib.parse.urlencode(request["query"])
    parts = urllib.parse.urlsplit(target.host)
    make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = make(parts.netloc, timeout=30)
    try:
        # A server may refuse a body before it has read it; the answer is there to read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(request.get("method", "POST"), parts.path + path, body, headers)
        response = connection.getresponse()
        content = response.read()
        answered = {name.lower(): value for name, value in response.headers.items()}
        return {"status": response.status, "headers": answered, "content": content}
    finally:
        connection.close()


def _body_and_headers(
    target: Target, request: dict[str, Any]
) -> tuple[bytes | None, dict[str, str]]:
    headers = {"Content-Type": "application/json"}
    key = request.get("key", "secret")
    if key is not None:
        headers["Authorization"] = f"Bearer {target.key(key)}"
    body: bytes | None = None
    if "base64" in request:
        body = base64.b64decode(request["base64"])
    elif "text" in request:
        body = request["text"].encode()
    elif "body" in request:
        body = json.dumps(request["body"], ensure_ascii=False).encode()
    if "encoding" in request:
        assert body is not None
        headers["Content-Encoding"] = request["encoding"]
        body = gzip.compress(body) if request["encoding"] == "gzip" else zlib.compress(body)
    return body, {**headers, **request.get("headers", {})}


def _difference(expected: dict[str, Any], answer: dict[str, Any]) -> str | None:
    found = mismatch(expected["status"], answer["status"], "status")
    if found is not None:
        return f"{found}; body {answer['content'][:300]!r}"
    for name, value in expected.get("headers", {}).items():
        seen = answer["headers"].get(name)
        # Content types may carry parameters.
        if seen != value and (value is None or not (seen or "").startswith(f"{value};")):
            return f"header {name}: {seen!r}, not {value!r}"
    if "body" not in expected:
        return None
    try:
        document = json.loads(answer["content"])
    except ValueError:
        return f"body is no JSON: {answer['content'][:300]!r}"
    return mismatch(expected["body"], document, "body")


def main() -> int:
    """Replay the cases; exit 1 if one differs."""
    parser = argparse.ArgumentParser(description="Replay the HTTP contract against a server.")
    for name, required in [("host", True), ("secret-key", True), ("write-key", True)]:
        parser.add_argument(f"--{name}", required=required)
    parser.add_argument("--send-key")
    parser.add_argument("--only", default="", help="cases whose id starts with this")
    given = parser.parse_args()
    target = Target(given.host.rstrip("/"), given.secret_key, given.write_key, given.send_key)
    failed = 0
    for case in load_cases():
        if not case["id"].startswith(given.only):
            continue
        if needs_send_key(case) and target.send_key is None:
            print(f"skip {case['id']}: no --send-key")
            continue
        found = replay(target, case)
        failed += found is not None
        print(
            f"{'ok  ' if found is None else 'FAIL'} {case['id']}" + (f": {found}" if found else "")
        )
    print(f"{failed} cases failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
