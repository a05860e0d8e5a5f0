'use strict';

/** What programs use in their own tests, and to check webhooks. */

const assert = require('node:assert/strict');
const { createHmac } = require('node:crypto');
const { test } = require('node:test');

const { verifyWebhook } = require('../src/index.js');
const { RecordingSaytics } = require('../src/testing.js');

test('the recording client keeps events in their wire form, and sends nothing', async () => {
  const saytics = new RecordingSaytics();
  saytics.track({ userId: 7, event: 'Order Completed', properties: { total: 49.99 } });
  saytics.identify({ userId: 'u', traits: { plan: 'pro' } });
  const [{ messageId, timestamp, ...event }, identify] = saytics.events;
  assert.equal(event.context.library.name, '@saytics/node');
  delete event.context;
  assert.deepEqual(event, { event: 'Order Completed', userId: '7', properties: { total: 49.99 } });
  assert.deepEqual([identify.type, identify.traits], ['identify', { plan: 'pro' }]);
  const counts = await saytics.flush();
  assert.deepEqual(
    counts,
    { tracked: 2, delivered: 2, duplicate: 0, rejected: 0, dropped: 0, spooled: 0, queued: 0 },
  );
  saytics.clear();
  assert.deepEqual(saytics.events, []);
});

test('the recording client refuses what the real one refuses, and runs beforeSend', () => {
  const saytics = new RecordingSaytics({
    spool: 'always', beforeSend: (event) => (event.event === 'Secret' ? null : event),
  });
  saytics.track({ event: 'No id' });
  saytics.track({ userId: 'u', event: 'Secret' });
  assert.deepEqual(saytics.errors.map(({ error }) => error.code), ['missing_id']);
  assert.deepEqual(saytics.events, []);
});

test('a webhook is verified by its raw body, in whatever form that comes', async () => {
  const body = '{"event":"Größe"}';
  const signature = createHmac('sha256', 'whsec').update(body).digest('hex');
  assert.equal(await verifyWebhook(body, signature, 'whsec'), true);
  assert.equal(await verifyWebhook(Buffer.from(body), signature, 'whsec'), true);
  for (const [data, given, secret] of [
    [`${body} `, signature, 'whsec'], [body, signature, 'other'], [body, undefined, 'whsec'],
    [body, '', 'whsec'], [body, signature.slice(2), 'whsec'], [body, `z${signature.slice(1)}`, 'whsec'],
    [undefined, signature, 'whsec'], [body, signature, ''],
  ]) {
    assert.equal(await verifyWebhook(data, given, secret), false);
  }
});
