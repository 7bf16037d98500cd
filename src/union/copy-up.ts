/**
 * Copy-up: giving a lower file its own copy in the upper layer (overlayfs.rst, "Non-directories";
 * fs/overlayfs/copy_up.c).
 *
 * Parents first, each with its own attributes. The copy is made without a name (O_TMPFILE), or in
 * the workdir, with data, owner, mode, xattrs and times, flushed, and put in its place last:
 * whoever looks, or crashes, at any moment finds the old file or the new one. The parent's times
 * stay what they were. A large file is copied on other threads while the union goes on.
 */
import { after, type Awaitable } from '../base/awaitable.js';
import type { ByteString, Name } from '../base/bytes.js';
import { check, E, Errno } from '../base/errno.js';
import { nextTurn } from '../base/pieces.js';
import { sys } from '../sys/index.js';
import {
  O_CLOEXEC,
  O_CREAT,
  O_EXCL,
  O_RDWR,
  O_TMPFILE,
  UTIME_NOW,
  UTIME_OMIT,
} from '../sys/constants.js';
import { StatField } from '../sys/syscalls.js';
import type { Caller } from '../vfs/filesystem.js';
import type { UnionContext } from './context.js';
import { dataOf } from './data.js';
import { onDisk, type DiskDirectory } from '../overlay/disk-directory.js';
import type { InodeIndex } from './inode-index.js';
import { UPPER, type LayerDirectory } from '../overlay/layer.js';
import { copyMetadata, restoreTimes } from './metadata.js';
import { type Dentry, type DirectoryNode, type Node, statNode } from './node.js';
import { linkAsOwner, removeXattrAsOwner, setXattrAsOwner } from '../overlay/owner-rights.js';
import { pathOf } from './path.js';
import { field, newStatBuffer, S_IFLNK, S_IFREG } from '../overlay/stat-buffer.js';
import type { UpperLayer } from './upper-layer.js';
import { WouldWait } from './would-wait.js';

/**
 * Up to this many bytes are copied on the main thread: for less than a millisecond, a hop to
 * another costs more.
 */
export const COPY_AT_ONCE = 1 << 20;
/** A large copy looks between pieces of this size whether its caller was interrupted. */
const PIECE = 32 << 20;
/**
 * Directories, and names of one file, that are brought into the upper before others have their
 * turn: some ten milliseconds.
 */
const AT_ONCE = 64;

const sourceStat = newStatBuffer();
const parentStat = newStatBuffer();
const linkBuffer = Buffer.alloc(4097);
const yes = Buffer.from('y');

/** The upper layer, or EROFS. */
export function writableUpper(context: UnionContext): UpperLayer {
  if (context.upper === null) throw new Errno(E.EROFS);
  return context.upper;
}

/**
 * The directory in the upper layer, copied up if it is not there yet, its parents first. Throws
 * `Errno`; `WouldWait` where it has many parents that are not there either.
 */
export function upperDirectory(context: UnionContext, node: DirectoryNode): DiskDirectory {
  writableUpper(context);
  if (node.lastStat !== null) throw new Errno(E.ENOENT, 'the directory was removed');
  const missing: DirectoryNode[] = [];
  for (let at = node; at.upper === null; at = (at.dentry as Dentry).parent) missing.push(at);
  for (let copied = 0; missing.length > 0; copied++) {
    if (copied === AT_ONCE) throw new WouldWait(nextTurn());
    const next = missing.pop() as DirectoryNode;
    copyUpDirectory(context, next, (next.dentry as Dentry).parent.upper as DiskDirectory);
  }
  return node.upper as DiskDirectory;
}

/** One directory, whose parent is in the upper layer. */
function copyUpDirectory(context: UnionContext, node: DirectoryNode, parent: DiskDirectory): void {
  const upper = writableUpper(context);
  const dentry = node.dentry as Dentry;
  upper.refuseMarker(dentry.name);
  const started = context.events.active ? performance.now() : 0;

  check(statNode(node, sourceStat), dentry.name);
  markImpure(context, dentry.parent, parent);
  const temporary = upper.temporaryName();
  check(sys.mkdirat(upper.work.fd(), temporary, 0o700), 'mkdir');
  const source = node.stack[0] as LayerDirectory;
  const layer = source.layer.index;
  place(context, parent, temporary, dentry.name, () => {
    setOrigin(context, source, '' as ByteString, sourceStat, upper.work.fd(), temporary);
    copyMetadata(context, source, '' as ByteString, sourceStat, upper.work.fd(), temporary);
  });

  dentry.holder = parent;
  dentry.covers = true;
  // It spoke of what lies below the former winner.
  dentry.below = null;
  node.holder = parent;
  node.name = dentry.name;
  const copy = parent.descend(dentry.name);
  node.stack.unshift(copy);
  if (started > 0) announce(context, node, layer, 0, started);
}

/**
 * Fills a temporary in the workdir and moves it to `name` in `parent`, whose times it keeps.
 * Removes it on failure.
 */
function place(
  context: UnionContext,
  parent: DiskDirectory,
  temporary: Name,
  name: Name,
  fill: () => void,
): void {
  const upper = context.upper as UpperLayer;
  try {
    fill();
    keepingTimes(parent, () => upper.publish(temporary, parent, name));
  } catch (error) {
    upper.discard(temporary);
    throw error;
  }
}

/**
 * Copying a child up is not a change of its parent (fs/overlayfs/copy_up.c, `ovl_set_timestamps`).
 */
function keepingTimes(parent: DiskDirectory, change: () => void): void {
  check(parent.stat('' as ByteString, parentStat, 0), 'stat');
  change();
  try {
    restoreTimes(parent.fd(), '' as ByteString, parentStat);
  } catch (error) {
    // The change itself is made: whoever is told that it failed would try it again.
    if (!(error instanceof Errno)) throw error;
  }
}

/**
 * Records which lower file the copy was made from. A hard link's other names would share the number
 * without sharing the file.
 */
function setOrigin(
  context: UnionContext,
  source: LayerDirectory,
  name: ByteString,
  stat: Float64Array,
  dirfd: number,
  target: ByteString,
): void {
  const upper = context.upper as UpperLayer;
  if (!upper.features.marks) return;
  const result = sys.setxattrat(
    dirfd,
    target,
    upper.attribute('origin'),
    context.origins.encode(source, name, stat),
    0,
  );
  // `user.` attributes do not exist on symbolic links and special files (xattr(7)).
  if (result < 0 && result !== -E.EPERM && result !== -E.EOPNOTSUPP) check(result, 'origin');
}

/**
 * Tells a reader of the directory that inode numbers in it may be those of lower files. Before such
 * a file comes into it, or a crash in between would change the file's number.
 */
export function markImpure(
  context: UnionContext,
  node: DirectoryNode,
  directory: DiskDirectory,
): void {
  if (node.impure) return;
  const upper = context.upper as UpperLayer;
  if (upper.features.marks) {
    const result = setXattrAsOwner(
      directory.fd(),
      '' as ByteString,
      upper.attribute('impure'),
      yes,
      0,
    );
    if (result !== -E.EPERM && result !== -E.EOPNOTSUPP) check(result, 'impure');
  }
  node.impure = true;
}

/**
 * Puts the node into the upper layer, all its known names with it. `keep`: bytes of data that will
 * still be wanted. At once for all but large files and files that must be flushed. Throws `Errno`,
 * the union being as it was.
 */
export function copyUp(
  context: UnionContext,
  node: Node,
  caller: Caller | null,
  keep = Infinity,
): Awaitable<void> {
  if (node.copyingUp !== null) return node.copyingUp;
  if (node.isDirectory()) {
    upperDirectory(context, node);
    return;
  }
  if (node.inUpper) {
    const whole = node.data === null || node.type !== S_IFREG || dataOf(context, node) === node;
    if (!whole) return whileCopying(context, node, copyUpData(context, node, caller, keep));
    if (node.links !== null) linkOthers(context, node);
    return;
  }
  writableUpper(context);
  if (node.type !== S_IFREG) copyUpSpecial(context, node);
  else return whileCopying(context, node, copyUpFile(context, node, caller, keep));
}

/** Remembers an unfinished copy-up in the node, so that others wait for it and the node stays. */
function whileCopying(
  context: UnionContext,
  node: Node,
  copying: Awaitable<void>,
): Awaitable<void> {
  if (!(copying instanceof Promise)) return;
  node.copyingUp = copying.finally(() => {
    node.copyingUp = null;
    context.nodes.evictIfUnused(node);
  });
  return node.copyingUp;
}

/** A symbolic link, fifo, socket or device. */
function copyUpSpecial(context: UnionContext, node: Node): void {
  const upper = writableUpper(context);
  const started = context.events.active ? performance.now() : 0;
  const { holder, name } = node;
  upperParents(context, node);
  check(statNode(node, sourceStat), name);
  const temporary = upper.temporaryName();
  if (node.type === S_IFLNK) {
    const size = check(holder.readlink(name, linkBuffer), 'readlink');
    check(
      sys.symlinkat(
        linkBuffer.toString('latin1', 0, size) as ByteString,
        upper.work.fd(),
        temporary,
      ),
      'symlink',
    );
  } else if (context.ownership.override !== undefined) {
    sys.close(
      check(
        sys.openat(upper.work.fd(), temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600),
        'create',
      ),
    );
  } else {
    const major = field(sourceStat, 0, StatField.RdevMajor);
    const minor = field(sourceStat, 0, StatField.RdevMinor);
    check(sys.mknodat(upper.work.fd(), temporary, node.type | 0o600, major, minor), 'mknod');
  }
  const entry = node.links?.entry ?? null;
  const fill = (): void => {
    if (node.links === null || entry !== null)
      setOrigin(context, holder, name, sourceStat, upper.work.fd(), temporary);
    copyMetadata(context, holder, name, sourceStat, upper.work.fd(), temporary);
  };
  if (entry !== null && isNamed(node)) {
    const { directory } = context.index as InodeIndex;
    place(context, directory, temporary, entry, () => {
      fill();
      recordNames(context, node, upper.work.fd(), temporary);
    });
    settleIndexed(node, directory, entry);
    context.files.drop(node);
    if (started > 0) announce(context, node, holder.layer.index, 0, started);
    linkOthers(context, node);
    return;
  }
  const first = node.dentries[0];
  if (first === undefined) {
    // Nothing leads to it any more but a descriptor somewhere.
    let fd: number;
    try {
      fill();
      fd = check(upper.work.openPath(temporary), 'open');
    } finally {
      upper.discard(temporary);
    }
    settleUnnamed(context, node, fd);
    return;
  }
  const parent = upperDirectory(context, first.parent);
  place(context, parent, temporary, first.name, () => {
    if (node.links === null) markImpure(context, first.parent, parent);
    fill();
  });
  settle(node, first, parent);
  context.files.drop(node);
  if (started > 0) announce(context, node, holder.layer.index, 0, started);
  linkOthers(context, node);
}

/** A regular file, with its data. */
function copyUpFile(
  context: UnionContext,
  node: Node,
  caller: Caller | null,
  keep: number,
): Awaitable<void> {
  const upper = writableUpper(context);
  const started = context.events.active ? performance.now() : 0;
  const { holder, name } = node;
  const stat = sourceStat.slice();
  check(statNode(node, stat), name);
  const size = field(stat, 0, StatField.Size);
  const length = Math.min(size, keep);
  upperParents(context, node);

  let temporary: Name | null = null;
  let copy: number;
  if (upper.features.tmpfile)
    copy = check(
      sys.openat(upper.work.fd(), '.' as ByteString, O_TMPFILE | O_RDWR | O_CLOEXEC, 0o600),
      'create',
    );
  else {
    temporary = upper.temporaryName();
    copy = check(
      sys.openat(upper.work.fd(), temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600),
      'create',
    );
  }
  const flushed = length > 0 && context.options.fsync && !context.options.volatile;
  const finish = (): Awaitable<void> => {
    if (flushed) upper.copies.start(copy, length);
    if (node.links === null || node.links.entry !== null)
      setOrigin(context, holder, name, stat, copy, '' as ByteString);
    copyMetadata(context, holder, name, stat, copy, '' as ByteString);
    // What is cut short is changed, also if the truncation that asked for it never comes.
    if (length < size)
      check(sys.utimensat(copy, '' as ByteString, 0, UTIME_OMIT, 0, UTIME_NOW), 'utimensat');
    if (!flushed) {
      publish();
      return;
    }
    return after(upper.copies.flush(copy, length), publish);
  };
  let published = false;
  const publish = (): void => {
    publishFile(context, node, copy, temporary);
    // From here on the descriptor is the node's.
    published = true;
    if (started > 0) announce(context, node, holder.layer.index, length, started);
    linkOthers(context, node);
  };
  const undo = (error: unknown): never => {
    if (!published) {
      sys.close(copy);
      if (temporary !== null) upper.discard(temporary);
    }
    throw error;
  };
  try {
    const copied = copyBytes(context, node, copy, length, caller);
    const done = copied instanceof Promise ? copied.then(finish) : finish();
    return done instanceof Promise ? done.catch(undo) : undefined;
  } catch (error) {
    return undo(error);
  }
}

/** The first `length` bytes of the node's data into `to`, which becomes that long. */
function copyBytes(
  context: UnionContext,
  node: Node,
  to: number,
  length: number,
  caller: Caller | null,
): Awaitable<void> {
  if (length === 0) return;
  const place = dataOf(context, node);
  const from =
    node.orphanFd >= 0 ? sys.dup(context.files.get(node, false)) : place.holder.open(place.name);
  check(from, place.name);
  if (length <= COPY_AT_ONCE) {
    const copied = sys.copyData(from, to, 0, length, true);
    sys.close(from);
    if (check(copied, 'copy') < length) check(sys.ftruncate(to, length), 'truncate');
    return;
  }
  return copyPieces(from, to, length, caller).finally(() => sys.close(from));
}

async function copyPieces(
  from: number,
  to: number,
  length: number,
  caller: Caller | null,
): Promise<void> {
  let at = 0;
  while (at < length) {
    if (caller?.interrupted === true) throw new Errno(E.EINTR, 'copy-up');
    const copied = check(
      await sys.copyDataAsync(from, to, at, Math.min(PIECE, length - at), true),
      'copy',
    );
    if (copied === 0) break;
    at += copied;
  }
  if (at < length) check(sys.ftruncate(to, length), 'truncate');
}

/**
 * Puts the finished copy in the place of the node's first name; the names may have changed while it
 * was made.
 */
function publishFile(
  context: UnionContext,
  node: Node,
  copy: number,
  temporary: Name | null,
): void {
  const upper = writableUpper(context);
  const entry = node.links?.entry ?? null;
  if (entry !== null && isNamed(node)) {
    const { directory } = context.index as InodeIndex;
    recordNames(context, node, copy, '' as ByteString);
    if (temporary !== null) upper.publish(temporary, directory, entry);
    else check(sys.linkat(copy, '' as ByteString, directory.fd(), entry), entry);
    context.files.drop(node);
    settleIndexed(node, directory, entry);
    context.files.put(node, copy, true);
    return;
  }
  const first = node.dentries[0];
  if (first === undefined) {
    if (temporary !== null) upper.discard(temporary);
    settleUnnamed(context, node, copy);
    return;
  }
  const parent = upperDirectory(context, first.parent);
  if (node.links === null) markImpure(context, first.parent, parent);
  keepingTimes(parent, () => {
    if (temporary !== null) upper.publish(temporary, parent, first.name);
    else check(linkAsOwner(copy, '' as ByteString, parent.fd(), first.name), first.name);
  });
  context.files.drop(node);
  settle(node, first, parent);
  context.files.put(node, copy, true);
}

/** The node's object now lies in the upper layer, under `dentry`. */
function settle(node: Node, dentry: Dentry, parent: DiskDirectory): void {
  if (node.orphanFd >= 0) sys.close(node.orphanFd);
  node.orphanFd = -1;
  node.holder = parent;
  node.name = dentry.name;
  node.data = null;
  dentry.holder = parent;
  dentry.covers = true;
  node.links?.taken();
}

/** Whether a name leads to the node, of those that are known or of those in the lower layer. */
function isNamed(node: Node): boolean {
  return node.dentries.length > 0 || (node.links?.remaining ?? 0) > 0;
}

/**
 * Before a copy gets its entry in the index, its first link: the union shows the names that the
 * lower file still has.
 */
function recordNames({ index }: UnionContext, node: Node, dirfd: number, name: ByteString): void {
  index?.record(dirfd, name, 'U', node.links?.remaining ?? 0, 1);
}

/** The node's object now lies in the index, where every name of it leads. */
function settleIndexed(node: Node, directory: DiskDirectory, entry: Name): void {
  if (node.orphanFd >= 0) sys.close(node.orphanFd);
  node.orphanFd = -1;
  node.holder = directory;
  node.name = entry;
  node.data = null;
  if (node.links !== null) node.links.indexed = true;
}

function settleUnnamed(context: UnionContext, node: Node, fd: number): void {
  const upper = writableUpper(context);
  context.files.drop(node);
  if (node.orphanFd >= 0) sys.close(node.orphanFd);
  node.holder = upper.work;
  node.name = '' as Name;
  node.data = null;
  node.orphanFd = fd;
}

/**
 * Every other known name of a node in the upper that is still the lower's: what is about to change
 * must be found under it, too. Where this fails the next change tries it again. Throws `WouldWait`
 * for a file of many names.
 */
function linkOthers(context: UnionContext, node: Node): void {
  let linked = 0;
  for (const dentry of node.dentries) {
    if (dentry.holder.layer.index === UPPER) continue;
    if (linked++ === AT_ONCE) throw new WouldWait(nextTurn());
    linkInto(context, node, dentry, upperDirectory(context, dentry.parent));
  }
}

/** The directories of all names of a node that is to be copied up. */
function upperParents(context: UnionContext, node: Node): void {
  const upper = writableUpper(context);
  for (const { name } of node.dentries) upper.refuseMarker(name);
  let copied = 0;
  for (const { parent } of node.dentries) {
    if (parent.upper !== null) continue;
    if (copied++ === AT_ONCE) throw new WouldWait(nextTurn());
    upperDirectory(context, parent);
  }
}

/** One more name, of the lower layer until now, for a file that is in the upper. */
function linkInto(context: UnionContext, node: Node, dentry: Dentry, parent: DiskDirectory): void {
  writableUpper(context).refuseMarker(dentry.name);
  const group = node.links;
  const index = group?.indexed === true ? context.index : null;
  if (group !== null && index !== null) {
    markImpure(context, dentry.parent, parent);
    // The copy gets a link, and the lower file keeps its own: relative to those the count is right
    // before and after (ovl_link_up).
    index.recordNode(group, 'L');
  }
  keepingTimes(parent, () => linkNode(node, parent, dentry.name));
  node.nameFlushed = false;
  dentry.holder = parent;
  dentry.covers = true;
  group?.taken();
  if (group !== null && index !== null) index.recordNode(group, 'U');
}

/** link(2) to the object of a node in the upper layer. */
export function linkNode(node: Node, parent: DiskDirectory, name: Name): void {
  check(tryLinkNode(node, parent, name), name);
}

/** The same; returns `-errno`. */
export function tryLinkNode(node: Node, parent: DiskDirectory, name: Name): number {
  if (node.orphanFd >= 0) return linkAsOwner(node.orphanFd, '' as ByteString, parent.fd(), name);
  return linkAsOwner(onDisk(node.holder).fd(), node.name, parent.fd(), name);
}

/**
 * A lower name of a file that was copied up through another: it is linked into the upper now,
 * because what is written to the node must be found under this name after remounting. Where that
 * fails the name still leads to the node while the mount lives. Returns whether the file has one
 * name more.
 */
export function adoptLink(context: UnionContext, dentry: Dentry, node: Node): boolean {
  // The index leads to its copies for good.
  if (node.links === null || node.links.indexed) return false;
  if (!node.inUpper || dentry.holder.layer.index === UPPER) return false;
  try {
    linkInto(context, node, dentry, upperDirectory(context, dentry.parent));
    return true;
  } catch (error) {
    // At the next change it is tried again.
    if (!(error instanceof Errno || error instanceof WouldWait)) throw error;
    return false;
  }
}

/** The data of a file whose metadata alone is in the upper (`overlay.metacopy`, made by others). */
function copyUpData(
  context: UnionContext,
  node: Node,
  caller: Caller | null,
  keep: number,
): Awaitable<void> {
  const upper = writableUpper(context);
  const started = context.events.active ? performance.now() : 0;
  const layer = dataOf(context, node).holder.layer.index;
  check(statNode(node, sourceStat), node.name);
  const size = field(sourceStat, 0, StatField.Size);
  const stat = sourceStat.slice();
  const to = check(onDisk(node.holder).openAsOwner(node.name, { noatime: true }), node.name);
  const finish = (): void => {
    if (size > keep) check(sys.ftruncate(to, size), 'truncate');
    restoreTimes(to, '' as ByteString, stat);
    check(sys.fsync(to), 'fsync');
    // A mark that stays would give the lower file's data to whoever mounts next.
    const unmarked = removeXattrAsOwner(to, '' as ByteString, upper.attribute('metacopy'));
    if (unmarked !== -E.ENODATA) check(unmarked, 'metacopy');
    // It says nothing of a file that has its data.
    removeXattrAsOwner(to, '' as ByteString, upper.attribute('redirect'));
    node.data = null;
    context.files.drop(node);
    context.files.put(node, to, true);
    if (started > 0) announce(context, node, layer, Math.min(size, keep), started);
  };
  const undo = (error: unknown): never => {
    try {
      restoreTimes(to, '' as ByteString, stat);
    } catch (failed) {
      if (!(failed instanceof Errno)) throw failed;
    }
    sys.close(to);
    throw error;
  };
  try {
    const copied = copyBytes(context, node, to, Math.min(size, keep), caller);
    if (copied instanceof Promise) return copied.then(finish).catch(undo);
    finish();
  } catch (error) {
    undo(error);
  }
}

function announce(
  context: UnionContext,
  node: Node,
  layer: number,
  bytes: number,
  started: number,
): void {
  context.events.publish({
    type: 'copy-up',
    path: pathOf(node),
    layer,
    bytes,
    microseconds: Math.round((performance.now() - started) * 1000),
  });
}
