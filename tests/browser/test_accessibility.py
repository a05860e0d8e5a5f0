"""Every state of every page: no axe violation, light and dark; no sideways scrolling."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from stage import LiveServer, Tabs, log_in

pytestmark = pytest.mark.browser

SCHEMES = ("light", "dark")
WIDTHS = (360, 390, 768, 1024, 1440, 2560)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_door_has_no_violations(new_server: LiveServer, tabs: Tabs, scheme: str):
    """Login and first account pass axe."""
    page = tabs.open(scheme=scheme)
    for path in ("/login", "/setup?token=x"):
        page.goto(new_server.address + path)
        _check(page)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_waiting_page_has_no_violations(empty_server: LiveServer, tabs: Tabs, scheme: str):
    """The empty start page passes axe, also with a key just made."""
    page = tabs.open(scheme=scheme)
    log_in(page, empty_server)
    _check(page)
    page.click("text=Create another secret key")
    page.wait_for_selector("#secret-key")
    _check(page)


@pytest.mark.parametrize("phone", [False, True])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_full_page_has_no_violations(
    live_server: LiveServer, tabs: Tabs, scheme: str, phone: bool
):
    """The page with its charts, tables and an open event passes axe, on a phone too."""
    page = tabs.open(scheme=scheme, phone=phone)
    log_in(page, live_server)
    page.wait_for_selector("#active-users .chart svg")
    page.wait_for_selector("#top-events tbody tr")
    page.click("#set-up > summary")
    page.click("#events-per-day-table summary")
    _check(page)
    page.locator("#arrivals .arrival-button").first.click()
    expect(page.locator("#event-dialog")).to_be_visible()
    _check(page)


def test_no_width_scrolls_sideways(live_server: LiveServer, tabs: Tabs):
    """From 360 to 2560 pixels everything fits, with the set-up panel open too."""
    page = tabs.open()
    log_in(page, live_server)
    page.click("#set-up > summary")
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, width


def test_the_drawer_opens_on_a_phone(live_server: LiveServer, tabs: Tabs):
    """The sidebar is a drawer there, opened by its button and closed by Escape."""
    page = tabs.open(phone=True)
    log_in(page, live_server)
    expect(page.locator("#sidebar")).not_to_be_visible()
    page.click(".topbar button")
    expect(page.locator("#sidebar")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#sidebar")).not_to_be_visible()


def test_touch_targets_are_large(live_server: LiveServer, tabs: Tabs):
    """Buttons and switches on a phone are 44 pixels high."""
    page = tabs.open(phone=True)
    log_in(page, live_server)
    for selector in ("#pause", "#range a", "#active-users .switch a", ".topbar button"):
        assert page.locator(selector).first.bounding_box()["height"] >= 44, selector


def _check(page: Page) -> None:
    # Finished fades only: axe reads colours, and a colour halfway is nobody's choice.
    page.evaluate(
        "document.getAnimations().forEach((a) => { try { a.finish() } catch { a.cancel() } })"
    )
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
