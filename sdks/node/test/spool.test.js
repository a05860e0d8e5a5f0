'use strict';

/** The spool on disk: what is in it, when, and that it comes out again once. */

const assert = require('node:assert/strict');
const { spawnSync } = require('node:child_process');
const { createHash } = require('node:crypto');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { after, afterEach, before, beforeEach, test } = require('node:test');

const Saytics = require('../src/index.js');
const { eventLine, readLine, tableCrc32 } = require('../src/spool-line.js');
const { isOwnerAlive, nobodysName, ownName, parseName } = require('../src/spool-owner.js');
const { ScriptedServer } = require('./scripted-server.js');

const NOTHING = {
  tracked: 0, delivered: 0, duplicate: 0, rejected: 0, dropped: 0, spooled: 0, queued: 0,
};
const KEY = 'sk_live_test';
const DOWN = { status: 503, text: '' };

let server;
let spoolDir;
let clients;

before(async () => {
  server = await ScriptedServer.start();
});
beforeEach(() => {
  server.requests = [];
  server.answers = [];
  clients = [];
  spoolDir = fs.mkdtempSync(path.join(os.tmpdir(), 'saytics-spool-test-'));
});
afterEach(async () => {
  for (const saytics of clients) await saytics.shutdown(0);
  fs.rmSync(spoolDir, { recursive: true });
});
after(() => server.stop());

function client(options) {
  const saytics = new Saytics(KEY, { host: server.host, spoolDir, onError() {}, ...options });
  clients.push(saytics);
  return saytics;
}

function folder(host = server.host) {
  const hash = createHash('sha256').update(`${host}\n${KEY}`).digest('hex').slice(0, 16);
  return path.join(spoolDir, hash);
}

/** The spool's files: their names and lines. */
function files() {
  if (!fs.existsSync(folder())) return [];
  return fs.readdirSync(folder()).sort().map((name) => {
    const text = fs.readFileSync(path.join(folder(), name), 'utf8');
    return { name, lines: text.split('\n').slice(0, -1) };
  });
}

/** The events in the spool, whatever is done of them. */
function spooledEvents() {
  const contents = files().flatMap(({ lines }) => lines.map((line) => readLine(Buffer.from(line))));
  return contents.filter(({ json }) => json !== undefined).map(({ json }) => JSON.parse(json));
}

/** Put a file of a dead process there: its events are named after `names`. */
function leave(names, extra = '') {
  const id = String(leave.count).padStart(32, '0');
  leave.count += 1;
  const lines = names.map((event) => eventLine(JSON.stringify({ event, userId: 'u', messageId: event })));
  fs.mkdirSync(folder(), { recursive: true, mode: 0o700 });
  const name = path.join(folder(), nobodysName(id));
  fs.writeFileSync(name, lines.join('') + extra);
  return name;
}
leave.count = 0;

function track(saytics, count, name = 'E') {
  for (let index = 0; index < count; index += 1) {
    saytics.track({ userId: 'u', event: name, messageId: `${name}-${index}` });
  }
}

function sentIds() {
  return server.events().map((event) => event.messageId);
}

test('a line is a checksum, a space and JSON; every change of a byte is seen', () => {
  assert.equal(eventLine('{"event":"Grüße"}'), '2a3d7cd0 {"event":"Grüße"}\n');
  const whole = Buffer.from('2a3d7cd0 {"event":"Grüße"}');
  assert.deepEqual(readLine(whole), { json: '{"event":"Grüße"}' });
  for (let index = 0; index < whole.length; index += 1) {
    const damaged = Buffer.from(whole);
    damaged[index] ^= 1;
    assert.equal(readLine(damaged), undefined, `byte ${index}`);
  }
  assert.equal(readLine(Buffer.from('')), undefined);
});

test('the checksum of runtimes without a native one is the same', () => {
  const crc32 = tableCrc32();
  assert.deepEqual([crc32('123456789'), crc32('Grüße'), crc32('')], [0xcbf43926, 0xfbd37071, 0]);
});

test("always: an event is on disk when track returns, as it goes over the wire, and gone when answered", async () => {
  const saytics = client({ spool: 'always' });
  track(saytics, 2);
  const spooled = spooledEvents();
  assert.deepEqual(spooled.map((event) => event.messageId), ['E-0', 'E-1']);
  assert.deepEqual(saytics.counts(), { ...NOTHING, tracked: 2, queued: 2 });
  assert.deepEqual(await saytics.shutdown(), { ...NOTHING, tracked: 2, delivered: 2 });
  assert.deepEqual(server.events(), spooled);
  assert.deepEqual(files(), []);
});

test('always: what is answered for is noted in the file of what is not', async () => {
  server.answers = [undefined, { fault: 'hang' }];
  const saytics = client({ spool: 'always', flushAt: 2 });
  track(saytics, 3);
  saytics.flush(0.2);
  await server.waitForRequests(2);
  const [{ lines }] = files();
  assert.deepEqual(lines.slice(3), [eventLine('{"done":2}').trimEnd()]);
});

test('auto: the disk is not touched while the server answers', async () => {
  const saytics = client();
  track(saytics, 250);
  await saytics.flush();
  assert.equal(fs.existsSync(folder()), false);
});

test('auto: from the first failed try on everything is on disk, and off it once delivered', async () => {
  server.answers = [DOWN];
  const saytics = client({ flushAt: 2 });
  track(saytics, 5);
  await server.waitForRequests(1);
  await new Promise((resolve) => setTimeout(resolve, 100));
  track(saytics, 1, 'Later');
  assert.deepEqual(
    spooledEvents().map((event) => event.messageId), ['E-0', 'E-1', 'E-2', 'E-3', 'E-4', 'Later-0'],
  );
  assert.deepEqual(saytics.counts(), { ...NOTHING, tracked: 6, queued: 6 });
  assert.deepEqual(await saytics.flush(), { ...NOTHING, tracked: 6, delivered: 6 });
  assert.deepEqual(files(), []);
});

test('a burst larger than the queue goes to disk and comes back, each event once', async () => {
  const saytics = client({ queueMax: 100 });
  track(saytics, 5000);
  assert.deepEqual(saytics.counts(), { ...NOTHING, tracked: 5000, spooled: 4900, queued: 100 });
  assert.deepEqual(await saytics.flush(30), { ...NOTHING, tracked: 5000, delivered: 5000 });
  assert.deepEqual(new Set(sentIds()).size, 5000);
  assert.equal(sentIds().length, 5000);
  assert.deepEqual(files(), []);
});

test('what exceeds spoolBytesMax is dropped, newest first, counted, reported, and told the server', async () => {
  const lost = [];
  const saytics = client({
    queueMax: 10, spoolBytesMax: 10_000,
    onError: (error, events) => lost.push([error.code, events[0].messageId]),
  });
  track(saytics, 100);
  const { spooled, dropped } = saytics.counts();
  assert.ok(spooled > 30 && spooled < 70, `${spooled} in the spool`);
  assert.deepEqual([lost.length, dropped], [dropped, 90 - spooled]);
  assert.deepEqual(lost[0], ['spool_full', `E-${10 + spooled}`]);
  const counts = await saytics.flush();
  assert.deepEqual(counts, { ...NOTHING, tracked: 100, delivered: 10 + spooled, dropped });
  assert.equal(server.requests[0].body.dropped, dropped);
  assert.ok(server.requests.slice(1).every((request) => !('dropped' in request.body)));
});

test('the number of dropped events is told again until it is answered for', async () => {
  server.answers = [DOWN];
  const saytics = client({ spool: 'off', queueMax: 1 });
  track(saytics, 3);
  await saytics.flush();
  assert.deepEqual(server.requests.map(({ body }) => body.dropped), [2, 2]);
});

test('shutdown leaves the rest to the next client, which delivers it once', async () => {
  server.answers = [{ fault: 'hang' }];
  const first = client({ flushAt: 2 });
  track(first, 5);
  assert.deepEqual(await first.shutdown(0.2), { ...NOTHING, tracked: 5, spooled: 5 });
  assert.deepEqual(first.counts(), { ...NOTHING, tracked: 5, spooled: 5 });
  server.requests = [];
  const second = client();
  assert.deepEqual(await second.flush(), NOTHING);
  assert.deepEqual(sentIds(), ['E-0', 'E-1', 'E-2', 'E-3', 'E-4']);
  assert.deepEqual(files(), []);
});

test('what a dead process left is sent after the last event it had an answer for', async () => {
  leave(['A', 'B', 'C'], eventLine('{"done":1}') + eventLine('{"done":2}') + 'cafe');
  await client().flush();
  assert.deepEqual([sentIds(), files()], [['C'], []]);
});

test('damaged lines are passed over, the others sent', async () => {
  const name = leave(['A', 'B', 'C']);
  fs.writeFileSync(name, fs.readFileSync(name, 'utf8').replace('"B"', '"X"'));
  await client().flush();
  assert.deepEqual([sentIds(), files()], [['A', 'C'], []]);
});

test('events whose lines are damaged under a living process are counted as dropped', async () => {
  server.answers = [{ fault: 'hang' }];
  const lost = [];
  const saytics = client({
    queueMax: 2, flushAt: 2, timeoutS: 0.2,
    onError: (error, events) => lost.push([error.code, events.length]),
  });
  track(saytics, 6);
  const name = path.join(folder(), files()[0].name);
  fs.writeFileSync(name, fs.readFileSync(name, 'utf8').replace('"E-3"', '"X-3"'));
  const counts = await saytics.flush();
  assert.deepEqual(counts, { ...NOTHING, tracked: 6, delivered: 5, dropped: 1 });
  assert.deepEqual([lost, files()], [[['spool_damaged', 1]], []]);
});

test('a living process keeps its files', async () => {
  const first = client({ spool: 'always', flushIntervalS: 60 });
  track(first, 1);
  await client().flush();
  assert.deepEqual([sentIds(), files().length], [[], 1]);
});

test('of ten clients that adopt at once, one sends each file', async () => {
  const names = Array.from({ length: 10 }, (_, index) => `Left ${index}`);
  for (const name of names) leave([name]);
  await Promise.all(Array.from({ length: 10 }, () => client().flush()));
  assert.deepEqual(sentIds().sort(), names);
});

test('adopted events that are rejected are reported, and do not enter the counts', async () => {
  leave(['A', 'B']);
  server.answers = [{ status: 200, body: {
    status: 'ok', received: 1, rejected: [{ index: 1, code: 'invalid_event', message: 'No.' }],
  } }];
  const lost = [];
  const saytics = client({ onError: (error, [event]) => lost.push([error.code, event.event]) });
  assert.deepEqual(await saytics.flush(), NOTHING);
  assert.deepEqual([lost, files()], [[['invalid_event', 'B']], []]);
});

test('a batch the server breaks on lets the others go first, and is not lost', async () => {
  server.answers = [{ status: 500, text: '' }];
  const saytics = client({ maxRetries: 0, flushAt: 1 });
  track(saytics, 3);
  assert.deepEqual(await saytics.flush(), { ...NOTHING, tracked: 3, delivered: 3 });
  assert.deepEqual(sentIds(), ['E-0', 'E-1', 'E-2', 'E-0']);
  assert.deepEqual(files(), []);
});

test('folders are for the user alone, and the key is nowhere in the spool', async () => {
  const saytics = client({ spool: 'always', spoolDir: path.join(spoolDir, 'a', 'b') });
  track(saytics, 1);
  for (const each of ['a', 'a/b', path.join('a/b', path.basename(folder()))]) {
    assert.equal(fs.statSync(path.join(spoolDir, each)).mode & 0o777, 0o700);
  }
  const inside = path.join(spoolDir, 'a/b', path.basename(folder()));
  const [name] = fs.readdirSync(inside);
  assert.equal(fs.statSync(path.join(inside, name)).mode & 0o777, 0o600);
  assert.equal(parseName(name).pid, process.pid);
  assert.ok(!fs.readFileSync(path.join(inside, name), 'utf8').includes(KEY));
  await saytics.shutdown();
});

test('where there is no disk, events stay in memory and that is said once', () => {
  const ended = spawnSync(process.execPath, ['-e', `
    const Saytics = require(${JSON.stringify(path.join(__dirname, '../src/index.js'))});
    const saytics = new Saytics('k', { host: 'http://127.0.0.1:9', spool: 'always', onError() {},
      spoolDir: '/proc/nowhere' });
    for (let index = 0; index < 3; index += 1) saytics.track({ userId: 'u', event: 'E' });
    console.log(JSON.stringify(saytics.counts()));
    process.exit();
  `], { encoding: 'utf8' });
  assert.deepEqual(JSON.parse(ended.stdout), { ...NOTHING, tracked: 3, queued: 3 });
  assert.match(ended.stderr, /^saytics: no spool on disk, events are kept in memory only: .*\n$/);
});

test('a spool removed under a living process is made anew', async () => {
  server.answers = [DOWN];
  const saytics = client();
  track(saytics, 1);
  await server.waitForRequests(1);
  await new Promise((resolve) => setTimeout(resolve, 50));
  fs.rmSync(folder(), { recursive: true });
  assert.deepEqual(await saytics.shutdown(0), { ...NOTHING, tracked: 1, spooled: 1 });
  assert.deepEqual(spooledEvents().map((event) => event.messageId), ['E-0']);
});

test('an owner lives that runs, or that was seen within the hour where it cannot be asked', () => {
  const own = parseName(ownName('0'.repeat(32)));
  const now = Date.now();
  const hourAgo = now - 3_600_001;
  for (const [owner, touchedMs, expected] of [
    [own, now, true],
    [own, hourAgo, false], // a thread that ended
    [{ ...own, pid: process.ppid, start: 0 }, hourAgo, true],
    [{ ...own, pid: process.ppid, start: own.start + 1 }, now, false], // the pid was used again
    [{ ...own, pid: 2 ** 22 + 1 }, now, false],
    [{ ...own, machine: '00000000' }, now, true],
    [{ ...own, machine: '00000000' }, hourAgo, false],
    [parseName(nobodysName('0'.repeat(32))), now, false],
    [{ ...own, machine: '00000000', start: 1 }, now, false],
  ]) {
    assert.equal(isOwnerAlive(owner, touchedMs), expected, JSON.stringify({ owner, touchedMs }));
  }
});

test('an owner that ends while it is looked at is dead, one that is hidden lives', (t) => {
  const own = parseName(ownName('0'.repeat(32)));
  const gone = { ...own, pid: 2 ** 22 + 1 };
  for (const [answers, expected] of [[['there', 'gone'], false], [['there', 'there'], true]]) {
    const left = [...answers];
    const kill = t.mock.method(process, 'kill', () => {
      if (left.shift() === 'gone') throw Object.assign(new Error('gone'), { code: 'ESRCH' });
    });
    assert.equal(isOwnerAlive(gone, Date.now()), expected, answers.join());
    kill.mock.restore();
    assert.deepEqual(left, []);
  }
});

test('the name of a file names a living owner of this machine', () => {
  const owner = parseName(ownName('0'.repeat(32)));
  const stat = fs.readFileSync(`/proc/${process.pid}/stat`, 'utf8').split(' ');
  assert.deepEqual([owner.pid, owner.start], [process.pid, Number(stat[21])]);
  assert.equal(parseName('what.spool'), undefined);
});

for (const moment of ['before its parent is made', 'after its parent is made']) {
  test(`another process makes the same folders, ${moment}`, async (t) => {
    const deep = path.join(spoolDir, 'state', 'spool');
    const make = fs.mkdirSync;
    t.mock.method(fs, 'mkdirSync', (made, mode) => {
      const isFirst = !fs.existsSync(path.dirname(made));
      try {
        make(made, mode);
      } finally {
        if (moment.startsWith('before') ? isFirst : made === deep) {
          make(path.join(deep, path.basename(folder())), { recursive: true });
        }
      }
    });
    const saytics = client({ spoolDir: deep, spool: 'always' });
    await saytics.track({ userId: 'u', event: 'A' });
    const [name] = fs.readdirSync(path.join(deep, path.basename(folder())));
    assert.match(name, /\.spool$/);
  });
}
