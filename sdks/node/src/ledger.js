'use strict';

/**
 * Where every tracked event is, as counts: each is in exactly one column, `tracked` is their sum.
 *
 *     delivered  the server has them on disk, seen for the first time
 *     duplicate  the server has them, and had them before under the same messageId
 *     rejected   refused for what they are, by this SDK or by the server; not sent again
 *     dropped    given up by this SDK: no room in queue and spool, or no spool and no time left
 *     spooled    in the spool on disk only, the server has not answered for them
 *     queued     still in memory, waiting or on their way
 *
 * Events adopted from processes that died are not in it: they were tracked elsewhere.
 */
class Ledger {
  tracked = 0;
  delivered = 0;
  duplicate = 0;
  rejected = 0;
  dropped = 0;

  /** Count events that ended before they could be queued. */
  lose({ rejected = 0, dropped = 0 }) {
    this.tracked += rejected + dropped;
    this.rejected += rejected;
    this.dropped += dropped;
  }

  /** Return the counts now. What has no end yet is spooled or queued, so the sum always holds. */
  counts(spooled) {
    const { tracked, delivered, duplicate, rejected, dropped } = this;
    const queued = tracked - delivered - duplicate - rejected - dropped - spooled;
    return { tracked, delivered, duplicate, rejected, dropped, spooled, queued };
  }
}

module.exports = { Ledger };
