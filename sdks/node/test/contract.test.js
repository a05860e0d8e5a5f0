'use strict';

/** The wire cases every SDK shares, run against this one. */

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { setTimeout: sleep } = require('node:timers/promises');

const Saytics = require('../src/index.js');
const { loadCases, mismatch } = require('./contract-cases.js');
const { ScriptedServer } = require('./scripted-server.js');

for (const each of loadCases()) {
  test(`${each.name}: ${each.about}`, async () => {
    const server = await ScriptedServer.start(each.answers);
    try {
      const { errors, counts } = await run(each, server);
      checkRequests(each, server.requests);
      checkErrors(each.errors, errors);
      if (each.counts) assert.deepEqual(counts, { spooled: 0, ...each.counts });
      if (each.connections) {
        const connections = new Set(server.requests.map((request) => request.connection));
        assert.equal(connections.size, each.connections);
      }
    } finally {
      await server.stop();
    }
  });
}

async function run(each, server) {
  const errors = [];
  const saytics = new Saytics('sk_live_contract', {
    host: server.host,
    // The cases are about the wire; what the spool does to them is in spool.test.js.
    spool: 'off',
    onError: (error, events) => errors.push({ error, events }),
    ...camelCased({ flush_interval_s: 60, ...each.options }),
  });
  for (const call of each.calls) {
    if ('wait_for_requests' in call) await server.waitForRequests(call.wait_for_requests);
    else if ('sleep_s' in call) await sleep(call.sleep_s * 1000);
    else if (['flush', 'shutdown'].includes(call.call)) await saytics[call.call]();
    // Not awaited: what an awaited track adds is covered by the snippets' tests.
    else saytics[call.call](camelCased(call.with));
  }
  return { errors, counts: await saytics.shutdown() };
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
