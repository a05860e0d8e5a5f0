'use strict';

/** What the client promises the program that calls it, beside the shared wire cases. */

const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { after, before, beforeEach, test } = require('node:test');

const Saytics = require('../src/index.js');
const { MessageIds } = require('../src/message-id.js');
const { ScriptedServer } = require('./scripted-server.js');

const NOTHING = { tracked: 0, delivered: 0, duplicate: 0, rejected: 0, dropped: 0, spooled: 0, queued: 0 };
const EVENT = { userId: 'u', event: 'E' };

let server;
let spoolDir;
before(async () => {
  spoolDir = fs.mkdtempSync(path.join(os.tmpdir(), 'saytics-client-test-'));
  server = await ScriptedServer.start();
});
beforeEach(() => {
  server.requests = [];
  server.answers = [];
});
after(async () => {
  await server.stop();
  fs.rmSync(spoolDir, { recursive: true });
});

function client(options) {
  return new Saytics('sk_live_test', { host: server.host, spoolDir, ...options });
}

test('later changes do not reach the event', async () => {
  const saytics = client();
  const properties = { items: [1] };
  saytics.track({ ...EVENT, properties });
  properties.items.push(2);
  await saytics.shutdown();
  assert.deepEqual(server.events()[0].properties, { items: [1] });
});

test('an event is the same text whether or not somebody sees it before', async () => {
  const sent = async (options) => {
    server.requests = [];
    const saytics = client(options);
    for (const event of [
      EVENT,
      { event: 'Käufe "🛒"\n', anonymousId: 'a\\b', properties: { '"': [undefined, () => {}, 1n === 1n] } },
      { ...EVENT, properties: { toJSON() {} } },
      { ...EVENT, properties: { left: undefined }, timestamp: '"yesterday"', messageId: '"\u0001' },
      { ...EVENT, anonymousId: 'both', timestamp: new Date(0), context: { locale: 'de' } },
    ]) {
      saytics.track({ timestamp: '2024-01-15T10:30:00Z', messageId: 'm', ...event });
    }
    await saytics.shutdown();
    return server.requests.map(({ raw }) => raw.toString());
  };
  const plain = await sent({ gzip: false });
  assert.deepEqual(plain, await sent({ gzip: false, beforeSend: (event) => event }));
  assert.equal(JSON.parse(plain[0]).events.length, 5);
});

test('a Date is sent in UTC, as timestamp and as a value', async () => {
  const saytics = client();
  const moment = new Date('2024-01-15T12:30:00+02:00');
  saytics.track({ ...EVENT, timestamp: moment, properties: { moment } });
  await saytics.shutdown();
  const [event] = server.events();
  assert.equal(event.timestamp, '2024-01-15T10:30:00.000Z');
  assert.equal(event.properties.moment, '2024-01-15T10:30:00.000Z');
});

test('track neither throws nor rejects, whatever it is given', async () => {
  const errors = [];
  const saytics = client({ onError: (error) => errors.push(error.code) });
  const trap = { get event() { throw new Error('a getter of the program'); } };
  for (const given of [undefined, null, 'text', 5, trap, { ...EVENT, timestamp: new Date(NaN) },
    { ...EVENT, properties: { big: 10n } },
    { ...EVENT, properties: { toJSON() { throw new Error('a toJSON of the program'); } } }]) {
    assert.equal(await saytics.track(given), undefined);
  }
  assert.deepEqual(await saytics.shutdown(), { ...NOTHING, tracked: 8, rejected: 8 });
  assert.deepEqual(errors, [
    'invalid_event', 'invalid_event', 'invalid_event', 'invalid_event', 'internal_error',
    'invalid_timestamp', 'invalid_event', 'invalid_event',
  ]);
});

test('beforeSend changes events and leaves them out; what is left out is not counted', async () => {
  const saytics = client({
    beforeSend: (event) => (event.event === 'Secret' ? null : { ...event, properties: {} }),
  });
  saytics.track({ userId: 'u', event: 'Secret' });
  saytics.track({ userId: 'u', event: 'Open', properties: { email: 'a@b.example' } });
  assert.deepEqual(await saytics.shutdown(), { ...NOTHING, tracked: 1, delivered: 1 });
  assert.deepEqual(server.events().map((event) => event.properties), [{}]);
});

test('an event beforeSend threw on is dropped and reported, not sent as it was', async () => {
  const errors = [];
  const saytics = client({
    beforeSend() { throw new Error('no'); },
    onError: (error) => errors.push(error.code),
  });
  saytics.track(EVENT);
  assert.deepEqual(await saytics.shutdown(), { ...NOTHING, tracked: 1, dropped: 1 });
  assert.deepEqual([errors, server.requests], [['before_send_failed'], []]);
});

test('an onError that throws or rejects does not end the sending', async () => {
  server.answers = [400, 400].map((status) => ({ status, body: { error: { code: 'no' } } }));
  const failing = [() => { throw new Error('thrown'); }, async () => { throw new Error('later'); }];
  const saytics = client({ flushAt: 1, onError: () => failing.pop()?.() });
  for (let index = 0; index < 3; index += 1) saytics.track(EVENT);
  const counts = await saytics.shutdown();
  assert.deepEqual(counts, { ...NOTHING, tracked: 3, delivered: 1, rejected: 2 });
});

test('flush returns within its limit and counts what is left', async () => {
  server.answers = [{ fault: 'hang' }];
  const saytics = client({ onError() {} });
  saytics.track(EVENT);
  const started = performance.now();
  assert.deepEqual(await saytics.flush(0.3), { ...NOTHING, tracked: 1, queued: 1 });
  const took = performance.now() - started;
  assert.ok(took >= 295 && took < 1000, `took ${took} ms`);
  await saytics.shutdown(0);
});

test('without a spool, shutdown drops and reports what is left, once', async () => {
  server.answers = [{ fault: 'hang' }];
  const lost = [];
  const saytics = client({
    spool: 'off',
    flushAt: 1,
    onError: (error, events) => lost.push([error.code, events.map((event) => event.event)]),
  });
  saytics.track({ userId: 'u', event: 'Sending' });
  saytics.track({ userId: 'u', event: 'Waiting' });
  await server.waitForRequests(1);
  assert.deepEqual(await saytics.shutdown(0.2), { ...NOTHING, tracked: 2, dropped: 2 });
  assert.deepEqual(lost, [['not_sent', ['Sending', 'Waiting']]]);
});

test('an event tracked during a flush does not hold it up, and is sent', async () => {
  const saytics = client({ flushIntervalS: 0.05 });
  saytics.track(EVENT);
  const flushed = saytics.flush();
  await server.waitForRequests(1);
  saytics.track(EVENT);
  assert.ok((await flushed).delivered >= 1);
  await server.waitForRequests(2);
  await saytics.shutdown();
});

test('20,000 events at once fit the queue and arrive once each', async () => {
  const saytics = client();
  for (let index = 0; index < 20_000; index += 1) saytics.track(EVENT);
  const counts = await saytics.shutdown(30);
  assert.deepEqual(counts, { ...NOTHING, tracked: 20_000, delivered: 20_000 });
  assert.equal(new Set(server.events().map((event) => event.messageId)).size, 20_000);
});

test('a dead server is asked more and more rarely, whichever batch is next', async () => {
  server.answers = Array.from({ length: 3 }, () => ({ status: 503, text: '' }));
  const saytics = client({ spool: 'off', flushAt: 1, maxRetries: 0, onError() {} });
  for (let index = 0; index < 4; index += 1) saytics.track(EVENT);
  assert.deepEqual(await saytics.flush(), { ...NOTHING, tracked: 4, delivered: 1, dropped: 3 });
  const gaps = server.requests.slice(1).map(({ atS }, index) => atS - server.requests[index].atS);
  const least = [0.25, 0.5, 1];
  assert.ok(gaps.every((gap, index) => gap >= least[index]), `gaps of ${gaps} s`);
});

test('after shutdown nothing of the client is left: no timer, no socket, no listener', async (context) => {
  const made = context.mock.method(globalThis, 'setInterval').mock;
  const ended = context.mock.method(globalThis, 'clearInterval').mock;
  const listeners = () => ['exit', 'beforeExit', 'SIGTERM'].map((name) => process.listenerCount(name));
  const resources = () => process.getActiveResourcesInfo().filter((name) => name !== 'TCPSocketWrap');
  const before = [resources(), listeners()];
  const saytics = client({ spool: 'always' });
  saytics.track(EVENT);
  await saytics.shutdown();
  // A destroyed socket is gone with the next turn of the loop; the server's side of it is a TCPSocketWrap.
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual([resources(), listeners()], before);
  // Timers that do not hold the process are in no list of resources.
  assert.deepEqual(
    made.calls.map((call) => call.result), ended.calls.map((call) => call.arguments[0]).slice(0, 1),
  );
});

test('message ids rise within a millisecond, past 4,096, and when the clock goes back', () => {
  const ids = new MessageIds();
  const made = Array.from({ length: 10_000 }, () => ids.next(1_700_000_000_000));
  made.push(ids.next(1_600_000_000_000), ids.next(1_700_000_001_000));
  assert.deepEqual(made, [...new Set(made)].sort());
  assert.match(made[0], /^018bcfe5-6800-7000-[89ab]/);
});

test('wrong and unknown options throw at construction', () => {
  for (const options of [
    { host: '127.0.0.1:8640' }, { host: 'http://user:word@host' }, { host: 'ftp://host' },
    { flushAt: 0 }, { flushAt: 1001 }, { flushIntervalS: 0 }, { timeoutS: NaN }, { maxRetries: -1 },
    { queueMax: 1.5 }, { onError: 'x' }, { spool: 'on' }, { spool: true },
    { spoolDir: 5 }, { spoolDir: '' }, { spoolBytesMax: 0 }, { ca: 5 }, { ca: [] }, { flush_at: 5 }, null,
  ]) {
    assert.throws(() => new Saytics('sk_live_test', options), TypeError, JSON.stringify(options));
  }
  for (const key of ['', 'sk live', 5]) assert.throws(() => new Saytics(key), TypeError);
});

test('key and host come from the environment when not given', async (context) => {
  const { SAYTICS_SECRET_KEY, SAYTICS_HOST } = process.env;
  context.after(() => Object.assign(process.env, { SAYTICS_SECRET_KEY, SAYTICS_HOST }));
  process.env.SAYTICS_SECRET_KEY = 'sk_live_environment\n';
  process.env.SAYTICS_HOST = `${server.host}/base/`;
  const saytics = new Saytics(undefined, { spoolDir });
  saytics.track(EVENT);
  await saytics.shutdown();
  assert.equal(server.requests[0].headers.authorization, 'Bearer sk_live_environment');
  assert.equal(server.requests[0].path, '/base/v1/events/batch');
});
