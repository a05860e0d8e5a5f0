'use strict';

/** The version, as package.json, the User-Agent and `context.library` name it. */
exports.VERSION = '0.1.0';
