"""What an answer of the server means for the batch it answers. Pure.

2xx as the contract says      Accepted: in the log, except for the events listed as rejected
413, `batch_too_large`        TooLarge: nothing stored; half of it may fit
408, 425, 429, 5xx            Retry, not before what `Retry-After` says
2xx that is no such answer    Retry: a proxy spoke, so whether it arrived is unknown; messageIds
                              make a second arrival count once
all else                      Refused: the same request would be refused again
"""

from __future__ import annotations

import datetime as dt
import email.utils
import json
from dataclasses import dataclass, field
from typing import Any

from saytics.errors import SayticsError

RETRIED_STATUSES = frozenset({408, 425, 429})

# A wrong header must not silence a client for ever.
RETRY_AFTER_MAX_S = 3600.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, read whole. `retry_after` is that header's text, '' if it had none."""

    status: int
    retry_after: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Accepted:
    """The server has the batch; `rejected` maps indices to the reasons of those it refused."""

    delivered: int
    duplicates: int
    rejected: dict[int, SayticsError] = field(default_factory=dict)
    warnings: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class TooLarge:
    """Nothing was stored because there was too much of it."""

    error: SayticsError


@dataclass(frozen=True, slots=True)
class Retry:
    """Nothing is known to be stored; try again, no sooner than `after_s`."""

    error: SayticsError
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was stored and trying again is in vain; `rejected` has reasons by index, if given."""

    error: SayticsError
    rejected: dict[int, SayticsError] = field(default_factory=dict)


Reaction = Accepted | TooLarge | Retry | Refused


def read_answer(answer: Answer, sent: int, now: dt.datetime) -> Reaction:
    """Return what to do after `answer` to a batch of `sent` events."""
    document = _document(answer.body)
    if 200 <= answer.status < 300:
        accepted = _accepted(document, sent)
        return accepted or Retry(SayticsError("invalid_answer", status=answer.status))
    error = _error(document, answer.status)
    if answer.status == 413 or error.code == "batch_too_large":
        return TooLarge(error)
    if answer.status in RETRIED_STATUSES or answer.status >= 500:
        return Retry(error, _retry_after_s(answer.retry_after, now))
    return Refused(error, _rejected(document.get("rejected"), sent, answer.status))


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _accepted(document: dict[str, Any], sent: int) -> Accepted | None:
    received = document.get("received")
    duplicates = document.get("duplicates", 0)
    rejected = _rejected(document.get("rejected"), sent, None)
    if document.get("status") != "ok":
        return None
    if not isinstance(received, int) or not isinstance(duplicates, int) or duplicates < 0:
        return None
    if received + len(rejected) != sent or duplicates > received:
        return None
    warnings = document.get("warnings")
    return Accepted(
        received - duplicates,
        duplicates,
        rejected,
        [item for item in warnings if isinstance(item, dict)] if isinstance(warnings, list) else [],
    )


def _rejected(items: Any, sent: int, status: int | None) -> dict[int, SayticsError]:
    reasons: dict[int, SayticsError] = {}
    for item in items if isinstance(items, list) else []:
        index = item.get("index") if isinstance(item, dict) else None
        if isinstance(index, int) and 0 <= index < sent:
            reasons[index] = _reason(item, status)
    return reasons


def _error(document: dict[str, Any], status: int) -> SayticsError:
    reason = document.get("error")
    if isinstance(reason, dict) and isinstance(reason.get("code"), str):
        return _reason(reason, status)
    return SayticsError("request_refused", f"The answer has status {status}.", status=status)


def _reason(item: dict[str, Any], status: int | None) -> SayticsError:
    at = item.get("field")
    return SayticsError(
        str(item.get("code", "request_refused")),
        str(item.get("message", "")),
        status=status,
        field=at if isinstance(at, str) else None,
    )


def _retry_after_s(text: str, now: dt.datetime) -> float:
    """Read the header's two forms, seconds and an HTTP date; 0 for what is neither."""
    text = text.strip()
    if text.isdecimal():
        return min(float(text), RETRY_AFTER_MAX_S)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return min(max((moment - now).total_seconds(), 0.0), RETRY_AFTER_MAX_S)
