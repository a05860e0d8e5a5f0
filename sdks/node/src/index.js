'use strict';

// `require` must give the constructor itself; the other two names serve `const { Saytics } =` and
// compilers that look for `default`.
const { Saytics } = require('./client.js');
const { SayticsError } = require('./errors.js');

module.exports = Saytics;
module.exports.Saytics = Saytics;
module.exports.SayticsError = SayticsError;
module.exports.default = Saytics;
