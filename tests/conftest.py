"""What every test may use, and nothing that only one folder needs.

    store          the one embedded store of this process; the engine allows no second
    workspace_id   a number no other test has: tests share the store, each in its own workspace
    server         a real `saytics serve` process on a free port with known keys (serving.py)
    operated       another, whose inside a test may reach: limits, scopes, faults

Modules beside this file: factories.py (events and rows with defaults), serving.py, waiting.py.
A shared server is one workspace for many tests: use `factories.unique` for ids and event names.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from saytics_server.store import Store
from serving import Serving

# Two cores are shared with servers and other tests, so time says nothing about one example.
settings.register_profile(
    "saytics",
    deadline=None,
    max_examples=100,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],  # explaining takes minutes
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("saytics")

# Far above what a server counts its workspaces from, so that no test meets another's by chance.
_workspace_ids = itertools.count(1_000)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = Store(tmp_path_factory.mktemp("store"))
    yield opened
    opened.close()


@pytest.fixture
def workspace_id() -> int:
    return next(_workspace_ids)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    serving = Serving(_data_dir(tmp_path_factory)).start()
    yield serving
    serving.stop()


@pytest.fixture(scope="session")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    serving = Serving(_data_dir(tmp_path_factory), operated=True).start()
    yield serving
    serving.stop()


def _data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server") / "data"
