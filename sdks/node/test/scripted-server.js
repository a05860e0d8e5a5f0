'use strict';

/**
 * A real HTTP server on loopback that records requests and answers from a script.
 *
 * Answers are those of `contract/sdk` (contract/README.md); after the last one, every batch is
 * acknowledged whole.
 */

const http = require('node:http');
const zlib = require('node:zlib');

class ScriptedServer {
  #http = http.createServer((request, response) => this.#handle(request, response));
  #waiting = [];
  requests = [];

  /** @param {object[]} [answers] */
  static async start(answers = []) {
    const server = new ScriptedServer();
    server.answers = [...answers];
    await new Promise((resolve) => server.#http.listen(0, '127.0.0.1', resolve));
    server.host = `http://127.0.0.1:${server.#http.address().port}`;
    return server;
  }

  async stop() {
    this.#http.closeAllConnections();
    await new Promise((resolve) => this.#http.close(resolve));
  }

  /** The events of all requests in the order they came. */
  events() {
    return this.requests.flatMap((request) => request.events);
  }

  /** Resolve once `count` requests have come. */
  waitForRequests(count) {
    if (this.requests.length >= count) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ count, resolve }));
  }

  async #handle(request, response) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const raw = Buffer.concat(chunks);
    const isGzip = request.headers['content-encoding'] === 'gzip';
    const document = JSON.parse(isGzip ? zlib.gunzipSync(raw) : raw);
    const { method, url: path, headers, socket } = request;
    this.requests.push({
      method, path, headers, raw, events: document.events, body: document,
      connection: socket.remotePort, atS: performance.now() / 1000,
    });
    this.#answer(this.answers.shift(), document.events.length, response);
    this.#waiting = this.#waiting.filter(({ count, resolve }) => {
      if (this.requests.length < count) return true;
      resolve();
      return false;
    });
  }

  #answer(answer, received, response) {
    const { socket } = response;
    const acknowledgement = JSON.stringify({ status: 'ok', received });
    if (answer === undefined) {
      response.end(acknowledgement);
    } else if (answer.fault === 'close_after_answer') {
      response.end(acknowledgement, () => socket.destroySoon());
    } else if (answer.fault === 'close') {
      socket.destroy();
    } else if (answer.fault === 'half') {
      response.writeHead(200, { 'content-length': 100 });
      response.write('{', () => socket.destroySoon());
    } else if (answer.fault !== 'hang') {
      response.writeHead(answer.status, answer.headers ?? {});
      response.end('body' in answer ? JSON.stringify(answer.body) : answer.text);
    }
  }
}

module.exports = { ScriptedServer };
