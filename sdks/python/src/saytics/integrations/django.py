"""Django: options in the settings, events that belong to a request and to a transaction.

    INSTALLED_APPS = [..., "saytics.integrations.django.SayticsConfig"]
    SAYTICS = {"key": "YOUR_SECRET_KEY", "host": "https://saytics.example.com"}

    from saytics.integrations.django import track
    track(request, "Order Completed", {"total": 49.99})

The event is queued when the transaction of the request commits; after a rollback nothing has
happened, and nothing is tracked. `SAYTICS` takes every option of the client; without it, the
environment does.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from typing import Any

from django.apps import AppConfig  # type: ignore[import-untyped]
from django.conf import settings  # type: ignore[import-untyped]
from django.db import transaction  # type: ignore[import-untyped]
from django.http import HttpRequest  # type: ignore[import-untyped]

import saytics
from saytics.integrations.visit import Visit


class SayticsConfig(AppConfig):  # type: ignore[misc]
    """Makes the default client from the settings."""

    name = "saytics.integrations.django"
    label = "saytics"
    verbose_name = "Saytics"

    def ready(self) -> None:
        """Configure the default client, once Django has read its settings."""
        options = dict(getattr(settings, "SAYTICS", None) or {})
        if options:
            saytics.configure(**options)


def visit(request: HttpRequest) -> Visit:
    """Return what tracks in the name of a request: its user, or the id of its session."""
    user = getattr(request, "user", None)
    session = getattr(request, "session", None)
    ids: dict[str, Any] = {}
    if user is not None and user.is_authenticated:
        ids["user_id"] = user.pk
    elif session is not None and session.session_key:
        # Only known to be the same visitor, and not to be shown to anybody: the key opens the
        # session, so what is sent is its hash.
        ids["anonymous_id"] = _hidden(session.session_key)
    return Visit(
        saytics.default_client(),
        ip=request.META.get("REMOTE_ADDR"),
        user_agent=request.META.get("HTTP_USER_AGENT"),
        ids=ids,
    )


def track(
    request: HttpRequest,
    event: str,
    properties: Mapping[str, Any] | None = None,
    **fields: Any,
) -> None:
    """Queue an event of a request when its transaction commits; at once where there is none."""
    bound = visit(request)
    # The moment of the call, not of the commit.
    fields.setdefault("timestamp", dt.datetime.now(dt.UTC))
    transaction.on_commit(lambda: bound.track(event, properties, **fields))


def _hidden(session_key: str) -> str:
    return hashlib.sha256(session_key.encode()).hexdigest()[:32]
