"""The report pages: each builder asks a question whose answer is known from events made by hand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import httpx
import msgspec
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from stage import SECRET_KEY, LiveServer, Tabs, log_in

pytestmark = pytest.mark.browser

ZONE = ZoneInfo("Asia/Kathmandu")
COUNTED_WITHIN_MS = 12_000
MARKUP = "<img src=x onerror=alert(1)>"
FORMULA = '=HYPERLINK("http://evil.example","x")'


def _noon(days_ago: int, minutes: int = 0) -> str:
    local = datetime.now(ZONE).replace(hour=12, minute=0, second=0, microsecond=0)
    moment = local - timedelta(days=days_ago) + timedelta(minutes=minutes)
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _event(user: str, event: str, at: str, **properties: object) -> dict:
    return {"event": event, "userId": user, "timestamp": at, "properties": properties}


class Shop(msgspec.Struct):
    """A server with the events below, and the cookies of somebody logged in there."""

    server: LiveServer
    cookies: dict

    @property
    def address(self) -> str:
        """Where it answers."""
        return self.server.address


@pytest.fixture(scope="module")
def shop(live_server: LiveServer, browser: Browser) -> Iterator[Shop]:
    """Ada views on three days and buys on the first; Bo fills a cart; Cy comes a day later."""
    live_server.send(
        _event("ada", "Shop Viewed", _noon(3), plan="pro"),
        _event("ada", "Cart Filled", _noon(3, 5)),
        _event("ada", "Order Paid", _noon(3, 10), amount=12.5),
        _event("bo", "Shop Viewed", _noon(3, 1), plan="free"),
        _event("bo", "Cart Filled", _noon(3, 7)),
        _event("ada", "Shop Viewed", _noon(2), plan="pro"),
        _event("cy", "Shop Viewed", _noon(2), plan="free"),
        _event("ada", "Shop Viewed", _noon(1), plan="pro"),
        _event("mallory", MARKUP, _noon(1), **{MARKUP: MARKUP}),
        _event("mallory", FORMULA, _noon(1, 1), **{MARKUP: FORMULA}),
    )
    tabs = Tabs(browser)
    page = tabs.open()
    log_in(page, live_server)
    yield Shop(live_server, page.context.storage_state())
    tabs.close()


def _ask(server: Shop, tabs: Tabs, name: str, query: list[tuple[str, str]]) -> Page:
    """Open a report's page and wait for its answer."""
    return _go(tabs.open(storage_state=server.cookies), server, name, query)


def _go(page: Page, server: Shop, name: str, query: list[tuple[str, str]]) -> Page:
    page.goto(f"{server.address}/reports/{name}?{urlencode([*query, ('range', '7')])}")
    page.wait_for_selector("#answer .how")
    return page


def _rows(page: Page, table: int = 0) -> list[list[str]]:
    """Return the numbers of a table, row by row, as they are read."""
    return (
        page.locator("table.numbers")
        .nth(table)
        .locator("tbody tr")
        .evaluate_all(
            "(rows) => rows.map((row) => [...row.querySelectorAll('td')].map((cell) =>"
            " cell.innerText.trim().replace('\\u202f', ' ')))"
        )
    )


def _persons(page: Page) -> tuple[str, list[str]]:
    """Return the heading of the open panel and the persons in it."""
    panel = page.locator("#event-detail")
    expect(panel.locator(".persons")).to_be_visible()
    found = (panel.locator("h2").inner_text(), panel.locator(".person-id bdi").all_inner_texts())
    page.keyboard.press("Escape")
    return found


def _press(page: Page, row: int, text: str, table: int = 0) -> tuple[str, list[str]]:
    """Click a number of a row and return who is behind it."""
    rows = page.locator("table.numbers").nth(table).locator("tbody tr")
    rows.nth(row).locator(".cell", has_text=text).first.click()
    return _persons(page)


def test_a_trend_is_built_by_hand(shop: Shop, tabs: Tabs):
    """Choosing event, metric, filter and breakdown asks again; the address holds it all."""
    page = _ask(shop, tabs, "trends", [])
    page.fill("[name=event]", "Shop Viewed")
    page.keyboard.press("Tab")
    expect(page.locator(".headline-number")).to_have_text("5", timeout=COUNTED_WITHIN_MS)
    assert [row[0] for row in _rows(page)][1:4] == ["1", "2", "2"]
    page.select_option("[name=metric]", "users")
    expect(page.locator(".headline-number")).to_have_text("3")
    assert _press(page, 2, "2") == ("2 persons", ["ada", "cy"])
    page.get_by_role("button", name="Filter").click()
    page.fill("[name=filter_property]", "plan")
    page.fill("[name=filter_value]", "free")
    page.keyboard.press("Tab")
    expect(page.locator(".headline-number")).to_have_text("2")
    page.fill("[name=breakdown]", "plan")
    page.keyboard.press("Tab")
    expect(page.locator("thead th").last).to_have_text("free")
    asked = page.url
    page.reload()
    expect(page.locator(".headline-number")).to_have_text("2")
    assert page.input_value("[name=filter_value]") == "free"
    page.get_by_role("button", name="Remove this filter").click()
    expect(page.locator(".headline-number")).to_have_text(["2", "1"])
    page.go_back()
    page.wait_for_selector("#answer .how")
    assert page.url == asked
    expect(page.locator(".headline-number")).to_have_text("2")


def test_a_click_on_the_chart_shows_the_persons(shop: Shop, tabs: Tabs):
    """A point of the line leads where its number in the table leads."""
    page = _ask(shop, tabs, "trends", [("event", "Shop Viewed"), ("metric", "users")])
    box = page.locator(".chart").bounding_box()
    # The fifth of seven days; the line begins 44 and ends 16 pixels from the sides.
    page.mouse.click(box["x"] + 44 + (box["width"] - 60) * 4 / 6, box["y"] + 150)
    assert _persons(page) == ("2 persons", ["ada", "cy"])


def test_a_trend_is_compared_and_summed(shop: Shop, tabs: Tabs):
    """A sum of a property beside a count, with the period before as columns of its own."""
    query = [
        ("event", "Order Paid"), ("metric", "sum"), ("metric_property", "amount"),
        ("event", "Cart Filled"), ("metric", "count"), ("metric_property", ""),
        ("compare", "previous_period"),
    ]  # fmt: skip
    page = _ask(shop, tabs, "trends", query)
    assert _rows(page)[3] == ["12.5", "0", "2", "0"]
    assert _press(page, 3, "12.5") == ("1 person", ["ada"])


def test_active_users_are_counted(shop: Shop, tabs: Tabs):
    """Daily persons of an event, and who they were."""
    page = _ask(shop, tabs, "active-users", [("event", "Shop Viewed")])
    assert [row[0] for row in _rows(page)][:5] == ["0", "1", "2", "2", "0"]
    assert _press(page, 3, "2") == ("2 persons", ["ada", "bo"])


def test_a_funnel_is_built_moved_and_explained(shop: Shop, tabs: Tabs):
    """Steps are added and moved; both parts of a bar have persons; a person's loss is explained."""
    page = _ask(shop, tabs, "funnels", [("step", "Shop Viewed"), ("step", "Order Paid")])
    expect(page.locator(".headline-number")).to_have_text("33.3\N{NARROW NO-BREAK SPACE}%")
    page.get_by_role("button", name="Step", exact=True).click()
    page.locator("[name=step]").nth(2).fill("Cart Filled")
    page.keyboard.press("Tab")
    expect(page.locator("table.numbers").first.locator("tbody tr")).to_have_count(3)
    page.locator("[data-up]").nth(2).click()
    expect(page.locator("table.numbers").first.locator("tbody tr").nth(1)).to_contain_text(
        "2. Cart Filled"
    )
    assert [row[:4] for row in _rows(page)] == [
        ["3", "100.0 %", "100.0 %", "0"],
        ["2", "66.7 %", "66.7 %", "1"],
        ["1", "33.3 %", "50.0 %", "1"],
    ]
    assert _press(page, 1, "2") == ("2 persons", ["ada", "bo"])
    page.locator(".funnel-bar").nth(2).click(position={"x": 600, "y": 10})
    panel = page.locator("#event-detail")
    expect(panel.locator(".person-id bdi")).to_have_text(["bo"])
    panel.get_by_role("button", name="Why not converted?").click()
    expect(panel.locator(".verdict li")).to_have_count(3)
    expect(panel.locator(".verdict > p").first).to_have_text("Reached 2 of 3 steps.")
    expect(panel.locator(".verdict .unmet")).to_contain_text("No event of this step at any time.")


def test_retention_shows_who_came_back(shop: Shop, tabs: Tabs):
    """Cohorts by day, their cells in persons, and who is behind a cell."""
    query = [("start", "Shop Viewed"), ("return", "Shop Viewed"), ("periods", "4")]
    page = _ask(shop, tabs, "retention", [*query, ("show", "persons")])
    rows = _rows(page)
    # The first row is all of them; the range's fourth and fifth day have the cohorts.
    assert rows[0][0] == "3"
    assert rows[4][:4] == ["2", "2", "1", "1"]
    assert rows[5][:2] == ["1", "1"]
    page.locator("tbody tr").nth(4).locator(".cell").nth(2).click()
    assert _persons(page) == ("1 person", ["ada"])
    page.select_option("[name=show]", "")
    expect(page.locator("tbody tr").nth(4).locator("td").nth(2)).to_have_text(
        "50.0\N{NARROW NO-BREAK SPACE}%"
    )


def test_lifecycle_tells_new_from_quiet(shop: Shop, tabs: Tabs):
    """New, staying, returning and quiet persons of each day."""
    query = [("event", "Shop Viewed"), ("interval", "day")]
    page = _ask(shop, tabs, "lifecycle", query)
    minus = "\N{MINUS SIGN}1"
    assert _rows(page)[:4] == [
        ["0", "0", "0", minus],
        ["0", "1", "0", minus],
        ["1", "1", "0", minus],
        ["2", "0", "0", "0"],
    ]
    assert _press(page, 2, minus) == ("1 person", ["bo"])


def test_stickiness_counts_days(shop: Shop, tabs: Tabs):
    """Persons by the number of days they came on."""
    page = _ask(shop, tabs, "stickiness", [("event", "Shop Viewed")])
    assert [row[0] for row in _rows(page)] == ["2", "0", "1", "0", "0", "0", "0"]
    assert _press(page, 0, "2") == ("2 persons", ["bo", "cy"])
    assert _press(page, 3, "2", table=1) == ("2 persons", ["ada", "bo"])


def test_paths_are_drawn(shop: Shop, tabs: Tabs):
    """Flows from step to step, as a picture and as a table, with who took them."""
    page = _ask(shop, tabs, "paths", [("event", "Shop Viewed")])
    expect(page.locator(".chart svg")).to_be_visible()
    flows = page.locator("table.numbers").first.locator("tbody th").all_inner_texts()
    assert flows == [
        "1. Shop Viewed \N{RIGHTWARDS ARROW} 2. Cart Filled",
        "2. Cart Filled \N{RIGHTWARDS ARROW} 3. Order Paid",
    ]
    assert _press(page, 0, "2") == ("2 persons", ["ada", "bo"])


def test_names_and_values_are_suggested(shop: Shop, tabs: Tabs):
    """The fields offer the events, properties and values there are."""
    page = _ask(shop, tabs, "trends", [("event", "Shop Viewed")])
    expect(page.locator("#event-names option[value='Shop Viewed']")).to_have_text("5 events")
    page.get_by_role("button", name="Filter").click()
    page.fill("[name=filter_property]", "plan")
    page.focus("[name=filter_value]")
    expect(page.locator("#property-values option[value=pro]")).to_have_count(1)


def test_a_refused_question_is_told_at_its_field(shop: Shop, tabs: Tabs):
    """The report's own words stand beside the control, and nothing chosen is lost."""
    page = _ask(shop, tabs, "trends", [("event", "Shop Viewed")])
    page.select_option("[name=range]", "custom")
    page.fill("[name=from]", "1990-01-01")
    page.fill("[name=to]", "2026-01-01")
    page.select_option("[name=interval]", "hour")
    error = page.locator(".builder-line:has([data-field=interval]) .field-error")
    expect(error).to_contain_text("Ask for a shorter range")
    expect(page.locator("#answer")).to_contain_text("This question cannot be answered as it is.")
    expect(page.locator("[name=interval]")).to_have_attribute("aria-invalid", "true")
    page.select_option("[name=interval]", "month")
    expect(error).to_be_hidden()


def test_a_cohort_filters_and_breaks_down(shop: Shop, tabs: Tabs):
    """A saved cohort is offered by name and understood as it is by the API."""
    answer = httpx.post(
        f"{shop.address}/v1/cohorts",
        headers={"Authorization": f"Bearer {SECRET_KEY}"},
        json={"name": "Buyers", "definition": {"list": {"user_ids": ["ada"]}}},
    )
    assert answer.status_code == 200, answer.text
    cohort = answer.json()["cohort"]["id"]
    query = [("event", "Shop Viewed"), ("metric", "users")]
    page = _ask(shop, tabs, "trends", [*query, ("breakdown", f"cohort={cohort}")])
    expect(page.locator(".legend .headline-label")).to_have_text(["not in Buyers", "in Buyers"])
    expect(page.locator(".headline-number")).to_have_text(["2", "1"])
    filters = [("filter_property", "cohort"), ("filter_value", cohort)]
    _go(page, shop, "trends", [*query, *filters])
    expect(page.locator(".headline-number")).to_have_text("1")


def test_the_table_is_exported_without_formulas(shop: Shop, tabs: Tabs):
    """Numbers are plain, and a stranger's formula is text."""
    query = [("event", FORMULA), ("event", "Shop Viewed")]
    page = _ask(shop, tabs, "trends", query)
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    lines = download.value.path().read_text().splitlines()
    assert lines[0].startswith("Day,\"'=HYPERLINK(")
    assert lines[2].split(",")[1:] == ["1", "1"]


def test_the_question_is_shown_as_an_api_call(shop: Shop, tabs: Tabs):
    """The call asks what the page asks, with a placeholder for the key."""
    page = _ask(shop, tabs, "trends", [("event", "Shop Viewed")])
    page.get_by_role("button", name="API call").click()
    expect(page.locator("#api-curl")).to_contain_text("/v1/reports/query")
    expect(page.locator("#api-curl")).to_contain_text('"event": "Shop Viewed"')
    expect(page.locator("#api-python")).to_contain_text("SAYTICS_SECRET_KEY")


def test_names_of_strangers_are_only_text(shop: Shop, tabs: Tabs):
    """Markup in names and values runs nowhere: field, table, legend, tooltip, paths, persons."""
    page = _ask(shop, tabs, "trends", [("event", MARKUP), ("breakdown", MARKUP)])
    expect(page.locator("#answer .headline-label").first).to_contain_text(MARKUP)
    box = page.locator(".chart").bounding_box()
    page.mouse.move(box["x"] + 44 + (box["width"] - 60) * 5 / 6, box["y"] + 100)
    expect(page.locator(".tooltip")).to_be_visible()
    page.locator(".cell").first.click()
    _persons(page)
    _go(page, shop, "paths", [("event", MARKUP)])
    expect(page.locator("table.numbers").first).to_contain_text(MARKUP)
    _go(page, shop, "funnels", [("step", MARKUP), ("step", FORMULA)])
    expect(page.locator(".funnel")).to_contain_text(MARKUP)
    assert page.locator("main img").count() == 0


def test_a_slow_answer_can_be_cancelled_and_asked_again(shop: Shop, tabs: Tabs):
    """After two seconds there is a way out, and the question can be asked again."""
    page = tabs.open(storage_state=shop.cookies)
    page.route("**/reports/trends/answer?*", lambda _: None)
    page.goto(f"{shop.address}/reports/trends?event=Shop+Viewed&range=7")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#answer .state")).to_contain_text("Cancelled.")
    page.unroute("**/reports/trends/answer?*")
    page.get_by_role("button", name="Ask again").click()
    expect(page.locator(".headline-number")).to_have_text("5")
    tabs.faults.clear()  # htmx reports the request that was given up on purpose


def test_an_empty_workspace_says_what_would_be_here(empty_server: LiveServer, tabs: Tabs):
    """Without events the page says what would be here and how to get it."""
    page = tabs.open()
    log_in(page, empty_server)
    for name, words in (("trends", "A line of how often"), ("funnels", "Bars of how many")):
        page.goto(f"{empty_server.address}/reports/{name}")
        expect(page.locator("#answer .state")).to_contain_text(words)
        expect(page.locator("#answer .state a")).to_have_text("Send an event")


QUESTIONS = {
    "trends": [("event", "Shop Viewed"), ("breakdown", "plan"), ("filter_property", "plan"),
               ("filter_operator", "is_set"), ("filter_value", "")],
    "active-users": [("compare", "previous_period")],
    "funnels": [("step", "Shop Viewed"), ("step", "Cart Filled"), ("breakdown", "plan"),
                ("interval", "day")],
    "retention": [("start", "Shop Viewed"), ("breakdown", "plan")],
    "lifecycle": [("event", "Shop Viewed")],
    "stickiness": [("event", "Shop Viewed")],
    "paths": [("event", "Shop Viewed")],
}  # fmt: skip


@pytest.mark.parametrize(("scheme", "phone"), [("light", False), ("dark", True)])
def test_report_pages_have_no_violations(shop: Shop, tabs: Tabs, scheme: str, phone: bool):
    """Every page with its answer passes axe, and none scrolls sideways, at 360 pixels too."""
    size = {"viewport": {"width": 360, "height": 780}} if phone else {}
    page = tabs.open(scheme=scheme, phone=phone, storage_state=shop.cookies, **size)
    for name, query in QUESTIONS.items():
        _go(page, shop, name, query)
        _check(page, name)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= page.viewport_size["width"], name
    page.locator("#answer .cell").first.click()
    expect(page.locator(".persons")).to_be_visible()
    _check(page, "persons")


def _check(page: Page, name: str) -> None:
    page.evaluate(
        "document.getAnimations().forEach((a) => { try { a.finish() } catch { a.cancel() } })"
    )
    results = Axe().run(page)
    assert results.violations_count == 0, f"{name}: {results.generate_report()}"
