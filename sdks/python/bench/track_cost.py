"""What one `track()` costs the program that calls it, for each kind of spool.

    PYTHONPATH=sdks/python/src python sdks/python/bench/track_cost.py

Nothing listens at the address. With `off` and `auto` the queue fills, so the figure is the caller's
cost alone: validate, stamp, serialise, queue; with `always` an append to a file comes on top. The
best of several rounds is the cost without the machine's other work; the median beside it is what a
busy machine shows. The second table has another thread of the program calculating all the time:
each system call gives it a chance to take the interpreter, and a turn of it lasts up to 5 ms.
"""

import statistics
import tempfile
import threading
import time

from saytics import Saytics

EVENTS = 10_000
ROUNDS = 9


def round_us(spool: str, folder: str) -> float:
    """Return microseconds per call over one fresh client."""
    client = Saytics(
        "sk_live_bench",
        host="http://127.0.0.1:9",
        spool=spool,
        spool_dir=folder,
        flush_interval_s=60,
        flush_at=1000,
        on_error=lambda *_: None,
    )
    # The first try fails and begins a back-off, so that the sending thread is quiet afterwards.
    client.track(user_id="user_456", event="First")
    client.flush(0.05)
    started = time.perf_counter()
    for _ in range(EVENTS):
        client.track(
            user_id="user_456",
            event="Subscription Upgraded",
            properties={"plan": "pro", "mrr": 49.99, "billing_cycle": "monthly"},
        )
    cost = (time.perf_counter() - started) / EVENTS * 1e6
    assert client.shutdown(timeout=0).tracked == EVENTS + 1
    return cost


def table(title: str) -> None:
    """Measure and print."""
    print(title)
    for spool in ("off", "auto", "always"):
        with tempfile.TemporaryDirectory() as folder:
            costs = [round_us(spool, folder) for _ in range(ROUNDS)]
        print(f"  {spool:7} best {min(costs):6.1f} µs, median {statistics.median(costs):6.1f} µs")


def calculate(is_over: threading.Event) -> None:
    """Keep the interpreter busy."""
    while not is_over.is_set():
        sum(range(1000))


if __name__ == "__main__":
    table("track()")
    over = threading.Event()
    threading.Thread(target=calculate, args=(over,), daemon=True).start()
    table("track() beside a thread that calculates")
    over.set()
