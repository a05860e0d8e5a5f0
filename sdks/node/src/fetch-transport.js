'use strict';

const { GZIP_FROM_BYTES, utf8Bytes } = require('./batch.js');
const { SayticsError } = require('./errors.js');
const { VERSION } = require('./version.js');

const PATH = '/v1/events/batch';

/** Posts batches with `fetch`, for runtimes that have nothing else. */
class FetchTransport {
  #url;
  #headers;
  #isGzip;
  #timeoutMs;
  #abort = new AbortController();

  /** @param {{host: string, key: string, timeoutS: number, gzip: boolean}} options */
  constructor({ host, key, timeoutS, gzip }) {
    this.#url = host + PATH;
    this.#isGzip = gzip && typeof CompressionStream === 'function';
    this.#timeoutMs = timeoutS * 1000;
    this.#headers = {
      authorization: `Bearer ${key}`,
      'content-type': 'application/json',
      'user-agent': `saytics-node/${VERSION}`,
    };
  }

  /** Send a body and resolve to `{status, retryAfter, text}`; rejects with `unreachable`. */
  async post(text) {
    const abort = this.#abort;
    const timer = setTimeout(() => abort.abort(), this.#timeoutMs);
    try {
      const isGzip = this.#isGzip && utf8Bytes(text) > GZIP_FROM_BYTES;
      const headers = isGzip ? { ...this.#headers, 'content-encoding': 'gzip' } : this.#headers;
      const body = isGzip ? await gzipped(text) : text;
      const { signal } = abort;
      const response = await fetch(this.#url, { method: 'POST', headers, body, signal });
      const retryAfter = response.headers.get('retry-after') ?? undefined;
      return { status: response.status, retryAfter, text: await response.text() };
    } catch (problem) {
      const why = problem.cause?.message ?? problem.message;
      throw new SayticsError('unreachable', `No answer: ${why}`);
    } finally {
      clearTimeout(timer);
      if (abort.signal.aborted) this.#abort = new AbortController();
    }
  }

  /** End the request under way. */
  close() {
    this.#abort.abort();
  }
}

async function gzipped(text) {
  const stream = new Blob([text]).stream().pipeThrough(new CompressionStream('gzip'));
  return new Response(stream).arrayBuffer();
}

module.exports = { FetchTransport };
