"""Carries administrative commands out: through the running server, or on the directory itself."""

from __future__ import annotations

from typing import Any

from saytics_server import control
from saytics_server.accounts import Accounts
from saytics_server.administration import Command, administer
from saytics_server.clock import SystemClock
from saytics_server.config import Config
from saytics_server.datadir import open_data_dir
from saytics_server.errors import Failure, Refused


def carry_out(config: Config, command: Command) -> Any:
    """Return the command's answer. Raises Failure."""
    if not config.data_dir.is_dir():
        raise Failure(
            "opening the data directory",
            f"{config.data_dir} does not exist",
            "Name it with --data-dir, or start `saytics serve` once.",
        )
    with control.client(config.data_dir) as running:
        if running is not None:
            return control.administered(running, command)
    data_dir = open_data_dir(config.data_dir)
    accounts = Accounts.open(data_dir.path, SystemClock())
    try:
        return administer(accounts, command)
    except Refused as refused:
        raise Failure(
            "carrying out the command", refused.rejection.message.rstrip("."), ""
        ) from None
    finally:
        accounts.close()
        data_dir.close()
