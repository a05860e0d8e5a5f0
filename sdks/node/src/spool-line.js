'use strict';

/**
 * Lines of a spool file: eight hexadecimal digits of CRC-32, a space, JSON, a line break (docs/spool.md).
 *
 * In: the JSON of an event, or how many events are done. Out: text to append; and the way back, where
 * a line that is torn or altered reads as undefined. Pure.
 */

const zlib = require('node:zlib');

const CHECKSUM_BYTES = 8;
const SPACE = 0x20;
const DONE = /^\{"done":(\d{1,15})\}$/;

// zlib has it from Node 20.15 on; the table serves the versions before.
const crc32 = zlib.crc32 ?? tableCrc32();

/** Return the line that holds `json`. */
function eventLine(json) {
  return `${crc32(json).toString(16).padStart(CHECKSUM_BYTES, '0')} ${json}\n`;
}

/** Return the line that says that the first `count` events of the file are answered for. */
function doneLine(count) {
  return eventLine(`{"done":${count}}`);
}

/**
 * Read a line given without its line break: `{json}`, `{done}`, or undefined if it is damaged.
 * @param {Buffer} line
 */
function readLine(line) {
  if (line.length <= CHECKSUM_BYTES + 1 || line[CHECKSUM_BYTES] !== SPACE) return undefined;
  const bytes = line.subarray(CHECKSUM_BYTES + 1);
  const checksum = crc32(bytes).toString(16).padStart(CHECKSUM_BYTES, '0');
  if (line.latin1Slice(0, CHECKSUM_BYTES) !== checksum) return undefined;
  const json = bytes.toString();
  const done = json.startsWith('{"done":') ? DONE.exec(json) : null;
  return done === null ? { json } : { done: Number(done[1]) };
}

function tableCrc32() {
  const table = Int32Array.from({ length: 256 }, (_, byte) => {
    let value = byte;
    for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
    return value;
  });
  return (data) => {
    const bytes = typeof data === 'string' ? Buffer.from(data) : data;
    let value = -1;
    for (const byte of bytes) value = table[(value ^ byte) & 0xff] ^ (value >>> 8);
    return ~value >>> 0;
  };
}

module.exports = { doneLine, eventLine, readLine, tableCrc32 };
