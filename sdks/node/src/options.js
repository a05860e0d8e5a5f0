'use strict';

/**
 * The client's settings: defaults, environment, and what is refused.
 *
 * A wrong setting throws at construction, where the programmer sees it; nothing throws afterwards.
 */

const DEFAULT_HOST = 'http://127.0.0.1:8640';

// The server takes 1,000 events in a batch; more would be refused whole.
const FLUSH_AT_MAX = 1000;

// The options every runtime has. What only Node has is in `node-options.js`.
const DEFAULTS = {
  host: undefined,
  flushAt: 100,
  flushIntervalS: 1,
  queueMax: 100_000,
  gzip: true,
  timeoutS: 10,
  maxRetries: 10,
  beforeSend: undefined,
  onError: undefined,
  enabled: true,
  debug: false,
};

/**
 * Return checked settings.
 * @param {string | undefined} key
 * @param {object | undefined} given
 * @param {object} more defaults of options that only this runtime has; the caller checks them
 */
function readOptions(key, given = {}, more = {}) {
  if (given === null || typeof given !== 'object') throw new TypeError('options must be an object.');
  const defaults = { ...DEFAULTS, ...more };
  for (const name of Object.keys(given)) {
    if (!(name in defaults)) throw new TypeError(`Unknown option ${name}.`);
  }
  const present = Object.entries(given).filter(([, value]) => value !== undefined);
  const options = { ...defaults, ...Object.fromEntries(present) };
  options.key = readKey(key, options.enabled);
  options.host = readHost(options.host);
  checkWhole('flushAt', options.flushAt, 1, FLUSH_AT_MAX);
  checkWhole('queueMax', options.queueMax, 1);
  checkWhole('maxRetries', options.maxRetries, 0);
  checkSeconds('flushIntervalS', options.flushIntervalS);
  checkSeconds('timeoutS', options.timeoutS);
  checkFunction('beforeSend', options.beforeSend);
  checkFunction('onError', options.onError);
  return options;
}

function readKey(key, enabled) {
  const given = key ?? environment('SAYTICS_SECRET_KEY') ?? '';
  if (typeof given !== 'string') throw new TypeError('The key must be a string.');
  const trimmed = given.trim();
  if (enabled && trimmed === '') {
    throw new TypeError(
      'No key: pass one, set SAYTICS_SECRET_KEY, or pass enabled: false to send nothing.',
    );
  }
  if (!/^[\x21-\x7e]*$/.test(trimmed)) throw new TypeError('The key has characters no key has.');
  return trimmed;
}

function readHost(host) {
  const given = host ?? (environment('SAYTICS_HOST')?.trim() || DEFAULT_HOST);
  const url = typeof given === 'string' && URL.canParse(given) ? new URL(given) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol)) {
    throw new TypeError(`host must be a base URL such as ${DEFAULT_HOST}.`);
  }
  if (url.search || url.hash || url.username || url.password) {
    throw new TypeError('host may hold scheme, name, port and path only.');
  }
  return given.replace(/\/+$/, '');
}

/** Return a variable of the environment, where the runtime has one. */
function environment(name) {
  return globalThis.process?.env?.[name];
}

function checkWhole(name, value, least, most = Number.MAX_SAFE_INTEGER) {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return;
  throw new TypeError(`${name} must be a whole number from ${least} to ${most}.`);
}

function checkSeconds(name, value) {
  if (Number.isFinite(value) && value > 0) return;
  throw new TypeError(`${name} must be a number of seconds above 0.`);
}

function checkFunction(name, value) {
  if (value === undefined || typeof value === 'function') return;
  throw new TypeError(`${name} must be a function.`);
}

module.exports = { checkWhole, environment, readOptions };
