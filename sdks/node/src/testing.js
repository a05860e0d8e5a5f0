'use strict';

/**
 * A client for tests: it checks events as the real one does, sends nothing, and keeps what it was given.
 */

const { Client } = require('./client.js');
const { Ledger } = require('./ledger.js');
const { readOptions } = require('./options.js');
const { Reporter } = require('./report.js');

class RecordingSaytics extends Client {
  /** What would have been sent, in order, in its wire form. @type {object[]} */
  events;
  /** What `onError` would have been told, in order. @type {{error: Error, events: object[]}[]} */
  errors;

  /** @param {object} [given] the options of the real client; `beforeSend` and `onError` are used */
  constructor(given = {}) {
    // Those of Node alone have no meaning here.
    const { spool, spoolDir, spoolBytesMax, ca, ...shared } = given;
    const options = readOptions('sk_live_recording', shared);
    const events = [];
    const errors = [];
    const onError = (error, lost) => {
      errors.push({ error, events: lost });
      return options.onError?.(error, lost);
    };
    super(options, new Reporter(onError, false, console.error), new Recorder(events));
    this.events = events;
    this.errors = errors;
  }

  /** Forget all events and errors so far. */
  clear() {
    this.events.length = 0;
    this.errors.length = 0;
  }
}

/** Stands where the sender is: whatever comes is delivered at once. */
class Recorder {
  #events;
  #ledger = new Ledger();

  constructor(events) {
    this.#events = events;
  }

  put(text) {
    this.#ledger.tracked += 1;
    this.#ledger.delivered += 1;
    this.#events.push(JSON.parse(text));
    return undefined;
  }

  bookLost(lost) {
    this.#ledger.lose(lost);
  }

  counts() {
    return this.#ledger.counts(0);
  }

  async flush() {
    return this.counts();
  }

  async shutdown() {
    return this.counts();
  }
}

module.exports = { RecordingSaytics };
