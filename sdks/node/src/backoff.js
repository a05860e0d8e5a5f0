'use strict';

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 30_000;

/**
 * Return milliseconds to wait after `failedTries` (at least 1) failures in a row. Pure.
 *
 * Doubles from 0.5 s to 30 s. `chance`, 0 to 1, picks the second half of that, so that clients that
 * failed together do not come back together. `Retry-After` is a floor, never shortened.
 */
function waitMs(failedTries, retryAfterMs, chance) {
  const full = Math.min(FIRST_WAIT_MS * 2 ** (failedTries - 1), LONGEST_WAIT_MS);
  return Math.max(full * (0.5 + 0.5 * chance), retryAfterMs);
}

module.exports = { waitMs };
