'use strict';

/**
 * Empties the queue, and keeps the book of what became of each event.
 *
 *     put ──► queue ──► sending (the batch under way, or its halves) ──► delivered, duplicate,
 *                          ▲                  │                          rejected or dropped
 *                          └── back-off ◄─────┘
 *
 * An event is settled once: by whoever takes its batch out of `sending`. Nothing is durable here:
 * what is not sent when the process ends is reported and gone.
 *
 * No timer of the sender holds the process. A request under way does, and so does a `flush` someone
 * waits for, up to its time limit; `exit.js` flushes once more when the process has nothing left to do.
 */

const { promisify } = require('node:util');
const zlib = require('node:zlib');

const { readAnswer } = require('./answer.js');
const { waitMs } = require('./backoff.js');
const { BATCH_BYTES_MAX, GZIP_FROM_BYTES } = require('./batch.js');
const { SayticsError } = require('./errors.js');
const { Ledger } = require('./ledger.js');
const { EventQueue } = require('./queue.js');
const { Transport } = require('./transport.js');

const gzip = promisify(zlib.gzip);

class Sender {
  #options;
  #reporter;
  #transport;
  #ledger = new Ledger();
  #queue;
  #sending = []; // batches cut from the queue that have no end yet; the first is being tried
  #isTrying = false;
  #isClosed = false;
  #timer;
  #accepted = 0; // events ever put into the queue
  #settled = 0; // of those, the ones with an end; events end in order
  #dueUpTo = 0; // a flush wants the events up to here sent without waiting for more
  #notBeforeMs = 0; // the back-off's end, on the monotonic clock
  #flushes = new Set();

  constructor(options, reporter) {
    this.#options = options;
    this.#reporter = reporter;
    this.#queue = new EventQueue(options.queueMax);
    this.#transport = new Transport(options.host, options.key, options.timeoutS * 1000);
  }

  /** Queue an event and return undefined, or drop it and return why. */
  put(text) {
    this.#ledger.tracked += 1;
    if (this.#isClosed) return this.#refuse('closed');
    if (!this.#queue.put(text, performance.now())) return this.#refuse('queue_full');
    this.#accepted += 1;
    if (this.#queue.isNews(this.#options.flushAt)) this.#schedule();
    return undefined;
  }

  /** Count events that ended before they could be queued. */
  bookLost({ rejected = 0, dropped = 0 }) {
    this.#ledger.tracked += rejected + dropped;
    this.#ledger.rejected += rejected;
    this.#ledger.dropped += dropped;
  }

  /** Return where every event is now. */
  counts() {
    return this.#ledger.counts();
  }

  /** Send what is queued now; resolve to the counts when all has an end, or the time is over. */
  flush(timeoutMs) {
    this.#dueUpTo = this.#accepted;
    if (this.#settled >= this.#dueUpTo) return Promise.resolve(this.counts());
    return new Promise((resolve) => {
      const flush = { target: this.#dueUpTo, end: undefined };
      flush.end = () => {
        clearTimeout(timer);
        this.#flushes.delete(flush);
        resolve(this.counts());
      };
      // This one holds the process: someone waits for it.
      const timer = setTimeout(flush.end, timeoutMs);
      this.#flushes.add(flush);
      this.#schedule();
    });
  }

  /** Flush, stop for good, drop and report what is left. Idempotent. */
  async shutdown(timeoutMs) {
    await this.flush(timeoutMs);
    this.#isClosed = true;
    this.dropRest();
    return this.counts();
  }

  /** Drop and report everything that has no end yet, and end the request under way. */
  dropRest() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#transport.close();
    const left = this.#sending.splice(0);
    if (this.#queue.length > 0) left.push(this.#queue.cut(Infinity, Infinity));
    const events = left.flatMap((batch) => batch.events());
    if (events.length === 0) return;
    this.#ledger.dropped += events.length;
    this.#bookSettled(events.length);
    this.#reporter.lost(new SayticsError('not_sent'), events);
  }

  #refuse(code) {
    this.#ledger.dropped += 1;
    return new SayticsError(code);
  }

  #isBatchFull() {
    return this.#queue.length >= this.#options.flushAt || this.#queue.bytes >= BATCH_BYTES_MAX;
  }

  /** Arrange for the next try: now, at a time in sight, or not at all. */
  #schedule() {
    if (this.#isTrying || this.#isClosed) return;
    const wait = this.#waitMs();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (wait === 0) {
      // Not within the caller's stack: `track` must not pay for building a request.
      this.#isTrying = true;
      setImmediate(() => this.#tryNext());
    } else if (wait !== undefined) {
      this.#timer = setTimeout(() => this.#schedule(), wait).unref();
    }
  }

  #waitMs() {
    const nowMs = performance.now();
    // Whole milliseconds, rounded up: timers are cut to them, and one that fires a fraction early
    // would only be set again.
    const until = (timeMs) => Math.max(Math.ceil(timeMs - nowMs), 0);
    if (this.#sending.length > 0) return until(this.#notBeforeMs);
    if (this.#queue.length === 0) return undefined;
    const isDue = this.#isBatchFull() || this.#settled < this.#dueUpTo;
    const dueMs = isDue ? nowMs : this.#queue.oldestMs + this.#options.flushIntervalS * 1000;
    return until(Math.max(dueMs, this.#notBeforeMs));
  }

  async #tryNext() {
    if (this.#sending.length === 0 && this.#queue.length > 0) {
      this.#sending.push(this.#queue.cut(this.#options.flushAt));
    }
    const batch = this.#sending[0];
    if (batch !== undefined) this.#react(batch, await this.#try(batch));
    this.#isTrying = false;
    this.#schedule();
  }

  /** Send a batch once and return what is to be done about it. Never rejects. */
  async #try(batch) {
    try {
      const body = batch.body();
      const isGzip = this.#options.gzip && body.length > GZIP_FROM_BYTES;
      const answer = await this.#transport.post(isGzip ? await gzip(body) : body, isGzip);
      this.#reporter.debug(`${batch.length} events, ${body.length} bytes: ${answer.status}`);
      return readAnswer(answer, batch.length, Date.now());
    } catch (problem) {
      this.#reporter.debug(problem.message);
      const error =
        problem instanceof SayticsError ? problem : new SayticsError('internal_error', problem.message);
      return { kind: 'retry', error, afterMs: 0 };
    }
  }

  #react(batch, reaction) {
    if (this.#sending[0] !== batch) return; // shut down meanwhile: the batch is booked already
    switch (reaction.kind) {
      case 'accepted':
        return this.#reactAccepted(batch, reaction);
      case 'retry':
        return this.#putOff(batch, reaction);
      case 'tooLarge':
        if (batch.length > 1) {
          this.#sending.splice(0, 1, ...batch.halves());
          return undefined;
        }
    }
    return this.#reactRefused(batch, reaction);
  }

  #reactAccepted(batch, { delivered, duplicates, rejected, warnings }) {
    for (const warning of warnings) this.#reporter.debug(`warning: ${JSON.stringify(warning)}`);
    this.#notBeforeMs = 0;
    this.#settle(batch, { delivered, duplicate: duplicates, rejected: rejected.size });
    for (const [index, error] of rejected) this.#reporter.lost(error, [batch.event(index)]);
  }

  #reactRefused(batch, { error, rejected }) {
    this.#settle(batch, { rejected: batch.length });
    const events = batch.events();
    if (!rejected?.size) return this.#reporter.lost(error, events);
    return events.forEach((event, index) => {
      this.#reporter.lost(rejected.get(index) ?? error, [event]);
    });
  }

  #putOff(batch, { error, afterMs }) {
    batch.failedTries += 1;
    // Also kept when this batch is given up: the next one meets the same server.
    const wait = waitMs(batch.failedTries, afterMs, Math.random());
    this.#notBeforeMs = performance.now() + wait;
    if (batch.failedTries <= this.#options.maxRetries) {
      this.#reporter.debug(`try ${batch.failedTries} failed, next in ${Math.round(wait)} ms`);
      return;
    }
    this.#settle(batch, { dropped: batch.length });
    this.#reporter.lost(error, batch.events());
  }

  #settle(batch, { delivered = 0, duplicate = 0, rejected = 0, dropped = 0 }) {
    this.#sending.shift();
    this.#ledger.delivered += delivered;
    this.#ledger.duplicate += duplicate;
    this.#ledger.rejected += rejected;
    this.#ledger.dropped += dropped;
    this.#bookSettled(batch.length);
  }

  #bookSettled(count) {
    this.#settled += count;
    for (const flush of [...this.#flushes]) {
      if (this.#settled >= flush.target) flush.end();
    }
  }
}

module.exports = { Sender };
