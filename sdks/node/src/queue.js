'use strict';

/**
 * Events waiting in memory to be sent, oldest first, within bounds of count and bytes.
 * What does not fit is the spool's.
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

  /** Append an entry; false if there is no room for it. */
  put(entry) {
    if (this.length >= this.#countMax || this.bytes + entry.bytes > QUEUE_BYTES_MAX) return false;
    this.#entries.push(entry);
    this.bytes += entry.bytes;
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

  /** Return the waiting entries, oldest first. */
  entries() {
    return this.#entries.slice(this.#head);
  }

  /** Take the oldest events that fit into one batch: at least one, whatever its size. */
  cut(countMax, bytesMax = BATCH_BYTES_MAX) {
    const cut = [];
    let size = ENVELOPE_BYTES;
    while (this.length > 0 && cut.length < countMax) {
      const entry = this.#entries[this.#head];
      if (cut.length > 0 && size + entry.bytes + 1 > bytesMax) break;
      this.#entries[this.#head++] = undefined;
      this.bytes -= entry.bytes;
      size += entry.bytes + 1;
      cut.push(entry);
    }
    this.#compact();
    return new Batch(cut);
  }

  #compact() {
    if (this.length > 0 && this.#head < COMPACT_FROM) return;
    if (this.length > 0 && this.#head < this.#entries.length / 2) return;
    this.#entries = this.#entries.slice(this.#head);
    this.#head = 0;
  }
}

module.exports = { EventQueue };
