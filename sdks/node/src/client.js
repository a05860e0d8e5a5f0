'use strict';

const { SayticsError } = require('./errors.js');
const { EventWriter } = require('./event.js');

// How long `flush` and `shutdown` wait unless told otherwise.
const DEFAULT_TIMEOUT_S = 10;

// All that `await saytics.track()` waits for: the event is in the queue when `track` returns.
const DONE = Promise.resolve();

/**
 * What every client does, whatever runtime it is made for: from a call to a queued event.
 *
 * Nothing here throws: trouble goes to `onError(error, events)`, or to stderr, and never into the
 * calling program.
 */
class Client {
  #options;
  #reporter;
  #sender;
  #writer;

  constructor(options, reporter, sender) {
    this.#options = options;
    this.#reporter = reporter;
    this.#sender = sender;
    this.#writer = new EventWriter(options.beforeSend !== undefined);
  }

  /** Queue one event: `event` and one of `userId` and `anonymousId` are required. */
  track(event) {
    this.#queue(event, 'track');
    return DONE;
  }

  /** Queue traits of a user, and the link from `anonymousId` to them if given. */
  identify(user) {
    this.#queue(user, 'identify');
    return DONE;
  }

  /**
   * Send what is queued and wait for its end, at most `timeoutS` seconds. Never rejects.
   * Resolves to the counts since the client was made.
   */
  flush(timeoutS = DEFAULT_TIMEOUT_S) {
    return this.#sender.flush(milliseconds(timeoutS));
  }

  /** Flush, then stop for good; what is unsent after `timeoutS` seconds stays in the spool. */
  shutdown(timeoutS = DEFAULT_TIMEOUT_S) {
    return this.#sender.shutdown(milliseconds(timeoutS));
  }

  /** Return where every event tracked so far is. */
  counts() {
    return this.#sender.counts();
  }

  #queue(given, kind) {
    if (!this.#options.enabled) return;
    try {
      const wire = this.#filtered(this.#writer[kind](given));
      if (wire === undefined) return;
      const text = this.#writer.encode(wire, given);
      const problem = this.#sender.put(text);
      if (problem !== undefined) this.#reporter.lost(problem, [JSON.parse(text)]);
    } catch (problem) {
      // The border to the host: no value it passes, and no bug of ours, may throw into it.
      this.#reject(problem, given);
    }
  }

  #filtered(wire) {
    if (this.#options.beforeSend === undefined) return wire;
    try {
      return this.#options.beforeSend(wire) ?? undefined;
    } catch {
      // It may be what removes personal data, so an event it could not see through is not sent.
      this.#sender.bookLost({ dropped: 1 });
      this.#reporter.lost(new SayticsError('before_send_failed'), [wire]);
      return undefined;
    }
  }

  #reject(problem, given) {
    const error =
      problem instanceof SayticsError
        ? problem
        : new SayticsError('internal_error', String(problem?.message ?? problem));
    this.#sender.bookLost({ rejected: 1 });
    this.#reporter.lost(error, [given]);
  }
}

// Timers take 32 bits of milliseconds and treat more, or nonsense, as 1.
function milliseconds(seconds) {
  const usable = Number.isFinite(seconds) ? seconds : DEFAULT_TIMEOUT_S;
  return Math.min(Math.max(usable * 1000, 0), 2 ** 31 - 1);
}

module.exports = { Client };
