import Saytics = require('./index.js');

export default Saytics;
export { Saytics };
export declare const SayticsError: typeof Saytics.SayticsError;
export declare const verifyWebhook: typeof Saytics.verifyWebhook;
export type SayticsError = Saytics.SayticsError;
export type Counts = Saytics.Counts;
export type IdentifyUser = Saytics.IdentifyUser;
export type Options = Saytics.Options;
export type TrackEvent = Saytics.TrackEvent;
export type WireEvent = Saytics.WireEvent;
