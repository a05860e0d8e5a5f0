"""Server-side tracking for Saytics.

    from saytics import Saytics

    saytics = Saytics("YOUR_SECRET_KEY")
    saytics.track(user_id="user_456", event="Subscription Upgraded", properties={"plan": "pro"})
    saytics.flush()

`track` and `identify` put an event into a queue in memory and return within microseconds; a thread
sends the queue in batches. An event is safe once `flush` or `shutdown` has counted it as delivered.
"""

from saytics.client import Saytics
from saytics.errors import SayticsError
from saytics.ledger import Counts
from saytics.version import __version__

__all__ = ["Counts", "Saytics", "SayticsError", "__version__"]
