"""Everything the outside can be told, in one table: code, status, whether a retry can help.

Three kinds of trouble, never mixed. A *rejection* is bad input: a value, returned (`Rejection`).
A *failure* is the world going wrong: an exception that says what was tried, why it did not work and
what the operator can do (`Failure`). A *bug* is an assert that nobody catches.
`Refused` carries a rejection or a failure of one HTTP request up to the rim that answers it.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """One row of the table: what a code means to a caller."""

    code: str
    status: int
    meaning: str
    is_retryable: bool = False


_KINDS = (
    # 400: the request itself must change
    ErrorKind("invalid_json", 400, "The body is not valid UTF-8 JSON of the expected shape."),
    ErrorKind("invalid_event", 400, "A field of the event is missing or has the wrong type."),
    ErrorKind("invalid_event_name", 400, "`event` is empty or longer than 200 characters."),
    ErrorKind("missing_id", 400, "Neither `userId` nor `anonymousId` was given."),
    ErrorKind("invalid_id", 400, "An id is too long or a placeholder such as `null` or `0`."),
    ErrorKind("invalid_timestamp", 400, "A time is not ISO 8601 or lies outside what is allowed."),
    ErrorKind("invalid_message_id", 400, "`messageId` is empty or longer than 128 characters."),
    ErrorKind("idempotency_key_conflict", 400, "`Idempotency-Key` and `messageId` disagree."),
    ErrorKind("invalid_number", 400, "NaN, Infinity or a number outside the range of a double."),
    ErrorKind("invalid_text", 400, "A string holds a lone UTF-16 surrogate."),
    ErrorKind("invalid_traits", 400, "`traits` is not an object."),
    ErrorKind("invalid_type", 400, "A batch item's `type` is neither `track` nor `identify`."),
    ErrorKind("event_too_large", 400, "The event is larger than 32 KiB."),
    ErrorKind("event_secret_only", 400, "This event may only be sent with a secret key."),
    ErrorKind("batch_too_large", 400, "The batch holds more events than allowed."),
    ErrorKind("batch_empty", 400, "The batch holds no events."),
    ErrorKind("batch_rejected", 400, "Every event of the batch was rejected."),
    ErrorKind("invalid_encoding", 400, "The body does not decompress as its encoding says."),
    ErrorKind("invalid_parameter", 400, "A query parameter is unknown or has a wrong value."),
    ErrorKind("missing_parameter", 400, "A required query parameter is absent."),
    ErrorKind("invalid_cursor", 400, "The cursor was not made by this server."),
    ErrorKind("range_too_large", 400, "The range has more buckets than a report may have."),
    ErrorKind("query_too_large", 400, "The query needs more time or memory than it may use."),
    ErrorKind("invalid_http", 400, "The bytes sent are not an HTTP/1.1 request."),
    ErrorKind("invalid_host", 400, "The Host header names a host this server does not serve."),
    # 401 / 403 / 404 / 405: who asks, and for what
    ErrorKind("missing_key", 401, "Authorization header is required."),
    ErrorKind("invalid_key", 401, "The provided API key is invalid or revoked."),
    ErrorKind("invalid_login", 401, "E-mail or password is wrong."),
    ErrorKind("invalid_setup_token", 403, "The set-up link is wrong or was used."),
    ErrorKind("insufficient_scope", 403, "The key may not use this endpoint."),
    ErrorKind("secret_key_exposed", 403, "A secret key came from a browser or in a URL."),
    ErrorKind("invalid_csrf_token", 403, "The form was not sent from this page."),
    ErrorKind("not_found", 404, "There is nothing at this address."),
    ErrorKind("user_not_found", 404, "No event, trait or link names this user."),
    ErrorKind("method_not_allowed", 405, "The address exists, but not with this method."),
    # 408 / 413 / 415: the body
    ErrorKind("request_timeout", 408, "The body did not arrive in time.", is_retryable=True),
    ErrorKind("body_too_large", 413, "The body is larger than allowed, as sent or decompressed."),
    ErrorKind("unsupported_encoding", 415, "Content-Encoding or charset is not supported."),
    # 429: slower
    ErrorKind(
        "rate_limited",
        429,
        "The key has sent its requests of this minute.",
        is_retryable=True,
    ),
    ErrorKind(
        "quota_exceeded", 429, "The workspace's monthly events are used up.", is_retryable=True
    ),
    ErrorKind("login_throttled", 429, "Too many failed logins; wait a while.", is_retryable=True),
    # 499: said to nobody
    ErrorKind("client_gone", 499, "The client went away before the answer was there."),
    # 5xx: nothing was accepted, retry is safe
    ErrorKind(
        "internal_error", 500, "A bug. Nothing of this request was accepted.", is_retryable=True
    ),
    ErrorKind("overloaded", 503, "Too much is waiting to be written.", is_retryable=True),
    ErrorKind("storage_full", 503, "The disk has no room left for events.", is_retryable=True),
    ErrorKind("shutting_down", 503, "The server is stopping.", is_retryable=True),
    ErrorKind("starting", 503, "The server is not ready yet.", is_retryable=True),
    ErrorKind(
        "clock_invalid", 503, "The server's clock is before the last receipt.", is_retryable=True
    ),
    ErrorKind("query_timeout", 503, "The query took longer than its deadline.", is_retryable=True),
    ErrorKind("queries_busy", 503, "Too many queries are waiting.", is_retryable=True),
)

ERRORS: dict[str, ErrorKind] = {kind.code: kind for kind in _KINDS}

# Reasons an event may carry in the rejected-events table only; no request is answered with them.
STORE_REFUSED = "store_refused"


class Rejection(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why an input was not accepted. `code` is a key of `ERRORS`; `index` its place in a batch."""

    code: str
    message: str
    field: str | None = None
    index: int | None = None


class Refused(Exception):  # noqa: N818 - it is an answer, not an error
    """One HTTP request ends here with this rejection and these extra headers."""

    def __init__(
        self,
        code: str,
        message: str | None = None,
        *,
        field: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        kind = ERRORS[code]
        super().__init__(code)
        self.kind = kind
        self.rejection = Rejection(code, message or kind.meaning, field)
        self.headers = headers or {}
        if kind.status in (429, 503):
            self.headers.setdefault("Retry-After", "1")


class Failure(Exception):  # noqa: N818 - the house's word for it
    """The world went wrong: what was tried, why it did not work, what the operator can do."""

    def __init__(self, operation: str, cause: str, hint: str) -> None:
        super().__init__(f"{operation}: {cause}. {hint}".rstrip(" "))
        self.operation = operation
        self.cause = cause
        self.hint = hint


def error_body(rejection: Rejection) -> bytes:
    """Return the one JSON shape every error has: `{"error":{"code","message",…}}`."""
    return msgspec.json.encode({"error": rejection})
