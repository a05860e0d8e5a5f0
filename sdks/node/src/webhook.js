'use strict';

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
