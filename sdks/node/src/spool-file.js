'use strict';

/**
 * One file of the spool that this process owns: appending, reading back, and what of it is done.
 *
 * Every call is synchronous, so that it works in a process that is ending. Appended means that it
 * survives the process; only a crash of the machine can take it, for nothing waits for the disk.
 */

const fs = require('node:fs');
const path = require('node:path');

const { nobodysName, ownName, parseName } = require('./spool-owner.js');
const { doneLine, eventLine, readLine } = require('./spool-line.js');

const FILE_MODE = 0o600;

// Read in pieces of this many bytes: a file of any size costs little memory, and reading one piece
// holds the event loop for about a millisecond.
const PIECE_BYTES = 256 * 1024;

const LINE_BREAK = 0x0a;

// Scanning so many lines of 400 bytes takes about a millisecond, the longest a pause may be away.
const LINES_A_PAUSE = 1000;

class SpoolFile {
  #path;
  #fd;
  #appended = 0; // events written by this object
  #skip = 0; // of an adopted file: its first events, answered for already
  #settled = 0; // events answered for, after the skipped ones
  #handedOut = 0; // events read back
  #unskipped = 0; // of the skipped ones, those the reader has yet to pass
  #isTorn = false; // whether the last line lacks its end
  #isAdopted;
  #reader;
  #room;
  /** Bytes in the file. */
  bytes = 0;
  /** Whether it is removed, left or taken: nothing more is appended to it. */
  isGone = false;

  constructor(filePath, room, isAdopted) {
    this.#path = filePath;
    this.#room = room;
    this.#isAdopted = isAdopted;
    const flags = isAdopted ? fs.constants.O_RDWR | fs.constants.O_APPEND : 'ax+';
    this.#fd = fs.openSync(filePath, flags, FILE_MODE);
    this.bytes = fs.fstatSync(this.#fd).size;
  }

  /**
   * Make a new file in `folder`; throws if that cannot be.
   * @param {{used: number, max: number}} room bytes in the whole folder, kept up by its files
   */
  static create(folder, id, room) {
    return new SpoolFile(path.join(folder, ownName(id)), room, false);
  }

  /** Take over a dead owner's file; undefined if another process was faster. */
  static adopt(folder, name, room) {
    const theirs = path.join(folder, name);
    const ours = path.join(folder, ownName(parseName(name).id));
    try {
      // Renaming keeps the file's time, and a file of an hour ago would be anybody's at once.
      const now = new Date();
      fs.utimesSync(theirs, now, now);
      fs.renameSync(theirs, ours);
      return new SpoolFile(ours, room, true);
    } catch (problem) {
      if (problem.code === 'ENOENT') return undefined;
      throw problem;
    }
  }

  get id() {
    return parseName(path.basename(this.#path)).id;
  }

  /** How many appended events have not been read back. */
  get unread() {
    return this.#appended - this.#handedOut;
  }

  /** Append events in one write; throws if they are not in the file, with `isFull` for no room. */
  append(texts) {
    this.#write(texts.length === 1 ? eventLine(texts[0]) : texts.map(eventLine).join(''), true);
    this.#appended += texts.length;
  }

  /** Note that `count` more events are answered for; remove a file that is finished. */
  settle(count) {
    this.#settled += count;
    if (this.#settled >= this.#appended) {
      this.remove();
      return;
    }
    if (this.isGone) return;
    // Without the note they are sent again some day, and their messageIds make them count once.
    attempt(() => this.#write(doneLine(this.#skip + this.#settled), false));
  }

  /**
   * Read back events in order: `{texts, damaged}`. No texts: nothing more is in the file now.
   * At least one event, then no more than `countMax` of them and `bytesMax` bytes.
   */
  read(countMax, bytesMax) {
    this.#reader ??= new LineReader(this.#fd);
    const texts = [];
    let damaged = 0;
    let bytes = 0;
    while (texts.length < countMax) {
      const line = this.#reader.next();
      if (line === undefined) break;
      const content = readLine(line);
      if (content === undefined) damaged += 1;
      if (content?.json === undefined) continue;
      if (this.#unskipped > 0) {
        this.#unskipped -= 1;
        continue;
      }
      bytes += line.length;
      if (texts.length > 0 && bytes > bytesMax) {
        this.#reader.back();
        break;
      }
      texts.push(content.json);
    }
    this.#handedOut += texts.length;
    // An adopted file's damaged lines were never counted as appended.
    if (!this.#isAdopted) this.passOver(damaged);
    return { texts, damaged };
  }

  /** Count on so many events less: they are damaged, and not among the N of `done` either. */
  passOver(count) {
    this.#appended -= count;
    if (count > 0 && this.#settled >= this.#appended) this.remove();
  }

  /** Find out how much of an adopted file is done. Gives way to the program now and then. */
  async scan(pause) {
    const reader = new LineReader(this.#fd);
    let events = 0;
    let done = 0;
    for (let number = 1, line = reader.next(); line !== undefined; number += 1, line = reader.next()) {
      const content = readLine(line);
      if (content?.done !== undefined) done = Math.max(done, content.done);
      else if (content !== undefined) events += 1;
      if (number % LINES_A_PAUSE === 0) await pause();
      if (this.isGone) return;
    }
    this.#isTorn = reader.hasRest;
    this.#skip = Math.min(done, events);
    this.#unskipped = this.#skip;
    this.#appended = events - this.#skip;
  }

  /** Say that the owner lives. If the file is not where it was, somebody took it: it is gone. */
  touch() {
    if (this.isGone) return;
    try {
      const now = new Date();
      this.isGone = fs.statSync(this.#path).ino !== fs.fstatSync(this.#fd).ino;
      if (!this.isGone) fs.utimesSync(this.#path, now, now);
    } catch (problem) {
      this.isGone = problem.code === 'ENOENT';
    }
  }

  /** Delete the file: everything in it is answered for. */
  remove() {
    if (!this.isGone) {
      this.isGone = true;
      this.#room.used -= this.bytes;
      attempt(() => fs.unlinkSync(this.#path));
    }
    this.#close();
  }

  /** Leave the file to whoever adopts it next. */
  release() {
    if (this.isGone) return;
    this.isGone = true;
    const left = path.join(path.dirname(this.#path), nobodysName(this.id));
    attempt(() => fs.renameSync(this.#path, left));
    this.#close();
  }

  #write(text, isBounded) {
    const bytes = Buffer.from(this.#isTorn ? `\n${text}` : text);
    if (isBounded && this.#room.used + bytes.length > this.#room.max) {
      throw Object.assign(new Error('the spool is full'), { isFull: true });
    }
    const written = fs.writeSync(this.#fd, bytes, 0, bytes.length);
    this.bytes += written;
    this.#room.used += written;
    // The disk is full: the next line must not continue this one.
    this.#isTorn = written < bytes.length;
    if (this.#isTorn) throw Object.assign(new Error('no space is left'), { code: 'ENOSPC' });
  }

  #close() {
    const fd = this.#fd;
    this.#fd = undefined;
    if (fd !== undefined) attempt(() => fs.closeSync(fd));
  }
}

/** Reads a growing file line by line. */
class LineReader {
  #fd;
  #position = 0;
  #buffer = Buffer.alloc(0);
  #at = 0;
  #before = 0;

  constructor(fd) {
    this.#fd = fd;
  }

  /** The next whole line without its end, or undefined if there is none yet. */
  next() {
    for (let searchFrom = this.#at; ; ) {
      const end = this.#buffer.indexOf(LINE_BREAK, searchFrom);
      if (end >= 0) {
        const line = this.#buffer.subarray(this.#at, end);
        this.#before = this.#at;
        this.#at = end + 1;
        return line;
      }
      searchFrom = this.#buffer.length - this.#at;
      if (!this.#fill()) return undefined;
    }
  }

  /** Whether what was read ends without a line break. */
  get hasRest() {
    return this.#buffer.length > this.#at;
  }

  /** Make the line `next` just gave the next one again. */
  back() {
    this.#at = this.#before;
  }

  #fill() {
    const piece = Buffer.allocUnsafe(PIECE_BYTES);
    const count = fs.readSync(this.#fd, piece, 0, PIECE_BYTES, this.#position);
    if (count === 0) return false;
    this.#position += count;
    this.#buffer = Buffer.concat([this.#buffer.subarray(this.#at), piece.subarray(0, count)]);
    this.#at = 0;
    return true;
  }
}

function attempt(act) {
  try {
    act();
  } catch {
    // What is left undone costs a second delivery at most, which counts once.
  }
}

module.exports = { SpoolFile };
