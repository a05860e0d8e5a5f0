'use strict';

/**
 * A batch: events that travel in one request, and stay together over its retries.
 *
 * An entry is one event on its way: `{text, bytes, atMs, file}`, its JSON, the size of that, when it
 * came, and the spool file it also lies in, if any.
 */

// Measured as the body is before compression. The server's own limit is 16 MiB; 500 kB keeps a
// request short on slow lines and within the limits proxies are usually set to.
const BATCH_BYTES_MAX = 500_000;

// Below this, compressing costs more time than it saves in bytes on the line.
const GZIP_FROM_BYTES = 1024;

const HEAD = '{"events":[';
const TAIL = ']}';
const ENVELOPE_BYTES = HEAD.length + TAIL.length;

// Counting bytes without making them: Node has a word for it; other runtimes encode.
const encoder = new TextEncoder();
const utf8Bytes =
  globalThis.Buffer?.byteLength ?? ((text) => encoder.encode(text).length);

class Batch {
  #entries;
  #isOwn;

  /**
   * @param {object[]} entries see above
   * @param {boolean} [isOwn] false for events adopted from a process that died
   * @param {number} [dropped] how many other events, given up since the batch before, the body tells
   *   the server of; set before the first try and kept over all
   */
  constructor(entries, isOwn = true, dropped = 0) {
    this.#entries = entries;
    this.#isOwn = isOwn;
    /** How often sending has been tried without an end. */
    this.failedTries = 0;
    this.dropped = dropped;
  }

  get length() {
    return this.#entries.length;
  }

  get isOwn() {
    return this.#isOwn;
  }

  get entries() {
    return this.#entries;
  }

  /** Return the request body as JSON text: the same on every try. */
  body() {
    const texts = this.#entries.map((entry) => entry.text);
    const end = this.dropped > 0 ? `],"dropped":${this.dropped}}` : TAIL;
    return HEAD + texts.join(',') + end;
  }

  /** Return two batches of the same events in the same order. Only for two or more. */
  halves() {
    const middle = this.#entries.length >> 1;
    return [
      new Batch(this.#entries.slice(0, middle), this.#isOwn, this.dropped),
      new Batch(this.#entries.slice(middle), this.#isOwn),
    ];
  }

  /** Note in the spool that these events are answered for or given up. */
  settleInSpool() {
    const counts = new Map();
    for (const { file } of this.#entries) {
      if (file !== undefined) counts.set(file, (counts.get(file) ?? 0) + 1);
    }
    for (const [file, count] of counts) file.settle(count);
  }

  /** Return one event as it was sent. */
  event(index) {
    return JSON.parse(this.#entries[index].text);
  }

  /** Return all events as they were sent. */
  events() {
    return this.#entries.map((entry) => JSON.parse(entry.text));
  }
}

module.exports = { BATCH_BYTES_MAX, Batch, ENVELOPE_BYTES, GZIP_FROM_BYTES, utf8Bytes };
