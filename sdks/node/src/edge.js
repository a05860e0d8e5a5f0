'use strict';

/**
 * The client for runtimes without modules of Node: fetch alone, in memory only.
 *
 * Such a runtime tells nobody when it ends, so what counts is `await saytics.flush()`, or
 * `context.waitUntil(saytics.flush())`, at the end of each request.
 * `edge.mjs` is this file with all it needs in one, made by `build-edge.js`.
 */

const { Client } = require('./client.js');
const { SayticsError } = require('./errors.js');
const { FetchTransport } = require('./fetch-transport.js');
const { readOptions } = require('./options.js');
const { Reporter } = require('./report.js');
const { Sender } = require('./sender.js');
const { verifyWebhook } = require('./webhook.js');

/** Sends events to a Saytics server. Wrong options throw a TypeError; nothing throws afterwards. */
class Saytics extends Client {
  /**
   * @param {string} key
   * @param {object} [given] see types/edge.d.ts
   */
  constructor(key, given) {
    const options = readOptions(key, given);
    const reporter = new Reporter(options.onError, options.debug, (line) => console.error(line));
    super(options, reporter, new Sender(options, reporter, new FetchTransport(options)));
  }
}

module.exports = { Saytics, SayticsError, verifyWebhook };
