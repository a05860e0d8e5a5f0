from __future__ import annotations

from datetime import UTC, datetime

import pytest

from saytics_server.demo import DemoPlan, WireItem, generate

# A Monday afternoon in UTC: Japan has Tuesday already, California has Monday morning.
END_MS = int(datetime(2026, 11, 23, 15, 30, tzinfo=UTC).timestamp() * 1000)


@pytest.fixture(scope="session")
def small_plan() -> DemoPlan:
    return DemoPlan(end_ms=END_MS, seed=7, days=30, events=12_000, persons=1_000)


@pytest.fixture(scope="session")
def small_company(small_plan: DemoPlan) -> list[WireItem]:
    return [item for batch in generate(small_plan) for item in batch]


@pytest.fixture(scope="session")
def company() -> list[WireItem]:
    """The default sample company, but with fewer events per session, to be quick."""
    plan = DemoPlan(end_ms=END_MS, events=180_000, persons=20_000)
    return [item for batch in generate(plan) for item in batch]
