"""The demo's three forms: the same events in each, whatever the block size, every time."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace

import msgspec
import pytest

from saytics_server.demo import DemoPlan, generate, generate_rows, run_demo
from saytics_server.event import (
    SECRET,
    Accepted,
    Edge,
    SentBatch,
    claims_of,
    decode_batch,
    normalise,
)

CLAIM_KEY = bytes(range(32))


def bodies_of(plan: DemoPlan) -> list[bytes]:
    bodies: list[bytes] = []
    run_demo(bodies.append, plan)
    return bodies


def test_the_same_plan_gives_the_same_bytes(small_plan):
    """Two runs of one plan post the same bytes; another seed posts others."""
    first, second = bodies_of(small_plan), bodies_of(small_plan)
    assert first == second
    assert bodies_of(replace(small_plan, seed=8)) != first


def test_another_process_gives_the_same_bytes(small_plan):
    """Nothing of the process shows in the bytes: not its hash seed, time zone or locale."""
    program = (
        "import hashlib; from saytics_server.demo import DemoPlan, run_demo; bodies = [];"
        f"run_demo(bodies.append, {small_plan!r});"
        "print(hashlib.sha256(b''.join(bodies)).hexdigest())"
    )
    environment = os.environ | {"PYTHONHASHSEED": "4242", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    elsewhere = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True, text=True
    )
    here = hashlib.sha256(b"".join(bodies_of(small_plan))).hexdigest()
    assert elsewhere.stdout.strip() == here


def test_rows_are_what_the_wire_items_become(small_plan):
    """Rows made for the log are, field by field, what posting the same demo puts there."""
    edge = Edge(
        workspace_id=3,
        key_class=SECRET,
        received_ms=small_plan.end_ms,
        timezone="UTC",
        claims=claims_of(CLAIM_KEY, 3, SECRET),
    )
    accepted = []
    for body in bodies_of(small_plan):
        decoded = decode_batch(body)
        assert isinstance(decoded, SentBatch)
        accepted += [normalise(item, edge) for item, _, _ in decoded.items if item is not None]

    assert [result for result in accepted if not isinstance(result, Accepted)] == []
    assert [result.warnings for result in accepted if result.warnings] == []
    rows = generate_rows(
        small_plan, workspace_id=3, claim_key=CLAIM_KEY, received_ms=small_plan.end_ms
    )
    assert [row for block in rows for row in block] == [result.row for result in accepted]


def test_items_are_what_is_posted(small_plan, small_company):
    """The wire dictionaries are the items of the bodies posted, and progress adds up to all."""
    bodies: list[bytes] = []
    steps: list[int] = []
    sent = run_demo(bodies.append, small_plan, steps.append)
    posted = [item for body in bodies for item in msgspec.json.decode(body)["events"]]
    assert posted == small_company
    assert (sent, sum(steps)) == (len(posted), len(posted))
    assert max(steps) <= 1000


def test_block_size_changes_nothing(small_plan):
    """Rows do not depend on how many are made at a time."""
    kept = {"workspace_id": 1, "claim_key": CLAIM_KEY, "received_ms": 1}
    large = [row for block in generate_rows(small_plan, **kept) for row in block]
    small = [row for block in generate_rows(small_plan, **kept, block_events=97) for row in block]
    assert large == small


def test_receipt_follows_the_events(small_plan):
    """Without a time of receipt, blocks are received in order, when their last event happens."""
    received = [
        (block[0].received_ms, block[-1].timestamp_ms)
        for block in generate_rows(small_plan, workspace_id=1, claim_key=CLAIM_KEY)
    ]
    assert received == sorted(received)
    assert all(receipt == last for receipt, last in received)


@pytest.mark.parametrize(
    ("days", "events", "persons"),
    [
        (1, 500, None),
        (7, 20_000, None),
        (90, 30_000, None),
        (120, 40_000, 1_200),
        (20, 90_000, 800),
    ],
)
def test_the_number_of_events_is_met(small_plan, days, events, persons):
    """A plan gets about the number of events it asks for."""
    plan = DemoPlan(end_ms=small_plan.end_ms, days=days, events=events, persons=persons)
    assert sum(map(len, generate(plan))) == pytest.approx(events, rel=0.12)


def test_what_cannot_be_played_is_refused(small_plan):
    """Too few events for the persons, or nothing at all, is an error that says what to do."""
    with pytest.raises(ValueError, match="ask for more events or fewer persons"):
        next(generate(replace(small_plan, events=100)))
    with pytest.raises(ValueError, match="at least 1"):
        replace(small_plan, days=0)
