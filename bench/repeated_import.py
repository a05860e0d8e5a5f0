"""An import that is run twice: the second time every messageId is taken, and nothing is added.

Batches of 1,000 over HTTP, several senders, pre-rendered; the ratio of the two speeds is what
counts. `--events 10000000` is the full size.
"""

from __future__ import annotations

import http.client
import json
import queue
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from bench.serving import SECRET_KEY, saytics

EVENTS = 500_000
BATCH = 1000
SENDERS = 8


def run(events: int = EVENTS) -> list[str]:
    """Measure and return the lines of the table."""
    with tempfile.TemporaryDirectory() as folder:
        with saytics(Path(folder)) as (address, _):
            first_s, duplicates = _import(address, events)
            assert duplicates == 0
            _wait_visible(address, events)
        with saytics(Path(folder)) as (address, _):
            second_s, duplicates = _import(address, events)
            assert duplicates == events, (duplicates, events)
            assert _total(address) == events
    return [
        "| run | events | events/s | ratio |",
        "|---|---|---|---|",
        f"| first | {events:,} | {events / first_s:,.0f} | 1 |",
        f"| again, after a restart: all duplicates | {events:,} | {events / second_s:,.0f} "
        f"| {first_s / second_s:.2f} |",
    ]


def _body(start: int) -> bytes:
    return json.dumps(
        {
            "events": [
                {
                    "event": "Imported",
                    "userId": f"user_{number % 10_000}",
                    "timestamp": f"2023-{number % 12 + 1:02d}-{number % 28 + 1:02d}T12:00:00Z",
                    "messageId": f"import-{number}",
                    "properties": {"plan": "pro", "mrr": 49.99, "number": number},
                }
                for number in range(start, start + BATCH)
            ]
        }
    ).encode()


def _import(address: str, events: int) -> tuple[float, int]:
    waiting: queue.Queue[bytes | None] = queue.Queue(64)
    duplicates: list[int] = []

    def send() -> None:
        connection = http.client.HTTPConnection(urlsplit(address).netloc)
        while (body := waiting.get()) is not None:
            duplicates.append(_post(connection, body).get("duplicates", 0))

    senders = [threading.Thread(target=send) for _ in range(SENDERS)]
    for sender in senders:
        sender.start()
    started = time.perf_counter()
    for start in range(0, events, BATCH):
        waiting.put(_body(start))
    for _ in senders:
        waiting.put(None)
    for sender in senders:
        sender.join()
    return time.perf_counter() - started, sum(duplicates)


def _post(connection: http.client.HTTPConnection, body: bytes) -> dict:
    headers = {"Authorization": f"Bearer {SECRET_KEY}"}
    while True:
        connection.request("POST", "/v1/events/batch", body, headers)
        response = connection.getresponse()
        content = json.loads(response.read())
        if response.status == 200:
            return content
        assert response.status == 503, content
        time.sleep(0.2)


def _total(address: str) -> int:
    connection = http.client.HTTPConnection(urlsplit(address).netloc)
    path = "/v1/reports/events?event=Imported&from=2023-01-01&to=2023-12-31&interval=month"
    connection.request("GET", path, headers={"Authorization": f"Bearer {SECRET_KEY}"})
    return int(json.loads(connection.getresponse().read())["total"])


def _wait_visible(address: str, events: int) -> None:
    deadline = time.monotonic() + 600
    while _total(address) != events:
        assert time.monotonic() < deadline
        time.sleep(0.2)
