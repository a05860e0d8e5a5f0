'use strict';

/**
 * Who owns a spool file: the parts of its name, and whether that process still lives (docs/spool.md).
 *
 * No locks: the name says the machine, the pid and the pid's start, which no other process has.
 */

const { createHash } = require('node:crypto');
const fs = require('node:fs');
const os = require('node:os');

const SUFFIX = '.spool';
const NAME = /^([0-9a-f]{32})-([0-9a-f]{8})-(\d{1,10})-(\d{1,20})\.spool$/;

// No process starts in the first tick of a machine's life: a pid with this start never lives, which
// is how a living process lets go of a file.
const NOBODYS_START = 1;

// An owner that could not be seen touching its file for so long is taken for dead: it touches it
// every minute.
const DEAD_AFTER_MS = 3_600_000;

/** Return the parts of a file name, or undefined if it is none of the spool's. */
function parseName(name) {
  const found = NAME.exec(name);
  if (found === null) return undefined;
  return { id: found[1], machine: found[2], pid: Number(found[3]), start: Number(found[4]) };
}

/** Return the name of the file `id` with this process as its owner. */
function ownName(id) {
  return `${id}-${machine()}-${process.pid}-${ownStart()}${SUFFIX}`;
}

/** Return the name of the file `id` with an owner that is dead for every reader. */
function nobodysName(id) {
  return `${id}-${machine()}-${process.pid}-${NOBODYS_START}${SUFFIX}`;
}

/** Return whether the owner may still append to the file, last touched at `touchedMs`. */
function isOwnerAlive({ machine: theirs, pid, start }, touchedMs) {
  if (start === NOBODYS_START) return false;
  const isTouched = Date.now() - touchedMs < DEAD_AFTER_MS;
  if (theirs !== machine()) return isTouched;
  // A thread of this process may have ended and left its file; only the silence tells.
  if (pid === process.pid && start === ownStart()) return isTouched;
  const living = startOf(pid);
  if (living === undefined) return false;
  return living === 0 || start === 0 || living === start;
}

let knownMachine;
let knownStart;

function machine() {
  knownMachine ??= createHash('sha256')
    .update([
      os.hostname(),
      quietly(() => fs.readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()),
      quietly(() => fs.readlinkSync('/proc/self/ns/pid')),
    ].join('\n'))
    .digest('hex')
    .slice(0, 8);
  return knownMachine;
}

function ownStart() {
  knownStart ??= startOf(process.pid) ?? 0;
  return knownStart;
}

/** Return when a process started, in ticks since boot; 0 if unknown, undefined if it is dead. */
function startOf(pid) {
  if (pid <= 0 || !isThere(pid)) return undefined;
  const stat = quietly(() => fs.readFileSync(`/proc/${pid}/stat`, 'latin1'));
  // It may have ended since it was asked for; else the system does not show it.
  if (stat === '') return isThere(pid) ? 0 : undefined;
  // The second field is the command in parentheses and may hold anything, spaces included.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  // A zombie has ended; only its parent has not asked how.
  return ['Z', 'X'].includes(fields[0]) ? undefined : Number(fields[19]);
}

function isThere(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (problem) {
    return problem.code !== 'ESRCH'; // else it lives and is somebody else's
  }
}

function quietly(read) {
  try {
    return read();
  } catch {
    return '';
  }
}

module.exports = { isOwnerAlive, nobodysName, ownName, parseName };
