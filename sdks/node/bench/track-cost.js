'use strict';

// What one `track()` costs the program that calls it:
//
//     node sdks/node/bench/track-cost.js
//
// Nothing listens at the address, so the queue only fills: the figure is the caller's cost alone,
// validate, stamp, serialise, queue. The best of several rounds is the cost without the machine's
// other work; the median beside it is what a busy machine shows.

const Saytics = require('../src/index.js');

const EVENTS = 50_000;
const ROUNDS = 9;

async function roundMicroseconds() {
  const saytics = new Saytics('sk_live_bench', { host: 'http://127.0.0.1:9', onError() {} });
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
  const costs = [];
  for (let round = 0; round < ROUNDS; round += 1) costs.push(await roundMicroseconds());
  costs.sort((left, right) => left - right);
  const median = costs[ROUNDS >> 1];
  console.log(`track(): best ${costs[0].toFixed(1)} µs, median ${median.toFixed(1)} µs`);
}

main();
