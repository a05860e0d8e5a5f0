"""A real server process, a real Chromium, and pages that fail the test for any console error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright
from stage import CHROMIUM, CHROMIUM_ARGUMENTS, LiveServer, Tabs, start_server, with_account


@pytest.fixture(scope="session")
def live_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server with an account and a few events, shared by all tests that do not mind others'."""
    server = start_server(tmp_path_factory.mktemp("live") / "data", **with_account())
    server.send(
        *(
            {"event": event, "userId": f"user_{number}", "properties": {"plan": "pro", "n": number}}
            for number in range(5)
            for event in ("Page View", "Feature Used")
        )
    )
    yield server
    server.stop()


@pytest.fixture
def empty_server(tmp_path: Path) -> Iterator[LiveServer]:
    """A server with an account to which nothing was ever sent."""
    server = start_server(tmp_path / "data", **with_account())
    yield server
    server.stop()


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[LiveServer]:
    """A server without any account."""
    server = start_server(tmp_path / "data")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One headless Chromium for the session."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def tabs(browser: Browser) -> Iterator[Tabs]:
    """Watched pages; the test fails if the console of any had an error."""
    tabs = Tabs(browser)
    yield tabs
    tabs.close()
    assert tabs.faults == []
