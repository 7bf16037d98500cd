/**
 * unlink and rmdir.
 *
 * What exists below is hidden by a whiteout; what exists in the upper alone is removed and leaves
 * none. The kernel opens cached files without a message, so any file may be open: its object is
 * kept until the kernel forgets the node.
 */
import { after, type Awaitable } from '../base/awaitable.js';
import type { Name } from '../base/bytes.js';
import { check, E, Errno } from '../base/errno.js';
import { sys } from '../sys/index.js';
import { AT_REMOVEDIR, DT_DIR } from '../sys/constants.js';
import type { Caller } from '../vfs/filesystem.js';
import type { UnionContext } from './context.js';
import { copyUp, linkNode, upperDirectory, writableUpper } from './copy-up.js';
import { onDisk } from '../overlay/disk-directory.js';
import { UPPER } from '../overlay/layer.js';
import { completeListing, packListing, readyForChange, removeFromDirectory } from './listing.js';
import { coversLower, nodeOf, requireDentry } from './merge.js';
import { type Dentry, type DirectoryNode, type Node, statNode } from './node.js';
import { mayStayPacked } from './packed-listing.js';
import { pathIn } from './path.js';
import { refuseRemoval } from './protection.js';

export function unlink(
  context: UnionContext,
  parent: DirectoryNode,
  name: Name,
  caller: Caller,
): Awaitable<void> {
  const upper = writableUpper(context);
  const dentry = requireDentry(context, parent, name);
  if (dentry.type === DT_DIR) throw new Errno(E.EISDIR, name);
  upper.refuseMarker(name);
  refuseRemoval(dentry);
  return after(raiseIndexed(context, dentry, caller), () => {
    unlinkName(context, parent, name);
  });
}

/**
 * Before a name goes of a file that is indexed, or will be: the file is copied up and the name
 * linked to the copy, so that the count of names falls in the same call that takes this one away
 * (fs/overlayfs/util.c, ovl_nlink_start).
 */
export function raiseIndexed(
  context: UnionContext,
  dentry: Dentry,
  caller: Caller,
): Awaitable<void> {
  if (context.index === null || dentry.type === DT_DIR) return;
  const node = nodeOf(context, dentry);
  const group = node.links;
  if (group === null || group.entry === null) return;
  return after(copyUp(context, node, caller), () => {
    if (group.indexed) context.index?.recordNode(group, 'U');
  });
}

function unlinkName(context: UnionContext, parent: DirectoryNode, name: Name): void {
  const upper = writableUpper(context);
  readyForChange(context, parent);
  const dentry = requireDentry(context, parent, name);
  const covers = coversLower(parent, name, dentry);
  const inUpper = dentry.holder.layer.index === UPPER;
  if (inUpper) {
    const directory = onDisk(dentry.holder);
    if (dentry.node !== null) keepAlive(context, dentry.node, dentry);
    if (covers) upper.replaceByWhiteout(directory, name, false);
    else upper.remove(directory, name, false);
  } else upper.makeWhiteout(upperDirectory(context, parent), name);
  if (covers) announceWhiteout(context, parent, name);
  forgetName(context, dentry, inUpper);
}

/**
 * The union shows the name no more: takes the dentry out of everything. `inUpper`: its object was
 * the upper's.
 */
export function forgetName(context: UnionContext, dentry: Dentry, inUpper: boolean): void {
  const node = dentry.node;
  removeFromDirectory(dentry.parent, dentry);
  if (node === null) return;
  if (!inUpper) node.links?.taken();
  context.nodes.detach(dentry);
  if (context.index === null) return;
  context.index.dropUnnamed(node);
  context.nodes.evictIfUnused(node);
}

/** Before an upper name of a node goes: makes sure that the node's object can still be reached. */
export function keepAlive(context: UnionContext, node: Node, dentry: Dentry): void {
  if (!node.inUpper || node.orphanFd >= 0 || node.parked) return;
  if (node.holder !== dentry.holder || node.name !== dentry.name) return;
  const other = node.dentries.find(
    (candidate) => candidate !== dentry && candidate.holder.layer.index === UPPER,
  );
  if (other !== undefined) {
    node.holder = other.holder;
    node.name = other.name;
    return;
  }
  // Lower names that nobody has looked up yet lead here, too: only a real name can be linked to
  // them later.
  if (node.links !== null && node.links.remaining > 0) park(context, node);
  else if (node.lookups > 0) {
    const fd =
      context.orphans < context.maxOrphans
        ? onDisk(dentry.holder).openPath(dentry.name)
        : -E.EMFILE;
    if (fd < 0) park(context, node);
    else {
      context.orphans++;
      node.orphanCounted = true;
      node.orphanFd = fd;
    }
  }
}

/** Keeps the object under a name in the workdir, where descriptors are short. */
function park(context: UnionContext, node: Node): void {
  const upper = writableUpper(context);
  const temporary = upper.temporaryName();
  linkNode(node, upper.work, temporary);
  node.holder = upper.work;
  node.name = temporary;
  node.parked = true;
}

export function rmdir(context: UnionContext, parent: DirectoryNode, name: Name): void {
  const upper = writableUpper(context);
  readyForChange(context, parent);
  const dentry = requireDentry(context, parent, name);
  const node = nodeOf(context, dentry);
  if (!node.isDirectory()) throw new Errno(E.ENOTDIR, name);
  upper.refuseMarker(name);
  refuseRemoval(dentry);
  const covers = coversLower(parent, name, dentry);
  const before = lastStatOf(node);
  if (
    node.pureUpper &&
    !covers &&
    sys.unlinkat(onDisk(dentry.holder).fd(), name, AT_REMOVEDIR) >= 0
  ) {
    forgetDirectory(context, node, dentry, before);
    return;
  }
  requireEmpty(context, node);
  if (dentry.holder.layer.index === UPPER) {
    if (covers) upper.replaceByWhiteout(onDisk(dentry.holder), name, true);
    else upper.remove(onDisk(dentry.holder), name, true);
  } else upper.makeWhiteout(upperDirectory(context, parent), name);
  if (covers) announceWhiteout(context, parent, name);
  forgetDirectory(context, node, dentry, before);
}

/** Throws ENOTEMPTY when the union shows anything in the directory. */
export function requireEmpty(context: UnionContext, node: DirectoryNode): void {
  // Of many names, one is enough.
  if (!node.complete && mayStayPacked(node)) packListing(context, node);
  if (node.packed === null || node.packed.records.length === 0) completeListing(context, node);
  if (node.packed !== null || node.entries.size > 0) throw new Errno(E.ENOTEMPTY, 'rmdir');
}

/** The attributes of a directory that is about to go. */
export function lastStatOf(node: DirectoryNode): Float64Array {
  const stat = new Float64Array(24);
  check(statNode(node, stat), 'stat');
  return stat;
}

export function forgetDirectory(
  context: UnionContext,
  node: DirectoryNode,
  dentry: Dentry,
  before: Float64Array,
): void {
  node.lastStat = before;
  node.listing = [];
  node.packed = null;
  for (const directory of node.stack) directory.release();
  forgetName(context, dentry, dentry.holder.layer.index === UPPER);
  context.nodes.evictIfUnused(node);
}

export function announceWhiteout(context: UnionContext, parent: DirectoryNode, name: Name): void {
  if (context.events.active)
    context.events.publish({ type: 'whiteout', path: pathIn(parent, name) });
}

export function announceOpaque(context: UnionContext, parent: DirectoryNode, name: Name): void {
  if (context.events.active) context.events.publish({ type: 'opaque', path: pathIn(parent, name) });
}
