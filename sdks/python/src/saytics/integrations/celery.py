"""Celery: workers that send what their tasks have tracked.

    from saytics.integrations.celery import connect
    connect()  # beside the Celery app; or connect(client)

Pool processes end without running what a program registers for its exit, so their clients are
flushed when the worker shuts a process down. Tasks need no flush of their own.
"""

from __future__ import annotations

from typing import Any

from celery.signals import (  # type: ignore[import-untyped]
    worker_process_shutdown,
    worker_shutdown,
)

from saytics.client import Saytics
from saytics.default import default_client


def connect(client: Saytics | None = None) -> None:
    """Flush `client`, by default that of the environment, when a worker or its processes end."""

    def flush(**_: Any) -> None:
        (client or default_client()).flush()

    # Celery holds receivers weakly unless told otherwise, and this one has no other holder.
    worker_process_shutdown.connect(flush, weak=False)
    worker_shutdown.connect(flush, weak=False)
