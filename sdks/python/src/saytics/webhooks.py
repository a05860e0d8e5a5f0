"""Checking that a webhook comes from the Saytics server, and when.

    event = saytics.webhooks.verify(request.body, request.headers, secret=ENDPOINT_SECRET)

Two signatures exist: `X-Saytics-Signature`, the HMAC-SHA256 of the raw body, which says who; and
the headers of Standard Webhooks, which also say when, so that a request overheard cannot be played
again later. Where those are present they must hold, too. The body must be the bytes as they came:
parsing and writing JSON again changes them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

# How far the sender's clock may be off, and how long a request may be under way (seconds).
TOLERANCE_S = 300.0

# Marks a secret whose key is written in base64 behind it.
_SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix, not a secret


class WebhookError(ValueError):
    """The request is not to be believed. `code` says why; the secret is never part of it."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(f"{code}: {message}")


def verify(
    body: bytes,
    headers: Mapping[str, str],
    *,
    secret: str,
    tolerance_s: float = TOLERANCE_S,
    now_s: float | None = None,
) -> dict[str, Any]:
    """Return the event of a genuine request; WebhookError for any other.

    `headers` may be any framework's mapping. `now_s` is the time as `time.time` gives it.
    """
    named = {name.lower(): value for name, value in headers.items()}
    plain = named.get("x-saytics-signature")
    standard = named.get("webhook-signature")
    if plain is None and standard is None:
        raise WebhookError("missing_signature", "The request has no signature.")
    if plain is not None and not _is_plain(plain, body, secret):
        raise WebhookError("invalid_signature", "X-Saytics-Signature does not fit the body.")
    if standard is not None:
        now_s = time.time() if now_s is None else now_s
        _check_standard(named, body, secret, tolerance_s, now_s)
    try:
        event = json.loads(body)
    except ValueError as problem:
        raise WebhookError("invalid_json", "The body is no JSON.") from problem
    if not isinstance(event, dict):
        raise WebhookError("invalid_json", "The body is no JSON object.")
    return event


def _is_plain(signature: str, body: bytes, secret: str) -> bool:
    expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return _matches([signature.strip()], expected)


def _check_standard(
    named: dict[str, str], body: bytes, secret: str, tolerance_s: float, now_s: float
) -> None:
    message_id, sent = named.get("webhook-id"), named.get("webhook-timestamp", "")
    if not message_id or not sent.isdecimal():
        raise WebhookError("missing_signature", "webhook-id or webhook-timestamp is missing.")
    if abs(now_s - int(sent)) > tolerance_s:
        raise WebhookError("expired", "webhook-timestamp is too far from now.")
    text = f"{message_id}.{sent}.".encode() + body
    digest = hmac.new(_standard_key(secret), text, hashlib.sha256).digest()
    given = [
        signature.removeprefix("v1,")
        for signature in named["webhook-signature"].split()
        if signature.startswith("v1,")
    ]
    if not _matches(given, base64.b64encode(digest).decode()):
        raise WebhookError("invalid_signature", "webhook-signature does not fit the request.")


def _standard_key(secret: str) -> bytes:
    """Return the key of a secret: base64 behind the prefix, else its own characters."""
    if not secret.startswith(_SECRET_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except binascii.Error as problem:
        raise WebhookError("invalid_secret", "The secret is not base64.") from problem


def _matches(given: Iterable[str], expected: str) -> bool:
    # Compared in constant time and to the last one: time must not tell how much was right.
    results = [hmac.compare_digest(each.encode(), expected.encode()) for each in given]
    return any(results)
