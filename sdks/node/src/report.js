'use strict';

/**
 * Tells the program about losses, and the developer about everything in debug mode.
 *
 * Nothing here throws, and nothing here ever holds the key or, outside `onError`, an event's content.
 */

// Without `onError` a loss is a line on stderr; a loss that repeats is a line a minute, with a sum.
const REPEAT_AFTER_MS = 60_000;

class Reporter {
  #onError;
  #debug;
  #writeLine;
  #saidAtMs = new Map();
  #unsaid = new Map();

  /**
   * @param {Function} [onError] the program's, see the README
   * @param {boolean} debug
   * @param {(line: string) => void} writeLine where the developer reads
   */
  constructor(onError, debug, writeLine) {
    this.#onError = onError;
    this.#debug = debug;
    this.#writeLine = writeLine;
  }

  /** Report events that were rejected or dropped. */
  lost(error, events) {
    this.debug(`${events.length} events lost: ${error.message}`);
    if (this.#onError === undefined) {
      this.#say(error, events.length);
      return;
    }
    const complain = (problem) => this.write(`onError failed: ${problem?.stack ?? problem}`);
    try {
      // An async function fails by its promise; unwatched, that would end the host's process.
      Promise.resolve(this.#onError(error, events)).catch(complain);
    } catch (problem) {
      complain(problem);
    }
  }

  /** Write a line in debug mode. */
  debug(text) {
    if (this.#debug) this.write(text);
  }

  /** Write a line for the developer. */
  write(text) {
    try {
      this.#writeLine(`saytics: ${text}`);
    } catch {
      // A closed stderr is no reason to fail.
    }
  }

  #say(error, lost) {
    const nowMs = performance.now();
    const count = lost + (this.#unsaid.get(error.code) ?? 0);
    if (nowMs - (this.#saidAtMs.get(error.code) ?? -Infinity) < REPEAT_AFTER_MS) {
      this.#unsaid.set(error.code, count);
      return;
    }
    this.#unsaid.delete(error.code);
    this.#saidAtMs.set(error.code, nowMs);
    this.write(`${count} event${count === 1 ? '' : 's'} lost: ${error.message}`);
  }
}

module.exports = { Reporter };
