'use strict';

const http = require('node:http');
const https = require('node:https');

const { SayticsError } = require('./errors.js');
const { VERSION } = require('./version.js');

const PATH = '/v1/events/batch';

// An answer lists at most the rejected events of one batch; more than this is no such answer.
const ANSWER_BYTES_MAX = 4 * 1024 * 1024;

/**
 * Posts batches to `host` with `key`, one at a time over one connection that is kept open.
 *
 * node:http rather than fetch: a request can be abandoned at the socket, the idle connection never
 * holds the process, and `reusedSocket` tells an idle server from a dead one.
 */
class Transport {
  #url;
  #agent;
  #request;
  #headers;
  #timeoutMs;

  constructor(host, key, timeoutMs) {
    this.#url = new URL(host + PATH);
    this.#request = this.#url.protocol === 'https:' ? https.request : http.request;
    const { Agent } = this.#url.protocol === 'https:' ? https : http;
    this.#agent = new Agent({ keepAlive: true, maxSockets: 1 });
    this.#timeoutMs = timeoutMs;
    this.#headers = {
      authorization: `Bearer ${key}`,
      'content-type': 'application/json',
      'user-agent': `saytics-node/${VERSION}`,
    };
  }

  /**
   * Send `body` and resolve to `{status, retryAfter, text}`; rejects with `unreachable` if no
   * answer came within the time limit.
   */
  async post(body, isGzip) {
    const deadlineMs = performance.now() + this.#timeoutMs;
    try {
      return await this.#exchange(body, isGzip, deadlineMs);
    } catch (problem) {
      // The server closes connections that rest; the first to notice is the next request. A fresh
      // connection tells that from a dead server without waiting for a retry.
      if (!problem.isStale) throw problem;
      return this.#exchange(body, isGzip, deadlineMs);
    }
  }

  /** Close the connection; a request that waits on it ends with an error. */
  close() {
    this.#agent.destroy();
  }

  #exchange(body, isGzip, deadlineMs) {
    return new Promise((resolve, reject) => {
      const headers = { ...this.#headers, 'content-length': body.length };
      if (isGzip) headers['content-encoding'] = 'gzip';
      const request = this.#request(this.#url, { method: 'POST', agent: this.#agent, headers });
      // The deadline covers the whole exchange; a socket's own timeout starts anew with every byte.
      // The socket holds the process while it waits, the timer need not.
      const timer = setTimeout(
        () => request.destroy(new Error('the time limit has passed')),
        Math.max(deadlineMs - performance.now(), 0),
      ).unref();
      const fail = (problem) => {
        clearTimeout(timer);
        const error = new SayticsError('unreachable', `No answer: ${problem.message}`);
        error.isStale = request.reusedSocket && ['ECONNRESET', 'EPIPE'].includes(problem.code);
        reject(error);
      };
      request.on('error', fail);
      request.on('response', (response) => {
        readText(response).then((text) => {
          clearTimeout(timer);
          const retryAfter = response.headers['retry-after'];
          resolve({ status: response.statusCode, retryAfter, text });
        }, fail);
      });
      request.end(body);
    });
  }
}

async function readText(response) {
  const chunks = [];
  let bytes = 0;
  for await (const chunk of response) {
    bytes += chunk.length;
    if (bytes > ANSWER_BYTES_MAX) throw new Error('the answer has no end');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

module.exports = { Transport };
