'use strict';

// `require` must give the constructor itself; the other names serve `const { Saytics } =` and
// compilers that look for `default`.
const { SayticsError } = require('./errors.js');
const { Saytics } = require('./node-client.js');
const { verifyWebhook } = require('./webhook.js');

module.exports = Saytics;
module.exports.Saytics = Saytics;
module.exports.SayticsError = SayticsError;
module.exports.verifyWebhook = verifyWebhook;
module.exports.default = Saytics;
