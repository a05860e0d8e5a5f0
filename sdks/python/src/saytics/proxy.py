"""Which HTTP proxy leads to a host, as the environment or the system says.

`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, small letters too; the system's settings on
macOS and Windows. A host on this machine is never asked for at a proxy, which would look for it on
its own.
"""

from __future__ import annotations

import base64
import urllib.request
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from saytics.errors import SayticsError

DEFAULT_PROXY_PORT = 80


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where a proxy listens, and the header that lets us use it; '' for none."""

    host: str
    port: int
    authorization: str = field(repr=False)


def proxy_for(host: SplitResult) -> Proxy | None:
    """Return the proxy for a base URL; None for the direct way; SayticsError if unusable."""
    name = host.hostname or ""
    if name in ("localhost", "::1") or name.startswith("127."):
        return None
    given = urllib.request.getproxies()
    address = given.get(host.scheme) or given.get("all")
    if not address or urllib.request.proxy_bypass(name):
        return None
    parts = urlsplit(address if "://" in address else f"http://{address}")
    if parts.scheme != "http" or not parts.hostname:
        # Never the address itself: it may hold a password.
        raise SayticsError("unreachable", f"A proxy of the kind {parts.scheme!r} is not supported.")
    return Proxy(parts.hostname, parts.port or DEFAULT_PROXY_PORT, _authorization(parts))


def _authorization(parts: SplitResult) -> str:
    if parts.username is None:
        return ""
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"
