'use strict';

/** A batch: events that travel in one request, and stay together over its retries. */

// Measured as the body is before compression. The server's own limit is 16 MiB; 500 kB keeps a
// request short on slow lines and within the limits proxies are usually set to.
const BATCH_BYTES_MAX = 500_000;

// Below this, compressing costs more time than it saves in bytes on the line.
const GZIP_FROM_BYTES = 1024;

const HEAD = '{"events":[';
const TAIL = ']}';
const ENVELOPE_BYTES = HEAD.length + TAIL.length;

class Batch {
  #texts;

  /** @param {string[]} texts events as JSON */
  constructor(texts) {
    this.#texts = texts;
    /** How often sending has been tried without an end. */
    this.failedTries = 0;
  }

  get length() {
    return this.#texts.length;
  }

  /** Return the request body: the same bytes on every try. */
  body() {
    return Buffer.from(HEAD + this.#texts.join(',') + TAIL);
  }

  /** Return two batches of the same events in the same order. Only for two or more. */
  halves() {
    const middle = this.#texts.length >> 1;
    return [new Batch(this.#texts.slice(0, middle)), new Batch(this.#texts.slice(middle))];
  }

  /** Return one event as it was sent. */
  event(index) {
    return JSON.parse(this.#texts[index]);
  }

  /** Return all events as they were sent. */
  events() {
    return this.#texts.map((text) => JSON.parse(text));
  }
}

module.exports = { BATCH_BYTES_MAX, Batch, ENVELOPE_BYTES, GZIP_FROM_BYTES };
