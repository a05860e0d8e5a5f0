'use strict';

/**
 * From a call's argument to the JSON one event has on the wire.
 *
 * Rules here are the ones of the server that can be told from one event alone, under the server's
 * codes; sizes and time ranges are left to the server, which cuts with a warning rather than refuses.
 */

const { SayticsError } = require('./errors.js');
const { MessageIds } = require('./message-id.js');
const { VERSION } = require('./version.js');

const EVENT_NAME_MAX = 200; // characters, counted as code points
const ID_MAX = 256;
const MESSAGE_ID_MAX = 128;

// Names a program uses again and again are checked and quoted once; a program that makes up names
// must not fill the memory with them.
const KNOWN_NAMES_MAX = 1000;

// What a program sends when it has no id: one "person" made of everybody, never what was meant.
const PLACEHOLDER_IDS = new Set([
  'null', 'undefined', 'nan', 'none', '0', 'anonymous', 'guest', '[object object]',
]);

// Frozen, for `beforeSend` sees this very object in every event.
const LIBRARY = Object.freeze({ name: '@saytics/node', version: VERSION });
const LIBRARY_CONTEXT = `,"context":${JSON.stringify({ library: LIBRARY })}}`;

// eslint-disable-next-line no-control-regex -- they are what is looked for
const CONTROLS_AROUND = /^[\x00-\x1f\x7f-\x9f]+|[\x00-\x1f\x7f-\x9f]+$/g;

/** Builds and serialises events; holds the message ids and the clock's last second. */
class EventWriter {
  #isShown;
  #knownNames = new Map(); // event names as JSON
  #messageIds = new MessageIds();
  #second = 0;
  #secondText = '';

  /**
   * @param {boolean} isShown whether somebody sees the wire form of an event before it is serialised
   */
  constructor(isShown) {
    this.#isShown = isShown;
  }

  /** Return the wire form of one event; throws a SayticsError if it breaks a rule. */
  track(given) {
    requireObject(given);
    const name = given.event;
    const wire = { event: this.#knownNames.has(name) ? name : eventName(name) };
    addIds(wire, given.userId, given.anonymousId);
    if (isGiven(given.properties)) {
      wire.properties = plainObject('properties', given.properties, 'invalid_event');
    }
    this.#stamp(wire, given);
    if (isGiven(given.context)) {
      wire.context = { library: LIBRARY, ...plainObject('context', given.context, 'invalid_event') };
    } else if (this.#isShown) {
      wire.context = { library: LIBRARY };
    }
    return wire;
  }

  /** Return the wire form of one identify; throws a SayticsError if it breaks a rule. */
  identify(given) {
    requireObject(given);
    if (!isGiven(given.userId)) {
      throw new SayticsError('missing_id', 'identify needs a userId.', { field: 'userId' });
    }
    const wire = { type: 'identify' };
    addIds(wire, given.userId, given.anonymousId);
    wire.traits = isGiven(given.traits) ? plainObject('traits', given.traits, 'invalid_traits') : {};
    this.#stamp(wire, given);
    return wire;
  }

  /**
   * Return what `track` or `identify` made of `given` as JSON text; throws a SayticsError if a value
   * has no JSON form.
   */
  encode(wire, given) {
    const isPlain = wire.event !== undefined && wire.context === undefined && !this.#isShown;
    return checkedText(wire, () => (isPlain ? this.#plainText(wire, given) : JSON.stringify(wire)));
  }

  /**
   * Return what JSON.stringify makes of an event with the library's context: put together from texts
   * known before and the program's own values, which takes two thirds of the time.
   */
  #plainText(wire, given) {
    let text = `{"event":${this.#nameText(wire.event)}`;
    if (wire.userId !== undefined) text += `,"userId":${JSON.stringify(wire.userId)}`;
    if (wire.anonymousId !== undefined) text += `,"anonymousId":${JSON.stringify(wire.anonymousId)}`;
    // Undefined where a `toJSON` returns that.
    const properties = JSON.stringify(wire.properties);
    if (properties !== undefined) text += `,"properties":${properties}`;
    const { timestamp, messageId } = wire;
    // Those made here hold nothing to be escaped.
    text += `,"timestamp":${isGiven(given.timestamp) ? JSON.stringify(timestamp) : `"${timestamp}"`}`;
    text += `,"messageId":${isGiven(given.messageId) ? JSON.stringify(messageId) : `"${messageId}"`}`;
    return text + LIBRARY_CONTEXT;
  }

  #nameText(name) {
    let text = this.#knownNames.get(name);
    if (text === undefined) {
      text = JSON.stringify(name);
      if (this.#knownNames.size < KNOWN_NAMES_MAX) this.#knownNames.set(name, text);
    }
    return text;
  }

  #stamp(wire, given) {
    const nowMs = Date.now();
    wire.timestamp = isGiven(given.timestamp) ? timestamp(given.timestamp) : this.#now(nowMs);
    wire.messageId = isGiven(given.messageId)
      ? messageId(given.messageId)
      : this.#messageIds.next(nowMs);
  }

  #now(nowMs) {
    const second = Math.floor(nowMs / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#secondText = new Date(second * 1000).toISOString().slice(0, 20);
    }
    return `${this.#secondText}${String(nowMs % 1000).padStart(3, '0')}Z`;
  }
}

/** Return the JSON text that `write` makes of an event, or throw the SayticsError that says why not. */
function checkedText(wire, write) {
  let text;
  try {
    text = write();
  } catch (problem) {
    // A bigint, a value that contains itself, or a toJSON that threw.
    throw new SayticsError('invalid_event', `A value has no JSON form: ${firstLine(problem)}`);
  }
  // JSON.stringify turns NaN and Infinity into null and lone surrogates into escapes without a word.
  // Looking for its traces costs nothing on events that have none; only then are the values searched.
  if (text.includes('null')) refuseLostNumbers(wire);
  if (text.includes('\\ud')) refuseLoneSurrogates(JSON.parse(text));
  return text;
}

function isGiven(value) {
  return value !== undefined && value !== null;
}

function requireObject(given) {
  if (given !== null && typeof given === 'object') return;
  throw new SayticsError('invalid_event', 'Pass one object with the fields of the event.');
}

function eventName(value) {
  if (typeof value !== 'string') {
    throw new SayticsError('invalid_event', 'event must be a string.', { field: 'event' });
  }
  if (!hasLength(value.replace(CONTROLS_AROUND, ''), EVENT_NAME_MAX)) {
    throw new SayticsError(
      'invalid_event_name', `event must have 1 to ${EVENT_NAME_MAX} characters.`, { field: 'event' },
    );
  }
  return value;
}

function addIds(wire, userId, anonymousId) {
  if (isGiven(userId)) wire.userId = id('userId', userId);
  if (isGiven(anonymousId)) {
    wire.anonymousId = id('anonymousId', anonymousId);
  } else if (!isGiven(userId)) {
    throw new SayticsError('missing_id', 'Give userId or anonymousId.', { field: 'userId' });
  }
}

function id(field, value) {
  // Ids are numbers in many programs; on the wire they are strings. Numbers past 2**53 have lost
  // digits already and would merge different persons.
  const text = typeof value === 'bigint' || Number.isSafeInteger(value) ? String(value) : value;
  if (typeof text !== 'string') {
    throw new SayticsError('invalid_event', `${field} must be a string.`, { field });
  }
  if (!hasLength(text, ID_MAX)) {
    throw new SayticsError('invalid_id', `${field} must have 1 to ${ID_MAX} characters.`, { field });
  }
  if (PLACEHOLDER_IDS.has(text.toLowerCase())) {
    throw new SayticsError('invalid_id', `${field} is a placeholder, not an id.`, { field });
  }
  return text;
}

function messageId(value) {
  const field = 'messageId';
  if (typeof value !== 'string') {
    throw new SayticsError('invalid_event', 'messageId must be a string.', { field });
  }
  if (!hasLength(value, MESSAGE_ID_MAX)) {
    throw new SayticsError(
      'invalid_message_id', `messageId must have 1 to ${MESSAGE_ID_MAX} characters.`, { field },
    );
  }
  return value;
}

function timestamp(value) {
  if (typeof value === 'string') return value;
  if (value instanceof Date && !Number.isNaN(value.getTime())) return value.toISOString();
  throw new SayticsError(
    'invalid_timestamp', 'timestamp must be a valid Date or an ISO 8601 string.',
    { field: 'timestamp' },
  );
}

function plainObject(field, value, code) {
  if (typeof value === 'object' && !Array.isArray(value)) return value;
  throw new SayticsError(code, `${field} must be an object.`, { field });
}

function hasLength(text, most) {
  if (text.length <= most) return text.length > 0;
  // Code points are at most as many as UTF-16 units, and at least half as many.
  return text.length <= 2 * most && [...text].length <= most;
}

/** Throw if a number in `value` has become null. Ends on cycles, for JSON.stringify has passed. */
function refuseLostNumbers(value) {
  if (typeof value === 'number' && !Number.isFinite(value)) {
    throw new SayticsError('invalid_number', 'A number is NaN or infinite.');
  }
  if (value instanceof Date || value === null || typeof value !== 'object') return;
  for (const inner of Object.values(value)) refuseLostNumbers(inner);
}

function refuseLoneSurrogates(value) {
  if (typeof value === 'string' && !value.isWellFormed()) {
    throw new SayticsError('invalid_text', 'A string holds a lone surrogate.');
  }
  if (value === null || typeof value !== 'object') return;
  for (const [key, inner] of Object.entries(value)) {
    refuseLoneSurrogates(key);
    refuseLoneSurrogates(inner);
  }
}

function firstLine(problem) {
  return String(problem?.message ?? problem).split('\n', 1)[0];
}

module.exports = { EventWriter };
