"""A workspace of its own on a server that can be operated from inside."""

from __future__ import annotations

import itertools
from typing import Any

from factories import wire_event
from serving import Serving

_names = itertools.count(1)


class Tenant:
    """A workspace of its own on the operated server, with both keys."""

    def __init__(self, serving: Serving) -> None:
        self.serving = serving
        self.name = f"Tenant {next(_names)}"
        made = serving.operate(
            f"workspace = accounts.create_workspace({self.name!r})\n"
            "write = accounts.create_key(workspace.id, 'write', 'w')\n"
            "secret = accounts.create_key(workspace.id, 'secret', 's')\n"
            "sending = accounts.create_key(workspace.id, 'secret', 'only', scope='send')\n"
            "result = [workspace.id, *((key.id, full) for key, full in (write, secret, sending))]"
        )
        self.id: int = made[0]
        (self.write_id, self.write), (self.secret_id, self.secret), (_, self.sending) = made[1:]

    def limit(self, **limits: Any) -> None:
        """Change the workspace's limits."""
        self.serving.operate(
            "import msgspec\n"
            f"limits = accounts.workspace({self.id}).limits\n"
            f"accounts.update_workspace({self.id}, "
            f"limits=msgspec.structs.replace(limits, **{limits!r}))"
        )

    def operate(self, call: str) -> Any:
        """Run a call on the accounts, `{id}` standing for this workspace."""
        return self.serving.operate("result = None; accounts." + call.format(id=self.id))

    def track(self, key: str | None = None, **headers: str) -> Any:
        """Send an event."""
        return self.serving.track(wire_event(), key or self.secret, **headers)
