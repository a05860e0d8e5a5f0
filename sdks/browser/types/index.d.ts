declare namespace Saytics {
  type Values = Readonly<Record<string, unknown>>;

  /** An event or identify as it goes over the wire. */
  type WireEvent = Record<string, unknown>;

  interface SayticsError extends Error {
    /** One of the server's codes, or the script's own, listed in the README. */
    readonly code: string;
  }

  interface Options {
    /** Base URL of the server. Default: where /saytics.js came from, else http://127.0.0.1:8640 */
    host?: string;
    /** Send `Page View` for the page and for each route. Default true. */
    autoPageview?: boolean;
    /** Do Not Track and Global Privacy Control count as opted out. Default false. */
    respectPrivacySignals?: boolean;
    /** Visitors who have not chosen count as opted out. Default false. */
    optedOut?: boolean;
    /** Sees each event before it is queued; returns it, changed or not, or null to leave it out. */
    beforeSend?: (event: WireEvent) => WireEvent | null | undefined;
    /** Told of every event rejected or dropped, and why. Default: a warning on the console. */
    onError?: (error: SayticsError, events: WireEvent[]) => void;
    /** With false, nothing is queued, kept or sent. Default true. */
    enabled?: boolean;
  }

  /** What `flush` leaves: events that have to wait. */
  interface Left {
    queued: number;
  }

  interface Client {
    /** Start with a write key. A second call does nothing. */
    init(writeKey: string, options?: Options): void;
    /** Queue one event. */
    track(event: string, properties?: Values): void;
    /** Say who the visitor is; null removes a trait. */
    identify(userId: string | number, traits?: Values): void;
    /** Queue a `Page View` of the page as it is now. */
    page(properties?: Values): void;
    /** Forget who the visitor is; what is queued stays theirs. */
    reset(): void;
    /** Send what is queued; resolves when it is answered for or has to wait. Never rejects. */
    flush(): Promise<Left>;
    /** Send and keep nothing from here on, and delete what was kept. */
    optOut(): void;
    /** Track, whatever the default and the browser's signals say. */
    optIn(): void;
  }
}

declare const Saytics: Saytics.Client;

export { Saytics };
export default Saytics;
