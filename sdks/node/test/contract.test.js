'use strict';

/** The wire cases every SDK shares, run against this one. */

const assert = require('node:assert/strict');
const { createHash } = require('node:crypto');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { setTimeout: sleep } = require('node:timers/promises');

const Saytics = require('../src/index.js');
const { loadCases, mismatch } = require('./contract-cases.js');
const { ScriptedServer } = require('./scripted-server.js');

const KEY = 'sk_live_contract';

// As docs/spool.md describes it, not as the SDK's code happens to.
const FILE_NAME = /^[0-9a-f]{32}-[0-9a-f]{8}-\d+-\d+\.spool$/;

/** The spool's folder as the cases see it: files as lists of lines. */
class Spool {
  #folder;

  constructor(host) {
    this.root = fs.mkdtempSync(path.join(os.tmpdir(), 'saytics-contract-'));
    const hash = createHash('sha256').update(`${host}\n${KEY}`).digest('hex');
    this.#folder = path.join(this.root, hash.slice(0, 16));
  }

  /** Leave files there as a process does that lets go of them. */
  fill(files) {
    if (files.length > 0) fs.mkdirSync(this.#folder);
    files.forEach((lines, number) => {
      const name = `${number.toString(16).padStart(32, '0')}-0a0b0c0d-1-1.spool`;
      const text = lines.map((line) => line.$torn ?? `${line}\n`).join('');
      fs.writeFileSync(path.join(this.#folder, name), text);
    });
  }

  /** What is there, oldest first. */
  files() {
    const names = fs.existsSync(this.#folder) ? fs.readdirSync(this.#folder).sort() : [];
    for (const name of names) assert.match(name, FILE_NAME);
    return names.map((name) => {
      const lines = fs.readFileSync(path.join(this.#folder, name), 'utf8').split('\n');
      assert.equal(lines.pop(), '', 'a line without its end');
      return lines;
    });
  }

  /** Resolve once no file is there. */
  async waitUntilEmpty() {
    for (let waited = 0; fs.readdirSync(this.#folder).length > 0; waited += 1) {
      assert.ok(waited < 1000, 'the spool stays full');
      await sleep(10);
    }
  }

  remove() {
    fs.rmSync(this.root, { recursive: true });
  }
}

for (const each of loadCases()) {
  test(`${each.name}: ${each.about}`, async () => {
    const server = await ScriptedServer.start(each.answers);
    const spool = new Spool(server.host);
    try {
      spool.fill(each.spool_before ?? []);
      const { errors, counts } = await run(each, server, spool);
      checkRequests(each, server.requests);
      checkErrors(each.errors, errors);
      checkCounts(each.counts ?? {}, counts);
      if (each.spool) assert.deepEqual(spool.files(), each.spool);
      if (each.connections) {
        const connections = new Set(server.requests.map((request) => request.connection));
        assert.equal(connections.size, each.connections);
      }
    } finally {
      await server.stop();
      spool.remove();
    }
  });
}

async function run(each, server, spool) {
  const errors = [];
  const saytics = new Saytics(KEY, {
    host: server.host,
    spool: 'off',
    spoolDir: spool.root,
    onError: (error, events) => errors.push({ error, events }),
    ...camelCased({ flush_interval_s: 60, ...each.options }),
  });
  for (const call of each.calls) {
    if ('wait_for_requests' in call) await server.waitForRequests(call.wait_for_requests);
    else if ('wait_for_empty_spool' in call) await spool.waitUntilEmpty();
    else if ('sleep_s' in call) await sleep(call.sleep_s * 1000);
    else if ('counts' in call) checkCounts(call.counts, saytics.counts());
    else if ('spool' in call) assert.deepEqual(spool.files(), call.spool);
    else if (['flush', 'shutdown'].includes(call.call)) await saytics[call.call]();
    // Not awaited: what an awaited track adds is covered by the snippets' tests.
    else saytics[call.call](camelCased(call.with));
  }
  return { errors, counts: await saytics.shutdown(each.shutdown_s) };
}

function checkCounts(expected, counts) {
  const held = Object.keys(expected).map((name) => [name, counts[name]]);
  assert.deepEqual(Object.fromEntries(held), expected);
  const { tracked, ...columns } = counts;
  assert.equal(tracked, Object.values(columns).reduce((sum, count) => sum + count));
}

/** Options and arguments are snake_case in the cases; values below them are the program's own. */
function camelCased(object) {
  const camel = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());
  return Object.fromEntries(Object.entries(object).map(([name, value]) => [camel(name), value]));
}

function checkRequests(each, requests) {
  assert.equal(requests.length, each.requests.length);
  each.requests.forEach((pattern, index) => {
    const request = requests[index];
    assert.deepEqual([request.method, request.path], ['POST', '/v1/events/batch']);
    const { events, dropped, ...rest } = request.body;
    assert.deepEqual(rest, {});
    if ('dropped' in pattern) assert.equal(dropped ?? null, pattern.dropped);
    for (const [name, value] of Object.entries(pattern.headers ?? {})) {
      assert.equal(request.headers[name] ?? null, value);
    }
    if (pattern.events) assert.equal(mismatch(pattern.events, request.events, 'events'), undefined);
    if ('same_body_as' in pattern) assert.deepEqual(request.raw, requests[pattern.same_body_as].raw);
    if (pattern.gap_s) {
      const gapS = request.atS - requests[index - 1].atS;
      assert.ok(gapS >= pattern.gap_s[0] && gapS < pattern.gap_s[1], `gap of ${gapS} s`);
    }
  });
}

function checkErrors(patterns, errors) {
  assert.deepEqual(errors.map(({ error }) => error.code), patterns.map(({ code }) => code));
  patterns.forEach((pattern, index) => {
    const { error, events } = errors[index];
    const { code, status = null, field = null } = error;
    assert.equal(mismatch({ $has: pattern }, { code, status, field, events }, 'error'), undefined);
  });
}
