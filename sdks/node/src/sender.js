'use strict';

/**
 * Empties the queue, and keeps the book of what became of each event.
 *
 *     put ──► queue ──► sending (the batch under way, or its halves) ──► delivered, duplicate,
 *        │       │          ▲                  │                         rejected or dropped
 *        ▼       ▼          └── back-off ◄─────┘
 *      spool (what does not fit; copies during an outage; all that is left at the end)
 *
 * An event is settled once: by whoever takes its batch out of `sending`. With `spool: 'always'`, and
 * with 'auto' from the first failed try to the next answer, an event is on disk when `put` returns.
 *
 * No timer of the sender holds the process. A request under way does, and so does a `flush` someone
 * waits for, up to its time limit; `exit.js` decides what happens at the end of the process.
 */

const { readAnswer } = require('./answer.js');
const { waitMs } = require('./backoff.js');
const { BATCH_BYTES_MAX, Batch, utf8Bytes } = require('./batch.js');
const { SayticsError } = require('./errors.js');
const { Ledger } = require('./ledger.js');
const { EventQueue } = require('./queue.js');

// While the process waits at its end, a server that is restarted is asked this often.
const DRAIN_WAIT_MAX_MS = 500;

// A batch from the spool: a backlog of millions must not take ten thousand round trips. The server
// takes 1,000; half of that stays below what proxies and plans are usually set to.
const SPOOL_BATCH_EVENTS = 500;

// The one answer that may be the batch's own fault; all others that are retried tell of the server.
const BROKEN_STATUS = 500;

// Not within the caller's stack: `track` must not pay for building a request.
const soon = globalThis.setImmediate ?? ((act) => setTimeout(act, 0));

class Sender {
  #options;
  #reporter;
  #transport;
  #spool;
  #ledger = new Ledger();
  #queue;
  #sending = []; // batches cut from queue or spool that have no end yet; the first is being tried
  #isTrying = false;
  #isClosed = false;
  #isEnded = false;
  #isWritingThrough;
  #isAdoptedNext = false;
  #drainWaitMaxMs = Infinity;
  #isHurried = false;
  #timer;
  #accepted = 0; // events ever taken in
  #settled = 0; // of those, the ones with an end
  #left = 0; // events left on disk by the end of this client
  #answers = 0; // batches that came to an end, adopted ones too: progress
  #failures = 0; // tries in a row that had no end
  #droppedTold = 0; // of the dropped events, those the server knows of
  #dueUpTo = 0; // a flush wants the events up to here sent without waiting for more
  #notBeforeMs = 0; // the back-off's end, on the monotonic clock
  #flushes = new Set();

  /**
   * @param {object} options
   * @param {Reporter} reporter
   * @param {{post: Function, close: Function}} transport
   * @param {Spool} [spool] none where there is no disk
   */
  constructor(options, reporter, transport, spool) {
    this.#options = options;
    this.#reporter = reporter;
    this.#transport = transport;
    this.#spool = spool;
    this.#isWritingThrough = this.#isAlways;
    this.#queue = new EventQueue(options.queueMax);
    spool?.start(() => this.#schedule());
    if (spool?.adoptedCount > 0) this.#schedule();
  }

  /** Queue an event and return undefined, or drop it and return why. */
  put(text) {
    this.#ledger.tracked += 1;
    if (this.#isClosed) return this.#refuse('closed');
    const entry = { text, bytes: utf8Bytes(text), atMs: performance.now(), file: undefined };
    const spool = this.#spool;
    if (this.#isEnded || (spool !== undefined && spool.unread > 0) || !this.#queue.put(entry)) {
      return this.#overflow(entry);
    }
    if (this.#isWritingThrough) spool.keep([entry]);
    this.#accepted += 1;
    if (this.#queue.isNews(this.#options.flushAt)) this.#schedule();
    return undefined;
  }

  /** Count events that ended before they could be queued. */
  bookLost(lost) {
    this.#ledger.lose(lost);
  }

  /** Return where every event is now. */
  counts() {
    return this.#ledger.counts(this.#left + (this.#spool?.unread ?? 0));
  }

  /** Whether anything waits to be sent, adopted events included. */
  get hasWork() {
    return this.#settled < this.#accepted || this.#adoptedLeft > 0;
  }

  /** Send what is there now; resolve to the counts when all has an end, or the time is over. */
  flush(timeoutMs) {
    this.#dueUpTo = this.#accepted;
    if (!this.hasWork) return Promise.resolve(this.counts());
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

  /**
   * Flush at the end of the process: at most `limitMs`, at most `stallMs` without any answer, and
   * with `isHurried` only until a try fails. What is left is on disk afterwards, if there is one.
   */
  async drain({ limitMs, stallMs, isHurried }) {
    const endMs = performance.now() + limitMs;
    this.#drainWaitMaxMs = DRAIN_WAIT_MAX_MS;
    this.#isHurried = isHurried;
    this.#notBeforeMs = Math.min(this.#notBeforeMs, performance.now() + DRAIN_WAIT_MAX_MS);
    for (let before = -1; this.hasWork && before < this.#answers; ) {
      before = this.#answers;
      const restMs = endMs - performance.now();
      if (restMs <= 0) break;
      await this.flush(Math.min(stallMs, restMs));
    }
    this.#drainWaitMaxMs = Infinity;
    this.#isHurried = false;
    // A request that still waits must not hold the process.
    if (this.hasWork) this.#transport.close();
  }

  /** Flush, then leave the rest to the spool, or drop and report it. Idempotent. */
  async shutdown(timeoutMs) {
    if (!this.#isClosed) await this.flush(timeoutMs);
    this.leaveRest();
    this.#isClosed = true;
    return this.counts();
  }

  /** Copy what is in memory to the spool, from now on at once. */
  writeThrough() {
    if (this.#spool === undefined || this.#isEnded) return;
    this.#isWritingThrough = true;
    this.#spool.keep(this.#inMemory().filter((entry) => entry.file === undefined));
  }

  /** End everything, now: what has no end yet stays in the spool, or is dropped and reported. */
  leaveRest() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#isEnded = true;
    this.#transport.close();
    const left = this.#inMemory();
    this.#sending = [];
    this.#queue.cut(Infinity, Infinity);
    this.#spool?.keepAtEnd(left);
    this.#spool?.release();
    const lost = left.filter((entry) => entry.file === undefined);
    this.#left += left.length - lost.length;
    if (lost.length > 0) this.#drop('not_sent', new Batch(lost).events());
    this.#settled = this.#accepted;
    for (const flush of [...this.#flushes]) flush.end();
  }

  get #isAlways() {
    return this.#spool !== undefined && this.#options.spool === 'always';
  }

  get #spoolBatchEvents() {
    return Math.max(this.#options.flushAt, SPOOL_BATCH_EVENTS);
  }

  get #adoptedLeft() {
    const sending = this.#sending.reduce((sum, { isOwn }) => sum + (isOwn ? 0 : 1), 0);
    return sending + (this.#isEnded ? 0 : (this.#spool?.adoptedCount ?? 0));
  }

  #inMemory() {
    const sending = this.#sending.filter((batch) => batch.isOwn);
    return [...sending.flatMap((batch) => batch.entries), ...this.#queue.entries()];
  }

  /** Take an event that the queue cannot take, or must not because older ones wait on disk. */
  #overflow(entry) {
    const isOnDisk = this.#spool?.overflow(entry.text) ?? false;
    // Where the disk is full, the queue may have room again.
    if (!isOnDisk && (this.#isEnded || !this.#queue.put(entry))) {
      if (this.#isEnded) return this.#refuse('not_sent');
      return this.#refuse(this.#spool?.isFull ? 'spool_full' : 'queue_full');
    }
    this.#accepted += 1;
    if (this.#timer === undefined || this.#spool?.unread === 1) this.#schedule();
    return undefined;
  }

  #refuse(code) {
    this.#ledger.dropped += 1;
    return new SayticsError(code);
  }

  #drop(code, events) {
    this.#ledger.dropped += events.length;
    this.#reporter.lost(new SayticsError(code), events);
  }

  #isBatchFull() {
    return (
      this.#queue.length >= this.#options.flushAt ||
      this.#queue.bytes >= BATCH_BYTES_MAX ||
      this.#spool?.unread > 0
    );
  }

  /** Arrange for the next try: now, at a time in sight, or not at all. */
  #schedule() {
    if (this.#isTrying || this.#isEnded) return;
    const wait = this.#waitMs();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (wait === 0) {
      this.#isTrying = true;
      soon(() => this.#tryNext());
    } else if (wait !== undefined) {
      this.#timer = setTimeout(() => this.#schedule(), wait);
      this.#timer.unref?.();
    }
  }

  #waitMs() {
    const nowMs = performance.now();
    // Whole milliseconds, rounded up: timers are cut to them, and one that fires a fraction early
    // would only be set again.
    const until = (timeMs) => Math.max(Math.ceil(timeMs - nowMs), 0);
    if (this.#sending.length > 0 || this.#spool?.adoptedCount > 0) return until(this.#notBeforeMs);
    if (this.#queue.length === 0 && !this.#isBatchFull()) return undefined;
    return until(Math.max(this.#dueMs(nowMs), this.#notBeforeMs));
  }

  #dueMs(nowMs) {
    if (this.#isBatchFull() || this.#settled < this.#dueUpTo) return nowMs;
    return this.#queue.oldestMs + this.#options.flushIntervalS * 1000;
  }

  async #tryNext() {
    const batch = this.#sending[0] ?? (await this.#next());
    if (batch !== undefined) this.#react(batch, await this.#try(batch));
    this.#isTrying = false;
    this.#schedule();
  }

  /** Cut the next batch: by turns of this process and of dead ones, where both have one. */
  async #next() {
    const isOwnDue = this.#isBatchFull() || this.#queue.length > 0;
    this.#isAdoptedNext = !isOwnDue || !this.#isAdoptedNext;
    const isAdopted = this.#isAdoptedNext && this.#spool?.adoptedCount > 0;
    const batch = isAdopted ? await this.#nextAdopted() : this.#nextOwn();
    if (batch === undefined || this.#isEnded) return undefined;
    // Not with adopted events: the server may have them all, and passes over the number of a batch
    // that brings nothing new, for it takes it for a retry.
    if (batch.isOwn) batch.dropped = this.#ledger.dropped - this.#droppedTold;
    this.#sending.push(batch);
    return batch;
  }

  async #nextAdopted() {
    const entries = await this.#spool.readAdopted(this.#spoolBatchEvents, BATCH_BYTES_MAX);
    if (entries.length > 0) return new Batch(entries, false);
    this.#endFlushes();
    return undefined;
  }

  #nextOwn() {
    if (this.#queue.length > 0) return this.#queue.cut(this.#options.flushAt);
    if (!(this.#spool?.unread > 0)) return undefined;
    const { entries, damaged } = this.#spool.readTail(this.#spoolBatchEvents, BATCH_BYTES_MAX);
    if (damaged > 0) {
      this.#ledger.dropped += damaged;
      this.#reporter.lost(new SayticsError('spool_damaged'), new Array(damaged).fill({}));
      this.#bookSettled(damaged);
    }
    return entries.length > 0 ? new Batch(entries) : undefined;
  }

  /** Send a batch once and return what is to be done about it. Never rejects. */
  async #try(batch) {
    try {
      const body = batch.body();
      const answer = await this.#transport.post(body);
      this.#reporter.debug(`${batch.length} events, ${body.length} characters: ${answer.status}`);
      return readAnswer(answer, batch.length, Date.now());
    } catch (problem) {
      this.#reporter.debug(problem.message);
      const error =
        problem instanceof SayticsError ? problem : new SayticsError('internal_error', problem.message);
      return { kind: 'retry', error, afterMs: 0 };
    }
  }

  #react(batch, reaction) {
    if (this.#sending[0] !== batch) return; // ended meanwhile: the batch is booked already
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
    this.#droppedTold += batch.dropped;
    this.#succeed();
    this.#settle(batch, { delivered, duplicate: duplicates, rejected: rejected.size });
    for (const [index, error] of rejected) this.#reporter.lost(error, [batch.event(index)]);
  }

  #reactRefused(batch, { error, rejected }) {
    this.#succeed();
    this.#settle(batch, { rejected: batch.length });
    const events = batch.events();
    if (!rejected?.size) return this.#reporter.lost(error, events);
    return events.forEach((event, index) => {
      this.#reporter.lost(rejected.get(index) ?? error, [event]);
    });
  }

  /** The server has spoken: the outage, if there was one, is over. */
  #succeed() {
    this.#failures = 0;
    this.#notBeforeMs = 0;
    this.#isWritingThrough = this.#isAlways;
  }

  #putOff(batch, { error, afterMs }) {
    batch.failedTries += 1;
    // Counted over batches: the next one meets the same server, and a dead one is asked rarely.
    this.#failures += 1;
    const wait = Math.min(waitMs(this.#failures, 0, Math.random()), this.#drainWaitMaxMs);
    this.#notBeforeMs = performance.now() + Math.max(wait, afterMs);
    this.writeThrough();
    if (batch.failedTries <= this.#options.maxRetries) {
      this.#reporter.debug(`try ${batch.failedTries} failed, next in ${Math.round(wait)} ms`);
    } else if (this.#spool === undefined || !this.#isSafe(batch)) {
      this.#settle(batch, { dropped: batch.length });
      this.#reporter.lost(error, batch.events());
    } else if (error.status === BROKEN_STATUS) {
      this.#moveBack(batch);
    }
    if (this.#isHurried) for (const flush of [...this.#flushes]) flush.end();
  }

  /** Whether a batch is on disk whole: only then need it not be given up. */
  #isSafe(batch) {
    return batch.entries.every((entry) => entry.file !== undefined);
  }

  /** Let others go first: the batch may be the only one the server fails on. */
  #moveBack(batch) {
    batch.failedTries = 0;
    if (!batch.isOwn) {
      this.#sending.shift();
      this.#spool.putAside(batch.entries[0].file);
      this.#sending = this.#sending.filter((each) => each.isOwn);
      return this.#endFlushes();
    }
    for (const [index, { text }] of batch.entries.entries()) {
      if (this.#spool.overflow(text)) continue;
      // No room for all: those that have none stay where they are.
      const [moved, kept] = [batch.entries.slice(0, index), batch.entries.slice(index)];
      this.#sending.splice(0, 1, new Batch(kept));
      return new Batch(moved).settleInSpool();
    }
    this.#sending.shift();
    return batch.settleInSpool();
  }

  #settle(batch, { delivered = 0, duplicate = 0, rejected = 0, dropped = 0 }) {
    this.#sending.shift();
    this.#answers += 1;
    batch.settleInSpool();
    if (batch.isOwn) {
      this.#ledger.delivered += delivered;
      this.#ledger.duplicate += duplicate;
      this.#ledger.rejected += rejected;
      this.#ledger.dropped += dropped;
    } else {
      this.#reporter.debug(`${batch.length} events of an ended process: ${delivered} new`);
    }
    this.#bookSettled(batch.isOwn ? batch.length : 0);
  }

  #bookSettled(count) {
    this.#settled += count;
    this.#endFlushes();
  }

  #endFlushes() {
    if (this.#flushes.size === 0 || this.#adoptedLeft > 0) return;
    for (const flush of [...this.#flushes]) {
      if (this.#settled >= flush.target) flush.end();
    }
  }
}

module.exports = { Sender };
