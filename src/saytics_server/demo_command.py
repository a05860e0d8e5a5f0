"""`saytics demo`: loads the sample company into a workspace of its own.

Small ones go the way of every event, batch by batch over HTTP, to the running server or to one
started for the purpose. Large ones, for benchmarks, are written to the log directly, so no server
may have the directory open; they pass the same log format, id filters and loader.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
from tqdm import tqdm

from saytics_server import control
from saytics_server.administration import CreateWorkspace, administer
from saytics_server.clock import SystemClock
from saytics_server.config import Config
from saytics_server.demo import DemoPlan, generate_rows, run_demo
from saytics_server.errors import Failure
from saytics_server.log import LogBusyError
from saytics_server.running import post_batch, server_of
from saytics_server.server import Parts

# Above this, HTTP is the slower part by far: two million events take about a minute through it.
OVER_HTTP_EVENTS_MAX = 2_000_000
# 100 million rows at the loader's pace; a hang must not look like work for longer.
LOAD_TIMEOUT_S = 3600
_NAME = "Demo company"
# The loader is given room: rows of the log that wait for it are ids in memory.
_ROWS_AHEAD_MAX = 500_000


def load_demo(config: Config, plan: DemoPlan, say: Callable[[str], None]) -> None:
    """Load the sample company; tell what is where. Raises Failure."""
    if plan.events > OVER_HTTP_EVENTS_MAX:
        _load_directly(config, plan, say)
        return
    with server_of(config) as (commands, is_temporary):
        workspace = control.administered(
            commands, CreateWorkspace(_NAME, key_name="demo", demo=True)
        )
        address = control.decoded(commands.get("/status"))["address"]
        _send(address, workspace["secret_key"], plan)
        _wait_until_loaded(commands)
    say(f"The sample company is in workspace `{workspace['slug']}`.")
    if is_temporary:
        say("Start the server with `saytics serve` and choose the workspace on its page.")
    else:
        say(f"  dashboard   {address}/?workspace={workspace['slug']}")
    say(f"  secret key  {workspace['secret_key']}")


def _send(address: str, secret_key: str, plan: DemoPlan) -> None:
    headers = {"Authorization": f"Bearer {secret_key}", "Content-Type": "application/json"}
    with (
        httpx.Client(base_url=address, headers=headers, timeout=60) as client,
        tqdm(total=plan.events, unit=" events", unit_scale=True, disable=None) as bar,
    ):
        run_demo(lambda body: _post(client, body), plan, bar.update)


def _post(client: httpx.Client, body: bytes) -> None:
    answer = post_batch(client, body)
    if "error" in answer or "rejected" in answer:
        raise Failure("sending the demo", str(answer)[:500], "This is a bug; please report it.")


def _wait_until_loaded(commands: httpx.Client) -> None:
    deadline_s = time.monotonic() + LOAD_TIMEOUT_S
    while time.monotonic() < deadline_s:
        status = control.decoded(commands.get("/status"))
        if status["loaded_position"] >= status["last_position"]:
            return
        time.sleep(0.1)
    raise Failure("loading the demo", "the store did not catch up", "See the server's log.")


def _load_directly(config: Config, plan: DemoPlan, say: Callable[[str], None]) -> None:
    if config.data_dir.is_dir():
        with control.client(config.data_dir) as running:
            if running is not None:
                raise Failure(
                    "loading the demo",
                    f"more than {OVER_HTTP_EVENTS_MAX:,} events are written to the log directly,"
                    " and a server has it open",
                    "Stop the server, load the demo, start it again.",
                )
    parts = Parts(config, SystemClock())
    try:
        workspace = administer(parts.accounts, CreateWorkspace(_NAME, key_name="demo", demo=True))
        with tqdm(total=plan.events, unit=" events", unit_scale=True, disable=None) as bar:
            for rows in generate_rows(
                plan,
                workspace_id=workspace["id"],
                claim_key=parts.log.claim_key,
                received_ms=max(plan.end_ms, parts.log.last_received_ms),
            ):
                _append(parts, rows)
                bar.update(len(rows))
        parts.loader.wait_loaded(parts.log.last_position, LOAD_TIMEOUT_S)
    finally:
        parts.close()
    say(f"The sample company is in workspace `{workspace['slug']}` of {config.data_dir}.")
    say(f"  secret key  {workspace['secret_key']}")


def _append(parts: Parts, rows: Any) -> None:
    parts.loader.wait_loaded(parts.log.last_position - _ROWS_AHEAD_MAX, LOAD_TIMEOUT_S)
    while True:
        try:
            parts.log.append_and_wait(rows)
        except LogBusyError:
            time.sleep(0.1)
        else:
            return
