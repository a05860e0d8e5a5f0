"""Password hashes: Argon2id, at most two computed at once, equally slow for unknown accounts.

Every call takes tens of milliseconds of one core and gives up the GIL meanwhile, so call from a
worker thread.
"""

from __future__ import annotations

import threading
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from saytics_server.errors import Refused

# OWASP's Argon2id setting with the fewest passes and one lane: a log-in takes one core for
# 50 to 80 ms, and ingest keeps the others.
_HASHER = PasswordHasher(time_cost=1, memory_cost=46 * 1024, parallelism=1)

# A stampede of log-ins may take 2 x 46 MiB and two cores at most.
HASHES_AT_ONCE = 2
# A waiting log-in holds a worker thread; after this it is answered "later".
HASH_WAIT_S = 5.0

_hashing = threading.BoundedSemaphore(HASHES_AT_ONCE)

# The hash of a random password that nobody kept, made with the parameters above: whoever asks for
# an unknown e-mail waits for the verification of this one.
_NOBODYS_HASH = (
    "$argon2id$v=19$m=47104,t=1,p=1$uQolBiMlic8gcG/SgXEcdw"
    "$6vBuKQtqZTXoVcXT1aehqmZDR2snOPgW7R8FxDBwX3Y"
)


def hash_password(password: str) -> str:
    """Return the salted hash to store. Raises Refused("login_throttled") when too many run."""
    with _Turn():
        return _HASHER.hash(_compared_password(password))


def verify_password(password: str, stored_hash: str | None) -> bool:
    """Tell whether `password` belongs to `stored_hash`; None is an account that does not exist.

    Takes the same time for all. Raises Refused("login_throttled") when too many run.
    """
    with _Turn():
        try:
            matches = _HASHER.verify(stored_hash or _NOBODYS_HASH, _compared_password(password))
        except VerificationError:
            return False
    return matches and stored_hash is not None


def is_outdated(stored_hash: str) -> bool:
    """Tell whether a hash was made with other parameters than today's."""
    return _HASHER.check_needs_rehash(stored_hash)


def _compared_password(password: str) -> bytes:
    # The same letters typed on two systems may be encoded differently (RFC 8265, 4.2).
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")


class _Turn:
    """Wait for one of the places in which hashes are computed."""

    def __enter__(self) -> None:
        if not _hashing.acquire(timeout=HASH_WAIT_S):
            raise Refused("login_throttled", headers={"Retry-After": "10"})

    def __exit__(self, *_: object) -> None:
        _hashing.release()
