/**
 * Handlers of the operations on directories and on the file system as a whole.
 */
import { after } from '../base/awaitable.js';
import type { Awaitable } from '../base/awaitable.js';
import { E } from '../base/errno.js';
import type { FileSystemStatistics } from '../vfs/filesystem.js';
import type { Connection } from './connection.js';
import {
  FOPEN_CACHE_DIR,
  FOPEN_KEEP_CACHE,
  FSYNC_FDATASYNC,
  FsyncIn,
  OpenIn,
  ReadIn,
} from './protocol.js';
import { DirectoryWriter, writeOpen, writeStatfs } from './reply.js';
import type { Slot } from './request.js';

function nothing(): number {
  return 0;
}

export function opendir(c: Connection, slot: Slot): number {
  if (c.opendirWithoutMessage) return -E.ENOSYS;
  slot.fixed(OpenIn.size);
  return writeOpen(slot, 0, FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR);
}

function list(c: Connection, slot: Slot, plus: boolean): Awaitable<number> {
  slot.fixed(ReadIn.size);
  const cookie = slot.u64(ReadIn.offset, E.EINVAL);
  const writer = new DirectoryWriter(slot, slot.u32(ReadIn.length), plus, c.timeouts);
  const finish = (): number => {
    for (const node of writer.unclaimed) c.fs.forget(node, 1);
    return writer.used;
  };
  // Entries that are written hold references of the kernel's: they are delivered, and the next call
  // meets the error.
  const fail = (error: unknown): number => {
    const used = finish();
    if (used === 0) throw error;
    return used;
  };
  try {
    const done = c.fs.readdir(slot.node, cookie, plus, writer);
    return done instanceof Promise ? done.then(finish, fail) : finish();
  } catch (error) {
    return fail(error);
  }
}

export function readdir(c: Connection, slot: Slot): Awaitable<number> {
  return list(c, slot, false);
}

export function readdirplus(c: Connection, slot: Slot): Awaitable<number> {
  return list(c, slot, true);
}

export function fsyncdir(c: Connection, slot: Slot): Awaitable<number> {
  slot.fixed(FsyncIn.size);
  return after(
    c.fs.fsyncdir(slot.node, (slot.u32(FsyncIn.flags) & FSYNC_FDATASYNC) !== 0),
    nothing,
  );
}

export function syncfs(c: Connection): Awaitable<number> {
  return after(c.fs.syncfs(), nothing);
}

export function statfs(c: Connection, slot: Slot): Awaitable<number> {
  const out: FileSystemStatistics = {
    bsize: 0,
    frsize: 0,
    blocks: 0,
    bfree: 0,
    bavail: 0,
    files: 0,
    ffree: 0,
    namelen: 0,
  };
  return after(c.fs.statfs(out), () => writeStatfs(slot, out));
}
