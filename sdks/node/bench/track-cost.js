'use strict';

// What one `track()` costs the program that calls it, with each kind of spool:
//
//     node sdks/node/bench/track-cost.js
//
// Nothing listens at the address, so the queue only fills: the figure is the caller's cost alone,
// validate, stamp, serialise, queue, and with 'always' append to the spool. The best of several rounds
// is the cost without the machine's other work; the median beside it is what a busy machine shows.

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const Saytics = require('../src/index.js');

const EVENTS = 50_000;
const ROUNDS = 9;

async function roundMicroseconds(spool, spoolDir) {
  const options = { host: 'http://127.0.0.1:9', onError() {}, spool, spoolDir };
  const saytics = new Saytics('sk_live_bench', options);
  const started = performance.now();
  for (let index = 0; index < EVENTS; index += 1) {
    saytics.track({
      userId: 'user_456',
      event: 'Subscription Upgraded',
      properties: { plan: 'pro', mrr: 49.99, billing_cycle: 'monthly' },
    });
  }
  const cost = ((performance.now() - started) / EVENTS) * 1000;
  await saytics.shutdown(0);
  return cost;
}

async function main() {
  for (const spool of ['off', 'auto', 'always']) {
    const costs = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'saytics-bench-'));
      costs.push(await roundMicroseconds(spool, folder));
      fs.rmSync(folder, { recursive: true });
    }
    costs.sort((left, right) => left - right);
    const median = costs[ROUNDS >> 1];
    console.log(`track(), spool ${spool}: best ${costs[0].toFixed(1)} µs, median ${median.toFixed(1)} µs`);
  }
}

main();
