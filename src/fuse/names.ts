/**
 * Handlers of the operations on names and attributes.
 */
import { after } from '../base/awaitable.js';
import type { Awaitable } from '../base/awaitable.js';
import { E, Errno } from '../base/errno.js';
import { S_IFREG } from '../sys/constants.js';
import { NO_NODE } from '../vfs/filesystem.js';
import type { AttributeChange, Caller, NodeId, TimeChange } from '../vfs/filesystem.js';
import type { Connection } from './connection.js';
import {
  CreateIn,
  EntryOut,
  FOPEN_KEEP_CACHE,
  GetattrIn,
  LinkIn,
  MkdirIn,
  MknodIn,
  Rename2In,
  RenameIn,
  SetattrIn,
  SetattrValid as V,
} from './protocol.js';
import {
  deviceMajor,
  deviceMinor,
  writeAttr,
  writeEntry,
  writeNegativeEntry,
  writeOpen,
  writeString,
} from './reply.js';
import type { Slot } from './request.js';

const PERMISSIONS = 0o7777;
const NO_ID = 0xffff_ffff;

export function lookup(c: Connection, slot: Slot): Awaitable<number> {
  slot.fixed(0);
  const found = c.fs.lookup(slot.node, slot.name(), slot.attributes);
  return typeof found === 'number'
    ? foundOrNot(c, slot, found)
    : found.then((node) => foundOrNot(c, slot, node));
}

function foundOrNot(c: Connection, slot: Slot, node: NodeId): number {
  if (node !== NO_NODE) return writeEntry(slot, node, c.timeouts);
  return c.options.negativeTimeout > 0 ? writeNegativeEntry(slot, c.timeouts) : -E.ENOENT;
}

export function getattr(c: Connection, slot: Slot): Awaitable<number> {
  slot.fixed(GetattrIn.size);
  const done = c.fs.getattr(slot.node, slot.attributes);
  return done instanceof Promise
    ? done.then(() => writeAttr(slot, c.timeouts))
    : writeAttr(slot, c.timeouts);
}

function timeChange(slot: Slot, now: number, seconds: number, nanoseconds: number): TimeChange {
  if (now !== 0) return 'now';
  const nsec = slot.u32(nanoseconds);
  if (nsec >= 1e9) throw new Errno(E.EINVAL);
  return { sec: slot.s64(seconds), nsec };
}

function id(slot: Slot, offset: number): number {
  const value = slot.u32(offset);
  if (value === NO_ID) throw new Errno(E.EINVAL);
  return value;
}

export function setattr(c: Connection, slot: Slot): Awaitable<number> {
  slot.fixed(SetattrIn.size);
  const valid = slot.u32(SetattrIn.valid);
  const change: AttributeChange = {};
  if ((valid & V.MODE) !== 0) change.mode = slot.u32(SetattrIn.mode) & PERMISSIONS;
  if ((valid & V.UID) !== 0) change.uid = id(slot, SetattrIn.uid);
  if ((valid & V.GID) !== 0) change.gid = id(slot, SetattrIn.gid);
  if ((valid & V.SIZE) !== 0) change.size = slot.u64(SetattrIn.fileSize, E.EFBIG);
  if ((valid & V.ATIME) !== 0)
    change.atime = timeChange(slot, valid & V.ATIME_NOW, SetattrIn.atime, SetattrIn.atimensec);
  if ((valid & V.MTIME) !== 0)
    change.mtime = timeChange(slot, valid & V.MTIME_NOW, SetattrIn.mtime, SetattrIn.mtimensec);
  if ((valid & V.KILL_SUIDGID) !== 0) change.killSetId = true;
  if (valid === 0) change.idsKept = true;
  // A ctime (sent with a writeback cache) cannot be set on a backing file, and changes by itself.
  return after(c.fs.setattr(slot.node, change, slot.caller(), slot.attributes), () =>
    writeAttr(slot, c.timeouts),
  );
}

export function readlink(c: Connection, slot: Slot): Awaitable<number> {
  return after(c.fs.readlink(slot.node), (target) =>
    target.length > slot.replySize ? -E.ENAMETOOLONG : writeString(slot, target),
  );
}

function made(c: Connection, slot: Slot, node: Awaitable<NodeId>): Awaitable<number> {
  return typeof node === 'number'
    ? writeEntry(slot, node, c.timeouts)
    : node.then((id) => writeEntry(slot, id, c.timeouts));
}

export function mknod(c: Connection, slot: Slot): Awaitable<number> {
  slot.fixed(MknodIn.size);
  const name = slot.name();
  const rdev = slot.u32(MknodIn.rdev);
  const caller = slot.caller(slot.u32(MknodIn.umask));
  return made(
    c,
    slot,
    c.fs.mknod(
      slot.node,
      name,
      slot.u32(MknodIn.mode),
      deviceMajor(rdev),
      deviceMinor(rdev),
      caller,
      slot.attributes,
    ),
  );
}

export function mkdir(c: Connection, slot: Slot): Awaitable<number> {
  slot.fixed(MkdirIn.size);
  const name = slot.name();
  const caller = slot.caller(slot.u32(MkdirIn.umask));
  return made(
    c,
    slot,
    c.fs.mkdir(slot.node, name, slot.u32(MkdirIn.mode), caller, slot.attributes),
  );
}

export function symlink(c: Connection, slot: Slot): Awaitable<number> {
  slot.fixed(0);
  const name = slot.name();
  const target = slot.string();
  return made(c, slot, c.fs.symlink(slot.node, name, target, slot.caller(), slot.attributes));
}

/** An entry and an open file, as CREATE and TMPFILE are answered. */
function madeAndOpened(c: Connection, slot: Slot, node: NodeId, caller: Caller): Awaitable<number> {
  const { backing } = c;
  if (backing === null)
    return writeEntry(slot, node, c.timeouts) + writeOpen(slot, EntryOut.size, FOPEN_KEEP_CACHE);
  return after(c.fs.backingFile(node, true, caller), (fd) => {
    const opened = backing.open(node, fd, slot.u32(CreateIn.flags), slot.attributes.mode);
    return (
      writeEntry(slot, node, c.timeouts) +
      writeOpen(slot, EntryOut.size, opened.flags, opened.backingId)
    );
  });
}

/**
 * After ENOSYS the kernel sends MKNOD instead, and where it can open without a message that is all
 * it sends (fs/fuse/dir.c, fuse_atomic_open). Older kernels would need MKNOD and OPEN: one CREATE
 * is better.
 */
export function create(c: Connection, slot: Slot): Awaitable<number> {
  if (c.openWithoutMessage) return -E.ENOSYS;
  slot.fixed(CreateIn.size);
  const name = slot.name();
  const mode = (slot.u32(CreateIn.mode) & PERMISSIONS) | S_IFREG;
  const caller = slot.caller(slot.u32(CreateIn.umask));
  return after(c.fs.mknod(slot.node, name, mode, 0, 0, caller, slot.attributes), (node) =>
    madeAndOpened(c, slot, node, caller),
  );
}

/** The request's name is not one (the kernel sends `/`), so it is not read. */
export function tmpfile(c: Connection, slot: Slot): Awaitable<number> {
  slot.fixed(CreateIn.size);
  const mode = (slot.u32(CreateIn.mode) & PERMISSIONS) | S_IFREG;
  const caller = slot.caller(slot.u32(CreateIn.umask));
  return after(c.fs.tmpfile(slot.node, mode, caller, slot.attributes), (node) =>
    madeAndOpened(c, slot, node, caller),
  );
}

export function link(c: Connection, slot: Slot): Awaitable<number> {
  slot.fixed(LinkIn.size);
  const node = slot.nodeAt(LinkIn.oldnodeid);
  const name = slot.name();
  return after(c.fs.link(node, slot.node, name, slot.caller(), slot.attributes), () =>
    writeEntry(slot, node, c.timeouts),
  );
}

function nothing(): number {
  return 0;
}

export function unlink(c: Connection, slot: Slot): Awaitable<number> {
  slot.fixed(0);
  return after(c.fs.unlink(slot.node, slot.name(), slot.caller()), nothing);
}

export function rmdir(c: Connection, slot: Slot): Awaitable<number> {
  slot.fixed(0);
  return after(c.fs.rmdir(slot.node, slot.name(), slot.caller()), nothing);
}

function renameTo(c: Connection, slot: Slot, newParent: NodeId, flags: number): Awaitable<number> {
  const name = slot.name();
  const newName = slot.name();
  return after(c.fs.rename(slot.node, name, newParent, newName, flags, slot.caller()), nothing);
}

export function rename(c: Connection, slot: Slot): Awaitable<number> {
  slot.fixed(RenameIn.size);
  return renameTo(c, slot, slot.nodeAt(RenameIn.newdir), 0);
}

export function rename2(c: Connection, slot: Slot): Awaitable<number> {
  slot.fixed(Rename2In.size);
  return renameTo(c, slot, slot.nodeAt(Rename2In.newdir), slot.u32(Rename2In.flags));
}
