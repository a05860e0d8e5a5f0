"""Server-side tracking for Saytics.

    from saytics import Saytics

    saytics = Saytics("YOUR_SECRET_KEY")
    saytics.track(user_id="user_456", event="Subscription Upgraded", properties={"plan": "pro"})
    saytics.flush()

or, with the key in `SAYTICS_SECRET_KEY`, without making a client:

    import saytics

    saytics.track(user_id="user_456", event="Subscription Upgraded")

`track` and `identify` put an event into a queue and return within microseconds; a thread sends the
queue in batches. However the process ends, an event is delivered or on disk in the spool, from
which the next process delivers it.
"""

from typing import TYPE_CHECKING

from saytics import webhooks
from saytics.client import Saytics
from saytics.default import configure, counts, default_client, flush, identify, shutdown, track, use
from saytics.errors import SayticsError
from saytics.ledger import Counts
from saytics.version import __version__

if TYPE_CHECKING:
    from saytics.asynchronous import AsyncSaytics

__all__ = [
    "AsyncSaytics",
    "Counts",
    "Saytics",
    "SayticsError",
    "__version__",
    "configure",
    "counts",
    "default_client",
    "flush",
    "identify",
    "shutdown",
    "track",
    "use",
    "webhooks",
]


def __getattr__(name: str) -> object:
    # Half of what an import costs would be asyncio's, which most programs do not need.
    if name == "AsyncSaytics":
        from saytics.asynchronous import AsyncSaytics  # noqa: PLC0415 - see above

        return AsyncSaytics
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
