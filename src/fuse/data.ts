/**
 * Handlers of the operations on the content of files.
 *
 * READ and WRITE come here only while the data path has no descriptor that would do; the handler
 * publishes one and hands the request back.
 */
import { after } from '../base/awaitable.js';
import type { Awaitable } from '../base/awaitable.js';
import { E, Errno } from '../base/errno.js';
import { O_ACCMODE, O_APPEND, O_RDONLY, O_TRUNC } from '../sys/constants.js';
import type { BackingFiles } from './backing.js';
import { NO_ANSWER } from './connection.js';
import type { Connection } from './connection.js';
import {
  CopyFileRangeIn,
  FallocateIn,
  FOPEN_KEEP_CACHE,
  FSYNC_FDATASYNC,
  FsyncIn,
  LseekIn,
  OPEN_KILL_SUIDGID,
  OpenIn,
  ReadIn,
  ReleaseIn,
  WRITE_CACHE,
  WRITE_KILL_SUIDGID,
  WriteIn,
} from './protocol.js';
import { writeNumber, writeOpen, writeWord } from './reply.js';
import { malformed } from './request.js';
import type { Slot } from './request.js';

const SEEK_DATA = 3;
const SEEK_HOLE = 4;
/** The answer to COPY_FILE_RANGE counts in 32 bits. */
const MAX_OLD_COPY = 0xffff_f000;

function nothing(): number {
  return 0;
}

export function open(c: Connection, slot: Slot): Awaitable<number> {
  if (c.openWithoutMessage) return -E.ENOSYS;
  slot.fixed(OpenIn.size);
  const { backing } = c;
  return backing === null ? writeOpen(slot, 0, FOPEN_KEEP_CACHE) : openBacking(c, slot, backing);
}

/** With passthrough the kernel leaves O_TRUNC to us (FUSE_ATOMIC_O_TRUNC). */
function openBacking(c: Connection, slot: Slot, backing: BackingFiles): Awaitable<number> {
  const { node } = slot;
  const flags = slot.u32(OpenIn.flags);
  const caller = slot.caller();
  const write = (flags & O_ACCMODE) !== O_RDONLY;
  const killSetId = (slot.u32(OpenIn.openFlags) & OPEN_KILL_SUIDGID) !== 0;
  const cut =
    (flags & O_TRUNC) === 0
      ? undefined
      : c.fs.setattr(node, { size: 0, killSetId }, caller, slot.attributes);
  return after(
    after(cut, () => c.fs.backingFile(node, write, caller, (flags & O_APPEND) !== 0)),
    (fd) =>
      after(write ? c.fs.getattr(node, slot.attributes) : undefined, () => {
        const opened = backing.open(node, fd, flags, write ? slot.attributes.mode : 0);
        return writeOpen(slot, 0, opened.flags, opened.backingId);
      }),
  );
}

export function release(c: Connection, slot: Slot): number {
  slot.fixed(ReleaseIn.size);
  c.backing?.release(slot.node, slot.u32(ReleaseIn.flags));
  return 0;
}

function leaveToDataPath(c: Connection, slot: Slot): number {
  if (!c.ended) c.session.serve(slot.index);
  return NO_ANSWER;
}

export function read(c: Connection, slot: Slot): Awaitable<number> {
  slot.fixed(ReadIn.size);
  return after(c.fs.openFile(slot.node, false, slot.caller()), () => leaveToDataPath(c, slot));
}

export function write(c: Connection, slot: Slot): Awaitable<number> {
  slot.fixed(WriteIn.size);
  if (slot.length < WriteIn.size + slot.u32(WriteIn.length)) throw malformed();
  const { node } = slot;
  const writeFlags = slot.u32(WriteIn.writeFlags);
  const kill = (writeFlags & WRITE_KILL_SUIDGID) !== 0;
  // Writes that a cache held back do not tell how they were made.
  const appending =
    (slot.u32(WriteIn.flags) & O_APPEND) !== 0 ||
    (c.options.writeback && (writeFlags & WRITE_CACHE) !== 0);
  const caller = slot.caller();
  return after(c.fs.openFile(node, true, caller, appending), () => {
    // The file is in the upper layer now; its bits go before the data comes, so that no one runs
    // the new data with the old bits.
    if (kill) {
      c.fs.killSetId(node, caller);
      // Nor may the kernel, which takes the mode that it remembers, start the new data with them.
      if (!c.ended) c.session.expireAttributes(node);
    }
    const left = leaveToDataPath(c, slot);
    if (appending) c.fs.appended(node);
    return left;
  });
}

export function fsync(c: Connection, slot: Slot): Awaitable<number> {
  slot.fixed(FsyncIn.size);
  return after(c.fs.fsync(slot.node, (slot.u32(FsyncIn.flags) & FSYNC_FDATASYNC) !== 0), nothing);
}

export function fallocate(c: Connection, slot: Slot): Awaitable<number> {
  slot.fixed(FallocateIn.size);
  const offset = slot.u64(FallocateIn.offset, E.EFBIG);
  const length = slot.u64(FallocateIn.length, E.EFBIG);
  if (!Number.isSafeInteger(offset + length)) throw new Errno(E.EFBIG);
  return after(
    c.fs.fallocate(slot.node, slot.u32(FallocateIn.mode), offset, length, slot.caller()),
    nothing,
  );
}

export function lseek(c: Connection, slot: Slot): Awaitable<number> {
  slot.fixed(LseekIn.size);
  const whence = slot.u32(LseekIn.whence);
  if (whence !== SEEK_DATA && whence !== SEEK_HOLE) throw new Errno(E.EINVAL);
  // A negative offset, too: it is beyond 2^53 when read as unsigned.
  const offset = slot.u64(LseekIn.offset, E.ENXIO);
  return after(c.fs.lseek(slot.node, offset, whence, slot.caller()), (found) =>
    writeNumber(slot, found),
  );
}

function copy(c: Connection, slot: Slot, limit: number): Awaitable<number> {
  slot.fixed(CopyFileRangeIn.size);
  if (slot.u32(CopyFileRangeIn.flags) !== 0) throw new Errno(E.EINVAL);
  const from = slot.u64(CopyFileRangeIn.offIn, E.EFBIG);
  const to = slot.u64(CopyFileRangeIn.offOut, E.EFBIG);
  const length = Math.min(slot.u64(CopyFileRangeIn.length, E.EFBIG), limit);
  return c.fs.copyFileRange(
    slot.node,
    from,
    slot.nodeAt(CopyFileRangeIn.nodeidOut),
    to,
    length,
    slot.caller(),
  );
}

export function copyFileRange(c: Connection, slot: Slot): Awaitable<number> {
  return after(copy(c, slot, MAX_OLD_COPY), (copied) => writeWord(slot, copied));
}

export function copyFileRange64(c: Connection, slot: Slot): Awaitable<number> {
  return after(copy(c, slot, Number.MAX_SAFE_INTEGER), (copied) => writeNumber(slot, copied));
}
