"""Somebody in a browser without a browser: cookies, forms with their token, and pages as text."""

from __future__ import annotations

import re
from typing import Any

import httpx

from factories import unique
from serving import Serving

PASSWORD = "correct horse battery staple"


class Somebody:
    """A client with cookies of its own, logged in or not."""

    def __init__(self, serving: Serving) -> None:
        self.serving = serving
        self.http = httpx.Client(base_url=serving.address, timeout=30)
        # A session's forms all carry the same.
        self.known_token = ""

    def log_in(self, email: str, password: str = PASSWORD) -> Somebody:
        """Log in at the form."""
        answer = self.send("/login", "/login", email=email, password=password)
        assert answer.status_code == 303, answer.text
        self.known_token = self.token("/settings/account")
        assert self.known_token
        return self

    def get(self, path: str, **query: str) -> httpx.Response:
        """Ask for a page."""
        return self.http.get(path, params=query)

    def send(self, path: str, seen_on: str, /, **fields: str) -> httpx.Response:
        """Send a form with the token of the page it is seen on."""
        return self.post(path, self.token(seen_on), **fields)

    def token(self, seen_on: str) -> str:
        """Return the token of the first form of a page; '' where there is none."""
        found = re.search(r'name="csrf_token" value="([^"]+)"', self.http.get(seen_on).text)
        return found[1] if found else ""

    def post(self, path: str, csrf_token: str, /, **fields: str) -> httpx.Response:
        """Send fields with a token."""
        return self.http.post(path, data={"csrf_token": csrf_token, **fields})


class Team:
    """A workspace on the operated server with somebody of each role, logged in."""

    def __init__(self, serving: Serving) -> None:
        self.serving = serving
        self.name = unique("Team")
        self.id, self.slug, self.secret = serving.operate(
            f"workspace = accounts.create_workspace({self.name!r})\n"
            "_, full = accounts.create_key(workspace.id, 'secret', 'server')\n"
            "result = [workspace.id, workspace.slug, full]"
        )
        self.emails = {
            role: f"{unique(role)}@example.com" for role in ("admin", "editor", "viewer")
        }
        self.account_ids = {role: self.add(email, role) for role, email in self.emails.items()}

    def add(self, email: str, role: str) -> int:
        """Make an account that is a member, and return its id."""
        made: int = self.serving.operate(
            f"made = accounts.create_account({email!r}, {PASSWORD!r})\n"
            f"accounts.add_member({self.id}, made.id, {role!r})\n"
            "result = made.id"
        )
        return made

    def member(self, role: str) -> Somebody:
        """Return the member of a role, logged in."""
        return Somebody(self.serving).log_in(self.emails[role])

    def operate(self, expression: str) -> Any:
        """Return what an expression over `accounts` says, `{id}` standing for this workspace."""
        return self.serving.operate("result = " + expression.format(id=self.id))
