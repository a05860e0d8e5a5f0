"""A server for commands that send events: the one that runs, or one started for now."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import msgspec

from saytics_server import control
from saytics_server.config import Config
from saytics_server.server import Server


@contextmanager
def server_of(config: Config) -> Iterator[tuple[httpx.Client, bool]]:
    """Yield commands to the server that has the directory open, or to one started for now.

    The second value tells whether it ends with the context.
    """
    if config.data_dir.is_dir():
        with control.client(config.data_dir) as running:
            if running is not None:
                yield running, False
                return
    server = Server(msgspec.structs.replace(config, listen="127.0.0.1:0"))
    thread = threading.Thread(target=server.run, name="server")
    thread.start()
    try:
        server.started.wait()
        with control.client(config.data_dir) as commands:
            assert commands is not None
            yield commands, True
    finally:
        server.stop()
        thread.join()


def post_batch(client: httpx.Client, body: bytes) -> dict[str, Any]:
    """Send a batch and return the answer; the same messageIds make it safe to try again."""
    while True:
        response = client.post("/v1/events/batch", content=body)
        if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            answer: dict[str, Any] = response.json()
            return answer
        time.sleep(float(response.headers.get("Retry-After", "1")))
