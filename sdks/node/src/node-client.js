'use strict';

const { Client } = require('./client.js');
const exit = require('./exit.js');
const { readNodeOptions } = require('./node-options.js');
const { Reporter } = require('./report.js');
const { Sender } = require('./sender.js');
const { Spool } = require('./spool.js');
const { Transport } = require('./transport.js');

/**
 * Sends events to a Saytics server.
 *
 * Wrong options throw a TypeError here; afterwards trouble goes to `onError(error, events)`, or to
 * stderr, and never into the calling program.
 */
class Saytics extends Client {
  #sender;

  /**
   * @param {string} [key] default: the environment's SAYTICS_SECRET_KEY
   * @param {import('../types/index.d.ts').Options} [options] see the README for each
   */
  constructor(key, given) {
    const options = readNodeOptions(key, given);
    const reporter = new Reporter(options.onError, options.debug, (line) => {
      process.stderr.write(`${line}\n`);
    });
    const sender = new Sender(options, reporter, new Transport(options), spoolOf(options, reporter));
    super(options, reporter, sender);
    this.#sender = sender;
    if (options.enabled) exit.watch(sender);
  }

  async shutdown(timeoutS) {
    const counts = await super.shutdown(timeoutS);
    exit.unwatch(this.#sender);
    return counts;
  }
}

function spoolOf({ enabled, spool, spoolDir, host, key, spoolBytesMax }, reporter) {
  if (!enabled || spool === 'off') return undefined;
  const say = (text) => reporter.write(text);
  return new Spool(spoolDir, { host, key, bytesMax: spoolBytesMax }, say);
}

module.exports = { Saytics };
