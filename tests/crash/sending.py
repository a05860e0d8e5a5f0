"""Senders under load and the one question afterwards: is every acknowledged event there once?

`Load` sends from threads until the server is gone and remembers what it was told. `verdict` is the
checking function of every crash test; `test_proofs_can_fail.py` shows that it goes red.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterable

import httpx

import waiting
from factories import unique, wire_event
from serving import Serving


class Load:
    """Sends events with ids from several threads; `acknowledged` are those answered 200."""

    def __init__(self, serving: Serving, *, senders: int = 4, batch: int = 20) -> None:
        self.name = unique("Load")
        self.acknowledged: list[str] = []
        self.sent: list[str] = []
        self.refusals: Counter[int] = Counter()
        self._serving = serving
        self._batch = batch
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._send, args=(number,), daemon=True)
            for number in range(senders)
        ]

    def start(self) -> Load:
        """Begin to send."""
        for thread in self._threads:
            thread.start()
        return self

    def wait_acknowledged(self, count: int, limit_s: float = 15) -> None:
        """Wait until that many events were answered 200."""
        waiting.until(lambda: len(self.acknowledged) >= count, limit_s=limit_s, what="answers")

    def stop(self) -> None:
        """Stop sending and wait for the answers that are still on their way."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def _send(self, sender: int) -> None:
        """Send single events from the first thread, batches from the others."""
        key = {"Authorization": f"Bearer {self._serving.secret_key}"}
        with httpx.Client(base_url=self._serving.address, timeout=30, headers=key) as client:
            while not self._stopping.is_set():
                count = 1 if sender == 0 else self._batch
                with self._lock:
                    ids = [f"{self.name}-{next(self._numbers)}" for _ in range(count)]
                    self.sent += ids
                events = [wire_event(event=self.name, messageId=id_) for id_ in ids]
                try:
                    if sender == 0:
                        answer = client.post("/v1/events", json=events[0])
                    else:
                        answer = client.post("/v1/events/batch", json={"events": events})
                except httpx.HTTPError:
                    return  # the server is gone; nothing was acknowledged
                if answer.status_code == 200:
                    with self._lock:
                        self.acknowledged += ids
                else:
                    self.refusals[answer.status_code] += 1
                    if answer.status_code == 503:
                        return


def verdict(acknowledged: Iterable[str], sent: Iterable[str], stored: Iterable[str]) -> list[str]:
    """Return what is wrong: acknowledged events that are lost, events that are there twice or
    that nobody sent. What was sent and not acknowledged may be there or not."""
    counts = Counter(stored)
    wrong = [f"lost: {id_}" for id_ in sorted(set(acknowledged) - set(counts))]
    wrong += [f"{count} times: {id_}" for id_, count in sorted(counts.items()) if count > 1]
    wrong += [f"never sent: {id_}" for id_ in sorted(set(counts) - set(sent))]
    return wrong


def check(serving: Serving, load: Load) -> None:
    """Fail unless every event of a load that was acknowledged is stored exactly once."""
    serving.wait_visible(limit_s=30)
    stored = [event["messageId"] for event in serving.events(event=load.name)]
    assert load.acknowledged, "nothing was acknowledged, so nothing is proved"
    wrong = verdict(load.acknowledged, load.sent, stored)
    assert not wrong, "; ".join(wrong[:20])
    report = serving.get("/v1/reports/events", event=load.name).json()
    assert report["total"] == len(stored), "the report counts otherwise than the list"
