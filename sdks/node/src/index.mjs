// One copy of the code for both module systems: a program that loads both has one set of clients.
import Saytics from './index.js';

export const { SayticsError, verifyWebhook } = Saytics;
export { Saytics };
export default Saytics;
