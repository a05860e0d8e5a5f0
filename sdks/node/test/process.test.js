'use strict';

/** Whole programs, with the package installed from its folder: the seed's snippets and the end of a process. */

const assert = require('node:assert/strict');
const { execFile, execFileSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { after, before, beforeEach, test } = require('node:test');

const { ScriptedServer } = require('./scripted-server.js');

const PACKAGE = path.join(__dirname, '..');

let server;
let project;

before(async () => {
  server = await ScriptedServer.start();
  project = fs.mkdtempSync(path.join(os.tmpdir(), 'saytics-node-test-'));
  fs.writeFileSync(path.join(project, 'package.json'), '{"private": true}');
  // As the README says; nothing is fetched, for there is nothing the package needs.
  execFileSync('npm', ['install', '--offline', '--no-audit', '--no-fund', PACKAGE], { cwd: project });
});
beforeEach(() => {
  server.requests = [];
  server.answers = [];
});
after(async () => {
  await server.stop();
  fs.rmSync(project, { recursive: true });
});

/** Run a program in the project; resolves to how it ended. */
function run(file, text, { host = server.host } = {}) {
  fs.writeFileSync(path.join(project, file), text);
  const started = performance.now();
  return new Promise((resolve) => {
    const env = {
      ...process.env,
      SAYTICS_HOST: host,
      SAYTICS_SECRET_KEY: 'sk_live_test',
      SAYTICS_SPOOL_DIR: path.join(project, 'spool'),
    };
    execFile(process.execPath, [file], { cwd: project, env, timeout: 30_000 }, (error, stdout, stderr) => {
      resolve({ code: error?.code ?? 0, stdout, stderr, tookMs: performance.now() - started });
    });
  });
}

const TRACK = `
  await saytics.track({
    userId: 'user_456',
    event: 'Subscription Upgraded',
    properties: {
      plan: 'pro',
      mrr: 49.99,
      billing_cycle: 'monthly'
    }
  });
`;
const HANDLER = `
  async function handler(event) {
    await saytics.track({
      userId: event.userId,
      event: 'Order Completed',
      properties: { orderId: event.orderId }
    });

    // Flush before the function exits
    await saytics.flush();
  }
`;

test("the seed's snippets run unchanged from CommonJS", async () => {
  const ended = await run('snippet.cjs', `
    const Saytics = require('@saytics/node');
    const saytics = new Saytics('YOUR_SECRET_KEY');
    ${HANDLER}
    (async () => {
      ${TRACK}
      await handler({ userId: 'u', orderId: 'o-1' });
      console.log(saytics.counts().delivered);
    })();
  `);
  assert.deepEqual([ended.code, ended.stdout, ended.stderr], [0, '2\n', '']);
  assert.deepEqual(
    server.events().map((event) => event.event), ['Subscription Upgraded', 'Order Completed'],
  );
  assert.equal(server.requests[0].headers.authorization, 'Bearer YOUR_SECRET_KEY');
});

test("the seed's handler runs unchanged as an ES module", async () => {
  const ended = await run('snippet.mjs', `
    import Saytics, { Saytics as Named, SayticsError } from '@saytics/node';
    const saytics = new Saytics('YOUR_SECRET_KEY');
    export ${HANDLER.trim()}
    await handler({ userId: 'u', orderId: 'o-1' });
    console.log(saytics.counts().delivered, Named === Saytics, typeof SayticsError);
  `);
  assert.deepEqual([ended.code, ended.stdout, ended.stderr], [0, '1 true function\n', '']);
});

test('both module systems share one copy, and every way to name the class is the class', async () => {
  const ended = await run('names.mjs', `
    import { createRequire } from 'node:module';
    import Saytics from '@saytics/node';
    const required = createRequire(import.meta.url)('@saytics/node');
    console.log([required, required.Saytics, required.default].every((each) => each === Saytics));
  `);
  assert.deepEqual([ended.stdout, ended.stderr], ['true\n', '']);
});

for (const events of [7, 500]) {
  test(`${events} events and no flush: natural exit sends them at once`, async () => {
    const ended = await run('exit.cjs', `
      const saytics = new (require('@saytics/node'))(undefined, { flushIntervalS: 60 });
      for (let index = 0; index < ${events}; index += 1) saytics.track({ userId: 'u', event: 'E' });
    `);
    assert.deepEqual([ended.code, ended.stderr], [0, '']);
    assert.equal(new Set(server.events().map((event) => event.messageId)).size, events);
    assert.ok(ended.tookMs < 3000, `the process took ${ended.tookMs} ms`);
  });
}

test('a client that was used does not keep the process alive', async () => {
  const ended = await run('idle.cjs', `
    const saytics = new (require('@saytics/node'))(undefined, { flushIntervalS: 60 });
    saytics.track({ userId: 'u', event: 'E' }).then(() => saytics.flush());
  `);
  assert.deepEqual([ended.code, server.events().length], [0, 1]);
  assert.ok(ended.tookMs < 3000, `the process took ${ended.tookMs} ms`);
});

test('a server that comes back after the natural exit gets every event', async () => {
  server.answers = [{ status: 503, text: '' }, { status: 503, text: '' }];
  const ended = await run('outage.cjs', `
    const saytics = new (require('@saytics/node'))();
    for (let index = 0; index < 150; index += 1) saytics.track({ userId: 'u', event: 'E' });
  `);
  assert.deepEqual([ended.code, ended.stderr], [0, '']);
  const ids = server.requests.slice(2).flatMap(({ events }) => events.map((event) => event.messageId));
  assert.deepEqual([ids.length, new Set(ids).size], [150, 150]);
});

test('without a spool, process.exit() leaves no time to send, and says what was lost', async () => {
  const ended = await run('abrupt.cjs', `
    const saytics = new (require('@saytics/node'))(undefined, { spool: 'off' });
    for (let index = 0; index < 7; index += 1) saytics.track({ userId: 'u', event: 'E' });
    process.exit(3);
  `);
  assert.equal(ended.code, 3);
  assert.match(ended.stderr, /^saytics: 7 events lost: not_sent/);
});

test('with no server at all the process ends in its own time', async () => {
  const ended = await run('dead.cjs', `
    const saytics = new (require('@saytics/node'))(undefined, { maxRetries: 1, spool: 'off' });
    saytics.track({ userId: 'u', event: 'E' });
  `, { host: 'http://127.0.0.1:9' });
  assert.equal(ended.code, 0);
  assert.match(ended.stderr, /^saytics: 1 event lost: unreachable/);
});

test('after process.exit() the next process sends what the first has left, without being asked', async () => {
  const program = `
    const saytics = new (require('@saytics/node'))();
    for (let index = 0; index < 7; index += 1) saytics.track({ userId: 'u', event: 'E' });
    process.exit(3);
  `;
  const ended = await run('left.cjs', program);
  assert.deepEqual([ended.code, ended.stderr, server.events()], [3, '', []]);
  await run('next.cjs', "new (require('@saytics/node'))();");
  assert.equal(new Set(server.events().map((event) => event.messageId)).size, 7);
});

test('a server that never answers holds the end of a process for seconds, and nothing is lost', async () => {
  server.answers = [{ fault: 'hang' }];
  const ended = await run('silent.cjs', `
    const saytics = new (require('@saytics/node'))();
    saytics.track({ userId: 'u', event: 'E' });
  `);
  assert.deepEqual([ended.code, ended.stderr], [0, '']);
  assert.ok(ended.tookMs > 2500 && ended.tookMs < 6000, `the process took ${ended.tookMs} ms`);
  await run('next.cjs', "new (require('@saytics/node'))();");
  const [first, second] = server.events();
  assert.deepEqual(second, first);
});

test('edge, testing and the helpers are found under their names in both module systems', async () => {
  const ended = await run('exports.mjs', `
    import { createRequire } from 'node:module';
    import { verifyWebhook } from '@saytics/node';
    import Edge from '@saytics/node/edge';
    import { RecordingSaytics } from '@saytics/node/testing';
    const require = createRequire(import.meta.url);
    console.log([verifyWebhook, Edge, RecordingSaytics, require('@saytics/node').verifyWebhook,
      require('@saytics/node/edge').Saytics, require('@saytics/node/testing').RecordingSaytics,
    ].map((each) => typeof each).join());
  `);
  assert.deepEqual([ended.stdout, ended.stderr], [`${Array(6).fill('function')}\n`, '']);
});
