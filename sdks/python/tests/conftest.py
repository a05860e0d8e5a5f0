"""Fixtures of the SDK's tests: a scripted server on loopback, and the SDK from the source tree."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# The suite tests the tree it stands in, installed or not.
sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from scripted_server import ScriptedServer


@pytest.fixture(autouse=True)
def spool_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spool of the test's own instead of the user's."""
    monkeypatch.setenv("SAYTICS_SPOOL_DIR", str(tmp_path / "spool"))
    return tmp_path / "spool"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server that acknowledges everything until told otherwise."""
    with ScriptedServer() as running:
        yield running
