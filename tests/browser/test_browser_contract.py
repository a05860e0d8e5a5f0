"""The wire cases of `contract/sdk`, run against the browser SDK in a real Chromium.

In the browser and not in Node with the built file: what differs there is just what the cases are
about, how `fetch` tells a lost, a torn and a redirected answer, and what `localStorage` and the
locks between tabs keep meanwhile; in Node all of that would be a stand-in.

A case's calls are translated: a `user_id` is a visitor known from before, whom `identify` has
named, and there is no `shutdown`. Events carry more here (`sentAt`, the page's context), so bodies
are compared by what the case says of them. Cases that mean something else here are named below.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "contract"))

from patterns import expand, mismatch  # noqa: E402 - found by the line above

pytestmark = pytest.mark.browser

SCRIPT = ROOT / "src/saytics_server/sdk_files/saytics.js"
WRITE_KEY = "sk_write_contract"
WAIT_S = 15.0

_NO_OPTION = "an option that the browser SDK has not"
_OTHER_SHAPE = "the whole event is compared, and a browser's carries its page"
_SERVER_JUDGES = "the browser SDK leaves it to the server to refuse, for its 4 kB"
_OWN_IDS = "message ids, timestamps and contexts are not the page's to choose"

# Cases left out, each with its reason.
LEFT_OUT = {
    "answers/duplicates_are_counted_apart": _OWN_IDS,
    "answers/no_answer_in_time": _NO_OPTION + " (timeout_s)",
    "answers/retries_used_up": "nothing is given up: what has no answer stays in storage",
    "answers/sums_that_do_not_add_up": "trusts `status: ok`; sums are not checked, for its 4 kB",
    "answers/too_large_is_halved": "halves what it sends from then on, not only this batch",
    "answers/connection_closed_while_it_rested": "the browser's own connections, not the SDK's",
    "answers/whole_batch_rejected": "400 without reasons: halves find the event at fault",
    "answers/redirect": "`fetch` follows it; the key is public and stays in the first address",
    "requests/track_of_the_first_page": _OTHER_SHAPE,
    "requests/every_field_given": _OWN_IDS,
    "requests/context_may_name_its_own_library": _OWN_IDS,
    "requests/identify_travels_in_the_batch": _OTHER_SHAPE,
    "requests/whole_numbers_as_ids": _OTHER_SHAPE,
    "requests/text_beyond_ascii": _OTHER_SHAPE,
    "requests/what_the_server_judges_is_sent": _OWN_IDS,
    "requests/batches_by_count": _NO_OPTION + " (flush_at)",
    "requests/batches_by_bytes": "requests of 60 kB, which is what outlives a page",
    "requests/an_event_larger_than_a_batch_travels_alone": "requests of 60 kB",
    "requests/gzip_above_one_kilobyte": "a page that closes cannot wait for a compressor",
    "requests/gzip_off": _NO_OPTION + " (gzip)",
    "requests/batch_by_age": _NO_OPTION + " (flush_interval_s)",
    "requests/one_connection": "the browser's own connections, not the SDK's",
}
# Whole files.
LEFT_OUT_FILES = {
    "validation": _SERVER_JUDGES,
    "spool": "the queue is the browser's storage, of which only one language is told",
    "ledger": "no counts but `queued`; a page tells no `dropped`, for it cannot know it whole",
}


def load_cases() -> list[dict[str, Any]]:
    """Return the cases that are not in a file left out; `id` is file and name."""
    return [
        {**expand(case), "id": f"{path.stem}/{case['name']}"}
        for path in sorted((ROOT / "contract/sdk").glob("*.json"))
        if path.stem not in LEFT_OUT_FILES
        for case in json.loads(path.read_text("utf-8"))["cases"]
    ]


class Site:
    """A page with the script, and the server it sends to: scripted answers, then all is well."""

    def __init__(self) -> None:
        self.answers: deque[dict[str, Any]] = deque()
        self.requests: list[tuple[float, str, list[dict[str, Any]]]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                is_script = self.path == "/saytics.js"
                content = SCRIPT.read_bytes() if is_script else b"<!doctype html><title>t</title>"
                kind = "text/javascript" if is_script else "text/html"
                self._send(200, {"Content-Type": kind}, content)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert list(body) == ["events"]
                site.requests.append((time.monotonic(), self.path, body["events"]))
                self._answer(site.answers.popleft() if site.answers else {}, len(body["events"]))

            def _answer(self, answer: dict[str, Any], received: int) -> None:
                well = {"status": "ok", "received": received}
                fault = answer.get("fault")
                if fault == "half":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
                if fault in ("half", "close"):
                    self.close_connection = True
                    return
                text = answer.get("text", json.dumps(answer.get("body", well)))
                self._send(answer.get("status", 200), answer.get("headers", {}), text.encode())

            def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
                self.send_response(status)
                allowed = {
                    "Access-Control-Allow-Origin": "*",
                    "Access-Control-Expose-Headers": "Retry-After",
                    "Content-Length": str(len(content)),
                }
                for name, value in {**allowed, **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.host = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


def test_every_case_left_out_is_one() -> None:
    """A case that was renamed or removed is not left out unseen."""
    assert set(LEFT_OUT) <= {case["id"] for case in load_cases()}
    files = {path.stem for path in (ROOT / "contract/sdk").glob("*.json")}
    assert set(LEFT_OUT_FILES) <= files


CASES = [case for case in load_cases() if case["id"] not in LEFT_OUT]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_browser_wire_case(case: dict[str, Any], site: Site, browser: Browser) -> None:
    """The script sends the case's requests and reacts to its answers with its errors."""
    site.answers.extend(case.get("answers", []))
    context = browser.new_context()
    try:
        page = context.new_page()
        _open(page, site, case.get("options", {}))
        _perform(page, case["calls"])
        _wait_until_sent(page, site, len(case["requests"]))
        errors = page.evaluate("errors")
    finally:
        context.close()
    _check_requests(case, site)
    assert len(errors) == len(case["errors"]), errors
    for pattern, error in zip(case["errors"], errors, strict=True):
        wanted = {name: pattern[name] for name in ("code", "events") if name in pattern}
        assert mismatch({"$has": wanted}, error, "error") is None


def _open(page: Page, site: Site, options: dict[str, Any]) -> None:
    page.goto(site.host)
    # A visitor in the midst of a session, so that the case's events are the only ones.
    page.evaluate(
        "localStorage.setItem('saytics.activeAt', Date.now());"
        "localStorage.setItem('saytics.userId', 'u');"
    )
    page.add_script_tag(url="/saytics.js")
    page.evaluate(
        """([key, options]) => {
            globalThis.errors = [];
            const onError = ({ code }, events) => errors.push({ code, events });
            Saytics.init(key, { ...options, autoPageview: false, onError });
        }""",
        [WRITE_KEY, options],
    )


def _perform(page: Page, calls: list[dict[str, Any]]) -> None:
    """Make all calls in one go: between two looks into the page a second may pass."""
    page.evaluate(
        """async (calls) => {
            for (const { call, with: given = {} } of calls) {
                if (call === 'track') Saytics.track(given.event, given.properties);
                else if (call === 'identify') Saytics.identify(given.user_id);
                else if (call === 'flush') await Saytics.flush();
                else throw new Error(`${call} is for no browser: leave the case out`);
            }
        }""",
        calls,
    )


def _wait_until_sent(page: Page, site: Site, count: int) -> None:
    """Flush until nothing waits: a flush ends where the next try has to wait for its time."""
    limit_s = time.monotonic() + WAIT_S
    while page.evaluate("Saytics.flush().then((left) => left.queued)") or (
        len(site.requests) < count
    ):
        assert time.monotonic() < limit_s, f"{len(site.requests)} requests, not {count}"
        page.wait_for_timeout(50)


def _check_requests(case: dict[str, Any], site: Site) -> None:
    assert len(site.requests) == len(case["requests"])
    bodies = []
    for index, (pattern, (at_s, path, events)) in enumerate(
        zip(case["requests"], site.requests, strict=True)
    ):
        assert urlsplit(path)[2:4] == ("/v1/events/batch", f"key={WRITE_KEY}")
        # Anew on every try: it lets the server see a wrong clock.
        assert all(event.pop("sentAt") for event in events)
        bodies.append(events)
        if "events" in pattern:
            assert mismatch(pattern["events"], events, "events") is None
        if "same_body_as" in pattern:
            assert events == bodies[pattern["same_body_as"]]
        if "gap_s" in pattern:
            least, most = pattern["gap_s"]
            assert least <= at_s - site.requests[index - 1][0] < most
