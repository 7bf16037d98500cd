/**
 * Writing the body of an answer into a slot. Every function returns the number of bytes it wrote.
 */
import type { ByteString } from '../base/bytes.js';
import { sys } from '../sys/index.js';
import { NO_NODE } from '../vfs/filesystem.js';
import type { Attributes, DirectorySink, FileSystemStatistics, NodeId } from '../vfs/filesystem.js';
import { Attr, AttrOut, Dirent, EntryOut, OpenOut, StatfsOut } from './protocol.js';
import { HIGH, LOW, TWO_32 } from './request.js';
import type { Slot } from './request.js';

/** A cache time as the kernel takes it. */
export interface Timeout {
  readonly sec: number;
  readonly nsec: number;
}

/**
 * More than a century; the kernel cuts it down to what its clock can hold (fs/fuse/dir.c,
 * time_to_jiffies).
 */
const FOREVER = 0xffff_ffff;

/** `seconds` may be a fraction, or Infinity. */
export function timeoutOf(seconds: number): Timeout {
  if (!(seconds > 0)) return { sec: 0, nsec: 0 };
  if (seconds >= FOREVER) return { sec: FOREVER, nsec: 0 };
  const sec = Math.floor(seconds);
  return { sec, nsec: Math.floor((seconds - sec) * 1e9) };
}

/** How long the kernel may believe a name, attributes, and the absence of a name. */
export interface Timeouts {
  readonly entry: Timeout;
  readonly attr: Timeout;
  readonly negative: Timeout;
  /**
   * Nodes whose attributes change without the kernel's knowledge: it may not believe them at all.
   */
  readonly changing: ReadonlySet<number>;
}

const NOT_AT_ALL: Timeout = { sec: 0, nsec: 0 };

function attrTimeout(node: number, t: Timeouts): Timeout {
  return t.changing.size !== 0 && t.changing.has(node) ? NOT_AT_ALL : t.attr;
}

/** The kernel's 32-bit device number (include/linux/kdev_t.h, new_encode_dev). */
export function encodeDevice(major: number, minor: number): number {
  return ((minor & 0xff) | ((major & 0xfff) << 8) | ((minor & ~0xff) << 12)) >>> 0;
}

export function deviceMajor(device: number): number {
  return (device & 0xfff00) >>> 8;
}

export function deviceMinor(device: number): number {
  return (device & 0xff) | ((device >>> 12) & 0xfff00);
}

/** `value`: an integer, |value| < 2^53; a negative one in two's complement. */
export function writeU64(words: Uint32Array, at: number, value: number): void {
  words[at + LOW] = value;
  words[at + HIGH] = value >= 0 && value < TWO_32 ? 0 : Math.floor(value / TWO_32);
}

function writeAttributes(words: Uint32Array, at: number, a: Attributes): void {
  writeU64(words, at + (Attr.ino >>> 2), a.ino);
  writeU64(words, at + (Attr.fileSize >>> 2), a.size);
  writeU64(words, at + (Attr.blocks >>> 2), a.blocks);
  writeU64(words, at + (Attr.atime >>> 2), a.atimeSec);
  writeU64(words, at + (Attr.mtime >>> 2), a.mtimeSec);
  writeU64(words, at + (Attr.ctime >>> 2), a.ctimeSec);
  words[at + (Attr.atimensec >>> 2)] = a.atimeNsec;
  words[at + (Attr.mtimensec >>> 2)] = a.mtimeNsec;
  words[at + (Attr.ctimensec >>> 2)] = a.ctimeNsec;
  words[at + (Attr.mode >>> 2)] = a.mode;
  words[at + (Attr.nlink >>> 2)] = a.nlink;
  words[at + (Attr.uid >>> 2)] = a.uid;
  words[at + (Attr.gid >>> 2)] = a.gid;
  words[at + (Attr.rdev >>> 2)] = encodeDevice(a.rdevMajor, a.rdevMinor);
  words[at + (Attr.blksize >>> 2)] = a.blksize;
  words[at + (Attr.flags >>> 2)] = 0;
}

function writeEntryAt(
  words: Uint32Array,
  at: number,
  node: number,
  a: Attributes,
  t: Timeouts,
): void {
  writeU64(words, at + (EntryOut.nodeid >>> 2), node);
  // Node ids are used again only after the kernel forgot them, so one generation is enough (as in
  // libfuse).
  writeU64(words, at + (EntryOut.generation >>> 2), 0);
  writeU64(words, at + (EntryOut.entryValid >>> 2), t.entry.sec);
  const attr = attrTimeout(node, t);
  writeU64(words, at + (EntryOut.attrValid >>> 2), attr.sec);
  words[at + (EntryOut.entryValidNsec >>> 2)] = t.entry.nsec;
  words[at + (EntryOut.attrValidNsec >>> 2)] = attr.nsec;
  writeAttributes(words, at + (EntryOut.attr >>> 2), a);
}

export function writeEntry(slot: Slot, node: NodeId, t: Timeouts): number {
  writeEntryAt(slot.words, slot.replyWord, node, slot.attributes, t);
  return EntryOut.size;
}

/** "There is no such name, and you may remember that": an entry with node 0. */
export function writeNegativeEntry(slot: Slot, t: Timeouts): number {
  const { words, replyWord } = slot;
  words.fill(0, replyWord, replyWord + (EntryOut.size >>> 2));
  writeU64(words, replyWord + (EntryOut.entryValid >>> 2), t.negative.sec);
  words[replyWord + (EntryOut.entryValidNsec >>> 2)] = t.negative.nsec;
  return EntryOut.size;
}

export function writeAttr(slot: Slot, t: Timeouts): number {
  const { words, replyWord } = slot;
  const attr = attrTimeout(slot.node, t);
  writeU64(words, replyWord + (AttrOut.attrValid >>> 2), attr.sec);
  words[replyWord + (AttrOut.attrValidNsec >>> 2)] = attr.nsec;
  words[replyWord + (AttrOut.attrValidNsec >>> 2) + 1] = 0;
  writeAttributes(words, replyWord + (AttrOut.attr >>> 2), slot.attributes);
  return AttrOut.size;
}

/**
 * File handle 0 with `openFlags`, `offset` bytes into the body. `backingId` goes with
 * FOPEN_PASSTHROUGH.
 */
export function writeOpen(slot: Slot, offset: number, openFlags: number, backingId = 0): number {
  const at = slot.replyWord + (offset >>> 2);
  writeU64(slot.words, at + (OpenOut.fh >>> 2), 0);
  slot.words[at + (OpenOut.openFlags >>> 2)] = openFlags;
  slot.words[at + (OpenOut.backingId >>> 2)] = backingId;
  return OpenOut.size;
}

export function writeStatfs(slot: Slot, s: FileSystemStatistics): number {
  const { words, replyWord: at } = slot;
  words.fill(0, at, at + (StatfsOut.size >>> 2));
  writeU64(words, at + (StatfsOut.blocks >>> 2), s.blocks);
  writeU64(words, at + (StatfsOut.bfree >>> 2), s.bfree);
  writeU64(words, at + (StatfsOut.bavail >>> 2), s.bavail);
  writeU64(words, at + (StatfsOut.files >>> 2), s.files);
  writeU64(words, at + (StatfsOut.ffree >>> 2), s.ffree);
  words[at + (StatfsOut.bsize >>> 2)] = s.bsize;
  words[at + (StatfsOut.namelen >>> 2)] = s.namelen;
  words[at + (StatfsOut.frsize >>> 2)] = s.frsize;
  return StatfsOut.size;
}

/** A 64-bit number as the whole body. */
export function writeNumber(slot: Slot, value: number): number {
  writeU64(slot.words, slot.replyWord, value);
  return 8;
}

/** A 32-bit number and padding as the whole body (fuse_getxattr_out, fuse_write_out). */
export function writeWord(slot: Slot, value: number): number {
  slot.words[slot.replyWord] = value;
  slot.words[slot.replyWord + 1] = 0;
  return 8;
}

/** Bytes as the body; the caller has checked that they fit. */
export function writeBytes(slot: Slot, value: Uint8Array): number {
  slot.bytes.set(value, slot.reply);
  return value.length;
}

export function writeString(slot: Slot, value: ByteString): number {
  return slot.bytes.write(value, slot.reply, 'latin1');
}

function align8(bytes: number): number {
  return (bytes + 7) & ~7;
}

/** Fills a slot with `fuse_dirent` records, or `fuse_direntplus` when `plus`. */
export class DirectoryWriter implements DirectorySink {
  readonly #slot: Slot;
  readonly #plus: boolean;
  readonly #timeouts: Timeouts;
  readonly #limit: number;
  #used = 0;
  /**
   * Nodes the file system counted although the kernel takes no reference on them: `.` and `..`, or
   * in a plain listing.
   */
  readonly unclaimed: NodeId[] = [];

  /** `size`: what the kernel has room for, in bytes. */
  constructor(slot: Slot, size: number, plus: boolean, timeouts: Timeouts) {
    this.#slot = slot;
    this.#plus = plus;
    this.#timeouts = timeouts;
    this.#limit = Math.min(size, slot.replySize);
  }

  get used(): number {
    return this.#used;
  }

  fits(nameBytes: number): boolean {
    return this.#used + this.#recordSize(nameBytes) <= this.#limit;
  }

  entry(name: ByteString, ino: number, type: number, cookie: number): boolean {
    if (!this.fits(name.length)) return false;
    const at = this.#slot.replyWord + (this.#used >>> 2);
    if (this.#plus) {
      // Node 0: "no attributes given" (fs/fuse/readdir.c, fuse_direntplus_link).
      this.#slot.words.fill(0, at, at + (EntryOut.size >>> 2));
      this.#dirent(at + (EntryOut.size >>> 2), name, ino, type, cookie);
    } else {
      this.#dirent(at, name, ino, type, cookie);
    }
    this.#used += this.#recordSize(name.length);
    return true;
  }

  packed(records: Uint8Array, cursor: Float64Array, cookieBase: number): number {
    const slot = this.#slot;
    cursor[2] = 0;
    const start = slot.reply + this.#used;
    const stop = sys.packEntries(
      records,
      cursor,
      slot.bytes,
      start,
      this.#limit - this.#used,
      this.#plus,
      cookieBase,
    );
    this.#used += cursor[2];
    return stop;
  }

  entryPlus(
    name: ByteString,
    node: NodeId,
    attributes: Attributes,
    type: number,
    cookie: number,
  ): boolean {
    if (!this.#plus || name === '.' || name === '..') {
      if (!this.entry(name, attributes.ino, type, cookie)) return false;
      if (node !== NO_NODE) this.unclaimed.push(node);
      return true;
    }
    if (!this.fits(name.length)) return false;
    const at = this.#slot.replyWord + (this.#used >>> 2);
    writeEntryAt(this.#slot.words, at, node, attributes, this.#timeouts);
    this.#dirent(at + (EntryOut.size >>> 2), name, attributes.ino, type, cookie);
    this.#used += this.#recordSize(name.length);
    return true;
  }

  #recordSize(nameBytes: number): number {
    return align8((this.#plus ? EntryOut.size : 0) + Dirent.name + nameBytes);
  }

  #dirent(at: number, name: ByteString, ino: number, type: number, cookie: number): void {
    const { words, bytes } = this.#slot;
    writeU64(words, at + (Dirent.ino >>> 2), ino);
    writeU64(words, at + (Dirent.off >>> 2), cookie);
    words[at + (Dirent.namelen >>> 2)] = name.length;
    words[at + (Dirent.type >>> 2)] = type;
    const start = (at << 2) + Dirent.name;
    const end = start + name.length;
    // Names are short: a loop costs less than a call into C++.
    for (let to = start, from = 0; to < end; to++, from++) bytes[to] = name.charCodeAt(from);
    bytes.fill(0, end, align8(end));
  }
}
