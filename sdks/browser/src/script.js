/*! @saytics/browser, Apache-2.0 */

/** What the script does beside being there: becomes `window.Saytics`, and makes up for its snippet. */

import { run, Saytics, setDefaultHost } from './saytics.js';

const before = window.Saytics;
// Loaded twice, the first one stays.
if (!before || Array.isArray(before.calls)) {
  const served = /^(.+)\/saytics\.js/.exec(document.currentScript ? document.currentScript.src : '');
  if (served) setDefaultHost(served[1]);
  window.Saytics = Saytics;
  if (before) before.calls.forEach(run);
  // For those who still hold one of the snippet's functions.
  Saytics.calls = { push: run };
}
