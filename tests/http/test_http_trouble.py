"""What senders are told when the writer stalls, the clock is wrong or the disk is full."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from refusals import error
from tenant import Tenant

from factories import wire_event
from serving import Serving

OK = {"status": "ok", "received": 1}
STALL = (
    "import threading\n"
    "release, stalled = threading.Event(), threading.Event()\n"
    "def stall(_):\n"
    "    stalled.set(); release.wait(30)\n"
    "threading.Thread(target=log._writer.run, args=(stall,), daemon=True).start()\n"
    "assert stalled.wait(5)\n"
    "from saytics_server.log import log as log_module\n"
)


def test_a_stalled_writer_is_told_to_senders(operated: Serving):
    """503 overloaded with Retry-After; what was told ok is there, the refused is not."""
    tenant = Tenant(operated)
    operated.operate(STALL + "log_module.WAITING_REQUESTS_MAX = 20")
    try:
        answers = _send_beyond_the_bound(tenant)
    finally:
        operated.operate("release.set(); log_module.WAITING_REQUESTS_MAX = 10_000; release = None")
    accepted, refused = answers
    assert len(refused) == 30
    operated.wait_visible()
    stored = operated.events(tenant.secret)
    assert sorted(event["userId"] for event in stored) == sorted(accepted)
    assert tenant.track().json() == OK


def _send_beyond_the_bound(tenant: Tenant) -> tuple[list[str], list[str]]:
    """Send 50 events to a writer that takes 20; return who was accepted and who was refused."""
    accepted, refused = [], []
    with ThreadPoolExecutor(50) as senders:
        sending = {
            senders.submit(tenant.serving.track, wire_event(userId=f"u{n}"), tenant.secret): f"u{n}"
            for n in range(50)
        }
        for done in as_completed(sending, timeout=20):
            answer = done.result()
            if answer.status_code == 200:
                accepted.append(sending[done])
                continue
            assert error(answer) == (503, "overloaded", None)
            assert int(answer.headers["retry-after"]) >= 1
            if not refused:
                assert error(tenant.serving.client.get("/readyz")) == (503, "overloaded", None)
            refused.append(sending[done])
            if len(refused) == 30:
                tenant.serving.operate("release.set()")
    return accepted, refused


def test_a_clock_set_back_refuses_until_it_is_right(operated: Serving):
    """A small step back stands still instead; a large one is an operator's matter."""
    tenant = Tenant(operated)
    assert tenant.track().json() == OK
    operated.operate(
        "class Shifted:\n"
        "    def __init__(self, clock, ms): self.clock, self.ms = clock, ms\n"
        "    def now_ms(self): return self.clock.now_ms() + self.ms\n"
        "    def monotonic_s(self): return self.clock.monotonic_s()\n"
        "right = collector._clock\n"
        "collector._clock = Shifted(right, -3_600_000)"
    )
    try:
        refused = tenant.track()
        assert error(refused) == (503, "clock_invalid", None)
        assert error(operated.client.get("/readyz")) == (503, "clock_invalid", None)
        assert int(refused.headers["retry-after"]) >= 1
        operated.operate("collector._clock = Shifted(right, -3_000)")
        assert tenant.track().json() == OK
        assert operated.client.get("/readyz").status_code == 200
    finally:
        operated.operate("collector._clock = right")
    operated.wait_visible()
    received = [event["receivedAt"] for event in operated.events(tenant.secret)]
    assert len(received) == 2
    assert received == sorted(received)
    assert tenant.track().json() == OK


def test_a_disk_below_its_floor_refuses_events_and_answers_reports(operated: Serving):
    """503 storage_full; a bad event is still told what is wrong; recovery without a restart."""
    tenant = Tenant(operated)
    assert tenant.track().json() == OK
    operated.wait_visible()
    operated.operate("floor = log._writer._free_bytes_min; log._writer._free_bytes_min = 1 << 60")
    operated.operate("log._writer._disk_checked_s = -100.0")
    try:
        refused = tenant.track()
        assert error(refused) == (503, "storage_full", None)
        assert error(operated.client.get("/readyz")) == (503, "storage_full", None)
        assert operated.client.get("/healthz").status_code == 200
        assert int(refused.headers["retry-after"]) >= 1
        assert error(tenant.serving.track({"event": "X"}, tenant.secret))[1] == "missing_id"
        assert len(operated.events(tenant.secret)) == 1
        assert tenant.serving.get("/v1/reports/users", tenant.secret).status_code == 200
    finally:
        operated.operate("log._writer._free_bytes_min = floor; log._writer._disk_checked_s = -1.0")
    assert tenant.track().json() == OK


def test_memory_stays_flat_while_large_batches_knock_at_a_stalled_writer(operated: Serving):
    """What waits is bounded in bytes; what is refused leaves nothing behind."""
    tenant = Tenant(operated)
    large = [wire_event(properties={"text": "x" * 250, "more": "y" * 250})] * 1_000
    for _ in range(5):  # what the first large requests leave behind is no growth
        assert operated.batch(large, tenant.secret).json()["received"] == 1_000
    before = resident_bytes(operated)
    operated.operate(STALL + "log_module.WAITING_BYTES_MAX = 4_000_000")
    refused = 0
    try:
        with ThreadPoolExecutor(16) as senders:
            sending = [senders.submit(operated.batch, large, tenant.secret) for _ in range(120)]
            for done in as_completed(sending, timeout=60):
                refused += done.result().status_code == 503
                if refused == 100:
                    operated.operate("release.set()")
    finally:
        operated.operate("release.set(); log_module.WAITING_BYTES_MAX = 64 * 1024 * 1024")
    assert refused >= 100
    assert resident_bytes(operated) - before < 100_000_000


def resident_bytes(serving: Serving) -> int:
    """Return the memory a server's process holds."""
    assert serving.process is not None
    status = Path(f"/proc/{serving.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024
