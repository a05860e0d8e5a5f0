"""AWS Lambda: a handler that has sent everything when it returns.

    @flushing
    def handler(event, context):
        saytics.track(user_id=event["userId"], event="Order Completed")

The host freezes the process as soon as the handler has returned, and may never thaw it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

from saytics.client import DEFAULT_TIMEOUT_S, Saytics
from saytics.default import default_client

# What the host needs of the invocation's time to take the answer; beyond it the flush would be cut
# off with the process (seconds).
SPARE_S = 0.5

P = ParamSpec("P")
R = TypeVar("R")


@overload
def flushing(handler: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def flushing(
    *, client: Saytics | None = None, timeout: float = DEFAULT_TIMEOUT_S
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def flushing(
    handler: Callable[..., Any] | None = None,
    /,
    *,
    client: Saytics | None = None,
    timeout: float = DEFAULT_TIMEOUT_S,
) -> Any:
    """Flush after each call of a handler, also of one that raises.

    Takes at most `timeout` seconds, and never more than the invocation has left.
    """
    if handler is None:
        return functools.partial(_flushing, client=client, timeout_s=timeout)
    return _flushing(handler, client=client, timeout_s=timeout)


def _flushing(
    handler: Callable[..., Any], *, client: Saytics | None, timeout_s: float
) -> Callable[..., Any]:
    @functools.wraps(handler)
    def flushed(*arguments: Any, **named: Any) -> Any:
        try:
            return handler(*arguments, **named)
        finally:
            context = arguments[1] if len(arguments) > 1 else named.get("context")
            (client or default_client()).flush(min(timeout_s, _left_s(context)))

    return flushed


def _left_s(context: Any) -> float:
    remaining_ms = getattr(context, "get_remaining_time_in_millis", None)
    if remaining_ms is None:
        return DEFAULT_TIMEOUT_S
    return max(0.0, float(remaining_ms()) / 1000 - SPARE_S)
