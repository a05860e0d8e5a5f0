'use strict';

/**
 * The end of the process, whichever way it comes: what is queued is sent or in the spool by then.
 *
 *     the loop runs dry      sent; the rest goes to the spool when the server does not answer
 *     process.exit(), crash  to the spool, at once
 *     SIGTERM, SIGINT …      to the spool at once. Then, if the program does not listen itself, sent for
 *                            a moment, and the process ends by the signal, as it would have without us
 *
 * One listener each for all clients, added with the first and removed with the last.
 */

// What a program waits at its natural end while a server takes batch after batch …
const DRAIN_MS = 10_000;

// … and while it answers nothing: a server that restarts within this gets the events from us.
const DRAIN_STALL_MS = 3_000;

// A signal is to be obeyed now; what can be sent meanwhile saves a container's disk that is thrown away.
const SIGNAL_DRAIN_MS = 1_000;

// Those that end a Node process and can be listened to without another meaning.
const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'];

const open = new Set();
let isDying = false;

/** Look after `sender` at the end of the process. */
function watch(sender) {
  if (open.size === 0) {
    process.on('beforeExit', drainAll);
    process.on('exit', leaveAll);
    // First, so that the spool is written before the program's own listener, which may not return.
    for (const signal of SIGNALS) process.prependListener(signal, onSignal);
  }
  open.add(sender);
}

/** Leave `sender` alone from now on. */
function unwatch(sender) {
  if (!open.delete(sender) || open.size > 0) return;
  process.off('beforeExit', drainAll);
  process.off('exit', leaveAll);
  for (const signal of SIGNALS) process.off(signal, onSignal);
}

// Draining keeps the loop alive, so `beforeExit` comes again when it is done. What could not be sent
// the first time is not tried again: the second call finds nothing new, and the process ends.
const drained = new WeakMap();

function drainAll() {
  for (const sender of open) {
    const { tracked } = sender.counts();
    if (!sender.hasWork || drained.get(sender) === tracked) continue;
    drained.set(sender, tracked);
    sender.drain({ limitMs: DRAIN_MS, stallMs: DRAIN_STALL_MS, isHurried: false });
  }
}

function leaveAll() {
  for (const sender of open) sender.leaveRest();
}

function onSignal(signal) {
  for (const sender of open) sender.writeThrough();
  // Out of the way while the others run: libraries that end the process only if nobody else listens
  // must not see us, and without another listener the signal has its usual effect again.
  process.off(signal, onSignal);
  if (process.listenerCount(signal) > 0 && !isDying) {
    setImmediate(() => {
      if (open.size > 0) process.prependListener(signal, onSignal);
    });
    return;
  }
  if (isDying) die(signal); // asked twice
  isDying = true;
  process.prependListener(signal, onSignal);
  const drain = { limitMs: SIGNAL_DRAIN_MS, stallMs: SIGNAL_DRAIN_MS, isHurried: true };
  Promise.all([...open].map((sender) => sender.drain(drain))).then(() => die(signal));
}

function die(signal) {
  leaveAll();
  process.off(signal, onSignal);
  process.kill(process.pid, signal);
}

module.exports = { unwatch, watch };
