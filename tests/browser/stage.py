"""What the browser tests play on: a real server process, and pages watched for every fault."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import msgspec
from playwright.sync_api import Browser, BrowserContext, Page, Request

EMAIL, PASSWORD = "ann@example.com", "correct horse battery"
SECRET_KEY = "sk_live_" + "S" * 32
WRITE_KEY = "sk_write_" + "W" * 32
COMMAND = Path(sys.executable).parent / "saytics"
READY_WITHIN_S = 30
CHROMIUM = "/usr/bin/chromium"
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
WIDE = {"width": 1440, "height": 1000}
PHONE = {"width": 390, "height": 844}


class LiveServer(msgspec.Struct):
    """A running `saytics serve` on a data directory of its own."""

    process: subprocess.Popen[bytes]
    address: str
    data_dir: Path

    def send(self, *events: dict, key: str = SECRET_KEY) -> None:
        """Send events and wait until they are acknowledged."""
        answer = httpx.post(
            f"{self.address}/v1/events/batch",
            json={"events": list(events)},
            headers={"Authorization": f"Bearer {key}"},
        )
        assert answer.status_code == 200, answer.text

    def stop(self) -> None:
        """Stop it and wait for the end."""
        self.process.terminate()
        self.process.wait(15)


def start_server(data_dir: Path, **settings: str) -> LiveServer:
    """Start a server on a free port and wait until it is ready."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SAYTICS_")} | {
        "SAYTICS_BOOTSTRAP_SECRET_KEY": SECRET_KEY,
        "SAYTICS_BOOTSTRAP_WRITE_KEY": WRITE_KEY,
        "SAYTICS_BOOTSTRAP_TIMEZONE": "Asia/Kathmandu",
        **settings,
    }
    with (data_dir.parent / f"{data_dir.name}.output").open("wb") as output:
        process = subprocess.Popen(
            [COMMAND, "serve", "--listen", listen, "--data-dir", data_dir],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    server = LiveServer(process, f"http://{listen}", data_dir)
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        assert process.poll() is None, Path(output.name).read_text()
        try:
            if httpx.get(f"{server.address}/readyz").status_code == 200:
                return server
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"not ready in {READY_WITHIN_S} s: {Path(output.name).read_text()}")


def with_account() -> dict[str, str]:
    """Return the settings of a server whose first account is there from the start."""
    return {"SAYTICS_BOOTSTRAP_EMAIL": EMAIL, "SAYTICS_BOOTSTRAP_PASSWORD": PASSWORD}


class Tabs:
    """Opens watched pages: what goes wrong in any of them is kept in `faults`."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self.faults: list[str] = []

    def open(self, *, phone: bool = False, scheme: str = "light", **options: object) -> Page:
        """Open an empty page in a new context, without any cookie."""
        shape = {"viewport": PHONE, "is_mobile": True, "has_touch": True} if phone else {}
        context = self._browser.new_context(
            **{"viewport": WIDE, "color_scheme": scheme, **shape, **options}
        )
        self._contexts.append(context)
        # What the policy blocks is no console message in every case; the event always comes.
        context.add_init_script(
            "addEventListener('securitypolicyviolation',"
            " (event) => console.error('CSP', event.violatedDirective, event.blockedURI))"
        )
        page = context.new_page()
        page.on("console", lambda message: self._message(message.type, message.text))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("dialog", lambda dialog: (self.faults.append("dialog"), dialog.dismiss()))
        page.on("request", self._request)
        return page

    def _message(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.faults.append(f"{kind}: {text}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "data:")):
            self.faults.append(f"request to {request.url}")

    def close(self) -> None:
        """Close every page."""
        for context in self._contexts:
            context.close()


def log_in(page: Page, server: LiveServer, path: str = "/") -> None:
    """Log in with the account of the fixtures, and wait for the figures of the page."""
    page.goto(server.address + path)
    page.fill("#email", EMAIL)
    page.fill("#password", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_url("**/?workspace=*")
    page.wait_for_selector("#events-per-day :is(.chart svg, .state)")
