/**
 * Texts by name, shared by all tabs of a site and kept over its pages: localStorage.
 *
 * Where the browser refuses it (private windows, blocked cookies, no room left), the same texts are
 * kept in memory for as long as the page lives. Nothing here throws.
 */

const PREFIX = 'saytics.';
const memory = new Map();

/** Return the text under `name`, or null. */
export function read(name) {
  if (memory.has(name)) return memory.get(name);
  try {
    return localStorage.getItem(PREFIX + name);
  } catch {
    return null;
  }
}

/** Keep `text` under `name`. */
export function write(name, text) {
  try {
    localStorage.setItem(PREFIX + name, text);
    memory.delete(name);
  } catch {
    memory.set(name, text);
  }
}

/** Forget what is under `name`. */
export function remove(name) {
  memory.delete(name);
  try {
    localStorage.removeItem(PREFIX + name);
  } catch {
    // There was nothing.
  }
}

/** Return all names that start with `beginning`, in order. */
export function names(beginning) {
  let stored = [];
  try {
    stored = Object.keys(localStorage);
  } catch {
    // Memory has them all.
  }
  const start = PREFIX + beginning;
  return stored
    .filter((name) => name.startsWith(start))
    .map((name) => name.slice(PREFIX.length))
    .concat([...memory.keys()].filter((name) => name.startsWith(beginning)))
    .sort();
}
