declare class Saytics {
  /**
   * @param key default: the environment's SAYTICS_SECRET_KEY
   * @throws TypeError for a missing key or a wrong option; nothing else ever throws
   */
  constructor(key?: string, options?: Saytics.Options);

  /** Queue one event. Awaiting it waits for the queue, not for the network. Never rejects. */
  track(event: Saytics.TrackEvent): Promise<void>;

  /** Queue traits of a user, and the link from `anonymousId` to them if given. Never rejects. */
  identify(user: Saytics.IdentifyUser): Promise<void>;

  /** Send what is queued and wait for its end, at most `timeoutS` seconds (10). Never rejects. */
  flush(timeoutS?: number): Promise<Saytics.Counts>;

  /**
   * Flush, then stop for good; what is unsent after `timeoutS` seconds (10) stays in the spool, or is
   * dropped and reported without one. Never rejects.
   */
  shutdown(timeoutS?: number): Promise<Saytics.Counts>;

  /** Where every event tracked so far is. */
  counts(): Saytics.Counts;

  // What `module.exports` carries beside the constructor.
  static readonly Saytics: typeof Saytics;
  static readonly SayticsError: typeof SayticsErrorClass;
  static readonly verifyWebhook: typeof verifyWebhookSignature;
  static readonly default: typeof Saytics;
}

/**
 * Whether a webhook's raw body was signed with the endpoint's secret. Never rejects.
 * @param signature the header X-Saytics-Signature
 */
declare function verifyWebhookSignature(
  body: string | Uint8Array,
  signature: string | null | undefined,
  secret: string,
): Promise<boolean>;

declare class SayticsErrorClass extends Error {
  private constructor();
  /** One of the server's codes, or the SDK's own, listed in the README. */
  readonly code: string;
  readonly reason: string;
  /** The HTTP status, where there was an answer. */
  readonly status: number | undefined;
  /** The event field at fault, where one is known. */
  readonly field: string | undefined;
}

declare namespace Saytics {
  type SayticsError = SayticsErrorClass;

  type Values = Readonly<Record<string, unknown>>;

  /** A number becomes its decimal string, as ids are on the wire. */
  type Id = string | number | bigint;

  interface Person {
    userId?: Id | null;
    anonymousId?: Id | null;
    /** Default: the moment of the call. */
    timestamp?: string | Date | null;
    /** Equal ids count once. Default: a UUID version 7. */
    messageId?: string | null;
  }

  /** At least one of `userId` and `anonymousId` is required. */
  interface TrackEvent extends Person {
    event: string;
    properties?: Values | null;
    context?: Values | null;
  }

  interface IdentifyUser extends Person {
    userId: Id;
    /** Merged per key on the server; null removes a trait. */
    traits?: Values | null;
  }

  /** An event or identify as it goes over the wire. */
  type WireEvent = Record<string, unknown>;

  /** The options every runtime has. */
  interface SharedOptions {
    /** Base URL of the server. Default: SAYTICS_HOST, else http://127.0.0.1:8640 */
    host?: string;
    /** Events that make a batch, 1 to 1000. Default 100. */
    flushAt?: number;
    /** Seconds after which an event is sent even if its batch is not full. Default 1. */
    flushIntervalS?: number;
    /** Events that may wait in memory. Default 100000. */
    queueMax?: number;
    /** Compress bodies above 1 kB. Default true. */
    gzip?: boolean;
    /** Seconds one request may take. Default 10. */
    timeoutS?: number;
    /** Tries after the first before a batch that is not in the spool is dropped. Default 10. */
    maxRetries?: number;
    /** Sees each event before it is queued; returns it, changed or not, or null to leave it out. */
    beforeSend?: (event: WireEvent) => WireEvent | null | undefined;
    /** Told of every event rejected or dropped, and why. Default: a line on stderr. */
    onError?: (error: SayticsError, events: WireEvent[]) => void | Promise<void>;
    /** With false, nothing is queued or sent and no key is needed. Default true. */
    enabled?: boolean;
    /** Write what happens to stderr. Default false. */
    debug?: boolean;
  }

  interface Options extends SharedOptions {
    /**
     * When events go to disk: 'auto' (at the end of the process, on overflow and during an outage; at
     * once in worker threads), 'always' (before `track` returns) or 'off'. Default 'auto'.
     */
    spool?: 'auto' | 'always' | 'off';
    /** Default: SAYTICS_SPOOL_DIR, else a folder of this user's state. */
    spoolDir?: string;
    /** Bytes the spool may take; then the newest events are dropped. Default 256 MiB. */
    spoolBytesMax?: number;
    /** Certificates in PEM to trust beside Node's own. */
    ca?: string | Uint8Array | (string | Uint8Array)[];
  }

  /** Events since the client was made; `tracked` is the sum of all others. */
  interface Counts {
    tracked: number;
    delivered: number;
    duplicate: number;
    rejected: number;
    dropped: number;
    /** In the spool on disk only. */
    spooled: number;
    queued: number;
  }
}

export = Saytics;
