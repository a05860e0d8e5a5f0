"""How long a log-in has to wait, by e-mail and by client address.

Failures are counted per address and per e-mail; past a few free ones each doubles the wait, up to
a cap. Nobody can be locked out for good: waits are capped and failures forgotten, refused attempts
lengthen nothing, one address soon waits far longer than it can make an e-mail wait, and an address
that has logged in to an e-mail before passes that e-mail's wait. An e-mail is counted whether or
not it has an account, so a wait tells nothing.

All of it lives in memory and starts anew with the process. Thread-safe.
"""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict
from hashlib import sha256

import msgspec

from saytics_server.clock import Clock

# A person mistypes a few times; an office behind one address has several such persons.
EMAIL_FREE_FAILURES = 5
ADDRESS_FREE_FAILURES = 10
# Short, for strangers can cause it: whoever comes from a new place while somebody guesses at
# their e-mail waits half a minute, and the guesser gets less than 3,000 tries a day.
EMAIL_WAIT_MAX_S = 30.0
# Long, for only whoever shares the address can cause it: fewer than 100 tries a day.
ADDRESS_WAIT_MAX_S = 900.0
# Failures this long past no longer count. Longer than the longest wait, or waiting would clear it.
FORGET_AFTER_S = 3_600.0
# About 200 bytes each. To push an entry out takes as many attempts, which cost as many addresses.
ENTRIES_MAX = 10_000


class _Failures(msgspec.Struct):
    count: int
    last_s: float
    last_but_one_s: float


class _Ledger:
    """Failures by subject, the least recent first and dropped first."""

    def __init__(self, free_failures: int, wait_max_s: float) -> None:
        self._free_failures = free_failures
        self._wait_max_s = wait_max_s
        self._failures: OrderedDict[bytes, _Failures] = OrderedDict()

    def wait_s(self, subject: bytes, now_s: float) -> float:
        failures = self._failures.get(subject)
        if failures is None or failures.count < self._free_failures:
            return 0.0
        if now_s - failures.last_s >= FORGET_AFTER_S:
            del self._failures[subject]
            return 0.0
        # The exponent is bounded: 2.0 ** 1024 overflows.
        doublings = min(failures.count - self._free_failures, 32)
        return failures.last_s + min(2.0**doublings, self._wait_max_s) - now_s

    def add(self, subject: bytes, now_s: float) -> None:
        failures = self._failures.setdefault(subject, _Failures(0, now_s, now_s))
        if now_s - failures.last_s >= FORGET_AFTER_S:
            failures.count = 0
        failures.count += 1
        failures.last_but_one_s, failures.last_s = failures.last_s, now_s
        self._failures.move_to_end(subject)
        if len(self._failures) > ENTRIES_MAX:
            self._failures.popitem(last=False)

    def take_back(self, subject: bytes) -> None:
        failures = self._failures.get(subject)
        if failures is not None and failures.count > 0:
            failures.count -= 1
            failures.last_s = failures.last_but_one_s

    def clear(self, subject: bytes) -> None:
        self._failures.pop(subject, None)


class LoginThrottle:
    """Admits log-in attempts or says how long they must wait."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._emails = _Ledger(EMAIL_FREE_FAILURES, EMAIL_WAIT_MAX_S)
        self._addresses = _Ledger(ADDRESS_FREE_FAILURES, ADDRESS_WAIT_MAX_S)
        self._known: OrderedDict[bytes, None] = OrderedDict()

    def admit(self, email: str, address: str) -> float:
        """Return 0 and count the attempt as failed, or return the seconds it has to wait.

        Counting comes first so that a hundred attempts at once are not all free.
        """
        by_email, by_address, by_both = _subjects(email, address)
        now_s = self._clock.monotonic_s()
        with self._lock:
            wait_s = self._addresses.wait_s(by_address, now_s)
            if by_both not in self._known:
                wait_s = max(wait_s, self._emails.wait_s(by_email, now_s))
            if wait_s > 0:
                return wait_s
            self._addresses.add(by_address, now_s)
            self._emails.add(by_email, now_s)
            return 0.0

    def withdrawn(self, email: str, address: str) -> None:
        """Take back an admitted attempt that was never decided."""
        by_email, by_address, _ = _subjects(email, address)
        with self._lock:
            self._emails.take_back(by_email)
            self._addresses.take_back(by_address)

    def succeeded(self, email: str, address: str) -> None:
        """Take back an admitted attempt: the password was right.

        The e-mail starts anew. The address does not, or one account of one's own would buy
        guesses at all the others.
        """
        by_email, by_address, by_both = _subjects(email, address)
        with self._lock:
            self._emails.clear(by_email)
            self._addresses.take_back(by_address)
            self._known[by_both] = None
            self._known.move_to_end(by_both)
            if len(self._known) > ENTRIES_MAX:
                self._known.popitem(last=False)


def _subjects(email: str, address: str) -> tuple[bytes, bytes, bytes]:
    # Hashed for equal size: an e-mail field may hold megabytes.
    network = _network(address)
    return tuple(  # type: ignore[return-value]
        sha256(text.encode("utf-8", "surrogatepass")).digest()
        for text in (email, network, f"{network} {email}")
    )


def _network(address: str) -> str:
    """Return what one client has of an address: all of IPv4, the first 64 bits of IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, 64), strict=False))
