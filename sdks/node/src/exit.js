'use strict';

/**
 * The end of the process: what is queued is sent when the event loop runs dry.
 *
 * One listener each for all clients, added with the first and removed with the last.
 * `process.exit()` leaves no time for the network: what is queued then is reported and lost.
 */

// What a program waits at its end for a server that does not answer.
const DRAIN_MS = 10_000;

const open = new Set();

/** Flush `sender` at the end of the process. */
function watch(sender) {
  if (open.size === 0) {
    process.on('beforeExit', drain);
    process.on('exit', reportRest);
  }
  open.add(sender);
}

/** Leave `sender` alone from now on. */
function unwatch(sender) {
  if (!open.delete(sender) || open.size > 0) return;
  process.off('beforeExit', drain);
  process.off('exit', reportRest);
}

// The network keeps the loop alive, so `beforeExit` comes again when it is done. A sender whose time
// was over has dropped its rest by then: the second call finds nothing, and the process ends.
function drain() {
  for (const sender of open) {
    if (sender.counts().queued > 0) {
      sender.flush(DRAIN_MS).then(() => {
        if (sender.counts().queued > 0) sender.dropRest();
      });
    }
  }
}

function reportRest() {
  for (const sender of open) sender.dropRest();
}

module.exports = { unwatch, watch };
