'use strict';

/** The settings only Node has: where the spool is, and whom TLS trusts. */

const os = require('node:os');
const path = require('node:path');
const { isMainThread } = require('node:worker_threads');

const { checkWhole, environment, readOptions } = require('./options.js');

const MODES = ['auto', 'always', 'off'];

const DEFAULTS = {
  spool: 'auto',
  spoolDir: undefined,
  spoolBytesMax: 256 * 1024 * 1024,
  ca: undefined,
};

/** Return checked, frozen settings of a client in Node; throws a TypeError for a wrong one. */
function readNodeOptions(key, given) {
  const options = readOptions(key, given, DEFAULTS);
  if (!MODES.includes(options.spool)) {
    throw new TypeError(`spool must be one of ${MODES.join(', ')}.`);
  }
  checkWhole('spoolBytesMax', options.spoolBytesMax, 1);
  options.spoolDir = spoolDir(options.spoolDir);
  // A thread can be ended without a word: by its parent, or by any signal or `process.exit()` of the
  // main thread. Only what is on disk by then is safe.
  if (options.spool === 'auto' && !isMainThread) options.spool = 'always';
  checkCa(options.ca);
  return Object.freeze(options);
}

function spoolDir(given) {
  if (given !== undefined && (typeof given !== 'string' || given === '')) {
    throw new TypeError('spoolDir must be a path.');
  }
  return path.resolve(given ?? (environment('SAYTICS_SPOOL_DIR') || stateFolder()));
}

/** Return the folder of this user for what programs keep between runs. */
function stateFolder() {
  if (process.platform === 'win32') {
    return path.join(process.env.LOCALAPPDATA ?? os.homedir(), 'saytics', 'spool');
  }
  if (process.platform === 'darwin') {
    return path.join(os.homedir(), 'Library', 'Application Support', 'saytics', 'spool');
  }
  const given = process.env.XDG_STATE_HOME;
  // A relative path there is to be ignored, says the specification.
  const state = given && path.isAbsolute(given) ? given : path.join(os.homedir(), '.local', 'state');
  return path.join(state, 'saytics', 'spool');
}

function checkCa(ca) {
  const isPem = (value) => typeof value === 'string' || value instanceof Uint8Array;
  if (ca === undefined || (Array.isArray(ca) ? ca.length > 0 && ca.every(isPem) : isPem(ca))) return;
  throw new TypeError('ca must be certificates in PEM: text, bytes, or a list of them.');
}

module.exports = { readNodeOptions };
