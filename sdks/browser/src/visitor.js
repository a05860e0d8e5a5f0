/** Who is in front of the browser, and what they have decided: as kept in storage. */

import { newId } from './ids.js';
import { names, read, remove, write } from './storage.js';

// Without an event for this long, the next one starts a session.
const SESSION_MS = 30 * 60_000;

// What a program passes when it has no id: one "person" made of everybody. The server refuses them.
const PLACEHOLDERS = /^\s*(null|undefined|nan|none|0|anonymous|guest|\[object object\])?\s*$/i;
const ID_CHARACTERS_MAX = 256;

/** Return `{userId, anonymousId}` as events carry them; makes an anonymous id if there is none. */
export function visitorIds() {
  let anonymousId = read('anonymousId');
  if (!anonymousId) {
    anonymousId = newId();
    write('anonymousId', anonymousId);
  }
  return { userId: read('userId') || undefined, anonymousId };
}

/** Remember who this is; false, and nothing changes, if `userId` names nobody. */
export function setUser(userId) {
  const text = String(userId);
  if (PLACEHOLDERS.test(text) || [...text].length > ID_CHARACTERS_MAX) return false;
  write('userId', text);
  return true;
}

/** Become somebody new: the next event gets another anonymous id and starts a session. */
export function forgetVisitor() {
  ['userId', 'anonymousId', 'activeAt'].forEach(remove);
}

/** Note an event at `atMs`; return whether it is the first of a session. */
export function startsSession(atMs) {
  const idleMs = atMs - read('activeAt');
  write('activeAt', atMs);
  return idleMs >= SESSION_MS;
}

/** Return 'in', 'out', or null for a visitor who has not chosen. */
export function choice() {
  return read('choice');
}

/** Keep the visitor's choice, and nothing else about them when it is 'out'. */
export function choose(inOrOut) {
  if (inOrOut === 'out') names('').forEach(remove);
  write('choice', inOrOut);
}

/** Return whether the browser says that its user does not want to be tracked. */
export function signalsPrivacy() {
  return navigator.globalPrivacyControl === true || navigator.doNotTrack === '1';
}
