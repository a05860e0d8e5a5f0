/**
 * The queue and the way to the server.
 *
 * Each event is a text of its own in storage, named by its message id, so tabs never overwrite each
 * other's; it is removed when the server has answered for it, and only then. One tab sends at a
 * time, whichever event it finds. What a closing tab sends is not waited for: it may be sent again
 * by the next page, and the server counts equal message ids once.
 */

import { names, read, remove, write } from './storage.js';

const FLUSH_INTERVAL_MS = 1000;
const BATCH_EVENTS_MAX = 100;
// What browsers let a closing page send is 64 KiB, all requests together.
const KEEPALIVE_BYTES_MAX = 64 * 1024;
const BATCH_BYTES_MAX = 60_000;
const SENT_AT_BYTES = 40;
// The site shares its 5 MB of storage with us: a long time offline must leave it most of them.
const QUEUE_EVENTS_MAX = 1000;
const QUEUE_CHARACTERS_MAX = 1_000_000;
const TIMEOUT_MS = 10_000;
// Another tab sees a removal from storage later than a lock that is free again (30 ms were seen).
const REMOVAL_SEEN_MS = 100;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 30_000;
// A wrong header or clock must not silence a browser for ever.
const RETRY_AFTER_MAX_MS = 3_600_000;

/** Send events to `host`; `report(code, message, events)` is told of every one that is lost. */
export function createSender(writeKey, host, report) {
  const queue = `event.${writeKey.slice(-8)}.`;
  const pause = `pause.${writeKey.slice(-8)}`;
  const url = `${host}/v1/events/batch?key=${encodeURIComponent(writeKey)}`;
  // Names of events that this page has sent and that are not answered for.
  const flying = new Set();
  let waiting = 0;
  let characters = 0;
  let keepaliveBytes = 0;
  let batchEventsMax = BATCH_EVENTS_MAX;
  let failures = 0;
  let wasAnswered = false;
  let timer = 0;
  let flushed = Promise.resolve();

  function add(event) {
    const text = JSON.stringify(event);
    if (waiting >= QUEUE_EVENTS_MAX || characters + text.length > QUEUE_CHARACTERS_MAX) {
      report('queue_full', 'Too many events wait to be sent.', [event]);
      return;
    }
    write(queue + event.messageId, text);
    characters += text.length;
    if (++waiting % BATCH_EVENTS_MAX === 0) flush();
    else flushIn(FLUSH_INTERVAL_MS);
  }

  /** Look how much waits. Between looks `add` counts on: looking at each event costs too much. */
  function recount() {
    const found = names(queue);
    waiting = found.length;
    characters = found.reduce((sum, name) => sum + (read(name) || '').length, 0);
    return { queued: waiting };
  }

  function flushIn(ms) {
    if (!timer) timer = setTimeout(flush, ms);
  }

  /** Send what waits; resolves to what is left when all of it is answered for or has to wait. */
  function flush() {
    clearTimeout(timer);
    timer = 0;
    flushed = flushed.then(sendAlone).then(recount);
    return flushed;
  }

  async function sendAlone() {
    try {
      await navigator.locks.request(`saytics.${queue}`, sendAll);
    } catch {
      // Pages without HTTPS or storage have no locks. Twice sent is counted once.
      await sendAll();
    }
  }

  async function sendAll() {
    for (let removed = false; ; removed = true) {
      const batch = nextBatch();
      if (!batch.length) {
        if (removed) await new Promise((seen) => setTimeout(seen, REMOVAL_SEEN_MS));
        return;
      }
      const waitMs = pausedMs();
      if (waitMs > 0) {
        flushIn(waitMs);
        return;
      }
      if (!(await post(batch))) return;
    }
  }

  /** Send what waits at once, in requests that outlive the page. */
  function leave() {
    if (pausedMs() > 0) return;
    for (let batch; (batch = nextBatch()).length; ) {
      if (!('keepalive' in Request.prototype)) {
        navigator.sendBeacon(url, bodyOf(batch));
        return;
      }
      flushed = Promise.all([flushed, post(batch)]);
    }
  }

  function goOnline() {
    // No answer: the line was the trouble, and it is back. An answer that said "later" stands.
    if (!wasAnswered) remove(pause);
    flush();
  }

  function pausedMs() {
    return Math.min(read(pause) - Date.now(), RETRY_AFTER_MAX_MS);
  }

  /** Return the next events to send as `[name, text]`, no more than one request may hold. */
  function nextBatch() {
    const batch = [];
    let bytes = 0;
    for (const name of names(queue)) {
      const text = !flying.has(name) && read(name);
      if (!text) continue;
      bytes += bytesOf(text) + SENT_AT_BYTES;
      if (batch.length && (bytes > BATCH_BYTES_MAX || batch.length >= batchEventsMax)) break;
      batch.push([name, text]);
    }
    return batch;
  }

  /** Send a batch; return whether the next one may follow. */
  async function post(batch) {
    batch.forEach(([name]) => flying.add(name));
    const answer = await request(bodyOf(batch));
    batch.forEach(([name]) => flying.delete(name));
    return settle(batch, answer);
  }

  async function request(body) {
    const bytes = bytesOf(body);
    const keepalive = keepaliveBytes + bytes <= KEEPALIVE_BYTES_MAX;
    if (keepalive) keepaliveBytes += bytes;
    const stop = new AbortController();
    const timeout = setTimeout(() => stop.abort(), TIMEOUT_MS);
    try {
      // A text and a key in the address need no preflight, and are all a beacon can send.
      const response = await fetch(url, {
        method: 'POST', body, keepalive, credentials: 'omit', signal: stop.signal,
      });
      const said = await response.json().catch(() => ({}));
      return { said: said || {}, status: response.status, after: response.headers.get('Retry-After') };
    } catch {
      return { said: {}, status: 0 };
    } finally {
      clearTimeout(timeout);
      if (keepalive) keepaliveBytes -= bytes;
    }
  }

  /** Do what the answer to a batch asks for; return whether the next batch may follow. */
  function settle(batch, { said, status, after }) {
    wasAnswered = status > 0;
    const isAccepted = status === 200 && said.status === 'ok';
    if (!isAccepted && (status < 400 || [408, 425, 429].includes(status) || status >= 500)) {
      waitBeforeRetry(after);
      return false;
    }
    failures = 0;
    const rejected = (Array.isArray(said.rejected) ? said.rejected : [])
      .filter((item) => item && batch[item.index]);
    if (!isAccepted && !rejected.length) {
      if ([400, 413].includes(status) && batch.length > 1) {
        // Too large for this server, or one event spoils the rest: find it by halves.
        batchEventsMax = Math.ceil(batch.length / 2);
        return true;
      }
      const { code = 'request_refused', message = `Status ${status}.` } = said.error || {};
      report(code, message, batch.map(([, text]) => JSON.parse(text)));
    }
    rejected.forEach(({ index, code, message }) => {
      report(code, message, [JSON.parse(batch[index][1])]);
    });
    batch.forEach(([name]) => remove(name));
    return true;
  }

  function waitBeforeRetry(after) {
    const backOffMs = Math.min(FIRST_WAIT_MS * 2 ** failures++, LONGEST_WAIT_MS);
    const jitteredMs = backOffMs * (0.5 + Math.random() / 2);
    const afterMs = after ? (after * 1000 || Date.parse(after) - Date.now() || 0) : 0;
    const waitMs = Math.min(Math.max(jitteredMs, afterMs), RETRY_AFTER_MAX_MS);
    write(pause, Date.now() + Math.ceil(waitMs));
    flushIn(waitMs);
  }

  return { add, flush, leave, goOnline };
}

function bytesOf(text) {
  return new Blob([text]).size;
}

function bodyOf(batch) {
  // Lets the server correct a wrong clock: the time of sending, on every try anew.
  const sentAt = new Date().toISOString();
  return `{"events":[${batch.map(([, text]) => `${text.slice(0, -1)},"sentAt":"${sentAt}"}`)}]}`;
}
