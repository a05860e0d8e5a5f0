'use strict';

/**
 * Events waiting to be sent, oldest first, within bounds of count and bytes.
 * The spool of a later version takes what does not fit here.
 */

const { BATCH_BYTES_MAX, Batch, ENVELOPE_BYTES } = require('./batch.js');

// Bounds memory when events are large: `queueMax` events of the server's 32 KiB limit would be
// gigabytes. Ordinary events of 400 bytes reach `queueMax` first.
const QUEUE_BYTES_MAX = 64 * 1024 * 1024;

// An array that only loses its head would move its rest on every batch; so the head is an index and
// the room before it is given back once it is this large.
const COMPACT_FROM = 1024;

class EventQueue {
  #countMax;
  #entries = [];
  #head = 0;
  /** Bytes of the waiting events in UTF-8. */
  bytes = 0;

  constructor(countMax) {
    this.#countMax = countMax;
  }

  get length() {
    return this.#entries.length - this.#head;
  }

  /** Append an event; false if there is no room for it. */
  put(text, nowMs) {
    const bytes = Buffer.byteLength(text);
    if (this.length >= this.#countMax || this.bytes + bytes > QUEUE_BYTES_MAX) return false;
    this.#entries.push({ text, bytes, atMs: nowMs });
    this.bytes += bytes;
    return true;
  }

  /**
   * Whether the event just put is the first or fills a batch: the only ones the sender must hear of.
   */
  isNews(flushAt) {
    const { length } = this;
    if (length === 1 || length === flushAt) return true;
    const lastBytes = this.#entries[this.#entries.length - 1].bytes;
    return this.bytes >= BATCH_BYTES_MAX && this.bytes - lastBytes < BATCH_BYTES_MAX;
  }

  /** When the oldest event came. Only for a queue that is not empty. */
  get oldestMs() {
    return this.#entries[this.#head].atMs;
  }

  /** Take the oldest events that fit into one batch: at least one, whatever its size. */
  cut(countMax, bytesMax = BATCH_BYTES_MAX) {
    const texts = [];
    let size = ENVELOPE_BYTES;
    while (this.length > 0 && texts.length < countMax) {
      const { text, bytes } = this.#entries[this.#head];
      if (texts.length > 0 && size + bytes + 1 > bytesMax) break;
      this.#entries[this.#head++] = undefined;
      this.bytes -= bytes;
      size += bytes + 1;
      texts.push(text);
    }
    this.#compact();
    return new Batch(texts);
  }

  #compact() {
    if (this.length > 0 && this.#head < COMPACT_FROM) return;
    if (this.length > 0 && this.#head < this.#entries.length / 2) return;
    this.#entries = this.#entries.slice(this.#head);
    this.#head = 0;
  }
}

module.exports = { EventQueue };
