"""What one `track()` costs the program that calls it.

    PYTHONPATH=sdks/python/src python sdks/python/bench/track_cost.py

Nothing listens at the address, so after a first refused try the queue only fills: the figure is
the caller's cost alone, validate, stamp, serialise, queue. The best of several rounds is the cost
without the machine's other work; the median beside it is what a busy machine shows.
"""

import statistics
import time

from saytics import Saytics

EVENTS = 20_000
ROUNDS = 9


def round_us() -> float:
    """Return microseconds per call over one fresh client."""
    client = Saytics("sk_live_bench", host="http://127.0.0.1:9", on_error=lambda *_: None)
    started = time.perf_counter()
    for _ in range(EVENTS):
        client.track(
            user_id="user_456",
            event="Subscription Upgraded",
            properties={"plan": "pro", "mrr": 49.99, "billing_cycle": "monthly"},
        )
    cost = (time.perf_counter() - started) / EVENTS * 1e6
    assert client.shutdown(timeout=0).tracked == EVENTS
    return cost


if __name__ == "__main__":
    costs = [round_us() for _ in range(ROUNDS)]
    print(f"track(): best {min(costs):.1f} µs, median {statistics.median(costs):.1f} µs")
