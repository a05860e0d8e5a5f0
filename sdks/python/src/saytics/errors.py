"""What `on_error` is told: a code, a sentence, and where it came from.

Codes of the server's answers are passed on as they are. The SDK's own are in `OWN_CODES`; where it
refuses an event itself for a rule the server has too, it uses the server's code.
"""

from __future__ import annotations

OWN_CODES = {
    "queue_full": "The queue in memory has no room; the event was dropped.",
    "spool_full": "The spool has reached spool_bytes_max; the event was dropped.",
    "spool_failed": "Neither memory nor the spool on disk could take the event; it was dropped.",
    "spool_damaged": "Events in the spool could not be read back.",
    "closed": "The client has been shut down; the event was dropped.",
    "unreachable": "No answer came from the server.",
    "invalid_answer": "The answer is not one of a Saytics server.",
    "request_refused": "The request was refused without a code this SDK can read.",
    "not_sent": "The client was shut down, without a spool, before the server had answered.",
    "before_send_failed": "`before_send` raised; the event was not sent unfiltered.",
    "internal_error": "A bug in this SDK.",
}


class SayticsError(Exception):
    """Why events were rejected or dropped. Given to `on_error`, never raised into the host.

    `status` is the HTTP status where there was an answer, `field` the event field at fault where
    one is known. Neither the text nor the attributes ever hold the key.
    """

    def __init__(
        self, code: str, message: str = "", *, status: int | None = None, field: str | None = None
    ) -> None:
        self.code = code
        self.message = message or OWN_CODES.get(code, code)
        self.status = status
        self.field = field
        super().__init__(f"{code}: {self.message}")
