'use strict';

/** Reading, expanding and matching the language-neutral cases of `contract/sdk`. */

const fs = require('node:fs');
const path = require('node:path');

const CONTRACT = path.join(__dirname, '..', '..', '..', 'contract', 'sdk');

// Version 7, variant 10, as RFC 9562 lays it out.
const MESSAGE_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const MOMENT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

/** Return all cases, expanded; names carry their file's. */
function loadCases() {
  return fs
    .readdirSync(CONTRACT)
    .sort()
    .flatMap((file) => {
      const { cases } = JSON.parse(fs.readFileSync(path.join(CONTRACT, file), 'utf8'));
      return cases.map((each) => ({ ...expand(each), name: `${path.parse(file).name}/${each.name}` }));
    });
}

/** Replace `$text`, `$value` and `$repeat` by what they stand for. */
function expand(value) {
  if (Array.isArray(value)) return value.flatMap(expandItem);
  if (value === null || typeof value !== 'object') return value;
  if ('$text' in value) return value.$text.repeat(value.times);
  if ('$value' in value) return unwritable(value.$value);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, expand(inner)]));
}

function expandItem(item) {
  if (item?.$repeat === undefined) return [expand(item)];
  const pattern = JSON.stringify(item.of);
  return Array.from({ length: item.$repeat }, (_, index) =>
    expand(JSON.parse(pattern.replaceAll('{{index}}', String(index)))),
  );
}

/** Return a value JSON, and so a case, cannot hold. */
function unwritable(name) {
  if (name === 'cycle') {
    const cycle = {};
    cycle.self = cycle;
    return cycle;
  }
  return { nan: NaN, infinity: Infinity, lone_surrogate: 'a\ud800b' }[name];
}

/** Return where and how `value` differs from `pattern`; undefined if it does not. */
function mismatch(pattern, value, at = '') {
  if (pattern?.$length !== undefined) {
    return value.length === pattern.$length ? undefined : `${at}: ${value.length} items`;
  }
  if (pattern?.$has !== undefined) {
    const held = Object.keys(pattern.$has).filter((key) => key in value);
    return mismatch(pattern.$has, Object.fromEntries(held.map((key) => [key, value[key]])), at);
  }
  if (typeof pattern === 'string' && pattern.startsWith('{{')) {
    return standsFor(pattern, value) ? undefined : `${at}: ${JSON.stringify(value)} is no ${pattern}`;
  }
  if (pattern === null || typeof pattern !== 'object') {
    return Object.is(pattern, value ?? null) ? undefined : differs(pattern, value, at);
  }
  const sameKind = value !== null && typeof value === 'object' && Array.isArray(pattern) === Array.isArray(value);
  if (!sameKind || Object.keys(pattern).sort().join() !== Object.keys(value).sort().join()) {
    return differs(pattern, value, at);
  }
  for (const [key, inner] of Object.entries(pattern)) {
    const found = mismatch(inner, value[key], `${at}.${key}`);
    if (found !== undefined) return found;
  }
  return undefined;
}

function differs(pattern, value, at) {
  return `${at}: ${JSON.stringify(value)}, not ${JSON.stringify(pattern)}`;
}

function standsFor(placeholder, value) {
  switch (placeholder) {
    case '{{message_id}}':
      return MESSAGE_ID.test(value);
    case '{{now}}':
      return MOMENT.test(value) && Math.abs(Date.now() - Date.parse(value)) < 60_000;
    case '{{library}}':
      return typeof value.name === 'string' && typeof value.version === 'string';
  }
  throw new Error(`Unknown placeholder ${placeholder}.`);
}

module.exports = { loadCases, mismatch };
