'use strict';

/** The client for runtimes that have no `node:` modules. */

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { after, before, beforeEach, test } = require('node:test');
const vm = require('node:vm');

const { edgeModule } = require('../build-edge.js');
const { ScriptedServer } = require('./scripted-server.js');

const BUILT = path.join(__dirname, '..', 'src', 'edge.mjs');
const NOTHING = {
  tracked: 0, delivered: 0, duplicate: 0, rejected: 0, dropped: 0, spooled: 0, queued: 0,
};

let server;
before(async () => {
  server = await ScriptedServer.start();
});
beforeEach(() => {
  server.requests = [];
  server.answers = [];
});
after(() => server.stop());

/** Load the module with only what every runtime has. */
function loadBare() {
  const text = fs.readFileSync(BUILT, 'utf8').replace(/^export default .*$/m, '');
  const bare = {
    AbortController, Blob, CompressionStream, Response, TextEncoder, URL, clearTimeout, console,
    crypto, fetch, performance, setTimeout,
  };
  return vm.runInNewContext(`${text.replace(/^export \{(.*)\};$/m, '({$1})')}`, bare);
}

test('the module is what its sources make, and imports nothing', () => {
  const text = fs.readFileSync(BUILT, 'utf8');
  assert.equal(text, edgeModule(), 'run: node sdks/node/build-edge.js');
  assert.doesNotMatch(text, /^import |\bimport\(|require\('node:|from 'node:/m);
});

test('events arrive, compressed, from a runtime with web standards alone', async () => {
  const { Saytics } = loadBare();
  const saytics = new Saytics('sk_live_test', { host: server.host });
  for (let index = 0; index < 150; index += 1) saytics.track({ userId: 'u', event: 'E' });
  assert.deepEqual({ ...await saytics.flush() }, { ...NOTHING, tracked: 150, delivered: 150 });
  assert.deepEqual(server.requests.map(({ events }) => events.length), [100, 50]);
  assert.equal(server.requests[0].headers['content-encoding'], 'gzip');
  assert.equal(server.requests[0].headers.authorization, 'Bearer sk_live_test');
});

test('it tries again, ends a request after its time, and drops what is left at shutdown', async () => {
  const { default: Saytics } = await import('../src/edge.mjs');
  server.answers = [{ status: 503, text: '' }, undefined, { fault: 'hang' }];
  const errors = [];
  const saytics = new Saytics('sk_live_test', {
    host: server.host, timeoutS: 0.2, onError: (error) => errors.push(error.code),
  });
  saytics.track({ userId: 'u', event: 'E' });
  assert.deepEqual(await saytics.flush(), { ...NOTHING, tracked: 1, delivered: 1 });
  saytics.track({ userId: 'u', event: 'E' });
  const counts = await saytics.shutdown(0.3);
  assert.deepEqual([counts, errors], [{ ...NOTHING, tracked: 2, delivered: 1, dropped: 1 }, ['not_sent']]);
});

test('options of Node alone are refused', async () => {
  const { Saytics } = require('../src/edge.js');
  assert.throws(() => new Saytics('sk_live_test', { spool: 'auto' }), TypeError);
});
