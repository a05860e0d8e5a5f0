'use strict';

// The 12 bits after the time.
const SEQUENCE_END = 4096;

/**
 * Makes UUIDs version 7 (RFC 9562) that rise within this process.
 *
 * The server settles equal timestamps by the larger message id, so two `identify` calls within one
 * millisecond must not change places: the bits after the time count up, and run into the next
 * millisecond when more than 4,096 are made in one. The other 62 are random, drawn anew for each
 * millisecond: that keeps processes apart, the count keeps the ids of one millisecond apart, and a
 * burst pays for entropy once.
 */
class MessageIds {
  #ms = 0;
  #sequence = 0;
  #head = '';
  #tail = '';

  /** Return an id for `nowMs`, larger than every id returned before. */
  next(nowMs) {
    if (nowMs > this.#ms) {
      this.#startMillisecond(nowMs);
    } else if (++this.#sequence === SEQUENCE_END) {
      this.#startMillisecond(this.#ms + 1);
    }
    return this.#head + this.#sequence.toString(16).padStart(3, '0') + this.#tail;
  }

  #startMillisecond(ms) {
    this.#ms = ms;
    this.#sequence = 0;
    const time = ms.toString(16).padStart(12, '0');
    this.#head = `${time.slice(0, 8)}-${time.slice(8)}-7`;
    // The part from the variant on is the same in version 4.
    this.#tail = crypto.randomUUID().slice(18);
  }
}

module.exports = { MessageIds };
