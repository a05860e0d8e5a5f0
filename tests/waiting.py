"""Waiting on a condition with a limit, which is how tests wait here."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

INTERVAL_S = 0.005


def until(condition: Callable[[], Found], *, limit_s: float = 10, what: str = "") -> Found:
    """Return what `condition` returns once that is truthy; fail after `limit_s`."""
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still waiting after {limit_s} s: {what or condition}")
        time.sleep(INTERVAL_S)
    return found
