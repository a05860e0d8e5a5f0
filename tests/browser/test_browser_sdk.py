"""The browser SDK in a real Chromium, on a real site, against a real server: counted afterwards."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, Route
from stage import SECRET_KEY, WRITE_KEY, LiveServer

import waiting
from factories import unique
from serving import Serving

pytestmark = pytest.mark.browser

README = Path(__file__).parents[2] / "sdks/browser/README.md"
BATCHES = re.compile(r"/v1/events/batch")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
WITHOUT_STORAGE = """
Object.defineProperty(window, 'localStorage', {
  get() { throw new DOMException('denied', 'SecurityError'); },
});
"""


class Site:
    """A web site of its own, with the README's snippet on every page."""

    def __init__(self, saytics: LiveServer | Serving) -> None:
        self._saytics = saytics
        self.key = WRITE_KEY
        self.options = ""
        self.more = ""
        site = self

        class Pages(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = site.html(self.path).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
        self.address = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def html(self, path: str) -> str:
        snippet = re.search(r"```html\n(.+?)```", README.read_text(), re.DOTALL)
        assert snippet is not None
        pasted = (
            snippet[1]
            .replace("'YOUR_WRITE_KEY'", f"'{self.key}', {{ {self.options} }}")
            .replace("http://127.0.0.1:8640", self._saytics.address)
        )
        pasted = pasted.replace("</script>", f"{self.more}</script>", 1)
        return f"<!doctype html><title>Größe {path}</title>{pasted}"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


class Visit:
    """A browser without a past on the site, and all events it sends."""

    def __init__(
        self, browser: Browser, site: Site, server: LiveServer | Serving, **options: Any
    ) -> None:
        self.context: BrowserContext = browser.new_context(**options)
        self.site, self.server = site, server
        self.requests: list[list[dict[str, Any]]] = []
        self.warnings: list[str] = []
        self.context.on("request", self._note)

    def _note(self, request: Request) -> None:
        if BATCHES.search(request.url) and request.post_data:
            self.requests.append(json.loads(request.post_data)["events"])

    def open(self, path: str = "/") -> Page:
        """Open a page and wait for the script."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.warnings.append(f"raised: {error}"))
        page.on(
            "console",
            lambda said: self.warnings.append(said.text) if said.type == "warning" else None,
        )
        page.goto(self.site.address + path)
        ready(page)
        return page

    def sent_ids(self) -> Counter[str]:
        """Return how often each message id was sent."""
        return Counter(event["messageId"] for batch in self.requests for event in batch)


def ready(page: Page) -> None:
    page.wait_for_function("Saytics.calls && !Array.isArray(Saytics.calls)")


def flush(page: Page) -> int:
    """Flush; return how many events have to wait."""
    left: int = page.evaluate("Saytics.flush().then((left) => left.queued)")
    return left


def stored(server: LiveServer | Serving, **wanted: str) -> list[dict[str, Any]]:
    """Return the events the server has, oldest first."""
    answer = httpx.get(
        f"{server.address}/v1/events",
        params={"order": "asc", "limit": 1000, **wanted},
        headers={"Authorization": f"Bearer {SECRET_KEY}"},
    )
    assert answer.status_code == 200, answer.text
    events: list[dict[str, Any]] = answer.json()["data"]
    return events


def wait_stored(
    server: LiveServer | Serving, count: int, page: Page | None = None, **wanted: str
) -> list[dict[str, Any]]:
    """Return the events once there are `count`. Answers of routes need the `page` they are for."""

    def are_there() -> bool:
        if page is not None:
            page.wait_for_timeout(20)  # lets Playwright call the route's handler
        return len(stored(server, **wanted)) >= count

    waiting.until(are_there, what=f"{count} of {wanted}")
    found = stored(server, **wanted)
    assert len(found) == count
    return found


def close(page: Page) -> None:
    """Close a tab as its user does, and wait until it is gone."""
    with page.expect_event("close"):
        page.close(run_before_unload=True)


def ids_of(page: Page) -> str:
    anonymous_id: str = page.evaluate("localStorage.getItem('saytics.anonymousId')")
    return anonymous_id


@pytest.fixture
def site(live_server: LiveServer) -> Iterator[Site]:
    site = Site(live_server)
    yield site
    site.close()


@pytest.fixture
def visit(browser: Browser, site: Site, live_server: LiveServer) -> Iterator[Visit]:
    visit = Visit(browser, site, live_server)
    yield visit
    visit.context.close()


def test_events_carry_the_visitor_before_and_after_identify(visit: Visit, live_server: LiveServer):
    """One visitor: session, page, event without a user; then traits, and events with both ids."""
    user = unique("user")
    page = visit.open("/pricing?utm_source=news&utm_campaign=may#top")
    page.evaluate("Saytics.track('Plan Compared', { plans: ['pro', 'größer'] })")
    page.evaluate(f"Saytics.identify('{user}', {{ plan: 'pro' }})")
    page.evaluate("Saytics.track('Plan Chosen')")
    assert flush(page) == 0
    anonymous = ids_of(page)
    assert UUID.fullmatch(anonymous)
    found = wait_stored(live_server, 4, anonymousId=anonymous)
    assert [(event["event"], event["userId"], event["properties"]) for event in found] == [
        ("Session Started", None, {"device": "desktop", "landing_page": "/pricing"}),
        (
            "Page View",
            None,
            {"path": "/pricing", "title": "Größe /pricing?utm_source=news&utm_campaign=may"},
        ),
        ("Plan Compared", None, {"plans": ["pro", "größer"]}),
        ("Plan Chosen", user, {}),
    ]
    context = found[2]["context"]
    assert context["page"] == {"path": "/pricing", "url": page.url}
    assert context["campaign"] == {"source": "news", "name": "may"}
    assert context["library"] == {"name": "@saytics/browser", "version": "0.1.0"}
    assert {event["keyType"] for event in found} == {"write"}

    def person() -> tuple[Any, Any]:
        answer = httpx.get(
            f"{live_server.address}/v1/users/{user}",
            headers={"Authorization": f"Bearer {SECRET_KEY}"},
        ).json()
        return answer.get("traits"), answer.get("anonymous_ids")

    # Loading is soon, not at once, and the link may come after the traits.
    waiting.until(lambda: person() == ({"plan": "pro"}, [anonymous]), what="traits and link")
    assert visit.warnings == []


def test_calls_made_before_the_script_came_keep_their_times(visit: Visit, live_server: LiveServer):
    """The snippet's calls are done in order when the script comes, with the times of the calls."""
    event = unique("Early")
    visit.site.more = f"""
      Saytics.track('{event}', {{ at: Date.now() }});
      window.held = Saytics.track;
    """
    visit.context.route("**/saytics.js", late)
    page = visit.open()
    page.evaluate(f"held('{event}', {{ at: Date.now() }})")
    assert flush(page) == 0
    found = wait_stored(live_server, 2, event=event)
    said = [each["properties"]["at"] for each in found]
    kept = [page.evaluate("(text) => Date.parse(text)", each["timestamp"]) for each in found]
    assert [abs(one - other) < 50 for one, other in zip(said, kept, strict=True)] == [True] * 2
    assert said[1] - said[0] > 500


def late(route: Route) -> None:
    threading.Event().wait(0.7)
    route.continue_()


def test_routes_are_page_views_and_queries_are_not(visit: Visit, live_server: LiveServer):
    """History API, back, and hash routes count once each; titles are those set after the change."""
    page = visit.open("/one")
    for change in (
        "history.pushState({}, '', '/two'); document.title = 'Two'",
        "history.pushState({}, '', '/two?q=a')",
        "history.replaceState({}, '', '/three'); document.title = 'Three'",
        "history.replaceState({ scroll: 7 }, '')",
        "location.hash = 'part'",
        "location.hash = '/app'",
    ):
        page.evaluate(change)
        page.evaluate("new Promise((done) => setTimeout(done, 30))")
    page.go_back()
    page.evaluate("new Promise((done) => setTimeout(done, 30))")
    flush(page)
    found = wait_stored(live_server, 5, anonymousId=ids_of(page), event="Page View")
    assert [(each["properties"]["path"], each["properties"]["title"]) for each in found] == [
        ("/one", "Größe /one"),
        ("/two", "Two"),
        ("/three", "Three"),
        ("/three", "Three"),
        ("/three", "Three"),
    ]
    referrers = [each["context"]["page"].get("referrer") for each in found]
    address = visit.site.address
    assert referrers[:3] == [None, f"{address}/one", f"{address}/two"]


def test_what_is_tracked_offline_is_sent_once_online(visit: Visit, live_server: LiveServer):
    """Offline nothing is lost, over a failed try too; online it goes out by itself, once."""
    event = unique("Offline")
    page = visit.open()
    assert flush(page) == 0
    visit.context.set_offline(True)
    for number in range(25):
        page.evaluate(f"Saytics.track('{event}', {{ number: {number} }})")
    assert flush(page) == 25
    visit.context.set_offline(False)
    found = wait_stored(live_server, 25, event=event)
    assert [each["properties"]["number"] for each in found] == list(range(25))
    waiting.until(lambda: flush(page) == 0, what="an empty queue")


def test_a_closed_tab_has_sent_what_it_queued(visit: Visit, live_server: LiveServer):
    """Events queued right before the tab is closed arrive without another visit."""
    event = unique("Closed")
    page = visit.open()
    page.evaluate(f"for (let n = 0; n < 30; n++) Saytics.track('{event}', {{ n }})")
    close(page)
    wait_stored(live_server, 30, event=event)


def test_a_beacon_is_used_where_requests_do_not_outlive_pages(
    visit: Visit, live_server: LiveServer
):
    """Without fetch keepalive the last batch leaves as a beacon, with the key in the address."""
    event = unique("Beacon")
    visit.context.add_init_script("delete Request.prototype.keepalive")
    page = visit.open()
    assert flush(page) == 0
    page.evaluate(f"Saytics.track('{event}'); window.fetch = () => new Promise(() => {{}}); 0")
    close(page)
    wait_stored(live_server, 1, event=event)


def test_the_next_page_sends_what_a_closed_tab_could_not(visit: Visit, live_server: LiveServer):
    """Offline at closing: the events wait in storage, more than one request holds, sent once."""
    event = unique("Left")
    page = visit.open()
    assert flush(page) == 0
    visit.context.set_offline(True)
    page.evaluate(
        f"for (let n = 0; n < 150; n++) Saytics.track('{event}', {{ n, text: 'ß'.repeat(250) }})"
    )
    close(page)
    visit.context.set_offline(False)
    visit.requests.clear()
    page = visit.open("/again")
    found = wait_stored(live_server, 150, event=event)
    assert sorted(each["properties"]["n"] for each in found) == list(range(150))
    waiting.until(lambda: flush(page) == 0, what="an empty queue")
    assert max(len(json.dumps(batch, ensure_ascii=False).encode()) for batch in visit.requests) <= (
        64 * 1024
    )
    assert max(visit.sent_ids().values()) == 1


def test_two_tabs_share_visitor_and_queue_and_send_nothing_twice(
    visit: Visit, live_server: LiveServer
):
    """Two tabs at once: one visitor, one session, every event counted once and sent once."""
    event = unique("Tabs")
    one, two = visit.open("/one"), visit.open("/two")
    for number in range(10):
        for tab, page in enumerate((one, two)):
            page.evaluate(
                f"for (let n = 0; n < 10; n++) Saytics.track('{event}', {{ id: {tab * 100}"
                f" + {number * 10} + n }})"
            )
    one.evaluate("Saytics.flush()")
    two.evaluate("Saytics.flush()")
    found = wait_stored(live_server, 200, event=event)
    assert sorted(each["properties"]["id"] for each in found) == list(range(200))
    assert {each["anonymousId"] for each in found} == {ids_of(one)}
    assert len(stored(live_server, anonymousId=ids_of(one), event="Session Started")) == 1
    waiting.until(lambda: flush(one) + flush(two) == 0, what="an empty queue")
    assert max(visit.sent_ids().values()) == 1
    assert one.evaluate("Object.keys(localStorage).filter((name) => name.includes('event.'))") == []


def test_events_come_without_storage(visit: Visit, live_server: LiveServer):
    """In a browser that refuses storage all of a page's events arrive, at its closing too."""
    event = unique("Private")
    visit.context.add_init_script(WITHOUT_STORAGE)
    page = visit.open()
    page.evaluate(f"Saytics.track('{event}', {{ n: 1 }})")
    assert flush(page) == 0
    page.evaluate(f"Saytics.track('{event}', {{ n: 2 }})")
    close(page)
    found = wait_stored(live_server, 2, event=event)
    assert [each["properties"]["n"] for each in found] == [1, 2]
    assert len({each["anonymousId"] for each in found}) == 1
    assert visit.warnings == []


def test_opting_out_ends_everything_and_is_remembered(visit: Visit, live_server: LiveServer):
    """After optOut nothing is sent, nothing but the choice is kept; optIn starts anew."""
    event = unique("Choice")
    page = visit.open()
    flush(page)
    before = ids_of(page)
    page.evaluate(f"Saytics.track('{event}', {{ queued: true }}); Saytics.optOut()")
    page.evaluate(f"Saytics.track('{event}'); Saytics.identify('user_1')")
    page.goto(visit.site.address + "/later")
    ready(page)
    page.evaluate(f"Saytics.track('{event}')")
    assert flush(page) == 0
    assert page.evaluate("({ ...localStorage })") == {"saytics.choice": "out"}
    page.evaluate(f"Saytics.optIn(); Saytics.track('{event}', {{ back: true }})")
    assert flush(page) == 0
    found = wait_stored(live_server, 1, event=event)
    assert found[0]["properties"] == {"back": True}
    assert found[0]["anonymousId"] not in (before, None)


@pytest.mark.parametrize(
    ("options", "signal", "is_tracked"),
    [
        ("respectPrivacySignals: true", "globalPrivacyControl: { value: true }", False),
        ("respectPrivacySignals: true", "doNotTrack: { value: '1' }", False),
        ("respectPrivacySignals: true", "doNotTrack: { value: '0' }", True),
        ("", "globalPrivacyControl: { value: true }", True),
        ("optedOut: true", "doNotTrack: { value: null }", False),
        ("enabled: false", "doNotTrack: { value: null }", False),
    ],
)
def test_signals_and_defaults_decide_for_who_has_not_chosen(
    visit: Visit, options: str, signal: str, is_tracked: bool
):
    """Signals count only when told so; whoever is not tracked leaves no trace in the browser."""
    visit.site.options = options
    visit.context.add_init_script(f"Object.defineProperties(navigator, {{ {signal} }})")
    page = visit.open()
    page.evaluate("Saytics.track('Seen')")
    assert flush(page) == 0
    assert bool(visit.requests) == is_tracked
    assert bool(page.evaluate("localStorage.length")) == is_tracked


def test_a_choice_stands_before_the_signals(visit: Visit):
    """A visitor who opted in is tracked, whatever default and browser say; before init too."""
    visit.site.options = "optedOut: true, respectPrivacySignals: true"
    visit.site.more = "Saytics.optIn();"
    visit.context.add_init_script(
        "Object.defineProperty(navigator, 'globalPrivacyControl', { value: true })"
    )
    page = visit.open()
    page.evaluate("Saytics.page()")
    flush(page)
    assert [event["event"] for batch in visit.requests for event in batch] == [
        "Session Started",
        "Page View",
    ]


def test_half_an_hour_without_events_ends_a_session(visit: Visit):
    """A session starts anew 30 minutes after the last event, and not earlier; reset ends one."""
    page = visit.open()
    for minutes in (29, 30):
        page.evaluate(
            f"localStorage.setItem('saytics.activeAt', Date.now() - {minutes} * 60_000 - 5);"
            f"Saytics.track('After {minutes}')"
        )
    page.evaluate("Saytics.reset(); Saytics.track('Somebody else')")
    flush(page)
    sent = [event for batch in visit.requests for event in batch]
    assert [event["event"] for event in sent] == [
        "Session Started",
        "Page View",
        "After 29",
        "Session Started",
        "After 30",
        "Session Started",
        "Somebody else",
    ]
    assert len({event["anonymousId"] for event in sent[:5]}) == 1
    assert sent[5]["anonymousId"] == sent[6]["anonymousId"] != sent[0]["anonymousId"]


def test_identify_refuses_ids_that_name_nobody(visit: Visit):
    """A placeholder is reported and changes nothing, so later events stay acceptable."""
    visit.site.options = "onError: (error) => (window.codes = window.codes || []).push(error.code)"
    page = visit.open()
    page.evaluate(
        "for (const id of [undefined, null, '', ' Guest ', NaN, {}]) Saytics.identify(id)"
    )
    page.evaluate("Saytics.identify(4711); Saytics.track('Known')")
    assert flush(page) == 0
    assert page.evaluate("codes") == ["invalid_id"] * 6
    assert visit.requests[-1][-1]["userId"] == "4711"


def test_rejected_events_are_reported_and_the_rest_is_stored(visit: Visit, live_server: LiveServer):
    """One bad event among good ones goes to onError by itself, and is not sent again."""
    event = unique("Good")
    visit.site.options = "onError: (error, events) => { window.lost = [error.code, events] }"
    page = visit.open()
    page.evaluate(f"Saytics.track('{event}'); Saytics.track(''); Saytics.track('{event}')")
    assert flush(page) == 0
    code, events = page.evaluate("lost")
    assert (code, [each["event"] for each in events]) == ("invalid_event_name", [""])
    wait_stored(live_server, 2, event=event)
    assert max(visit.sent_ids().values()) == 1


def answering(visit: Visit, *answers: dict[str, Any]) -> None:
    """Answer the next batches as told, and let the server answer those after."""
    left = list(answers)

    def answer(route: Route) -> None:
        if left:
            route.fulfill(**left.pop(0))
        else:
            route.continue_()

    visit.context.route(BATCHES, answer)


CORS = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "Retry-After"}


@pytest.mark.parametrize(
    "trouble",
    [
        {"status": 500, "body": ""},
        {"status": 429, "json": {"error": {"code": "rate_limited", "message": "Slower."}}},
        {"status": 408, "body": "<html>"},
        {"status": 200, "body": "<html>welcome to the airport</html>"},
        {"status": 200, "json": {"rejected": 7}},
    ],
    ids=lambda trouble: f"{trouble['status']}-{len(trouble.get('body', '-'))}",
)
def test_trouble_is_retried_with_the_same_ids(
    visit: Visit, live_server: LiveServer, trouble: dict[str, Any]
):
    """An answer that promises nothing is followed by the same events, ids and times."""
    event = unique("Retried")
    answering(visit, {**trouble, "headers": CORS})
    page = visit.open()
    page.evaluate(f"Saytics.track('{event}')")
    wait_stored(live_server, 1, page, event=event)
    first, second = visit.requests[:2]
    without = [[{**each, "sentAt": ""} for each in batch] for batch in (first, second)]
    assert without[0] == without[1][: len(first)]


def test_retry_after_holds_for_this_page_and_the_next(visit: Visit, live_server: LiveServer):
    """Nothing is sent before Retry-After has passed: not by flush, nor by another page."""
    event = unique("Later")
    answering(visit, {"status": 503, "headers": {**CORS, "Retry-After": "3"}, "body": "{}"})
    page = visit.open()
    page.evaluate(f"Saytics.track('{event}')")
    waiting.until(lambda: page.evaluate("!!Object.keys(localStorage).join().match('pause')"))
    asked = page.evaluate("Date.now()")
    flush(page)
    page.goto(visit.site.address + "/next")
    ready(page)
    assert flush(page) > 0
    assert len(visit.requests) == 1
    wait_stored(live_server, 1, page, event=event)
    assert page.evaluate("Date.now()") - asked > 2500


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_final(visit: Visit, status: int):
    """What the server refuses is reported with its code and not sent again."""
    visit.site.options = "onError: (error, events) => { window.lost = [error.code, events.length] }"
    error = {"error": {"code": "invalid_key", "message": "No."}}
    answering(visit, {"status": status, "headers": CORS, "json": error})
    page = visit.open()
    flush(page)
    assert flush(page) == 0
    assert page.evaluate("lost") == ["invalid_key", 2]
    assert len(visit.requests) == 1


def test_a_batch_that_is_too_large_is_halved(visit: Visit, live_server: LiveServer):
    """A server that takes fewer events at once gets fewer; none is lost, none doubled."""
    event = unique("Halved")
    error = {"error": {"code": "batch_too_large", "message": "Fewer."}}
    answering(visit, *[{"status": 400, "headers": CORS, "json": error}] * 2)
    page = visit.open()
    page.evaluate(f"for (let n = 0; n < 38; n++) Saytics.track('{event}')")
    assert flush(page) == 0
    wait_stored(live_server, 38, event=event)
    # Whether the page's own two events went ahead decides the first size.
    assert [len(batch) for batch in visit.requests][-1] <= 20


def test_before_send_changes_and_withholds(visit: Visit, live_server: LiveServer):
    """What beforeSend returns is sent, null is nothing, what it throws goes to onError alone."""
    event = unique("Seen")
    visit.site.options = """
      autoPageview: false,
      onError: (error) => { window.code = error.code },
      beforeSend(event) {
        if (event.event === 'Secret') return null;
        if (event.event === 'Broken') throw new Error('oh');
        return { ...event, context: { page: { path: 'hidden' } } };
      }"""
    page = visit.open("/private/4711")
    page.evaluate(f"for (const name of ['Secret', 'Broken', '{event}']) Saytics.track(name)")
    assert flush(page) == 0
    sent = [event["event"] for batch in visit.requests for event in batch]
    assert sent == ["Session Started", event]
    assert wait_stored(live_server, 1, event=event)[0]["context"]["page"] == {"path": "hidden"}
    assert page.evaluate("code") == "invalid_event"


def test_a_full_queue_drops_the_newest_and_says_so(visit: Visit):
    """Of more than 1,000 waiting events the first 1,000 stay; each other one is reported."""
    visit.site.options = """autoPageview: false, onError(error, [event]) {
      (window.lost = window.lost || []).push([error.code, event.event]);
    }"""
    page = visit.open()
    visit.context.set_offline(True)
    page.evaluate("for (let n = 0; n < 1003; n++) Saytics.track(`Event ${n}`)")
    assert flush(page) == 1000
    # Session Started is the first of the thousand.
    assert page.evaluate("lost") == [["queue_full", f"Event {n}"] for n in range(999, 1003)]


def test_what_has_no_json_form_never_reaches_the_program(visit: Visit):
    """A cycle, a bigint and a throwing toJSON are reported; the page goes on."""
    visit.site.options = "onError: (error) => (window.codes = window.codes || []).push(error.code)"
    page = visit.open()
    page.evaluate("""() => {
      const cycle = {}; cycle.self = cycle;
      Saytics.track('Cycle', cycle);
      Saytics.track('Bigint', { n: 1n });
      Saytics.track('Thrown', { toJSON() { throw new Error('oh'); } });
    }""")
    assert page.evaluate("codes") == ["invalid_event"] * 3
    assert flush(page) == 0


def test_a_secret_key_is_refused_in_the_browser(visit: Visit):
    """With any key but a write key nothing is sent, and the console says why, without the key."""
    visit.site.key = SECRET_KEY
    page = visit.open()
    page.evaluate("Saytics.track('Leak')")
    assert flush(page) == 0
    assert visit.requests == []
    assert visit.warnings == [
        "Saytics: init needs a write key; no other key belongs in a page. (invalid_key)"
    ]


def test_a_server_that_was_down_is_caught_up_with(browser: Browser, tmp_path: Path):
    """What is tracked while the server is down is delivered by itself, once, when it is back."""
    data_dir, keys = tmp_path / "data", {"secret_key": SECRET_KEY, "write_key": WRITE_KEY}
    server = Serving(data_dir, **keys).start()
    site = Site(server)
    visit = Visit(browser, site, server)
    try:
        page = visit.open()
        assert flush(page) == 0
        server.stop()
        page.evaluate("for (let n = 0; n < 5; n++) Saytics.track('Down', { n })")
        assert flush(page) == 5
        server = Serving(data_dir, **keys, listen=server.address.removeprefix("http://")).start()
        found = wait_stored(server, 5, event="Down")
        assert [each["properties"]["n"] for each in found] == list(range(5))
    finally:
        visit.context.close()
        site.close()
        server.stop()
