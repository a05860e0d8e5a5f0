'use strict';

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
