"""Tracking in the name of one request: its context, and who is asking.

`context.ip` and `context.userAgent` are what a Saytics server notes by itself of browsers; a server
program has to say them. The address is the one the framework gives: behind a proxy, that is a
matter of the framework's settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from saytics.client import Saytics


class Visit:
    """`track` for one request. `ids` are its `user_id` or `anonymous_id`, where they are known."""

    def __init__(
        self,
        client: Saytics,
        *,
        ip: str | None,
        user_agent: str | None,
        ids: Mapping[str, Any] | None = None,
    ) -> None:
        self._client = client
        self._ids = dict(ids or {})
        found = {"ip": ip, "userAgent": user_agent}
        self._context = {name: value for name, value in found.items() if value}

    def track(
        self,
        event: str,
        properties: Mapping[str, Any] | None = None,
        *,
        context: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        """Queue one event with the request's context; `fields` are those of `Saytics.track`."""
        given = {name for name in ("user_id", "anonymous_id") if fields.get(name) is not None}
        ids = {} if given else self._ids
        self._client.track(
            event=event,
            properties=properties,
            context={**self._context, **(context or {})},
            **{**ids, **fields},
        )
