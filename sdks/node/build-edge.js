'use strict';

// Writes src/edge.mjs: src/edge.js and everything it requires, in one ES module without imports, for
// runtimes that load modules as they stand:
//
//     node sdks/node/build-edge.js
//
// A test compares the file with what this makes of the sources.

const fs = require('node:fs');
const path = require('node:path');

const SOURCE = path.join(__dirname, 'src');
const REQUIRE = /require\('\.\/([\w.-]+)'\)/g;

/** Return the text of the ES module. */
function edgeModule() {
  const texts = new Map();
  collect('edge.js', texts);
  const modules = [...texts].map(([name, text]) => {
    const body = text.replace(/^'use strict';\n+/, '').trimEnd();
    return `define('./${name}', (exports, module, require) => {\n${body}\n});\n`;
  });
  return `// Made by build-edge.js from edge.js and what it requires. Do not edit.

const modules = new Map();

function define(name, body) {
  const module = { exports: {} };
  body(module.exports, module, (needed) => modules.get(needed));
  modules.set(name, module.exports);
}

${modules.join('\n')}
const { Saytics, SayticsError, verifyWebhook } = modules.get('./edge.js');

export { Saytics, SayticsError, verifyWebhook };
export default Saytics;
`;
}

/** Put the module after all it requires. */
function collect(name, texts) {
  if (texts.has(name)) return;
  const text = fs.readFileSync(path.join(SOURCE, name), 'utf8');
  for (const [, needed] of text.matchAll(REQUIRE)) collect(needed, texts);
  texts.set(name, text);
}

if (require.main === module) fs.writeFileSync(path.join(SOURCE, 'edge.mjs'), edgeModule());

module.exports = { edgeModule };
