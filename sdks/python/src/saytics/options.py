"""The client's settings: defaults, environment, and what is refused.

A wrong setting raises at construction, where the programmer sees it; nothing raises afterwards.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from saytics.errors import SayticsError

DEFAULT_HOST = "http://127.0.0.1:8640"

# The server takes 1,000 events in a batch; more would be refused whole.
FLUSH_AT_MAX = 1000

OnError = Callable[[SayticsError, list[dict[str, Any]]], None]
BeforeSend = Callable[[dict[str, Any]], dict[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Options:
    """Checked settings. Times in seconds, counts in events."""

    key: str
    host: str
    flush_at: int
    flush_interval_s: float
    queue_max: int
    gzip: bool
    timeout_s: float
    max_retries: int
    before_send: BeforeSend | None
    on_error: OnError | None
    enabled: bool
    debug: bool

    def __post_init__(self) -> None:
        if self.enabled:
            _check_key(self.key)
        _check_host(self.host)
        _check_whole("flush_at", self.flush_at, 1, FLUSH_AT_MAX)
        _check_whole("queue_max", self.queue_max, 1, None)
        _check_whole("max_retries", self.max_retries, 0, None)
        _check_seconds("flush_interval_s", self.flush_interval_s)
        _check_seconds("timeout_s", self.timeout_s)


def key_or_environment(key: str | None) -> str:
    """Return the key given, else `SAYTICS_SECRET_KEY`; without the line end files leave behind."""
    return (key if key is not None else os.environ.get("SAYTICS_SECRET_KEY", "")).strip()


def host_or_environment(host: str | None) -> str:
    """Return the base URL given, else `SAYTICS_HOST`, else the default; no slash at its end."""
    given = host if host is not None else os.environ.get("SAYTICS_HOST", "")
    return (given.strip() or DEFAULT_HOST).rstrip("/")


def refuse_spool(spool: str) -> None:
    """Refuse the spool this version does not have, rather than let someone rely on it."""
    if spool != "off":
        raise ValueError(
            f"spool={spool!r} is not built yet: this version keeps its queue in memory only. "
            "Leave the option out or pass 'off'."
        )


def _check_key(key: str) -> None:
    if not key:
        raise ValueError(
            "No key: pass one, set SAYTICS_SECRET_KEY, or pass enabled=False to send nothing."
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("The key has characters that no key has.")


def _check_host(host: str) -> None:
    parts = urlsplit(host)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"host={host!r} is not a base URL such as {DEFAULT_HOST!r}.")
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError("host may hold scheme, name, port and path only.")


def _check_whole(name: str, value: int, least: int, most: int | None) -> None:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or value < least or (most is not None and value > most):
        limit = f" and at most {most}" if most is not None else ""
        raise ValueError(f"{name} must be a whole number, at least {least}{limit}.")


def _check_seconds(name: str, value: float) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value <= 0:
        raise ValueError(f"{name} must be a number of seconds above 0.")
