"""The start page: what arrives is seen, counted, explained; and the first event turns the page."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from playwright.sync_api import Page, expect
from stage import WRITE_KEY, LiveServer, Tabs, log_in

pytestmark = pytest.mark.browser

# Acknowledged to visible is 2 s; the page looks after 2.2 s at the earliest.
COUNTED_WITHIN_MS = 12_000


def test_first_event_turns_the_page_by_itself(empty_server: LiveServer, tabs: Tabs):
    """The waiting panel becomes the event, the list shows it, and the figures count it."""
    page = tabs.open()
    log_in(page, empty_server)
    expect(page.locator("#first-event")).to_contain_text("Waiting for your first event")
    expect(page.locator(".nothing-arrived")).to_be_visible()
    empty_server.send({"event": "Signed Up", "userId": "user_1"}, key=WRITE_KEY)
    expect(page.locator("#first-event")).to_contain_text("First event received")
    expect(page.locator("#first-event .arrival-event")).to_have_text("Signed Up")
    expect(page.locator("#arrivals .arrival-event")).to_have_text("Signed Up")
    headline = page.locator("#events-per-day .headline .number")
    expect(headline).to_have_text("1", timeout=COUNTED_WITHIN_MS)
    expect(page.locator("#active-users .headline .number")).to_have_text("1")
    expect(page.locator("#top-events tbody th")).to_have_text("Signed Up")


def test_the_shown_curl_line_sends_the_first_event(empty_server: LiveServer, tabs: Tabs):
    """A new secret key is in the snippet at once, and the snippet works as pasted."""
    page = tabs.open()
    log_in(page, empty_server)
    page.fill("#key-name", "my laptop")
    page.click("text=Create another secret key")
    key = page.locator("#secret-key").inner_text()
    assert key.startswith("sk_live_")
    snippet = page.locator("#code-curl-send").inner_text()
    assert key in snippet
    assert empty_server.address in snippet
    if shutil.which("curl"):
        subprocess.run(["sh", "-c", snippet.replace("curl ", "curl -sf ", 1)], check=True)
        expect(page.locator("#first-event")).to_contain_text("First event received")


@contextlib.contextmanager
def served(html: str) -> Iterator[str]:
    """Serve one page under every path: a site, of the same address space as the server."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_: object) -> None:
            pass

    site = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{site.server_port}"
    site.shutdown()
    site.server_close()


def test_the_shown_browser_snippet_sends_the_first_event(empty_server: LiveServer, tabs: Tabs):
    """Pasted as it stands into a page of another site, it sends the page's view."""
    page = tabs.open()
    log_in(page, empty_server)
    page.click("#tab-browser")
    pasted = f"<!doctype html><title>Größe</title>{page.locator('#code-browser-send').inner_text()}"
    with served(pasted) as address:
        tabs.open().goto(f"{address}/pricing")
        expect(page.locator("#first-event")).to_contain_text("First event received")
        expect(page.locator("#arrivals .arrival-event")).to_have_text(
            ["Page View", "Session Started"]
        )


def test_a_new_secret_key_is_shown_once(live_server: LiveServer, tabs: Tabs):
    """The key works, is named in the list afterwards, and is not shown again."""
    page = _home(live_server, tabs)
    page.click("#set-up > summary")
    page.fill("#key-name", "staging <b>")
    page.click("text=Create another secret key")
    key = page.locator("#secret-key").inner_text()
    answer = httpx.get(
        live_server.address + "/v1/events", headers={"Authorization": f"Bearer {key}"}
    )
    assert answer.status_code == 200
    page.reload()
    page.click("#set-up > summary")
    assert key not in page.content()
    assert "staging <b> (sk_live_" in page.inner_text(".keys")


def test_events_appear_as_they_come(live_server: LiveServer, tabs: Tabs):
    """A new event comes on top of the list, marked as new, within two seconds."""
    page = _home(live_server, tabs)
    live_server.send({"event": "Arrives Now", "userId": "user_1", "properties": {"plan": "team"}})
    first = page.locator("#arrivals .arrival").first
    expect(first.locator(".arrival-event")).to_have_text("Arrives Now", timeout=2_500)
    expect(first).to_have_class("arrival fresh")
    expect(first.locator(".arrival-properties")).to_contain_text("plan team")


def test_a_paused_list_stands_still_and_catches_up(live_server: LiveServer, tabs: Tabs):
    """While paused nothing is added; going on brings what came meanwhile."""
    page = _home(live_server, tabs)
    page.click("#pause")
    expect(page.locator("#live-words")).to_have_text("Paused")
    live_server.send({"event": "While Paused", "userId": "user_1"})
    page.wait_for_timeout(1_500)
    assert page.locator("#arrivals", has_text="While Paused").count() == 0
    page.click("#pause")
    expect(page.locator("#arrivals")).to_contain_text("While Paused", timeout=2_500)


def test_nothing_moves_under_the_pointer(live_server: LiveServer, tabs: Tabs):
    """The list is held while the mouse rests on it, and says so."""
    page = _home(live_server, tabs)
    page.hover("#arrivals .arrival")
    expect(page.locator("#live-words")).to_have_text("Held while you point")
    live_server.send({"event": "Under The Pointer", "userId": "user_1"})
    page.wait_for_timeout(1_500)
    assert page.locator("#arrivals", has_text="Under The Pointer").count() == 0
    page.mouse.move(5, 5)
    expect(page.locator("#arrivals")).to_contain_text("Under The Pointer", timeout=2_500)


def test_an_event_is_shown_in_full(live_server: LiveServer, tabs: Tabs):
    """A click opens the event with everything sent; Escape closes it and gives the focus back."""
    live_server.send(
        {
            "event": "Looked At",
            "userId": "user_1",
            "properties": {"company": {"name": "Ærø Foods"}, "trial": False, "coupon": None},
        }
    )
    page = _home(live_server, tabs)
    button = page.locator(".arrival-button", has_text="Looked At").first
    button.focus()
    page.keyboard.press("Enter")
    sheet = page.locator("#event-dialog")
    expect(sheet).to_be_visible()
    expect(sheet.locator("h2")).to_have_text("Looked At")
    expect(sheet).to_contain_text("company.name")
    expect(sheet).to_contain_text("Ærø Foods")
    expect(sheet).to_contain_text("Asia/Kathmandu")
    assert '"coupon": null' in page.locator("#event-json").inner_text()
    page.keyboard.press("Escape")
    expect(sheet).not_to_be_visible()
    expect(button).to_be_focused()


def test_the_range_is_in_the_address(live_server: LiveServer, tabs: Tabs):
    """Each range is a link; back goes back."""
    page = _home(live_server, tabs)
    page.click("text=90 days")
    expect(page.locator("h1")).to_have_text("What happened in the last 90 days?")
    assert "days=90" in page.url
    page.wait_for_selector("#events-per-day .chart svg")
    assert page.locator("#events-per-day tbody tr").count() == 90
    page.go_back()
    expect(page.locator("h1")).to_have_text("What happened in the last 30 days?")


def test_the_metric_switch_is_in_the_address(live_server: LiveServer, tabs: Tabs):
    """Weekly replaces the line only, keeps the focus, and survives a reload and a range."""
    page = _home(live_server, tabs)
    page.click("text=Weekly")
    expect(page.locator("#active-users .definition")).to_contain_text("the 6 before it")
    assert "people=wau" in page.url
    expect(page.locator("#choice-weekly")).to_be_focused()
    page.reload()
    expect(page.locator("#active-users [aria-current]")).to_have_text("Weekly")
    page.click("text=7 days")
    expect(page.locator("h1")).to_have_text("What happened in the last 7 days?")
    assert "people=wau" in page.url


def test_the_table_behind_a_chart_has_every_day(live_server: LiveServer, tabs: Tabs):
    """The table opens with a key, its newest day is marked as running, its sum is the headline."""
    page = _home(live_server, tabs)
    page.locator("#events-per-day-table summary").focus()
    page.keyboard.press("Enter")
    rows = page.locator("#events-per-day-table tbody tr")
    assert rows.count() == 30
    expect(rows.first).to_contain_text("running")
    counts = page.eval_on_selector_all(
        "#events-per-day-table data", "(cells) => cells.map((cell) => Number(cell.value))"
    )
    headline = page.get_attribute("#events-per-day .headline data", "value")
    assert sum(counts) == int(headline)


def test_the_language_is_remembered(live_server: LiveServer, tabs: Tabs):
    """Tabs move with the arrow keys; the chosen language is there on the next visit."""
    page = _home(live_server, tabs)
    page.click("#set-up > summary")
    page.click("#tab-curl")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tab-python")).to_be_focused()
    expect(page.locator("#snippet-python")).to_be_visible()
    page.reload()
    expect(page.locator("#tab-python")).to_have_attribute("aria-selected", "true")


def test_copying_copies(live_server: LiveServer, tabs: Tabs):
    """The copy button puts the write key on the clipboard and says so."""
    page = tabs.open(permissions=["clipboard-read", "clipboard-write"])
    log_in(page, live_server)
    page.click("#set-up > summary")
    page.click("[data-copy=write-key]")
    expect(page.locator("[data-copy=write-key]")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == WRITE_KEY


def test_a_lost_connection_is_said_and_recovers(live_server: LiveServer, tabs: Tabs):
    """Without the server the page says so, and the notice goes when it answers again."""
    page = _home(live_server, tabs)
    page.context.set_offline(True)
    expect(page.locator("#connection")).to_be_visible(timeout=4_000)
    page.context.set_offline(False)
    expect(page.locator("#connection")).to_be_hidden(timeout=4_000)
    tabs.faults.clear()  # the browser reports the requests that failed on purpose


def test_numbers_are_grouped_as_the_reader_does(live_server: LiveServer, tabs: Tabs):
    """A German reader sees 1.200 where an English one sees 1,200."""
    live_server.send(*({"event": "Counted", "userId": "user_1"} for _ in range(1000)))
    live_server.send(*({"event": "Counted", "userId": "user_1"} for _ in range(200)))
    for locale, separator in (("en-GB", ","), ("de-DE", ".")):
        page = tabs.open(locale=locale)
        log_in(page, live_server)
        cell = page.locator("#top-events tr", has_text="Counted").locator("data").first
        expect(cell).to_have_text(f"1{separator}200", timeout=COUNTED_WITHIN_MS)


def _home(server: LiveServer, tabs: Tabs) -> Page:
    page = tabs.open()
    log_in(page, server)
    page.wait_for_selector("#events-per-day .chart svg")
    page.wait_for_selector("#active-users .chart svg")
    return page
