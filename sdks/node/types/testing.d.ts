import Node = require('./index.js');

/** A client for tests: checks events as the real one does, sends nothing, keeps what it was given. */
export declare class RecordingSaytics {
  constructor(options?: Node.Options);
  /** What would have been sent, in order. */
  readonly events: Node.WireEvent[];
  /** What `onError` would have been told, in order. */
  readonly errors: { error: Node.SayticsError; events: Node.WireEvent[] }[];
  clear(): void;
  track(event: Node.TrackEvent): Promise<void>;
  identify(user: Node.IdentifyUser): Promise<void>;
  flush(timeoutS?: number): Promise<Node.Counts>;
  shutdown(timeoutS?: number): Promise<Node.Counts>;
  counts(): Node.Counts;
}
