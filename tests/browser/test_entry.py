"""The way in: first account, login, logout, and what is refused on the way."""

from __future__ import annotations

import re

import httpx
import pytest
from stage import EMAIL, PASSWORD, LiveServer, Tabs, log_in

pytestmark = pytest.mark.browser


def test_first_account_is_made_at_the_set_up_address(new_server: LiveServer, tabs: Tabs):
    """The set-up address makes one account, logs it in, and is used up by that."""
    token = (new_server.data_dir / "setup-token").read_text().strip()
    page = tabs.open()
    page.goto(new_server.address + "/")
    assert "There is no account yet" in page.inner_text("main")
    page.goto(f"{new_server.address}/setup?token={token}")
    page.fill("#email", EMAIL)
    page.fill("#password", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_url("**/?workspace=*")
    assert EMAIL in page.inner_text(".sidebar")
    other = tabs.open()
    other.goto(f"{new_server.address}/setup?token={token}")
    assert other.url.endswith("/login")


def test_a_wrong_set_up_token_makes_no_account(new_server: LiveServer):
    """Without the token nobody gets an account, whoever asks."""
    client = httpx.Client(base_url=new_server.address)
    answer = client.post(
        "/setup",
        data={
            "csrf_token": _form_token(client.get("/setup?token=guess").text),
            "token": "guess",
            "email": EMAIL,
            "password": PASSWORD,
        },
    )
    assert answer.status_code == 403
    assert "set-up link is wrong" in answer.text
    assert "saytics_session" not in client.cookies


def test_login_refuses_a_wrong_password_and_keeps_the_email(live_server: LiveServer, tabs: Tabs):
    """A refused login shows the form again with the e-mail, not the password, and a reason."""
    page = tabs.open()
    page.goto(live_server.address + "/login")
    page.fill("#email", EMAIL)
    page.fill("#password", "not the password")
    page.click("button[type=submit]")
    assert page.input_value("#email") == EMAIL
    assert page.input_value("#password") == ""
    assert page.locator("#refusal").is_visible()
    # The browser itself reports the status of the refused form; nothing else may be reported.
    tabs.faults = [fault for fault in tabs.faults if "401" not in fault]


def test_login_leads_to_the_page_asked_for(live_server: LiveServer, tabs: Tabs):
    """A shared address survives the login."""
    page = tabs.open()
    slug = _slug(live_server)
    log_in(page, live_server, f"/?workspace={slug}&days=7&people=wau")
    assert page.url.endswith(f"/?workspace={slug}&days=7&people=wau")
    assert page.inner_text("h1") == "What happened in the last 7 days?"


def test_logout_ends_the_session_on_the_server(live_server: LiveServer, tabs: Tabs):
    """After the logout the old cookie opens nothing."""
    page = tabs.open()
    log_in(page, live_server)
    cookie = next(c for c in page.context.cookies() if c["name"] == "saytics_session")
    page.click("text=Log out")
    page.wait_for_url("**/login")
    answer = httpx.get(live_server.address + "/", cookies={"saytics_session": cookie["value"]})
    assert answer.status_code == 303


def test_session_cookie_is_out_of_reach_of_scripts(live_server: LiveServer, tabs: Tabs):
    """The session is HttpOnly and SameSite=Lax."""
    page = tabs.open()
    log_in(page, live_server)
    cookie = next(c for c in page.context.cookies() if c["name"] == "saytics_session")
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    assert "saytics_session" not in page.evaluate("document.cookie")


@pytest.mark.parametrize(
    "target",
    ["//evil.example", "/\\evil.example", "https://evil.example", "/%0d%0aX: y", "/login?next=/"],
)
def test_login_leads_to_no_other_place(live_server: LiveServer, target: str):
    """There is no open redirect: a target that is not the home page is forgotten."""
    client = httpx.Client(base_url=live_server.address)
    form = client.get("/login", params={"next": target}).text
    answer = client.post(
        "/login",
        data={
            "csrf_token": _form_token(form),
            "next": target,
            "email": EMAIL,
            "password": PASSWORD,
        },
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("/login", {"email": EMAIL, "password": PASSWORD}),
        ("/setup", {"token": "x", "email": EMAIL, "password": PASSWORD}),
        ("/keys", {"name": "x"}),
        ("/logout", {}),
    ],
)
def test_forms_of_other_sites_are_refused(live_server: LiveServer, path: str, data: dict):
    """Every form needs its token, and what a browser marks as cross-site is refused with it."""
    client = _logged_in(live_server)
    if path in ("/login", "/setup"):
        client.cookies.clear()
    assert client.post(path, data=data).status_code == 403
    assert client.post(path, data={**data, "csrf_token": "guess"}).status_code == 403
    token = _form_token(
        client.get("/login" if path == "/login" else "/", follow_redirects=True).text
    )
    answer = client.post(
        path, data={**data, "csrf_token": token}, headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "path", ["/?days=7", "/login", "/home/event?id=x", "/home/arrivals?after=x"]
)
def test_every_page_carries_the_security_headers(live_server: LiveServer, path: str):
    """Pages, fragments and errors alike forbid foreign scripts, framing and guessing of types."""
    client = _logged_in(live_server)
    if path == "/login":
        client.cookies.clear()
    headers = client.get(path, follow_redirects=True).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data:",
        "font-src": "'self'",
        "connect-src": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
    }
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


def test_static_files_are_kept_for_ever(live_server: LiveServer):
    """Addresses of static files carry the content's hash; with another hash there is nothing."""
    page = httpx.get(live_server.address + "/login").text
    address = re.search(r'href="(/assets/\w+/dashboard\.css)"', page)[1]
    answer = httpx.get(live_server.address + address)
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-encoding"] == "gzip"
    assert httpx.get(live_server.address + "/assets/0000000000/dashboard.css").status_code == 404
    assert httpx.get(live_server.address + "/assets/x/../../render.py").status_code == 404


@pytest.mark.parametrize(
    "path", ["/", "/home/events-per-day", "/home/active-users", "/home/top-events"]
)
def test_other_workspaces_do_not_exist(live_server: LiveServer, path: str):
    """A workspace the visitor is no member of answers like one that is not there."""
    assert _logged_in(live_server).get(path, params={"workspace": "theirs"}).status_code == 404


@pytest.mark.parametrize(
    "path",
    ["/home/events-per-day", "/home/arrivals?after=0", "/home/first-event", "/home/event?id=x"],
)
def test_nothing_is_shown_without_a_session(live_server: LiveServer, path: str):
    """Fragments lead to the login like pages do."""
    assert httpx.get(live_server.address + path).headers["location"] == "/login"
    fragment = httpx.get(live_server.address + path, headers={"HX-Request": "true"})
    assert (fragment.status_code, fragment.headers["hx-redirect"]) == (401, "/login")


def _form_token(page: str) -> str:
    return re.search(r'name="csrf_token" value="([^"]+)"', page)[1]


def _logged_in(server: LiveServer) -> httpx.Client:
    client = httpx.Client(base_url=server.address)
    token = _form_token(client.get("/login").text)
    answer = client.post("/login", data={"csrf_token": token, "email": EMAIL, "password": PASSWORD})
    assert answer.status_code == 303
    return client


def _slug(server: LiveServer) -> str:
    location = _logged_in(server).get("/").headers["location"]
    return re.search(r"workspace=([^&]+)", location)[1]
