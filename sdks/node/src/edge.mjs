// Made by build-edge.js from edge.js and what it requires. Do not edit.

const modules = new Map();

function define(name, body) {
  const module = { exports: {} };
  body(module.exports, module, (needed) => modules.get(needed));
  modules.set(name, module.exports);
}

define('./errors.js', (exports, module, require) => {
/**
 * What `onError` is told: a code, a sentence, and where it came from.
 *
 * Codes of the server's answers are passed on as they are. The SDK's own are below; where it refuses
 * an event itself for a rule the server has too, it uses the server's code.
 */
const OWN_CODES = {
  queue_full: 'The queue in memory has no room; the event was dropped.',
  spool_full: 'Queue and spool have no room; the event was dropped.',
  spool_damaged: 'Events in the spool on disk could not be read back.',
  closed: 'The client has been shut down; the event was dropped.',
  unreachable: 'No answer came from the server.',
  invalid_answer: 'The answer is not one of a Saytics server.',
  request_refused: 'The request was refused without a code this SDK can read.',
  not_sent: 'The process or client ended before the server had answered for these events.',
  before_send_failed: '`beforeSend` threw; the event was not sent unfiltered.',
  internal_error: 'A bug in this SDK.',
};

/**
 * Why events were rejected or dropped. Given to `onError`, never thrown into the host.
 * Neither the text nor the fields ever hold the key.
 */
class SayticsError extends Error {
  /**
   * @param {string} code
   * @param {string} [reason] a sentence; by default the code's own
   * @param {{status?: number, field?: string}} [where] HTTP status and event field, if known
   */
  constructor(code, reason = OWN_CODES[code] ?? code, { status, field } = {}) {
    super(`${code}: ${reason}`);
    this.name = 'SayticsError';
    this.code = code;
    this.reason = reason;
    this.status = status;
    this.field = field;
  }
}

module.exports = { OWN_CODES, SayticsError };
});

define('./message-id.js', (exports, module, require) => {
// The 12 bits after the time.
const SEQUENCE_END = 4096;

/**
 * Makes UUIDs version 7 (RFC 9562) that rise within this process.
 *
 * The server settles equal timestamps by the larger message id, so two `identify` calls within one
 * millisecond must not change places: the bits after the time count up, and run into the next
 * millisecond when more than 4,096 are made in one. The other 62 are random, drawn anew for each
 * millisecond: that keeps processes apart, the count keeps the ids of one millisecond apart, and a
 * burst pays for entropy once.
 */
class MessageIds {
  #ms = 0;
  #sequence = 0;
  #head = '';
  #tail = '';

  /** Return an id for `nowMs`, larger than every id returned before. */
  next(nowMs) {
    if (nowMs > this.#ms) {
      this.#startMillisecond(nowMs);
    } else if (++this.#sequence === SEQUENCE_END) {
      this.#startMillisecond(this.#ms + 1);
    }
    return this.#head + this.#sequence.toString(16).padStart(3, '0') + this.#tail;
  }

  #startMillisecond(ms) {
    this.#ms = ms;
    this.#sequence = 0;
    const time = ms.toString(16).padStart(12, '0');
    this.#head = `${time.slice(0, 8)}-${time.slice(8)}-7`;
    // The part from the variant on is the same in version 4.
    this.#tail = crypto.randomUUID().slice(18);
  }
}

module.exports = { MessageIds };
});

define('./version.js', (exports, module, require) => {
/** The version, as package.json, the User-Agent and `context.library` name it. */
exports.VERSION = '0.1.0';
});

define('./event.js', (exports, module, require) => {
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
});

define('./client.js', (exports, module, require) => {
const { SayticsError } = require('./errors.js');
const { EventWriter } = require('./event.js');

// How long `flush` and `shutdown` wait unless told otherwise.
const DEFAULT_TIMEOUT_S = 10;

// All that `await saytics.track()` waits for: the event is in the queue when `track` returns.
const DONE = Promise.resolve();

/**
 * What every client does, whatever runtime it is made for: from a call to a queued event.
 *
 * Nothing here throws: trouble goes to `onError(error, events)`, or to stderr, and never into the
 * calling program.
 */
class Client {
  #options;
  #reporter;
  #sender;
  #writer;

  constructor(options, reporter, sender) {
    this.#options = options;
    this.#reporter = reporter;
    this.#sender = sender;
    this.#writer = new EventWriter(options.beforeSend !== undefined);
  }

  /** Queue one event: `event` and one of `userId` and `anonymousId` are required. */
  track(event) {
    this.#queue(event, 'track');
    return DONE;
  }

  /** Queue traits of a user, and the link from `anonymousId` to them if given. */
  identify(user) {
    this.#queue(user, 'identify');
    return DONE;
  }

  /**
   * Send what is queued and wait for its end, at most `timeoutS` seconds. Never rejects.
   * Resolves to the counts since the client was made.
   */
  flush(timeoutS = DEFAULT_TIMEOUT_S) {
    return this.#sender.flush(milliseconds(timeoutS));
  }

  /** Flush, then stop for good; what is unsent after `timeoutS` seconds stays in the spool. */
  shutdown(timeoutS = DEFAULT_TIMEOUT_S) {
    return this.#sender.shutdown(milliseconds(timeoutS));
  }

  /** Return where every event tracked so far is. */
  counts() {
    return this.#sender.counts();
  }

  #queue(given, kind) {
    if (!this.#options.enabled) return;
    try {
      const wire = this.#filtered(this.#writer[kind](given));
      if (wire === undefined) return;
      const text = this.#writer.encode(wire, given);
      const problem = this.#sender.put(text);
      if (problem !== undefined) this.#reporter.lost(problem, [JSON.parse(text)]);
    } catch (problem) {
      // The border to the host: no value it passes, and no bug of ours, may throw into it.
      this.#reject(problem, given);
    }
  }

  #filtered(wire) {
    if (this.#options.beforeSend === undefined) return wire;
    try {
      return this.#options.beforeSend(wire) ?? undefined;
    } catch {
      // It may be what removes personal data, so an event it could not see through is not sent.
      this.#sender.bookLost({ dropped: 1 });
      this.#reporter.lost(new SayticsError('before_send_failed'), [wire]);
      return undefined;
    }
  }

  #reject(problem, given) {
    const error =
      problem instanceof SayticsError
        ? problem
        : new SayticsError('internal_error', String(problem?.message ?? problem));
    this.#sender.bookLost({ rejected: 1 });
    this.#reporter.lost(error, [given]);
  }
}

// Timers take 32 bits of milliseconds and treat more, or nonsense, as 1.
function milliseconds(seconds) {
  const usable = Number.isFinite(seconds) ? seconds : DEFAULT_TIMEOUT_S;
  return Math.min(Math.max(usable * 1000, 0), 2 ** 31 - 1);
}

module.exports = { Client };
});

define('./batch.js', (exports, module, require) => {
/**
 * A batch: events that travel in one request, and stay together over its retries.
 *
 * An entry is one event on its way: `{text, bytes, atMs, file}`, its JSON, the size of that, when it
 * came, and the spool file it also lies in, if any.
 */

// Measured as the body is before compression. The server's own limit is 16 MiB; 500 kB keeps a
// request short on slow lines and within the limits proxies are usually set to.
const BATCH_BYTES_MAX = 500_000;

// Below this, compressing costs more time than it saves in bytes on the line.
const GZIP_FROM_BYTES = 1024;

const HEAD = '{"events":[';
const TAIL = ']}';
const ENVELOPE_BYTES = HEAD.length + TAIL.length;

// Counting bytes without making them: Node has a word for it; other runtimes encode.
const encoder = new TextEncoder();
const utf8Bytes =
  globalThis.Buffer?.byteLength ?? ((text) => encoder.encode(text).length);

class Batch {
  #entries;
  #isOwn;

  /**
   * @param {object[]} entries see above
   * @param {boolean} [isOwn] false for events adopted from a process that died
   * @param {number} [dropped] how many other events, given up since the batch before, the body tells
   *   the server of; set before the first try and kept over all
   */
  constructor(entries, isOwn = true, dropped = 0) {
    this.#entries = entries;
    this.#isOwn = isOwn;
    /** How often sending has been tried without an end. */
    this.failedTries = 0;
    this.dropped = dropped;
  }

  get length() {
    return this.#entries.length;
  }

  get isOwn() {
    return this.#isOwn;
  }

  get entries() {
    return this.#entries;
  }

  /** Return the request body as JSON text: the same on every try. */
  body() {
    const texts = this.#entries.map((entry) => entry.text);
    const end = this.dropped > 0 ? `],"dropped":${this.dropped}}` : TAIL;
    return HEAD + texts.join(',') + end;
  }

  /** Return two batches of the same events in the same order. Only for two or more. */
  halves() {
    const middle = this.#entries.length >> 1;
    return [
      new Batch(this.#entries.slice(0, middle), this.#isOwn, this.dropped),
      new Batch(this.#entries.slice(middle), this.#isOwn),
    ];
  }

  /** Note in the spool that these events are answered for or given up. */
  settleInSpool() {
    const counts = new Map();
    for (const { file } of this.#entries) {
      if (file !== undefined) counts.set(file, (counts.get(file) ?? 0) + 1);
    }
    for (const [file, count] of counts) file.settle(count);
  }

  /** Return one event as it was sent. */
  event(index) {
    return JSON.parse(this.#entries[index].text);
  }

  /** Return all events as they were sent. */
  events() {
    return this.#entries.map((entry) => JSON.parse(entry.text));
  }
}

module.exports = { BATCH_BYTES_MAX, Batch, ENVELOPE_BYTES, GZIP_FROM_BYTES, utf8Bytes };
});

define('./fetch-transport.js', (exports, module, require) => {
const { GZIP_FROM_BYTES, utf8Bytes } = require('./batch.js');
const { SayticsError } = require('./errors.js');
const { VERSION } = require('./version.js');

const PATH = '/v1/events/batch';

/** Posts batches with `fetch`, for runtimes that have nothing else. */
class FetchTransport {
  #url;
  #headers;
  #isGzip;
  #timeoutMs;
  #abort = new AbortController();

  /** @param {{host: string, key: string, timeoutS: number, gzip: boolean}} options */
  constructor({ host, key, timeoutS, gzip }) {
    this.#url = host + PATH;
    this.#isGzip = gzip && typeof CompressionStream === 'function';
    this.#timeoutMs = timeoutS * 1000;
    this.#headers = {
      authorization: `Bearer ${key}`,
      'content-type': 'application/json',
      'user-agent': `saytics-node/${VERSION}`,
    };
  }

  /** Send a body and resolve to `{status, retryAfter, text}`; rejects with `unreachable`. */
  async post(text) {
    const abort = this.#abort;
    const timer = setTimeout(() => abort.abort(), this.#timeoutMs);
    try {
      const isGzip = this.#isGzip && utf8Bytes(text) > GZIP_FROM_BYTES;
      const headers = isGzip ? { ...this.#headers, 'content-encoding': 'gzip' } : this.#headers;
      const body = isGzip ? await gzipped(text) : text;
      const { signal } = abort;
      const response = await fetch(this.#url, { method: 'POST', headers, body, signal });
      const retryAfter = response.headers.get('retry-after') ?? undefined;
      return { status: response.status, retryAfter, text: await response.text() };
    } catch (problem) {
      const why = problem.cause?.message ?? problem.message;
      throw new SayticsError('unreachable', `No answer: ${why}`);
    } finally {
      clearTimeout(timer);
      if (abort.signal.aborted) this.#abort = new AbortController();
    }
  }

  /** End the request under way. */
  close() {
    this.#abort.abort();
  }
}

async function gzipped(text) {
  const stream = new Blob([text]).stream().pipeThrough(new CompressionStream('gzip'));
  return new Response(stream).arrayBuffer();
}

module.exports = { FetchTransport };
});

define('./options.js', (exports, module, require) => {
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
});

define('./report.js', (exports, module, require) => {
/**
 * Tells the program about losses, and the developer about everything in debug mode.
 *
 * Nothing here throws, and nothing here ever holds the key or, outside `onError`, an event's content.
 */

// Without `onError` a loss is a line on stderr; a loss that repeats is a line a minute, with a sum.
const REPEAT_AFTER_MS = 60_000;

class Reporter {
  #onError;
  #debug;
  #writeLine;
  #saidAtMs = new Map();
  #unsaid = new Map();

  /**
   * @param {Function} [onError] the program's, see the README
   * @param {boolean} debug
   * @param {(line: string) => void} writeLine where the developer reads
   */
  constructor(onError, debug, writeLine) {
    this.#onError = onError;
    this.#debug = debug;
    this.#writeLine = writeLine;
  }

  /** Report events that were rejected or dropped. */
  lost(error, events) {
    this.debug(`${events.length} events lost: ${error.message}`);
    if (this.#onError === undefined) {
      this.#say(error, events.length);
      return;
    }
    const complain = (problem) => this.write(`onError failed: ${problem?.stack ?? problem}`);
    try {
      // An async function fails by its promise; unwatched, that would end the host's process.
      Promise.resolve(this.#onError(error, events)).catch(complain);
    } catch (problem) {
      complain(problem);
    }
  }

  /** Write a line in debug mode. */
  debug(text) {
    if (this.#debug) this.write(text);
  }

  /** Write a line for the developer. */
  write(text) {
    try {
      this.#writeLine(`saytics: ${text}`);
    } catch {
      // A closed stderr is no reason to fail.
    }
  }

  #say(error, lost) {
    const nowMs = performance.now();
    const count = lost + (this.#unsaid.get(error.code) ?? 0);
    if (nowMs - (this.#saidAtMs.get(error.code) ?? -Infinity) < REPEAT_AFTER_MS) {
      this.#unsaid.set(error.code, count);
      return;
    }
    this.#unsaid.delete(error.code);
    this.#saidAtMs.set(error.code, nowMs);
    this.write(`${count} event${count === 1 ? '' : 's'} lost: ${error.message}`);
  }
}

module.exports = { Reporter };
});

define('./answer.js', (exports, module, require) => {
/**
 * What an answer of the server means for the batch it answers. Pure.
 *
 *     2xx as the contract says     accepted: in the log, except for the events listed as rejected
 *     413, `batch_too_large`       tooLarge: nothing stored; half of it may fit
 *     408, 425, 429, 5xx           retry, not before what `Retry-After` says
 *     2xx that is no such answer   retry: a proxy spoke, so whether it arrived is unknown; messageIds
 *                                  make a second arrival count once
 *     all else                     refused: the same request would be refused again
 */

const { SayticsError } = require('./errors.js');

const RETRIED_STATUSES = new Set([408, 425, 429]);

// A wrong header must not silence a client for ever.
const RETRY_AFTER_MAX_MS = 3_600_000;

/**
 * Return what to do after an answer to a batch of `sent` events.
 * @param {{status: number, retryAfter: string | undefined, text: string}} answer
 */
function readAnswer(answer, sent, nowMs) {
  const { status } = answer;
  const document = parsed(answer.text);
  if (status >= 200 && status < 300) {
    return (
      accepted(document, sent) ??
      { kind: 'retry', error: new SayticsError('invalid_answer', undefined, { status }), afterMs: 0 }
    );
  }
  const error = errorOf(document, status);
  if (status === 413 || error.code === 'batch_too_large') return { kind: 'tooLarge', error };
  if (RETRIED_STATUSES.has(status) || status >= 500) {
    return { kind: 'retry', error, afterMs: retryAfterMs(answer.retryAfter, nowMs) };
  }
  return { kind: 'refused', error, rejected: reasons(document.rejected, sent, status) };
}

function parsed(text) {
  try {
    const document = JSON.parse(text);
    return document !== null && typeof document === 'object' ? document : {};
  } catch {
    return {};
  }
}

function accepted(document, sent) {
  const { received, duplicates = 0 } = document;
  const rejected = reasons(document.rejected, sent);
  if (document.status !== 'ok' || !isCount(received) || !isCount(duplicates)) return undefined;
  if (received + rejected.size !== sent || duplicates > received) return undefined;
  const warnings = Array.isArray(document.warnings) ? document.warnings : [];
  return { kind: 'accepted', delivered: received - duplicates, duplicates, rejected, warnings };
}

function isCount(value) {
  return Number.isSafeInteger(value) && value >= 0;
}

/** Return the reasons of single events by their index in the batch. */
function reasons(items, sent, status) {
  const byIndex = new Map();
  for (const item of Array.isArray(items) ? items : []) {
    if (isCount(item?.index) && item.index < sent) byIndex.set(item.index, reason(item, status));
  }
  return byIndex;
}

function errorOf(document, status) {
  if (typeof document.error?.code === 'string') return reason(document.error, status);
  return new SayticsError('request_refused', `The answer has status ${status}.`, { status });
}

function reason(item, status) {
  return new SayticsError(String(item.code ?? 'request_refused'), String(item.message ?? ''), {
    status,
    field: typeof item.field === 'string' ? item.field : undefined,
  });
}

/** Read the header's two forms, seconds and an HTTP date; 0 for what is neither. */
function retryAfterMs(text, nowMs) {
  if (text === undefined) return 0;
  const wait = /^\s*\d+\s*$/.test(text) ? Number(text) * 1000 : Date.parse(text) - nowMs;
  return Number.isNaN(wait) ? 0 : Math.min(Math.max(wait, 0), RETRY_AFTER_MAX_MS);
}

module.exports = { readAnswer };
});

define('./backoff.js', (exports, module, require) => {
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 30_000;

/**
 * Return milliseconds to wait after `failedTries` (at least 1) failures in a row. Pure.
 *
 * Doubles from 0.5 s to 30 s. `chance`, 0 to 1, picks the second half of that, so that clients that
 * failed together do not come back together. `Retry-After` is a floor, never shortened.
 */
function waitMs(failedTries, retryAfterMs, chance) {
  const full = Math.min(FIRST_WAIT_MS * 2 ** (failedTries - 1), LONGEST_WAIT_MS);
  return Math.max(full * (0.5 + 0.5 * chance), retryAfterMs);
}

module.exports = { waitMs };
});

define('./ledger.js', (exports, module, require) => {
/**
 * Where every tracked event is, as counts: each is in exactly one column, `tracked` is their sum.
 *
 *     delivered  the server has them on disk, seen for the first time
 *     duplicate  the server has them, and had them before under the same messageId
 *     rejected   refused for what they are, by this SDK or by the server; not sent again
 *     dropped    given up by this SDK: no room in queue and spool, or no spool and no time left
 *     spooled    in the spool on disk only, the server has not answered for them
 *     queued     still in memory, waiting or on their way
 *
 * Events adopted from processes that died are not in it: they were tracked elsewhere.
 */
class Ledger {
  tracked = 0;
  delivered = 0;
  duplicate = 0;
  rejected = 0;
  dropped = 0;

  /** Count events that ended before they could be queued. */
  lose({ rejected = 0, dropped = 0 }) {
    this.tracked += rejected + dropped;
    this.rejected += rejected;
    this.dropped += dropped;
  }

  /** Return the counts now. What has no end yet is spooled or queued, so the sum always holds. */
  counts(spooled) {
    const { tracked, delivered, duplicate, rejected, dropped } = this;
    const queued = tracked - delivered - duplicate - rejected - dropped - spooled;
    return { tracked, delivered, duplicate, rejected, dropped, spooled, queued };
  }
}

module.exports = { Ledger };
});

define('./queue.js', (exports, module, require) => {
/**
 * Events waiting in memory to be sent, oldest first, within bounds of count and bytes.
 * What does not fit is the spool's.
 */

const { BATCH_BYTES_MAX, Batch, ENVELOPE_BYTES } = require('./batch.js');

// Bounds memory when events are large: `queueMax` events of the server's 32 KiB limit would be
// gigabytes. Ordinary events of 400 bytes reach `queueMax` first.
const QUEUE_BYTES_MAX = 64 * 1024 * 1024;

// An array that only loses its head would move its rest on every batch; so the head is an index and
// the room before it is given back once it is this large.
const COMPACT_FROM = 1024;

class EventQueue {
  #countMax;
  #entries = [];
  #head = 0;
  /** Bytes of the waiting events in UTF-8. */
  bytes = 0;

  constructor(countMax) {
    this.#countMax = countMax;
  }

  get length() {
    return this.#entries.length - this.#head;
  }

  /** Append an entry; false if there is no room for it. */
  put(entry) {
    if (this.length >= this.#countMax || this.bytes + entry.bytes > QUEUE_BYTES_MAX) return false;
    this.#entries.push(entry);
    this.bytes += entry.bytes;
    return true;
  }

  /**
   * Whether the event just put is the first or fills a batch: the only ones the sender must hear of.
   */
  isNews(flushAt) {
    const { length } = this;
    if (length === 1 || length === flushAt) return true;
    const lastBytes = this.#entries[this.#entries.length - 1].bytes;
    return this.bytes >= BATCH_BYTES_MAX && this.bytes - lastBytes < BATCH_BYTES_MAX;
  }

  /** When the oldest event came. Only for a queue that is not empty. */
  get oldestMs() {
    return this.#entries[this.#head].atMs;
  }

  /** Return the waiting entries, oldest first. */
  entries() {
    return this.#entries.slice(this.#head);
  }

  /** Take the oldest events that fit into one batch: at least one, whatever its size. */
  cut(countMax, bytesMax = BATCH_BYTES_MAX) {
    const cut = [];
    let size = ENVELOPE_BYTES;
    while (this.length > 0 && cut.length < countMax) {
      const entry = this.#entries[this.#head];
      if (cut.length > 0 && size + entry.bytes + 1 > bytesMax) break;
      this.#entries[this.#head++] = undefined;
      this.bytes -= entry.bytes;
      size += entry.bytes + 1;
      cut.push(entry);
    }
    this.#compact();
    return new Batch(cut);
  }

  #compact() {
    if (this.length > 0 && this.#head < COMPACT_FROM) return;
    if (this.length > 0 && this.#head < this.#entries.length / 2) return;
    this.#entries = this.#entries.slice(this.#head);
    this.#head = 0;
  }
}

module.exports = { EventQueue };
});

define('./sender.js', (exports, module, require) => {
/**
 * Empties the queue, and keeps the book of what became of each event.
 *
 *     put ──► queue ──► sending (the batch under way, or its halves) ──► delivered, duplicate,
 *        │       │          ▲                  │                         rejected or dropped
 *        ▼       ▼          └── back-off ◄─────┘
 *      spool (what does not fit; copies during an outage; all that is left at the end)
 *
 * An event is settled once: by whoever takes its batch out of `sending`. With `spool: 'always'`, and
 * with 'auto' from the first failed try to the next answer, an event is on disk when `put` returns.
 *
 * No timer of the sender holds the process. A request under way does, and so does a `flush` someone
 * waits for, up to its time limit; `exit.js` decides what happens at the end of the process.
 */

const { readAnswer } = require('./answer.js');
const { waitMs } = require('./backoff.js');
const { BATCH_BYTES_MAX, Batch, utf8Bytes } = require('./batch.js');
const { SayticsError } = require('./errors.js');
const { Ledger } = require('./ledger.js');
const { EventQueue } = require('./queue.js');

// While the process waits at its end, a server that is restarted is asked this often.
const DRAIN_WAIT_MAX_MS = 500;

// A batch from the spool: a backlog of millions must not take ten thousand round trips. The server
// takes 1,000; half of that stays below what proxies and plans are usually set to.
const SPOOL_BATCH_EVENTS = 500;

// The one answer that may be the batch's own fault; all others that are retried tell of the server.
const BROKEN_STATUS = 500;

// Not within the caller's stack: `track` must not pay for building a request.
const soon = globalThis.setImmediate ?? ((act) => setTimeout(act, 0));

class Sender {
  #options;
  #reporter;
  #transport;
  #spool;
  #ledger = new Ledger();
  #queue;
  #sending = []; // batches cut from queue or spool that have no end yet; the first is being tried
  #isTrying = false;
  #isClosed = false;
  #isEnded = false;
  #isWritingThrough;
  #isAdoptedNext = false;
  #drainWaitMaxMs = Infinity;
  #isHurried = false;
  #timer;
  #accepted = 0; // events ever taken in
  #settled = 0; // of those, the ones with an end
  #left = 0; // events left on disk by the end of this client
  #answers = 0; // batches that came to an end, adopted ones too: progress
  #failures = 0; // tries in a row that had no end
  #droppedTold = 0; // of the dropped events, those the server knows of
  #dueUpTo = 0; // a flush wants the events up to here sent without waiting for more
  #notBeforeMs = 0; // the back-off's end, on the monotonic clock
  #flushes = new Set();

  /**
   * @param {object} options
   * @param {Reporter} reporter
   * @param {{post: Function, close: Function}} transport
   * @param {Spool} [spool] none where there is no disk
   */
  constructor(options, reporter, transport, spool) {
    this.#options = options;
    this.#reporter = reporter;
    this.#transport = transport;
    this.#spool = spool;
    this.#isWritingThrough = this.#isAlways;
    this.#queue = new EventQueue(options.queueMax);
    spool?.start(() => this.#schedule());
    if (spool?.adoptedCount > 0) this.#schedule();
  }

  /** Queue an event and return undefined, or drop it and return why. */
  put(text) {
    this.#ledger.tracked += 1;
    if (this.#isClosed) return this.#refuse('closed');
    const entry = { text, bytes: utf8Bytes(text), atMs: performance.now(), file: undefined };
    const spool = this.#spool;
    if (this.#isEnded || (spool !== undefined && spool.unread > 0) || !this.#queue.put(entry)) {
      return this.#overflow(entry);
    }
    if (this.#isWritingThrough) spool.keep([entry]);
    this.#accepted += 1;
    if (this.#queue.isNews(this.#options.flushAt)) this.#schedule();
    return undefined;
  }

  /** Count events that ended before they could be queued. */
  bookLost(lost) {
    this.#ledger.lose(lost);
  }

  /** Return where every event is now. */
  counts() {
    return this.#ledger.counts(this.#left + (this.#spool?.unread ?? 0));
  }

  /** Whether anything waits to be sent, adopted events included. */
  get hasWork() {
    return this.#settled < this.#accepted || this.#adoptedLeft > 0;
  }

  /** Send what is there now; resolve to the counts when all has an end, or the time is over. */
  flush(timeoutMs) {
    this.#dueUpTo = this.#accepted;
    if (!this.hasWork) return Promise.resolve(this.counts());
    return new Promise((resolve) => {
      const flush = { target: this.#dueUpTo, end: undefined };
      flush.end = () => {
        clearTimeout(timer);
        this.#flushes.delete(flush);
        resolve(this.counts());
      };
      // This one holds the process: someone waits for it.
      const timer = setTimeout(flush.end, timeoutMs);
      this.#flushes.add(flush);
      this.#schedule();
    });
  }

  /**
   * Flush at the end of the process: at most `limitMs`, at most `stallMs` without any answer, and
   * with `isHurried` only until a try fails. What is left is on disk afterwards, if there is one.
   */
  async drain({ limitMs, stallMs, isHurried }) {
    const endMs = performance.now() + limitMs;
    this.#drainWaitMaxMs = DRAIN_WAIT_MAX_MS;
    this.#isHurried = isHurried;
    this.#notBeforeMs = Math.min(this.#notBeforeMs, performance.now() + DRAIN_WAIT_MAX_MS);
    for (let before = -1; this.hasWork && before < this.#answers; ) {
      before = this.#answers;
      const restMs = endMs - performance.now();
      if (restMs <= 0) break;
      await this.flush(Math.min(stallMs, restMs));
    }
    this.#drainWaitMaxMs = Infinity;
    this.#isHurried = false;
    // A request that still waits must not hold the process.
    if (this.hasWork) this.#transport.close();
  }

  /** Flush, then leave the rest to the spool, or drop and report it. Idempotent. */
  async shutdown(timeoutMs) {
    if (!this.#isClosed) await this.flush(timeoutMs);
    this.leaveRest();
    this.#isClosed = true;
    return this.counts();
  }

  /** Copy what is in memory to the spool, from now on at once. */
  writeThrough() {
    if (this.#spool === undefined || this.#isEnded) return;
    this.#isWritingThrough = true;
    this.#spool.keep(this.#inMemory().filter((entry) => entry.file === undefined));
  }

  /** End everything, now: what has no end yet stays in the spool, or is dropped and reported. */
  leaveRest() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#isEnded = true;
    this.#transport.close();
    const left = this.#inMemory();
    this.#sending = [];
    this.#queue.cut(Infinity, Infinity);
    this.#spool?.keepAtEnd(left);
    this.#spool?.release();
    const lost = left.filter((entry) => entry.file === undefined);
    this.#left += left.length - lost.length;
    if (lost.length > 0) this.#drop('not_sent', new Batch(lost).events());
    this.#settled = this.#accepted;
    for (const flush of [...this.#flushes]) flush.end();
  }

  get #isAlways() {
    return this.#spool !== undefined && this.#options.spool === 'always';
  }

  get #spoolBatchEvents() {
    return Math.max(this.#options.flushAt, SPOOL_BATCH_EVENTS);
  }

  get #adoptedLeft() {
    const sending = this.#sending.reduce((sum, { isOwn }) => sum + (isOwn ? 0 : 1), 0);
    return sending + (this.#isEnded ? 0 : (this.#spool?.adoptedCount ?? 0));
  }

  #inMemory() {
    const sending = this.#sending.filter((batch) => batch.isOwn);
    return [...sending.flatMap((batch) => batch.entries), ...this.#queue.entries()];
  }

  /** Take an event that the queue cannot take, or must not because older ones wait on disk. */
  #overflow(entry) {
    const isOnDisk = this.#spool?.overflow(entry.text) ?? false;
    // Where the disk is full, the queue may have room again.
    if (!isOnDisk && (this.#isEnded || !this.#queue.put(entry))) {
      if (this.#isEnded) return this.#refuse('not_sent');
      return this.#refuse(this.#spool?.isFull ? 'spool_full' : 'queue_full');
    }
    this.#accepted += 1;
    if (this.#timer === undefined || this.#spool?.unread === 1) this.#schedule();
    return undefined;
  }

  #refuse(code) {
    this.#ledger.dropped += 1;
    return new SayticsError(code);
  }

  #drop(code, events) {
    this.#ledger.dropped += events.length;
    this.#reporter.lost(new SayticsError(code), events);
  }

  #isBatchFull() {
    return (
      this.#queue.length >= this.#options.flushAt ||
      this.#queue.bytes >= BATCH_BYTES_MAX ||
      this.#spool?.unread > 0
    );
  }

  /** Arrange for the next try: now, at a time in sight, or not at all. */
  #schedule() {
    if (this.#isTrying || this.#isEnded) return;
    const wait = this.#waitMs();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (wait === 0) {
      this.#isTrying = true;
      soon(() => this.#tryNext());
    } else if (wait !== undefined) {
      this.#timer = setTimeout(() => this.#schedule(), wait);
      this.#timer.unref?.();
    }
  }

  #waitMs() {
    const nowMs = performance.now();
    // Whole milliseconds, rounded up: timers are cut to them, and one that fires a fraction early
    // would only be set again.
    const until = (timeMs) => Math.max(Math.ceil(timeMs - nowMs), 0);
    if (this.#sending.length > 0 || this.#spool?.adoptedCount > 0) return until(this.#notBeforeMs);
    if (this.#queue.length === 0 && !this.#isBatchFull()) return undefined;
    return until(Math.max(this.#dueMs(nowMs), this.#notBeforeMs));
  }

  #dueMs(nowMs) {
    if (this.#isBatchFull() || this.#settled < this.#dueUpTo) return nowMs;
    return this.#queue.oldestMs + this.#options.flushIntervalS * 1000;
  }

  async #tryNext() {
    const batch = this.#sending[0] ?? (await this.#next());
    if (batch !== undefined) this.#react(batch, await this.#try(batch));
    this.#isTrying = false;
    this.#schedule();
  }

  /** Cut the next batch: by turns of this process and of dead ones, where both have one. */
  async #next() {
    const isOwnDue = this.#isBatchFull() || this.#queue.length > 0;
    this.#isAdoptedNext = !isOwnDue || !this.#isAdoptedNext;
    const isAdopted = this.#isAdoptedNext && this.#spool?.adoptedCount > 0;
    const batch = isAdopted ? await this.#nextAdopted() : this.#nextOwn();
    if (batch === undefined || this.#isEnded) return undefined;
    // Not with adopted events: the server may have them all, and passes over the number of a batch
    // that brings nothing new, for it takes it for a retry.
    if (batch.isOwn) batch.dropped = this.#ledger.dropped - this.#droppedTold;
    this.#sending.push(batch);
    return batch;
  }

  async #nextAdopted() {
    const entries = await this.#spool.readAdopted(this.#spoolBatchEvents, BATCH_BYTES_MAX);
    if (entries.length > 0) return new Batch(entries, false);
    this.#endFlushes();
    return undefined;
  }

  #nextOwn() {
    if (this.#queue.length > 0) return this.#queue.cut(this.#options.flushAt);
    if (!(this.#spool?.unread > 0)) return undefined;
    const { entries, damaged } = this.#spool.readTail(this.#spoolBatchEvents, BATCH_BYTES_MAX);
    if (damaged > 0) {
      this.#ledger.dropped += damaged;
      this.#reporter.lost(new SayticsError('spool_damaged'), new Array(damaged).fill({}));
      this.#bookSettled(damaged);
    }
    return entries.length > 0 ? new Batch(entries) : undefined;
  }

  /** Send a batch once and return what is to be done about it. Never rejects. */
  async #try(batch) {
    try {
      const body = batch.body();
      const answer = await this.#transport.post(body);
      this.#reporter.debug(`${batch.length} events, ${body.length} characters: ${answer.status}`);
      return readAnswer(answer, batch.length, Date.now());
    } catch (problem) {
      this.#reporter.debug(problem.message);
      const error =
        problem instanceof SayticsError ? problem : new SayticsError('internal_error', problem.message);
      return { kind: 'retry', error, afterMs: 0 };
    }
  }

  #react(batch, reaction) {
    if (this.#sending[0] !== batch) return; // ended meanwhile: the batch is booked already
    switch (reaction.kind) {
      case 'accepted':
        return this.#reactAccepted(batch, reaction);
      case 'retry':
        return this.#putOff(batch, reaction);
      case 'tooLarge':
        if (batch.length > 1) {
          this.#sending.splice(0, 1, ...batch.halves());
          return undefined;
        }
    }
    return this.#reactRefused(batch, reaction);
  }

  #reactAccepted(batch, { delivered, duplicates, rejected, warnings }) {
    for (const warning of warnings) this.#reporter.debug(`warning: ${JSON.stringify(warning)}`);
    this.#droppedTold += batch.dropped;
    this.#succeed();
    this.#settle(batch, { delivered, duplicate: duplicates, rejected: rejected.size });
    for (const [index, error] of rejected) this.#reporter.lost(error, [batch.event(index)]);
  }

  #reactRefused(batch, { error, rejected }) {
    this.#succeed();
    this.#settle(batch, { rejected: batch.length });
    const events = batch.events();
    if (!rejected?.size) return this.#reporter.lost(error, events);
    return events.forEach((event, index) => {
      this.#reporter.lost(rejected.get(index) ?? error, [event]);
    });
  }

  /** The server has spoken: the outage, if there was one, is over. */
  #succeed() {
    this.#failures = 0;
    this.#notBeforeMs = 0;
    this.#isWritingThrough = this.#isAlways;
  }

  #putOff(batch, { error, afterMs }) {
    batch.failedTries += 1;
    // Counted over batches: the next one meets the same server, and a dead one is asked rarely.
    this.#failures += 1;
    const wait = Math.min(waitMs(this.#failures, 0, Math.random()), this.#drainWaitMaxMs);
    this.#notBeforeMs = performance.now() + Math.max(wait, afterMs);
    this.writeThrough();
    if (batch.failedTries <= this.#options.maxRetries) {
      this.#reporter.debug(`try ${batch.failedTries} failed, next in ${Math.round(wait)} ms`);
    } else if (this.#spool === undefined || !this.#isSafe(batch)) {
      this.#settle(batch, { dropped: batch.length });
      this.#reporter.lost(error, batch.events());
    } else if (error.status === BROKEN_STATUS) {
      this.#moveBack(batch);
    }
    if (this.#isHurried) for (const flush of [...this.#flushes]) flush.end();
  }

  /** Whether a batch is on disk whole: only then need it not be given up. */
  #isSafe(batch) {
    return batch.entries.every((entry) => entry.file !== undefined);
  }

  /** Let others go first: the batch may be the only one the server fails on. */
  #moveBack(batch) {
    batch.failedTries = 0;
    if (!batch.isOwn) {
      this.#sending.shift();
      this.#spool.putAside(batch.entries[0].file);
      this.#sending = this.#sending.filter((each) => each.isOwn);
      return this.#endFlushes();
    }
    for (const [index, { text }] of batch.entries.entries()) {
      if (this.#spool.overflow(text)) continue;
      // No room for all: those that have none stay where they are.
      const [moved, kept] = [batch.entries.slice(0, index), batch.entries.slice(index)];
      this.#sending.splice(0, 1, new Batch(kept));
      return new Batch(moved).settleInSpool();
    }
    this.#sending.shift();
    return batch.settleInSpool();
  }

  #settle(batch, { delivered = 0, duplicate = 0, rejected = 0, dropped = 0 }) {
    this.#sending.shift();
    this.#answers += 1;
    batch.settleInSpool();
    if (batch.isOwn) {
      this.#ledger.delivered += delivered;
      this.#ledger.duplicate += duplicate;
      this.#ledger.rejected += rejected;
      this.#ledger.dropped += dropped;
    } else {
      this.#reporter.debug(`${batch.length} events of an ended process: ${delivered} new`);
    }
    this.#bookSettled(batch.isOwn ? batch.length : 0);
  }

  #bookSettled(count) {
    this.#settled += count;
    this.#endFlushes();
  }

  #endFlushes() {
    if (this.#flushes.size === 0 || this.#adoptedLeft > 0) return;
    for (const flush of [...this.#flushes]) {
      if (this.#settled >= flush.target) flush.end();
    }
  }
}

module.exports = { Sender };
});

define('./webhook.js', (exports, module, require) => {
const encoder = new TextEncoder();

/**
 * Resolve to whether a webhook's body was signed with `secret`. Never rejects.
 *
 * @param {string | Uint8Array} body the raw body as it came: parsed and written anew, it has another
 *   signature
 * @param {string | null | undefined} signature the header X-Saytics-Signature
 * @param {string} secret the endpoint's own
 */
async function verifyWebhook(body, signature, secret) {
  if (typeof signature !== 'string' || !/^[0-9a-f]{64}$/i.test(signature)) return false;
  if (typeof secret !== 'string' || secret === '') return false;
  if (typeof body !== 'string' && !ArrayBuffer.isView(body)) return false;
  const { subtle } = globalThis.crypto;
  const algorithm = { name: 'HMAC', hash: 'SHA-256' };
  const key = await subtle.importKey('raw', encoder.encode(secret), algorithm, false, ['verify']);
  const given = Uint8Array.from(signature.match(/../g), (pair) => Number.parseInt(pair, 16));
  // Web Crypto compares in constant time.
  const data = typeof body === 'string' ? encoder.encode(body) : body;
  return subtle.verify('HMAC', key, given, data);
}

module.exports = { verifyWebhook };
});

define('./edge.js', (exports, module, require) => {
/**
 * The client for runtimes without modules of Node: fetch alone, in memory only.
 *
 * Such a runtime tells nobody when it ends, so what counts is `await saytics.flush()`, or
 * `context.waitUntil(saytics.flush())`, at the end of each request.
 * `edge.mjs` is this file with all it needs in one, made by `build-edge.js`.
 */

const { Client } = require('./client.js');
const { SayticsError } = require('./errors.js');
const { FetchTransport } = require('./fetch-transport.js');
const { readOptions } = require('./options.js');
const { Reporter } = require('./report.js');
const { Sender } = require('./sender.js');
const { verifyWebhook } = require('./webhook.js');

/** Sends events to a Saytics server. Wrong options throw a TypeError; nothing throws afterwards. */
class Saytics extends Client {
  /**
   * @param {string} key
   * @param {object} [given] see types/edge.d.ts
   */
  constructor(key, given) {
    const options = readOptions(key, given);
    const reporter = new Reporter(options.onError, options.debug, (line) => console.error(line));
    super(options, reporter, new Sender(options, reporter, new FetchTransport(options)));
  }
}

module.exports = { Saytics, SayticsError, verifyWebhook };
});

const { Saytics, SayticsError, verifyWebhook } = modules.get('./edge.js');

export { Saytics, SayticsError, verifyWebhook };
export default Saytics;
