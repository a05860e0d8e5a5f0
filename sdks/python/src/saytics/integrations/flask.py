"""Flask: an extension.

    saytics = FlaskSaytics(app)  # or init_app(app); app.config["SAYTICS"] holds options

    @app.post("/orders")
    def order():
        saytics.track("Order Completed", {"total": 49.99}, user_id=session["user"])

Within a request, events carry its context. Without options the environment's client is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Flask, has_request_context, request

from saytics.client import Saytics
from saytics.default import default_client
from saytics.integrations.visit import Visit


class FlaskSaytics:
    """Holds the client of an application, or of several."""

    def __init__(self, app: Flask | None = None, client: Saytics | None = None) -> None:
        self._client = client
        if app is not None:
            self.init_app(app)

    @property
    def client(self) -> Saytics:
        """The client events go to."""
        return self._client or default_client()

    def init_app(self, app: Flask) -> None:
        """Register with an application and take its options, unless a client was given."""
        options = app.config.get("SAYTICS")
        if self._client is None and options:
            self._client = Saytics(**options)
        app.extensions["saytics"] = self

    def track(self, event: str, properties: Mapping[str, Any] | None = None, **fields: Any) -> None:
        """Queue one event, with the context of the request there is."""
        visit = Visit(self.client, ip=None, user_agent=None)
        if has_request_context():
            visit = Visit(
                self.client, ip=request.remote_addr, user_agent=request.headers.get("User-Agent")
            )
        visit.track(event, properties, **fields)
