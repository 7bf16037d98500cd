/**
 * One slot of a session, as the request in it is read.
 *
 * The views are made once a slot. Nothing outside the request's own length is ever read as part of
 * it: a request that is shorter than its kind needs, or whose strings do not end inside it, is
 * `malformed` and answered with EIO.
 */
import type { ByteString, Name } from '../base/bytes.js';
import { E, Errno } from '../base/errno.js';
import { Attributes } from '../vfs/filesystem.js';
import type { Caller, NodeId } from '../vfs/filesystem.js';
import { EXT_GROUPS, ExtHeader, InHeader } from './protocol.js';

const littleEndian = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;
/** Where the halves of a 64-bit field are, in 32-bit words from its start. */
export const LOW = littleEndian ? 0 : 1;
export const HIGH = littleEndian ? 1 : 0;

export const TWO_32 = 0x1_0000_0000;
/** High words from this on make numbers that a double does not hold exactly. */
const HIGH_LIMIT = 0x20_0000;
/** The largest double below 2^63. */
const LARGEST_S64 = 2 ** 63 - 1024;
const NAME_MAX = 255;

const SLASH = 0x2f;
const DOT = 0x2e;

export function malformed(): Errno {
  return new Errno(E.EIO, 'malformed request');
}

class RequestCaller implements Caller {
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  readonly umask: number;
  readonly parentGroup: number;
  interrupted = false;

  constructor(uid: number, gid: number, pid: number, umask: number, parentGroup: number) {
    this.uid = uid;
    this.gid = gid;
    this.pid = pid;
    this.umask = umask;
    this.parentGroup = parentGroup;
  }
}

export class Slot {
  readonly index: number;
  readonly bytes: Buffer;
  readonly words: Uint32Array;
  readonly halves: Uint16Array;
  /** Byte and word where the answer's body starts, and the bytes there is room for. */
  readonly reply: number;
  readonly replyWord: number;
  readonly replySize: number;
  /**
   * For the answer to this request; operations that wait have one each, because a slot is held
   * until it is answered.
   */
  readonly attributes = new Attributes();

  /** Who asked, once an operation wanted to know. */
  currentCaller: Caller | null = null;
  /** The first name of the request, for traces. */
  firstName: ByteString | null = null;
  /** performance.now() when the request was taken up, if requests are observed. */
  started = 0;

  /** The request ends here; extensions lie between `#end` and `#extensionsEnd`. */
  #end = 0;
  #extensionsEnd = 0;
  /** Where the next string starts. */
  #cursor = 0;

  constructor(index: number, memory: ArrayBuffer, replyOffset: number, replySize: number) {
    if (replyOffset % 8 !== 0)
      throw new RangeError(
        `a slot's reply must start at a multiple of 8 bytes, not at ${replyOffset}`,
      );
    this.index = index;
    this.bytes = Buffer.from(memory);
    this.words = new Uint32Array(memory, 0, memory.byteLength >>> 2);
    this.halves = new Uint16Array(memory, 0, memory.byteLength >>> 1);
    this.reply = replyOffset;
    this.replyWord = replyOffset >>> 2;
    this.replySize = replySize;
  }

  /** Takes up a new request; false when its header is not sound. */
  begin(): boolean {
    this.currentCaller = null;
    this.firstName = null;
    const length = this.words[0] as number;
    const extensions = (this.halves[InHeader.totalExtlen >>> 1] as number) * 8;
    this.#extensionsEnd = length;
    this.#end = length - extensions;
    return this.#end >= InHeader.size && length <= this.bytes.length;
  }

  get opcode(): number {
    return this.words[InHeader.opcode >>> 2] as number;
  }

  /** The request's number, without the bit that marks a resent request (FUSE_UNIQUE_RESEND). */
  get unique(): number {
    return this.#unique(InHeader.unique);
  }

  /** The number of another request. */
  uniqueAt(offset: number): number {
    return this.#unique(InHeader.size + offset);
  }

  get node(): NodeId {
    return this.#number(InHeader.nodeid, E.EINVAL) as NodeId;
  }

  /** For traces: as `node`, but never throws. */
  get nodeForTrace(): number {
    const at = InHeader.nodeid >>> 2;
    return (this.words[at + HIGH] as number) * TWO_32 + (this.words[at + LOW] as number);
  }

  /** Bytes after the header, without extensions. */
  get length(): number {
    return this.#end - InHeader.size;
  }

  /**
   * Asserts that the request's fixed part, `size` bytes, is there. Strings are read from behind it.
   */
  fixed(size: number): void {
    this.#cursor = InHeader.size + size;
    if (this.#cursor > this.#end) throw malformed();
  }

  u32(offset: number): number {
    return this.words[(InHeader.size + offset) >>> 2] as number;
  }

  /** An unsigned 64-bit field; `errno` is thrown where it reaches 2^53. */
  u64(offset: number, errno: number): number {
    return this.#number(InHeader.size + offset, errno);
  }

  nodeAt(offset: number): NodeId {
    return this.#number(InHeader.size + offset, E.EINVAL) as NodeId;
  }

  /**
   * A signed 64-bit field in two's complement: beyond 2^53 either way the nearest number that a
   * double holds, within 64 bits.
   */
  s64(offset: number): number {
    const at = (InHeader.size + offset) >>> 2;
    const high = (this.words[at + HIGH] as number) | 0;
    return Math.min(high * TWO_32 + (this.words[at + LOW] as number), LARGEST_S64);
  }

  /** The next string, of at least one byte. */
  string(): ByteString {
    const start = this.#cursor;
    const end = this.#stringEnd(start);
    if (end === start) throw new Errno(E.EINVAL);
    return this.bytes.toString('latin1', start, end) as ByteString;
  }

  /**
   * The next string, which must be one name of a directory: EINVAL, or ENAMETOOLONG beyond 255
   * bytes.
   */
  name(): Name {
    const start = this.#cursor;
    const end = this.#stringEnd(start);
    const { bytes } = this;
    const length = end - start;
    if (length === 0) throw new Errno(E.EINVAL);
    if (length > NAME_MAX) throw new Errno(E.ENAMETOOLONG);
    if (bytes[start] === DOT && (length === 1 || (length === 2 && bytes[start + 1] === DOT)))
      throw new Errno(E.EINVAL);
    for (let at = start; at < end; at++) if (bytes[at] === SLASH) throw new Errno(E.EINVAL);
    const name = bytes.toString('latin1', start, end) as Name;
    this.firstName ??= name;
    return name;
  }

  /** The next `length` bytes: a view, valid until the slot is answered. */
  data(length: number): Uint8Array {
    if (this.#cursor + length > this.#end) throw malformed();
    return this.bytes.subarray(this.#cursor, this.#cursor + length);
  }

  /**
   * Who asks. With FUSE_ALLOW_IDMAP the kernel tells owners only where something is made: uid and
   * gid are 0xffffffff (no id) in all other requests.
   */
  caller(umask = 0): Caller {
    const { words } = this;
    this.currentCaller = new RequestCaller(
      words[InHeader.uid >>> 2] as number,
      words[InHeader.gid >>> 2] as number,
      words[InHeader.pid >>> 2] as number,
      umask,
      this.#extensionsEnd === this.#end ? -1 : this.#parentGroup(),
    );
    return this.currentCaller;
  }

  #number(offset: number, errno: number): number {
    const at = offset >>> 2;
    const high = this.words[at + HIGH] as number;
    if (high >= HIGH_LIMIT) throw new Errno(errno);
    return high * TWO_32 + (this.words[at + LOW] as number);
  }

  #unique(offset: number): number {
    const at = offset >>> 2;
    return (
      ((this.words[at + HIGH] as number) & 0x7fffffff) * TWO_32 + (this.words[at + LOW] as number)
    );
  }

  #stringEnd(start: number): number {
    const { bytes } = this;
    const end = this.#end;
    for (let at = start; at < end; at++) {
      if (bytes[at] === 0) {
        this.#cursor = at + 1;
        return at;
      }
    }
    throw malformed();
  }

  /**
   * The first group of the FUSE_EXT_GROUPS extension, or -1. Extensions follow the strings
   * directly, so they are not aligned.
   */
  #parentGroup(): number {
    let at = this.#end;
    while (at + ExtHeader.size <= this.#extensionsEnd) {
      const size = this.#unaligned(at + ExtHeader.extSize);
      if (size < ExtHeader.size || at + size > this.#extensionsEnd) throw malformed();
      if (this.#unaligned(at + ExtHeader.type) === EXT_GROUPS) {
        if (size < ExtHeader.size + 4) throw malformed();
        const count = this.#unaligned(at + ExtHeader.size);
        if (count > (size - ExtHeader.size - 4) / 4) throw malformed();
        return count === 0 ? -1 : this.#unaligned(at + ExtHeader.size + 4);
      }
      at += size;
    }
    return -1;
  }

  #unaligned(at: number): number {
    return littleEndian ? this.bytes.readUInt32LE(at) : this.bytes.readUInt32BE(at);
  }
}
