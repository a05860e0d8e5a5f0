/** UUIDs version 7 (RFC 9562) that rise within this page. */

// The 12 bits after the time.
const SEQUENCE_END = 4096;

let idMs = 0;
let sequence = 0;

/**
 * Return an id larger than every one before.
 *
 * The server settles equal timestamps by the larger message id, so calls within one millisecond
 * must not change places. `crypto.randomUUID` is missing on pages without HTTPS.
 */
export function newId() {
  const nowMs = Date.now();
  if (nowMs > idMs) {
    idMs = nowMs;
    sequence = 0;
  } else if (++sequence === SEQUENCE_END) {
    idMs++;
    sequence = 0;
  }
  const random = crypto.getRandomValues(new Uint8Array(8));
  random[0] = (random[0] & 0x3f) | 0x80;
  const digits = hex(idMs, 12) + 7 + hex(sequence, 3) + Array.from(random, (n) => hex(n, 2)).join('');
  return digits.replace(/(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

function hex(number, length) {
  return number.toString(16).padStart(length, '0');
}
