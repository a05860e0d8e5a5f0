/** The public face: `Saytics.init`, then `track`, `identify`, `page` and the rest. */

import { newId } from './ids.js';
import { device, pageContext, watchPages } from './page.js';
import { createSender } from './sender.js';
import {
  choice, choose, forgetVisitor, setUser, signalsPrivacy, startsSession, visitorIds,
} from './visitor.js';

const DEFAULT_HOST = 'http://127.0.0.1:8640';

let options = { host: DEFAULT_HOST, autoPageview: true, enabled: true, onError: warn };
let sender = null;
// Calls from before `init`, with their times.
const early = [];

// Each gets the time of the call, which may be long past for those from before the script came.
const commands = {
  init(atMs, writeKey, given) {
    if (sender) return;
    if (document.prerendering) {
      // A page fetched ahead is nobody's visit until it is shown.
      const show = () => Saytics.init(writeKey, given);
      document.addEventListener('prerenderingchange', show, { once: true });
      return;
    }
    options = { ...options, ...given };
    if (!/^sk_write_/.test(writeKey)) {
      options.enabled = false;
      report('invalid_key', 'init needs a write key; no other key belongs in a page.', []);
    }
    sender = createSender(String(writeKey), String(options.host).replace(/\/+$/, ''), report);
    if (!options.enabled) return;
    listen();
    early.splice(0).forEach(run);
    if (options.autoPageview) {
      commands.page(atMs);
      watchPages(commands.page);
    }
    sender.flush();
  },
  track(atMs, event, properties) {
    if (!mayTrack()) return;
    if (startsSession(atMs)) {
      const properties = { device: device(), landing_page: location.pathname };
      queue(atMs, { event: 'Session Started', properties });
    }
    queue(atMs, { event, properties });
  },
  identify(atMs, userId, traits) {
    if (!mayTrack()) return;
    if (setUser(userId)) queue(atMs, { type: 'identify', traits });
    else report('invalid_id', `identify: ${userId} names nobody.`, []);
  },
  page(atMs, properties) {
    const seen = { path: location.pathname, title: document.title || undefined, ...properties };
    commands.track(atMs, 'Page View', seen);
  },
  reset: forgetVisitor,
  flush: () => sender.flush(),
  optOut: () => choose('out'),
  optIn: () => choose('in'),
};

/** Do a call `[name, values, atMs]`, now or once `init` was called. Never throws. */
export function run(call) {
  const [name, values, atMs] = call;
  try {
    if (typeof document !== 'undefined') {
      if (sender || /^(init|opt)/.test(name)) return commands[name](atMs, ...values);
      early.push(call);
    }
  } catch (problem) {
    report('invalid_event', `${name}: ${problem.message}`, []);
  }
  return name === 'flush' ? Promise.resolve({ queued: early.length }) : undefined;
}

export const Saytics = {};
for (const name of Object.keys(commands)) {
  Saytics[name] = (...values) => run([name, values, Date.now()]);
}

/** Let `init` send to `host` unless told otherwise. */
export function setDefaultHost(host) {
  options.host = host;
}

function mayTrack() {
  if (!options.enabled) return false;
  const chosen = choice();
  if (chosen) return chosen === 'in';
  return !(options.optedOut || (options.respectPrivacySignals && signalsPrivacy()));
}

function queue(atMs, said) {
  let event = {
    ...said,
    ...visitorIds(),
    timestamp: new Date(atMs).toISOString(),
    messageId: newId(),
    context: said.type ? undefined : pageContext(),
  };
  if (options.beforeSend) event = options.beforeSend(event);
  if (event) sender.add(event);
}

function report(code, message, events) {
  try {
    options.onError(Object.assign(new Error(message), { code }), events);
  } catch (problem) {
    console.warn(`Saytics: onError: ${problem.message}`);
  }
}

function warn({ code, message }) {
  console.warn(`Saytics: ${message} (${code})`);
}

function listen() {
  // Phones end hidden pages without another word, so being hidden is the last chance.
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'hidden') sender.leave();
  });
  addEventListener('pagehide', sender.leave);
  addEventListener('online', sender.goOnline);
}
