"""How long to wait before the next try. Pure."""

from __future__ import annotations

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0


def wait_s(failed_tries: int, retry_after_s: float, chance: float) -> float:
    """Return seconds to wait after `failed_tries` (at least 1) failures in a row.

    Doubles from 0.5 s to 30 s. `chance`, 0 to 1, picks the second half of that, so that clients
    that failed together do not come back together. `Retry-After` is a floor, never shortened.
    """
    # 2**6 * 0.5 s is past the longest wait already; a larger exponent would only overflow.
    full: float = min(FIRST_WAIT_S * 2.0 ** min(failed_tries - 1, 6), LONGEST_WAIT_S)
    return max(full * (0.5 + 0.5 * chance), retry_after_s)
