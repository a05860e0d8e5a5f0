from collections.abc import Iterator
from pathlib import Path

import pytest

from saytics_server.accounts import Accounts
from saytics_server.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def accounts(tmp_path: Path, clock: ManualClock) -> Iterator[Accounts]:
    opened = Accounts.open(tmp_path, clock)
    yield opened
    opened.close()
