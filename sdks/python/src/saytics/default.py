"""The client of `saytics.track(...)`: one for the whole program, configured from the environment.

It is made at the first call. Without `SAYTICS_SECRET_KEY` that says so once and drops nothing worth
keeping: a program must run without analytics, on a developer's machine for one.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from typing import Any, Unpack

from saytics.client import DEFAULT_TIMEOUT_S, Saytics
from saytics.event import Id, Timestamp
from saytics.ledger import Counts
from saytics.options import OptionValues

_lock = threading.RLock()
_clients: list[Saytics] = []


def configure(key: str | None = None, **options: Unpack[OptionValues]) -> Saytics:
    """Make the default client with these options and return it; one made before is shut down."""
    client = Saytics(key, **options)
    use(client)
    return client


def use(client: Saytics) -> None:
    """Make a client the default one, such as a test's recorder; one made before is shut down."""
    with _lock:
        before = _clients[:]
        _clients[:] = [client]
    for each in before:
        if each is not client:
            each.shutdown()


def default_client() -> Saytics:
    """Return the default client; make it from the environment if there is none."""
    with _lock:
        if not _clients:
            _clients.append(_from_environment())
        return _clients[0]


def track(  # noqa: PLR0913 - one argument for each field of an event
    *,
    event: str | None = None,
    user_id: Id | None = None,
    anonymous_id: Id | None = None,
    properties: Mapping[str, Any] | None = None,
    timestamp: Timestamp | None = None,
    message_id: str | None = None,
    context: Mapping[str, Any] | None = None,
) -> None:
    """Queue one event with the default client; see `Saytics.track`."""
    default_client().track(
        event=event,
        user_id=user_id,
        anonymous_id=anonymous_id,
        properties=properties,
        timestamp=timestamp,
        message_id=message_id,
        context=context,
    )


def identify(
    user_id: Id | None = None,
    traits: Mapping[str, Any] | None = None,
    *,
    anonymous_id: Id | None = None,
    timestamp: Timestamp | None = None,
    message_id: str | None = None,
) -> None:
    """Queue traits of a user with the default client; see `Saytics.identify`."""
    default_client().identify(
        user_id, traits, anonymous_id=anonymous_id, timestamp=timestamp, message_id=message_id
    )


def flush(timeout: float = DEFAULT_TIMEOUT_S) -> Counts:
    """Send what the default client has queued; see `Saytics.flush`."""
    return default_client().flush(timeout)


def shutdown(timeout: float = DEFAULT_TIMEOUT_S) -> Counts:
    """Shut the default client down; the next call makes a new one."""
    with _lock:
        client = default_client()
        _clients.clear()
    return client.shutdown(timeout)


def counts() -> Counts:
    """Return where every event of the default client is."""
    return default_client().counts()


def _restart_in_child() -> None:
    """Replace the lock another thread may have held at the fork."""
    global _lock  # noqa: PLW0603 - the lock is the module's state
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_in_child)


def _from_environment() -> Saytics:
    try:
        return Saytics()
    except ValueError as problem:
        # The first track of a program in production: an exception here would be an outage there.
        print(f"saytics: nothing will be sent: {problem}", file=sys.stderr)
        return Saytics(enabled=False)
