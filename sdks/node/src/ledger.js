'use strict';

/**
 * Where every tracked event is, as counts: each is in exactly one column, `tracked` is their sum.
 *
 *     delivered  the server has them on disk, seen for the first time
 *     duplicate  the server has them, and had them before under the same messageId
 *     rejected   refused for what they are, by this SDK or by the server; not sent again
 *     dropped    given up by this SDK: queue full, retries used up, or no time left at the end
 *     queued     still here, waiting or on their way
 */
class Ledger {
  tracked = 0;
  delivered = 0;
  duplicate = 0;
  rejected = 0;
  dropped = 0;

  /** Return the counts now. What has no end yet is queued, so the sum always holds. */
  counts() {
    const { tracked, delivered, duplicate, rejected, dropped } = this;
    const queued = tracked - delivered - duplicate - rejected - dropped;
    return { tracked, delivered, duplicate, rejected, dropped, queued };
  }
}

module.exports = { Ledger };
