"""Events, persons, cohorts and settings, as somebody with a mouse and a keyboard meets them."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from stage import SECRET_KEY, WRITE_KEY, LiveServer, Tabs, log_in, start_server, with_account

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)>\"'"
SLUG = "my-workspace"
# Every page; the ids are of the fixture.
PAGES = [
    "/events", "/events?event=nothing", "/events/live", "/persons", "/persons?q=hostile",
    "/persons/one?user=hostile%2Fuser", "/persons/one?anonymous=loner", "/cohorts", "/cohorts/1",
    "/cohorts/1/edit", "/cohorts/new", "/settings", "/settings/keys", "/settings/team",
    "/settings/audit", "/settings/account",
]  # fmt: skip


@pytest.fixture(scope="module")
def peopled(tmp_path_factory: pytest.TempPathFactory):
    """A server whose every name, id and trait is a stranger's."""
    server = start_server(tmp_path_factory.mktemp("peopled") / "data", **with_account())
    server.send(
        {"event": HOSTILE, "userId": "hostile/user", "properties": {HOSTILE: HOSTILE},
         "context": {"library": {"name": HOSTILE, "version": "1"}}},
        {"type": "identify", "userId": "hostile/user", "anonymousId": HOSTILE,
         "traits": {"name": HOSTILE, "email": "hostile@example.com", HOSTILE: HOSTILE}},
        *({"event": "Page View", "userId": f"user_{n}"} for n in range(60)),
    )  # fmt: skip
    server.send({"event": "Page View", "anonymousId": "loner"}, key=WRITE_KEY)
    import httpx

    definition = {"or": [{"list": {"user_ids": ["hostile/user"]}}, {"did": {"event": HOSTILE}}]}
    answer = httpx.post(
        server.address + "/v1/cohorts",
        json={"name": HOSTILE, "definition": definition},
        headers={"Authorization": f"Bearer {SECRET_KEY}"},
    )
    assert answer.status_code == 200, answer.text
    yield server
    server.stop()


def opened(tabs: Tabs, server: LiveServer, path: str, **options: object) -> Page:
    """Return a page of the workspace, logged in."""
    page = tabs.open(**options)
    log_in(page, server)
    goto(page, server, path)
    return page


def goto(page: Page, server: LiveServer, path: str) -> None:
    page.goto(f"{server.address}{path}{'&' if '?' in path else '?'}workspace={SLUG}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_passes_axe_and_fits(peopled: LiveServer, tabs: Tabs, scheme: str):
    """No violation, no stranger's markup, no sideways scrolling from 360 to 2560 pixels."""
    page = opened(tabs, peopled, "/events", scheme=scheme)
    for path in PAGES:
        goto(page, peopled, path)
        if path == "/cohorts/1":
            expect(page.locator("#members .number")).to_have_text("1")
        # Dark differs from light in its colours alone.
        options = {"runOnly": ["color-contrast"]} if scheme == "dark" else {}
        results = Axe().run(page, options=options)
        assert results.violations_count == 0, f"{path}: {results.generate_report()}"
        assert page.locator("main img, main script").count() == 0
        for width in (360, 2560, 1440) if scheme == "light" else ():
            page.set_viewport_size({"width": width, "height": 1000})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (path, width)


def test_an_event_is_found_and_read_in_full(peopled: LiveServer, tabs: Tabs):
    """From the filter over the row to the page, which names key, library and both forms."""
    page = opened(tabs, peopled, "/events")
    expect(page.locator(".arrival")).to_have_count(50)
    page.click("text=Older events")
    expect(page.locator(".arrival")).to_have_count(62)
    page.fill("#filter-user", "hostile/user")
    page.click("text=Show")
    page.locator(".arrival-button").click()
    expect(page.locator("#event-detail h2")).to_have_text(HOSTILE)
    page.click("text=Open as a page")
    expect(page.locator("h1")).to_have_text(HOSTILE)
    text = page.inner_text("main")
    assert f"secret key, by {HOSTILE} 1" in text
    assert "As sent" in text
    assert "As stored" in text


def test_the_live_page_pauses(peopled: LiveServer, tabs: Tabs):
    """What arrives comes on top; paused it waits."""
    page = opened(tabs, peopled, "/events/live")
    page.click("#pause")
    peopled.send({"event": "While Paused", "userId": "user_1"})
    page.wait_for_timeout(1_300)
    assert page.locator("#arrivals", has_text="While Paused").count() == 0
    page.click("#pause")
    expect(page.locator("#arrivals .arrival-event").first).to_have_text("While Paused")


def test_a_person_is_found_and_a_link_undone(peopled: LiveServer, tabs: Tabs):
    """By a trait to the profile; undoing the link says so."""
    page = opened(tabs, peopled, "/persons")
    page.fill("#person-search", "HOSTILE@example")
    page.keyboard.press("Enter")
    page.click(".people tbody a")
    expect(page.locator("h1")).to_have_text(HOSTILE)
    expect(page.locator(".links .tag")).to_have_text("in use")
    page.click(".links button")
    expect(page.locator(".links .tag")).to_contain_text("undone")


def settled(page: Page) -> None:
    """Wait until what came last listens, as it does before a hand gets there."""
    busy = ".htmx-request, .htmx-swapping, .htmx-settling, .htmx-added"
    page.wait_for_function("(busy) => !document.querySelector(busy)", arg=busy)


def test_a_cohort_is_built_by_hand(peopled: LiveServer, tabs: Tabs):
    """Conditions and groups come and go, keep what was typed, and count who fits."""
    page = opened(tabs, peopled, "/cohorts/new")
    page.fill("#name", "Page viewers")
    page.locator("[id='d.0.kind']").select_option("did")
    settled(page)
    page.fill("[id='d.0.event']", "Page View")
    page.locator("[id='d.group']").click()
    page.wait_for_selector("[id='d.1.0.kind']")
    settled(page)
    page.locator("[id='d.1.0.kind']").select_option("list")
    page.wait_for_selector("[id='d.1.0.users']")
    settled(page)
    page.fill("[id='d.1.0.users']", "user_1\nuser_2\nuser_x")
    page.locator("[id='d.1.add']").click()
    page.wait_for_selector("[id='d.1.1.remove']")
    settled(page)
    page.locator("[id='d.1.1.remove']").click()
    expect(page.locator("[id='d.1.1.kind']")).to_have_count(0)
    assert page.input_value("[id='d.0.event']") == "Page View"
    page.click("text=Save the cohort")
    expect(page.locator("#members .number")).to_have_text("2")
    expect(page.locator("#members tbody th")).to_have_text(["user_1", "user_2"])
    expect(page.locator(".sentence")).to_contain_text("did Page View ever and one of 3 listed ids")
    page.click("text=Delete")
    page.click(".confirm .danger")
    page.wait_for_url("**/cohorts?workspace=*")
    expect(page.locator("main")).not_to_contain_text("Page viewers")


def test_a_colleague_is_invited_and_joins(peopled: LiveServer, tabs: Tabs):
    """The link makes a viewer's account, which sees no way to administer."""
    page = opened(tabs, peopled, "/settings/team")
    page.fill("#invited", HOSTILE)
    page.click("text=Make a link")
    link = page.inner_text("#invitation-link")
    other = tabs.open()
    other.goto(link)
    assert Axe().run(other).violations_count == 0
    other.fill("#email", "bob@example.com")
    other.fill("#password", "correct horse battery")
    other.click("text=Make an account and join")
    other.wait_for_url("**/?workspace=*")
    goto(other, peopled, "/settings/keys")
    assert other.locator("text=Create a key").count() == 0
    assert other.locator("text=Audit log").count() == 0
    goto(page, peopled, "/settings/team")
    expect(page.locator("tbody th").nth(1)).to_have_text("bob@example.com")
    page.click("tr:has-text('bob@example.com') >> text=Remove")
    page.locator(".confirm:popover-open .danger").click()
    expect(page.locator("[role=status].notice")).to_contain_text("Removed")
    goto(other, peopled, "/events")
    expect(other.locator("h1")).to_have_text("There is nothing here")
    tabs.faults = [fault for fault in tabs.faults if "404" not in fault]


def test_a_key_is_made_and_a_session_listed(peopled: LiveServer, tabs: Tabs):
    """The key stands in the answer alone; this browser is in the list of sessions."""
    page = opened(tabs, peopled, "/settings/keys")
    page.fill("#key-name", "laptop")
    page.click("text=Create the key")
    assert re.fullmatch(r"sk_live_\w{32}", page.inner_text("#new-key"))
    goto(page, peopled, "/settings/account")
    expect(page.locator("tr:has-text('this one')")).to_contain_text("Chrome on Linux")
    goto(page, peopled, "/settings/audit")
    expect(page.locator("tbody tr").first).to_contain_text("created a key")
