"""Event names, ids and values are strangers' text: shown as they are, never obeyed."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect
from stage import WRITE_KEY, LiveServer, Tabs, log_in

pytestmark = pytest.mark.browser

NAMES = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    '"\' onfocus=alert(1) autofocus x="',
    "{{ 7*7 }} {% raw %} ${7*7}",
    "\u202eevil\u202c مرحبا שלום",
    "💥 Zahlung fehlgeschlagen 👩‍👩‍👧",
    "javascript:alert(1)",
    "a" * 200,
]


def test_hostile_names_are_only_text(empty_server: LiveServer, tabs: Tabs):
    """In the list, the sheet, the table and the first-event panel nothing of a name runs."""
    page = tabs.open()
    log_in(page, empty_server)
    for name in NAMES:
        properties = {name[:100]: name, "html": "<b onmouseover=alert(1)>x</b>"}
        empty_server.send(
            {"event": name, "anonymousId": name[:100], "properties": properties}, key=WRITE_KEY
        )
    for name in NAMES:
        expect(page.get_by_text(name, exact=True).first).to_be_attached()
    expect(page.locator("#top-events tbody tr")).to_have_count(len(NAMES), timeout=12_000)
    for name in NAMES:
        page.locator("#arrivals .arrival-button").filter(
            has=page.locator(".arrival-event", has_text=name)
        ).first.click()
        expect(page.locator("#event-detail h2")).to_have_text(name)
        page.keyboard.press("Escape")
    assert page.locator("main img, main script, main b, #event-detail img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_a_hostile_workspace_question_is_harmless(live_server: LiveServer, tabs: Tabs):
    """What an address carries is never put into the page unescaped."""
    page = tabs.open()
    log_in(page, live_server)
    page.goto(live_server.address + "/?workspace=%3Cimg%20src=x%20onerror=alert(1)%3E")
    assert page.locator("img").count() == 0
    tabs.faults = [fault for fault in tabs.faults if "404" not in fault]
