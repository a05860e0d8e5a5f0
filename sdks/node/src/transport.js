'use strict';

const http = require('node:http');
const https = require('node:https');
const tls = require('node:tls');
const { promisify } = require('node:util');
const zlib = require('node:zlib');

const { GZIP_FROM_BYTES } = require('./batch.js');
const { SayticsError } = require('./errors.js');
const { proxyFor, proxyHeaders, tunnelAgent } = require('./proxy.js');
const { VERSION } = require('./version.js');

const PATH = '/v1/events/batch';

// An answer lists at most the rejected events of one batch; more than this is no such answer.
const ANSWER_BYTES_MAX = 4 * 1024 * 1024;

const gzip = promisify(zlib.gzip);

/**
 * Posts batches to `host` with `key`, one at a time over one connection that is kept open, through
 * the proxy the environment names.
 *
 * node:http rather than fetch: a request can be abandoned at the socket, the idle connection never
 * holds the process, and `reusedSocket` tells an idle server from a dead one.
 */
class Transport {
  #target;
  #requestOptions;
  #request;
  #isGzip;
  #timeoutMs;

  /** @param {{host: string, key: string, timeoutS: number, gzip: boolean, ca?: any}} options */
  constructor({ host, key, timeoutS, gzip: isGzip, ca }) {
    const url = new URL(host + PATH);
    const proxy = proxyFor(url, process.env);
    const isTls = url.protocol === 'https:';
    const headers = {
      authorization: `Bearer ${key}`,
      'content-type': 'application/json',
      'user-agent': `saytics-node/${VERSION}`,
    };
    this.#isGzip = isGzip;
    this.#timeoutMs = timeoutS * 1000;
    if (proxy === undefined || isTls) {
      this.#target = url;
      this.#requestOptions = { method: 'POST', headers, agent: agentFor(isTls, proxy, ca) };
    } else {
      // A proxy for plain HTTP is asked for the whole URL.
      this.#target = proxy;
      Object.assign(headers, { host: url.host, ...proxyHeaders(proxy) });
      const agent = agentFor(proxy.protocol === 'https:', undefined, ca);
      this.#requestOptions = { method: 'POST', headers, path: url.href, agent };
    }
    this.#request = this.#target.protocol === 'https:' ? https.request : http.request;
  }

  /**
   * Send a body and resolve to `{status, retryAfter, text}`; rejects with `unreachable` if no
   * answer came within the time limit.
   * @param {string} text
   */
  async post(text) {
    const deadlineMs = performance.now() + this.#timeoutMs;
    const plain = Buffer.from(text);
    const isGzip = this.#isGzip && plain.length > GZIP_FROM_BYTES;
    const body = isGzip ? await gzip(plain) : plain;
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
    this.#requestOptions.agent.destroy();
  }

  #exchange(body, isGzip, deadlineMs) {
    return new Promise((resolve, reject) => {
      const headers = { ...this.#requestOptions.headers, 'content-length': body.length };
      if (isGzip) headers['content-encoding'] = 'gzip';
      const request = this.#request(this.#target, { ...this.#requestOptions, headers });
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

function agentFor(isTls, proxy, ca) {
  const options = { keepAlive: true, maxSockets: 1 };
  if (!isTls) return new http.Agent(options);
  // Beside Node's own list, not instead of it: the server may move behind a public certificate.
  if (ca !== undefined) {
    const pems = [ca].flat().map((pem) => (typeof pem === 'string' ? pem : Buffer.from(pem)));
    options.ca = [...tls.rootCertificates, ...pems];
  }
  return proxy === undefined ? new https.Agent(options) : tunnelAgent(proxy, options);
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
