'use strict';

/**
 * The spool of one client: what the server has not answered for, on disk (docs/spool.md).
 *
 * Three kinds of files, all of this process:
 *
 *     kept      copies of events that also wait in memory; never read back while this process lives
 *     tail      events that had no room in memory; read back in order
 *     adopted   left by processes that died; read back in order
 *
 * A file is removed when all its events are settled. Files are cut at a few megabytes, so that what
 * is settled gives its room back. Nothing here throws: a disk that cannot be used is said once, and
 * the caller's events stay in memory.
 */

const { createHash } = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');

const { MessageIds } = require('./message-id.js');
const { SpoolFile } = require('./spool-file.js');
const { isOwnerAlive, parseName } = require('./spool-owner.js');

const FILE_BYTES_MAX = 4 * 1024 * 1024;
const FOLDER_MODE = 0o700;

// An event whose process died waits at most so long for a living one; and an owner that has not
// touched its files for sixty times that is taken for dead.
const MINUTE_MS = 60_000;

// How long a disk that failed is left alone: each try costs the caller of `track` a system call.
const DISK_REST_MS = 10_000;

// One write of the longest list stays below a few megabytes.
const WRITE_EVENTS_MAX = 1000;

class Spool {
  #folder;
  #room;
  #say;
  #ids = new MessageIds();
  #files = new Set();
  #kept;
  #tails = [];
  #adopted = [];
  #setAside = new Set();
  #isReady = false;
  #notBeforeMs = 0;
  #hasComplained = false;
  #timer;
  /** Events on disk that are nowhere else in this process, adopted ones not counted. */
  unread = 0;
  /** Whether the last event that did not fit found the spool full, not broken. */
  isFull = false;

  /**
   * @param {string} folder the spool directory
   * @param {{host: string, key: string, bytesMax: number}} target
   * @param {(text: string) => void} say tells the developer, once, that there is no spool
   */
  constructor(folder, { host, key, bytesMax }, say) {
    const hash = createHash('sha256').update(`${host}\n${key}`).digest('hex');
    this.#folder = path.join(folder, hash.slice(0, 16));
    this.#room = { used: 0, max: bytesMax };
    this.#say = say;
  }

  /** Adopt what dead processes left, now and every minute; `onFound` hears of later finds. */
  start(onFound) {
    this.#adopt();
    this.#timer = setInterval(() => {
      for (const file of this.#files) file.touch();
      this.#measure();
      if (this.#adopt()) onFound();
    }, MINUTE_MS).unref();
  }

  /** Copy entries that are in memory to disk, in order, as many as fit; sets their `file`. */
  keep(entries) {
    if (entries.length === 1) {
      this.#keepSome(entries);
      return;
    }
    for (let start = 0; start < entries.length; start += WRITE_EVENTS_MAX) {
      if (!this.#keepSome(entries.slice(start, start + WRITE_EVENTS_MAX))) return;
    }
  }

  /** Take an event that has no room in memory; false if it has none here either. */
  overflow(text) {
    const last = this.#tails.at(-1);
    const file = this.#append(last, [text]);
    if (file === undefined) return false;
    if (file !== last) this.#tails.push(file);
    this.unread += 1;
    return true;
  }

  /** Read back events that had no room in memory: `{entries, damaged}`. */
  readTail(countMax, bytesMax) {
    while (this.#tails.length > 1 && this.#tails[0].unread === 0) this.#tails.shift();
    const file = this.#tails[0];
    if (this.unread === 0 || file === undefined) return { entries: [], damaged: 0 };
    let { entries, damaged } = this.#read(file, countMax, bytesMax);
    if (entries.length === 0) {
      // The file was cut short from outside: what is missing can only be counted.
      damaged += file.unread;
      file.passOver(file.unread);
      this.#tails.shift();
    }
    this.unread -= entries.length + damaged;
    return { entries, damaged };
  }

  /** How many adopted files are not read to their end. */
  get adoptedCount() {
    return this.#adopted.length;
  }

  /** Read events of dead processes; none when a file turned out to be empty. */
  async readAdopted(countMax, bytesMax) {
    const next = this.#adopted[0];
    await this.#scan(next);
    if (next.file.isGone) {
      this.#adopted = this.#adopted.filter((each) => each !== next);
      return [];
    }
    const { entries } = this.#read(next.file, countMax, bytesMax);
    if (next.file.unread <= 0 || entries.length === 0) this.#adopted.shift();
    if (entries.length === 0) next.file.remove();
    return entries;
  }

  /** Leave an adopted file to others: its events are what the server cannot take from us now. */
  putAside(file) {
    this.#setAside.add(file.id);
    this.#adopted = this.#adopted.filter((next) => next.file !== file);
    file.release();
  }

  /** Make sure that entries have their copy on disk, whatever happened to it; the last chance. */
  keepAtEnd(entries) {
    this.#notBeforeMs = 0;
    for (const file of this.#files) file.touch();
    for (const entry of entries) if (entry.file?.isGone) entry.file = undefined;
    this.keep(entries.filter((entry) => entry.file === undefined));
  }

  /** Leave all files to the next process, and stop. */
  release() {
    clearInterval(this.#timer);
    for (const file of this.#files) file.release();
    this.#files.clear();
    this.#adopted = [];
    this.#tails = [];
    this.#kept = undefined;
  }

  #keepSome(entries) {
    const file = this.#append(this.#kept, entries.map((entry) => entry.text));
    if (file !== undefined) {
      this.#kept = file;
      for (const entry of entries) entry.file = file;
      return true;
    }
    if (!this.isFull || entries.length === 1) return false;
    const middle = entries.length >> 1;
    return this.#keepSome(entries.slice(0, middle)) && this.#keepSome(entries.slice(middle));
  }

  /** Append to `file`, or to a new one where it cannot go on; undefined if that failed. */
  #append(file, texts) {
    this.isFull = false;
    if (this.#notBeforeMs > 0 && performance.now() < this.#notBeforeMs) return undefined;
    try {
      const usable = file !== undefined && !file.isGone && file.bytes < FILE_BYTES_MAX;
      const target = usable ? file : this.#create();
      target.append(texts);
      return target;
    } catch (problem) {
      this.isFull = problem.isFull === true;
      if (!this.isFull) this.#complain(problem);
      return undefined;
    }
  }

  #create() {
    for (const file of this.#files) if (file.isGone) this.#files.delete(file);
    if (this.#isReady) {
      try {
        return this.#open();
      } catch (problem) {
        if (problem.code !== 'ENOENT') throw problem; // else somebody removed the folder
      }
    }
    makeFolder(this.#folder);
    this.#requireOurs();
    this.#measure();
    this.#isReady = true;
    return this.#open();
  }

  #open() {
    const id = this.#ids.next(Date.now()).replaceAll('-', '');
    const file = SpoolFile.create(this.#folder, id, this.#room);
    this.#files.add(file);
    return file;
  }

  #requireOurs() {
    const folder = fs.lstatSync(this.#folder);
    if (!folder.isDirectory()) throw new Error('not a folder');
    if (process.getuid !== undefined && folder.uid !== process.getuid()) {
      throw new Error('the folder belongs to somebody else');
    }
  }

  /** Find out how full the folder is: other processes write to it too. */
  #measure() {
    let used = 0;
    for (const name of this.#names()) used += this.#stat(name)?.size ?? 0;
    this.#room.used = used;
  }

  /** Take over the files of dead owners; returns whether there were any. */
  #adopt() {
    const before = this.#adopted.length;
    const ownIds = new Set([...this.#files].map((file) => file.id));
    for (const name of this.#names()) {
      const owner = parseName(name);
      if (ownIds.has(owner.id) || this.#setAside.has(owner.id)) continue;
      const stat = this.#stat(name);
      if (stat === undefined || isOwnerAlive(owner, stat.mtimeMs)) continue;
      try {
        const file = SpoolFile.adopt(this.#folder, name, this.#room);
        if (file === undefined) continue;
        this.#files.add(file);
        this.#adopted.push({ file, isScanned: false });
      } catch (problem) {
        this.#complain(problem);
      }
    }
    return this.#adopted.length > before;
  }

  /** Return the names of the spool's files, oldest first; none where there is no folder of ours. */
  #names() {
    try {
      const names = fs.readdirSync(this.#folder).filter((name) => parseName(name) !== undefined);
      if (names.length > 0) this.#requireOurs();
      return names.sort();
    } catch {
      return [];
    }
  }

  #stat(name) {
    try {
      return fs.statSync(path.join(this.#folder, name));
    } catch {
      return undefined;
    }
  }

  async #scan(adopted) {
    if (adopted.isScanned) return;
    try {
      await adopted.file.scan(() => new Promise((resolve) => setImmediate(resolve)));
      adopted.isScanned = true;
    } catch (problem) {
      this.#complain(problem);
      this.putAside(adopted.file);
    }
  }

  #read(file, countMax, bytesMax) {
    try {
      const { texts, damaged } = file.read(countMax, bytesMax);
      const entries = texts.map((text) => ({ text, bytes: text.length, atMs: 0, file }));
      return { entries, damaged };
    } catch (problem) {
      this.#complain(problem);
      return { entries: [], damaged: 0 };
    }
  }

  #complain(problem) {
    this.#notBeforeMs = performance.now() + DISK_REST_MS;
    if (this.#hasComplained) return;
    this.#hasComplained = true;
    this.#say(`no spool on disk, events are kept in memory only: ${problem.message}`);
  }
}

// Not mkdir's own `recursive`: under /proc it never returns. Other processes may make the same folders
// at the same time, so each may have come to be since it was missed.
function makeFolder(folder) {
  if (hasMade(folder)) return;
  const parent = path.dirname(folder);
  if (parent !== folder) makeFolder(parent);
  if (!hasMade(folder)) throw new Error(`${folder} cannot be made`);
}

/** Make one folder; true if it is there now, false if its parent is not. */
function hasMade(folder) {
  try {
    fs.mkdirSync(folder, FOLDER_MODE);
  } catch (problem) {
    if (problem.code === 'ENOENT') return false;
    if (problem.code !== 'EEXIST') throw problem;
  }
  return true;
}

module.exports = { Spool };
