"""The wire cases of `contract/http`, replayed against a real server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from serving import Serving

sys.path.insert(0, str(Path(__file__).parents[2] / "contract"))

import replay as contract

CASES = contract.load_cases()


@pytest.fixture(scope="module")
def target(operated: Serving) -> contract.Target:
    """A server whose workspace also has a key for sending alone."""
    send_key = operated.operate(
        "workspace = accounts.workspaces()[0]\n"
        "_, result = accounts.create_key(workspace.id, 'secret', 'sending', scope='send')"
    )
    return contract.Target(operated.address, operated.secret_key, operated.write_key, send_key)


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_the_server_answers_as_the_contract_says(target: contract.Target, case: dict[str, Any]):
    """Each case tells its behaviour in its `about`."""
    assert contract.replay(target, case) is None, case["about"]


def test_a_wrong_answer_is_noticed(target: contract.Target):
    """The reader of the cases can say no."""
    (case,) = [case for case in CASES if case["id"] == "batch/all_good"]
    expected = {"status": 200, "body": {"status": "ok", "received": 3}}
    wrong = {**case, "steps": [{**case["steps"][0], "expect": expected}]}
    assert "received" in str(contract.replay(target, wrong))
