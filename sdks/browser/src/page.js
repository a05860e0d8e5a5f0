/** The page the visitor is on: what events tell about it, and when it becomes another one. */

import { VERSION } from './version.js';

let previousUrl = '';
let timezone;

/** Return the `context` of an event that happens now. The server adds `ip` and `userAgent`. */
export function pageContext() {
  // Asking for it takes longer than all the rest of an event.
  timezone = timezone || Intl.DateTimeFormat().resolvedOptions().timeZone;
  return {
    library: { name: '@saytics/browser', version: VERSION },
    locale: navigator.language,
    timezone,
    page: {
      path: location.pathname,
      url: location.href,
      referrer: previousUrl || document.referrer || undefined,
    },
    campaign: campaign(),
  };
}

/** Return 'desktop', 'tablet' or 'phone', as far as the browser tells. */
export function device() {
  const { userAgent } = navigator;
  if (/iPad|Tablet|Android(?!.*Mobi)/.test(userAgent)) return 'tablet';
  return /Mobi/.test(userAgent) ? 'phone' : 'desktop';
}

function campaign() {
  const found = {};
  new URLSearchParams(location.search).forEach((value, name) => {
    if (name.startsWith('utm_')) found[name === 'utm_campaign' ? 'name' : name.slice(4)] = value;
  });
  return Object.keys(found).length ? found : undefined;
}

/**
 * Call `onPage(atMs)` each time the visitor comes to another page without loading one.
 *
 * Another page is another path, or another hash that is a route (`#/…`, `#!/…`); a query alone is
 * not, or typing in a search field would be a hundred pages. Looked at a moment later, because
 * applications set the title after the address, and redirect.
 */
export function watchPages(onPage) {
  let url = location.href;
  let seen = route();
  const look = () => {
    const atMs = Date.now();
    setTimeout(() => {
      if (route() === seen) return;
      seen = route();
      previousUrl = url;
      url = location.href;
      onPage(atMs);
    });
  };
  for (const name of ['pushState', 'replaceState']) {
    const original = history[name];
    history[name] = function (...values) {
      original.apply(this, values);
      look();
    };
  }
  addEventListener('popstate', look);
  addEventListener('pageshow', (shown) => {
    if (shown.persisted) onPage(Date.now());
  });
}

function route() {
  return location.pathname + (/^#!?\//.test(location.hash) ? location.hash : '');
}
