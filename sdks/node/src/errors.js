'use strict';

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
