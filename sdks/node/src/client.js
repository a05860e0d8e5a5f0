'use strict';

const { SayticsError } = require('./errors.js');
const { EventWriter, encode } = require('./event.js');
const exit = require('./exit.js');
const { readOptions } = require('./options.js');
const { Reporter } = require('./report.js');
const { Sender } = require('./sender.js');

// How long `flush` and `shutdown` wait unless told otherwise.
const DEFAULT_TIMEOUT_S = 10;

// All that `await saytics.track()` waits for: the event is in the queue when `track` returns.
const DONE = Promise.resolve();

/**
 * Sends events to a Saytics server.
 *
 * Wrong options throw a TypeError here; afterwards trouble goes to `onError(error, events)`, or to
 * stderr, and never into the calling program.
 */
class Saytics {
  #options;
  #reporter;
  #sender;
  #writer = new EventWriter();

  /**
   * @param {string} [key] default: the environment's SAYTICS_SECRET_KEY
   * @param {import('../types/index.d.ts').Options} [options] see the README for each
   */
  constructor(key, options) {
    this.#options = readOptions(key, options);
    this.#reporter = new Reporter(this.#options.onError, this.#options.debug);
    this.#sender = new Sender(this.#options, this.#reporter);
    if (this.#options.enabled) exit.watch(this.#sender);
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
   * Resolves to the counts since the client was made; `queued` is what is still unanswered.
   */
  flush(timeoutS = DEFAULT_TIMEOUT_S) {
    return this.#sender.flush(milliseconds(timeoutS));
  }

  /** Flush, then stop for good; drop and report what is unsent after `timeoutS` seconds. */
  async shutdown(timeoutS = DEFAULT_TIMEOUT_S) {
    const counts = await this.#sender.shutdown(milliseconds(timeoutS));
    exit.unwatch(this.#sender);
    return counts;
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
      const problem = this.#sender.put(encode(wire));
      if (problem !== undefined) this.#reporter.lost(problem, [wire]);
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

module.exports = { Saytics };
