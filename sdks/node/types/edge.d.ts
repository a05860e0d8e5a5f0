import Node = require('./index.js');

/** The client without `node:` modules: fetch, and memory only. */
export declare class Saytics {
  /** @throws TypeError for a missing key or a wrong option; nothing else ever throws */
  constructor(key?: string, options?: Options);
  track(event: Node.TrackEvent): Promise<void>;
  identify(user: Node.IdentifyUser): Promise<void>;
  flush(timeoutS?: number): Promise<Node.Counts>;
  shutdown(timeoutS?: number): Promise<Node.Counts>;
  counts(): Node.Counts;
}

export declare const SayticsError: typeof Node.SayticsError;
export declare const verifyWebhook: typeof Node.verifyWebhook;
export type SayticsError = Node.SayticsError;
export type Options = Node.SharedOptions;
export type Counts = Node.Counts;
export type IdentifyUser = Node.IdentifyUser;
export type TrackEvent = Node.TrackEvent;
export type WireEvent = Node.WireEvent;
