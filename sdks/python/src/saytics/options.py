"""The client's settings: defaults, environment, and what is refused.

A wrong setting raises at construction, where the programmer sees it; nothing raises afterwards.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import urlsplit

from saytics.errors import SayticsError
from saytics.spool_folder import default_root

DEFAULT_HOST = "http://127.0.0.1:8640"

# The server takes 1,000 events in a batch; more would be refused whole.
FLUSH_AT_MAX = 1000

SPOOL_BYTES_MAX = 256 * 1024 * 1024

SPOOLS = ("auto", "always", "off")

OnError = Callable[[SayticsError, list[dict[str, Any]]], None]
BeforeSend = Callable[[dict[str, Any]], dict[str, Any] | None]


class OptionValues(TypedDict, total=False):
    """The options a client takes by keyword. The README says what each is for."""

    host: str | None
    flush_at: int
    flush_interval_s: float
    queue_max: int
    spool: str
    spool_dir: str | Path | None
    spool_bytes_max: int
    gzip: bool
    timeout_s: float
    max_retries: int
    before_send: BeforeSend | None
    on_error: OnError | None
    enabled: bool
    debug: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Checked settings. Times in seconds, counts in events."""

    # Never in a repr: those end up in logs and crash reports.
    key: str = field(repr=False)
    host: str
    flush_at: int = 100
    flush_interval_s: float = 1.0
    queue_max: int = 100_000
    spool: str = "auto"
    spool_dir: str | Path | None = None
    spool_bytes_max: int = SPOOL_BYTES_MAX
    gzip: bool = True
    timeout_s: float = 10.0
    max_retries: int = 10
    before_send: BeforeSend | None = None
    on_error: OnError | None = None
    enabled: bool = True
    debug: bool = False

    @property
    def spool_root(self) -> Path | None:
        """Where spools lie; None where there is no such place, as for a user without a home."""
        if self.spool_dir is not None:
            return Path(self.spool_dir)
        try:
            return default_root()
        except RuntimeError:
            return None

    def __post_init__(self) -> None:
        if self.enabled:
            _check_key(self.key)
        _check_host(self.host)
        _check_whole("flush_at", self.flush_at, 1, FLUSH_AT_MAX)
        _check_whole("queue_max", self.queue_max, 1, None)
        _check_whole("spool_bytes_max", self.spool_bytes_max, 1, None)
        if self.spool not in SPOOLS:
            raise ValueError(f"spool={self.spool!r} is none of {', '.join(SPOOLS)}.")
        _check_whole("max_retries", self.max_retries, 0, None)
        _check_seconds("flush_interval_s", self.flush_interval_s)
        _check_seconds("timeout_s", self.timeout_s)


def options_of(key: str | None, values: OptionValues) -> Options:
    """Return checked settings, what is missing taken from the environment.

    A key comes without the line end files leave behind, a host without a slash at its end.
    """
    given = values.get("host")
    host = given if given is not None else os.environ.get("SAYTICS_HOST", "")
    key = key if key is not None else os.environ.get("SAYTICS_SECRET_KEY", "")
    settings: dict[str, Any] = {
        **values,
        "key": key.strip(),
        "host": (host.strip() or DEFAULT_HOST).rstrip("/"),
    }
    return Options(**settings)


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
