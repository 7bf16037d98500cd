/** Attributes of nodes: what stat(2) shows, and chmod, chown, truncate and utimensat. */
import { after, type Awaitable } from '../base/awaitable.js';
import type { ByteString } from '../base/bytes.js';
import { check, E, Errno } from '../base/errno.js';
import { sys } from '../sys/index.js';
import { UTIME_NOW, UTIME_OMIT } from '../sys/constants.js';
import { xattrAside } from '../overlay/override-stat.js';
import { StatField } from '../sys/syscalls.js';
import type { Attributes, AttributeChange, Caller, TimeChange } from '../vfs/filesystem.js';
import { actsAsOwner, isInGroup, mayBeWriting, mayKeepSetId } from './caller-rights.js';
import type { UnionContext } from './context.js';
import { copyUp, upperDirectory, writableUpper } from './copy-up.js';
import { onDisk } from '../overlay/disk-directory.js';
import { CAPABILITY } from './metadata.js';
import { type Node, statNode } from './node.js';
import { byNameAsOwner, removeXattrAsOwner } from '../overlay/owner-rights.js';
import { refuseChange, refuseTouch, refuseWrite } from './protection.js';
import { field, newStatBuffer, S_IFREG } from '../overlay/stat-buffer.js';

/**
 * Bytes of a file whose extents may be gone through at once: in 64 MiB there are 16,384 at most,
 * some milliseconds.
 */
export const EXTENTS_AT_ONCE = 64 << 20;

const S_ISUID = 0o4000;
const S_ISGID = 0o2000;
const S_IXGRP = 0o10;

/** What the mount shows of a node whose object's attributes are entry `index` of `stat`. */
export function fillAttributes(
  context: UnionContext,
  node: Node,
  stat: Float64Array,
  index: number,
  out: Attributes,
): void {
  out.ino = node.ino;
  out.mode = field(stat, index, StatField.Mode);
  out.nlink = linkCount(context, node, field(stat, index, StatField.Nlink));
  out.uid = field(stat, index, StatField.Uid);
  out.gid = field(stat, index, StatField.Gid);
  out.rdevMajor = field(stat, index, StatField.RdevMajor);
  out.rdevMinor = field(stat, index, StatField.RdevMinor);
  out.size = field(stat, index, StatField.Size);
  out.blocks = field(stat, index, StatField.Blocks);
  out.blksize = field(stat, index, StatField.Blksize);
  out.atimeSec = field(stat, index, StatField.AtimeSec);
  out.atimeNsec = field(stat, index, StatField.AtimeNsec);
  out.mtimeSec = field(stat, index, StatField.MtimeSec);
  out.mtimeNsec = field(stat, index, StatField.MtimeNsec);
  out.ctimeSec = field(stat, index, StatField.CtimeSec);
  out.ctimeNsec = field(stat, index, StatField.CtimeNsec);
  context.ownership.show(out);
}

/** A merged directory shows 1, as overlayfs does: its sub-directories are in several places. */
function linkCount(context: UnionContext, node: Node, own: number): number {
  if (node.isDirectory()) {
    if (node.lastStat !== null) return 0;
    return node.stack.length > 1 || context.options.staticNlink ? 1 : own;
  }
  // A name in the workdir or in the index is none that is shown.
  if (node.inUpper)
    return (
      own - (node.parked || node.links?.indexed === true ? 1 : 0) + (node.links?.remaining ?? 0)
    );
  if (node.links !== null) return node.links.remaining;
  return node.unlinked ? 0 : own;
}

export function getattr(context: UnionContext, node: Node, out: Attributes): void {
  check(statNode(node, context.stat), 'stat');
  fillAttributes(context, node, context.stat, 0, out);
}

/**
 * Where a node's object in the upper is reached: a name relative to a descriptor, or the
 * descriptor's own file.
 */
export interface Target {
  dirfd: number;
  name: ByteString;
}

/** For a node that has been copied up. */
export function upperTarget(context: UnionContext, node: Node): Target {
  if (node.isDirectory())
    return { dirfd: upperDirectory(context, node).fd(), name: '' as ByteString };
  if (node.orphanFd >= 0) return { dirfd: node.orphanFd, name: '' as ByteString };
  const holder = onDisk(node.holder);
  holder.requireOwn(node.name);
  return { dirfd: holder.fd(), name: node.name };
}

export function setattr(
  context: UnionContext,
  node: Node,
  change: AttributeChange,
  caller: Caller,
  out: Attributes,
): Awaitable<void> {
  writableUpper(context);
  if (change.size !== undefined && node.type !== S_IFREG)
    throw new Errno(node.isDirectory() ? E.EISDIR : E.EINVAL, 'truncate');
  if (node.isDirectory() && node.lastStat !== null) {
    changeRemoved(node.lastStat, change);
    getattr(context, node, out);
    return;
  }
  refuseProtected(node, change);
  if (change.idsKept === true) {
    requireOwnerOfSetId(context, node, caller);
    if (isBeforeWrite(node, caller)) {
      return after(copyUp(context, node, caller), () => {
        killCapability(context, node);
        getattr(context, node, out);
      });
    }
  }
  const uncut = change.size === undefined || node.inUpper ? undefined : sizeOf(node);
  // What a truncation cuts off is not copied.
  return after(copyUp(context, node, caller, change.size), () => {
    // The copy-up may have done what the truncation wants.
    const cut = uncut !== undefined && uncut !== change.size && sizeOf(node) === change.size;
    if (change.size !== undefined || isChown(change)) killCapability(context, node);
    // Before the data changes, as with a write; chown(2) clears the bits by itself.
    if (
      change.killSetId === true &&
      change.mode === undefined &&
      !isChown(change) &&
      node.type === S_IFREG
    )
      killSetId(context, node, caller);
    const truncated =
      change.size === undefined || cut ? undefined : truncate(context, node, change.size);
    return after(truncated, () => {
      apply(context, node, change, caller);
      getattr(context, node, out);
    });
  });
}

function isChown(change: AttributeChange): boolean {
  return change.uid !== undefined || change.gid !== undefined || change.idsKept === true;
}

/** On another thread where a large part goes: its extents are freed one by one. */
function truncate(context: UnionContext, node: Node, size: number): Awaitable<void> {
  const fd = context.files.get(node, true);
  if (sizeOf(node) - size <= EXTENTS_AT_ONCE) {
    check(sys.ftruncate(fd, size), 'truncate');
    return;
  }
  const own = check(sys.dup(fd), 'dup');
  return sys.ftruncateAsync(own, size).then((result) => {
    sys.close(own);
    check(result, 'truncate');
  });
}

/** fs/attr.c, may_setattr. */
function refuseProtected(
  node: Node,
  { mode, uid, gid, size, atime, mtime }: AttributeChange,
): void {
  const given = typeof atime === 'object' || typeof mtime === 'object';
  if (mode !== undefined || uid !== undefined || gid !== undefined || given) refuseChange(node);
  if (atime === 'now' || mtime === 'now') refuseTouch(node);
  if (size !== undefined) refuseWrite(node, false);
}

function sizeOf(node: Node): number {
  check(statNode(node, modeStat), node.name);
  return field(modeStat, 0, StatField.Size);
}

/** All but the size. */
function apply(context: UnionContext, node: Node, change: AttributeChange, caller: Caller): void {
  const { dirfd, name } = upperTarget(context, node);
  const ownership = context.ownership;
  if (isChown(change)) {
    const losing = losesSetGid(context, node, caller);
    ownership.chown(
      dirfd,
      name,
      ownership.uidToDisk(change.uid ?? -1),
      ownership.gidToDisk(change.gid ?? -1),
    );
    if (losing) killSetGid(context, node);
  }
  if (change.mode !== undefined) ownership.chmod(dirfd, name, change.mode);
  if (change.atime !== undefined || change.mtime !== undefined) {
    const [atimeSec, atimeNsec] = timeArguments(change.atime);
    const [mtimeSec, mtimeNsec] = timeArguments(change.mtime);
    const utimens = (): number =>
      sys.utimensat(dirfd, name, atimeSec, atimeNsec, mtimeSec, mtimeNsec);
    check(byNameAsOwner(dirfd, utimens), 'utimensat');
  }
}

/**
 * Throws EPERM for a caller who may not change the mode (fs/attr.c, setattr_prepare), unless the
 * file is open to be written by that caller: then the request may be the one before a write, which
 * whoever writes may make.
 */
function requireOwnerOfSetId(context: UnionContext, node: Node, caller: Caller): void {
  // With override_stat the files are one user's, whatever they show.
  if (node.isDirectory() || context.ownership.override !== undefined || !hasSetId(node)) return;
  const owner = field(modeStat, 0, StatField.Uid);
  if (!actsAsOwner(caller, context.ownership.uidShown(owner)) && !mayBeWriting(caller, node.ino))
    throw new Errno(E.EPERM, 'chown');
}

/**
 * Whether a chown(2) that keeps both ids is none, but the kernel's taking a capability away before
 * somebody with CAP_FSETID writes (fs/inode.c, file_remove_privs): the set-id bits stay then. The
 * request tells no difference.
 */
function isBeforeWrite(node: Node, caller: Caller): boolean {
  return node.type === S_IFREG && mayKeepSetId(caller) && mayBeWriting(caller, node.ino);
}

function timeArguments(time: TimeChange | undefined): [sec: number, nsec: number] {
  if (time === undefined) return [0, UTIME_OMIT];
  return time === 'now' ? [0, UTIME_NOW] : [time.sec, time.nsec];
}

const modeStat = newStatBuffer();

/** Whether the mode has a bit that a change of data by an ordinary user clears. */
export function hasSetId(node: Node): boolean {
  return (
    statNode(node, modeStat) >= 0 &&
    (field(modeStat, 0, StatField.Mode) & (S_ISUID | S_ISGID)) !== 0
  );
}

/** What a write by somebody without CAP_FSETID does to the mode. */
export function killSetId(context: UnionContext, node: Node, caller: Caller): void {
  clearMode(
    context,
    node,
    (mode) => S_ISUID | ((mode & S_IXGRP) !== 0 || !isInGroupOf(context, caller) ? S_ISGID : 0),
  );
}

/** Of the file whose attributes are in `modeStat`. */
function isInGroupOf(context: UnionContext, caller: Caller): boolean {
  return isInGroup(caller, context.ownership.gidShown(field(modeStat, 0, StatField.Gid)));
}

/**
 * Whether the caller's changing the owner takes away an S_ISGID without group execution, which the
 * upper's file system leaves where this process does it (fs/attr.c, setattr_should_drop_sgid).
 */
function losesSetGid(context: UnionContext, node: Node, caller: Caller): boolean {
  if (node.type !== S_IFREG || statNode(node, modeStat) < 0) return false;
  const mode = field(modeStat, 0, StatField.Mode);
  return (
    (mode & (S_ISGID | S_IXGRP)) === S_ISGID &&
    !mayKeepSetId(caller) &&
    !isInGroupOf(context, caller)
  );
}

/**
 * A change of data or owner takes a file's capabilities away, whoever makes it (capabilities(7);
 * mm/filemap.c, file_remove_privs). The upper's file system does that with those it knows; here it
 * is done with those that are kept aside.
 */
export function killCapability(context: UnionContext, node: Node): void {
  const attribute = xattrAside(CAPABILITY, context.ownership.override);
  if (attribute === undefined || !node.inUpper || node.type !== S_IFREG) return;
  const { dirfd, name } = upperTarget(context, node);
  const removed = removeXattrAsOwner(dirfd, name, attribute);
  if (removed !== -E.ENODATA && removed !== -E.EOPNOTSUPP) check(removed, attribute);
}

/**
 * What an ACL does that is set by somebody who is not in the group, on directories as well
 * (fs/posix_acl.c, posix_acl_update_mode).
 */
export function killSetGid(context: UnionContext, node: Node): void {
  clearMode(context, node, () => S_ISGID);
}

function clearMode(context: UnionContext, node: Node, bits: (mode: number) => number): void {
  if (!node.inUpper || statNode(node, modeStat) < 0) return;
  const mode = field(modeStat, 0, StatField.Mode) & 0o7777;
  const kept = mode & ~bits(mode);
  if (kept === mode) return;
  const { dirfd, name } = upperTarget(context, node);
  context.ownership.chmod(dirfd, name, kept);
}

/** A removed directory that somebody still has open is only remembered. */
function changeRemoved(stat: Float64Array, change: AttributeChange): void {
  if (change.mode !== undefined)
    stat[StatField.Mode] = ((stat[StatField.Mode] as number) & ~0o7777) | (change.mode & 0o7777);
  if (change.uid !== undefined) stat[StatField.Uid] = change.uid;
  if (change.gid !== undefined) stat[StatField.Gid] = change.gid;
  const now = Date.now();
  const put = (time: TimeChange, sec: StatField, nsec: StatField): void => {
    stat[sec] = time === 'now' ? Math.floor(now / 1000) : time.sec;
    stat[nsec] = time === 'now' ? (now % 1000) * 1e6 : time.nsec;
  };
  if (change.atime !== undefined) put(change.atime, StatField.AtimeSec, StatField.AtimeNsec);
  if (change.mtime !== undefined) put(change.mtime, StatField.MtimeSec, StatField.MtimeNsec);
}
