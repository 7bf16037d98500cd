/**
 * rename2.
 *
 * A file may go anywhere. A directory may go when it lies in the upper alone; one that lower layers
 * take part in answers EXDEV, so that mv(1) copies, or with `redirect_dir=on` takes a note of where
 * its lower part is (overlayfs.rst, "Directories"). Where the old name exists below it gets a
 * whiteout in the same step; a directory that arrives at a name which exists below becomes opaque
 * before.
 */
import { after, type Awaitable } from '../base/awaitable.js';
import type { ByteString, Name } from '../base/bytes.js';
import { check, E, Errno } from '../base/errno.js';
import { sys } from '../sys/index.js';
import { RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT } from '../sys/constants.js';
import type { Caller } from '../vfs/filesystem.js';
import type { UnionContext } from './context.js';
import { adoptLink, copyUp, markImpure, upperDirectory, writableUpper } from './copy-up.js';
import { type DiskDirectory, layerPath } from '../overlay/disk-directory.js';
import { UPPER, type LayerDirectory } from '../overlay/layer.js';
import { addToDirectory, readyForChange, removeFromDirectory } from './listing.js';
import { copyMetadata } from './metadata.js';
import { coversLower, findDentry, nodeOf, requireDentry } from './merge.js';
import { Dentry, type DirectoryNode, type Node } from './node.js';
import { renameAsOwner, setXattrAsOwner } from '../overlay/owner-rights.js';
import { pathOf } from './path.js';
import { refuseEntry, refuseRemoval } from './protection.js';
import {
  announceOpaque,
  announceWhiteout,
  forgetDirectory,
  forgetName,
  keepAlive,
  lastStatOf,
  raiseIndexed,
  requireEmpty,
} from './remove.js';

/** A name in a directory of the union. */
interface Spot {
  parent: DirectoryNode;
  name: Name;
}

export function rename(
  context: UnionContext,
  from: Spot,
  to: Spot,
  flags: number,
  caller: Caller,
): Awaitable<void> {
  // RENAME_WHITEOUT among them, as with overlayfs (fs/overlayfs/dir.c, ovl_rename): a whiteout that
  // is left here cannot be seen.
  if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) !== 0)
    throw new Errno(E.EINVAL, 'rename flags');
  const upper = writableUpper(context);
  for (const { name } of [from, to]) upper.refuseMarker(name);
  readyForChange(context, from.parent);
  readyForChange(context, to.parent);
  const exchange = (flags & RENAME_EXCHANGE) !== 0;
  if (exchange && (flags & RENAME_NOREPLACE) !== 0) throw new Errno(E.EINVAL, 'rename flags');
  const source = requireDentry(context, from.parent, from.name);
  const node = nodeOf(context, source);
  refuseRemoval(source);
  requireMovable(context, node);
  if (exchange) {
    const target = requireDentry(context, to.parent, to.name);
    const other = nodeOf(context, target);
    refuseRemoval(target);
    requireMovable(context, other);
    return after(copyUp(context, node, caller), () =>
      after(copyUp(context, other, caller), () => {
        exchangeNames(context, from, to);
      }),
    );
  }
  const target = checkTarget(context, node, to, flags);
  if (target === null) refuseEntry(to.parent);
  else refuseRemoval(target);
  return after(copyUp(context, node, caller), () =>
    after(
      target === null || target.node === node ? undefined : raiseIndexed(context, target, caller),
      () => {
        move(context, from, to, flags);
      },
    ),
  );
}

function requireMovable(context: UnionContext, node: Node): void {
  if (!node.isDirectory() || node.pureUpper) return;
  if (context.options.redirectDir && context.upper?.features.marks === true) return;
  if (context.events.active) context.events.publish({ type: 'exdev', path: pathOf(node) });
  throw new Errno(E.EXDEV, 'a directory of a lower layer');
}

/** Whether the target lets itself be replaced. Returns its dentry, if there is one. */
function checkTarget(context: UnionContext, node: Node, to: Spot, flags: number): Dentry | null {
  const target = findDentry(context, to.parent, to.name);
  if (target === null) return null;
  if ((flags & RENAME_NOREPLACE) !== 0) throw new Errno(E.EEXIST, to.name);
  const replaced = nodeOf(context, target);
  if (replaced === node) return target;
  if (node.isDirectory() && !replaced.isDirectory()) throw new Errno(E.ENOTDIR, to.name);
  if (replaced.isDirectory()) {
    if (!node.isDirectory()) throw new Errno(E.EISDIR, to.name);
    requireEmpty(context, replaced);
  }
  return target;
}

function move(context: UnionContext, from: Spot, to: Spot, flags: number): void {
  const upper = writableUpper(context);
  // A copy-up may have taken its time: what was true before it is asked again.
  readyForChange(context, from.parent);
  readyForChange(context, to.parent);
  const source = requireDentry(context, from.parent, from.name);
  const node = nodeOf(context, source);
  adoptLink(context, source, node);
  const target = checkTarget(context, node, to, flags);
  if (target !== null && target.node === node) return;
  const fromDirectory = upperDirectory(context, from.parent);
  const toDirectory = upperDirectory(context, to.parent);
  const sourceCovers = coversLower(from.parent, from.name, source);
  const targetCovers = coversLower(to.parent, to.name, target);

  if (node.isDirectory()) beforeMove(context, node, from, to, fromDirectory, targetCovers);
  const replaced = target === null ? null : nodeOf(context, target);
  let lastStat: Float64Array | null = null;
  const targetInUpper = target !== null && target.holder.layer.index === UPPER;
  if (target !== null && replaced !== null) {
    if (replaced.isDirectory()) {
      lastStat = lastStatOf(replaced);
      if (targetInUpper) emptyUpper(context, replaced, lastStat, toDirectory, to.name);
    } else if (targetInUpper) keepAlive(context, replaced, target);
  }

  if (from.parent.impure || (node.isDirectory() && !node.pureUpper))
    markImpure(context, to.parent, toDirectory);
  if (sourceCovers && !upper.features.whiteoutDevices) upper.makeWhiteout(fromDirectory, from.name);
  renameInUpper(
    context,
    fromDirectory,
    from.name,
    toDirectory,
    to.name,
    sourceCovers,
    node.isDirectory(),
  );
  upper.clearMarker(toDirectory, to.name);
  if (sourceCovers) announceWhiteout(context, from.parent, from.name);
  if (targetCovers) announceMoved(context, node, to);

  if (target !== null && replaced !== null) {
    if (replaced.isDirectory() && lastStat !== null)
      forgetDirectory(context, replaced, target, lastStat);
    else forgetName(context, target, targetInUpper);
  }
  const dentry = new Dentry(to.parent, to.name, source.type, toDirectory);
  dentry.covers = targetCovers;
  dentry.ino = source.ino;
  addToDirectory(to.parent, dentry);
  context.nodes.attach(dentry, node);
  relocate(node, source, toDirectory, to.name);
  removeFromDirectory(from.parent, source);
  context.nodes.detach(source);
}

/** The object that lay at `source` lies at `name` in `directory` now. */
function relocate(node: Node, source: Dentry, directory: DiskDirectory, name: Name): void {
  if (node.isDirectory()) {
    const own = node.upper as DiskDirectory;
    own.parent = directory;
    own.name = name;
  } else if (
    node.orphanFd >= 0 ||
    node.parked ||
    node.holder !== source.holder ||
    node.name !== source.name
  )
    return;
  node.holder = directory;
  node.name = name;
}

/** `beforeMove` has made it opaque. */
function announceMoved(context: UnionContext, node: Node, to: Spot): void {
  if (node.isDirectory() && node.pureUpper) announceOpaque(context, to.parent, to.name);
}

/** What a directory must carry so that it shows the same at its new name. */
function beforeMove(
  context: UnionContext,
  node: DirectoryNode,
  from: Spot,
  to: Spot,
  parent: DiskDirectory,
  targetCovers: boolean,
): void {
  const upper = writableUpper(context);
  if (node.pureUpper) {
    if (targetCovers) upper.setOpaque(parent, from.name);
    return;
  }
  const below = node.stack.find((directory) => directory.layer.index !== UPPER) as DiskDirectory;
  // As the kernel writes it: a sibling's name where that will do, else the path from the layers'
  // root (ovl_get_redirect).
  const sibling =
    from.parent === to.parent && below.parent !== null && from.parent.stack.includes(below.parent);
  const redirect = Buffer.from(sibling ? below.name : layerPath(below), 'latin1');
  check(
    setXattrAsOwner(parent.fd(), from.name, upper.attribute('redirect'), redirect, 0),
    'redirect',
  );
}

/**
 * A directory that shows nothing but holds whiteouts cannot be replaced by rename(2): an empty
 * opaque one takes its place first, which looks the same, in case it stays (`stat`: the attributes;
 * fs/overlayfs/dir.c, ovl_clear_empty).
 */
function emptyUpper(
  context: UnionContext,
  node: DirectoryNode,
  stat: Float64Array,
  parent: DiskDirectory,
  name: Name,
): void {
  const upper = writableUpper(context);
  const own = node.stack[0] as LayerDirectory;
  let held = 0;
  check(
    own.list(() => held++),
    'readdir',
  );
  if (held === 0) return;
  const temporary = upper.temporaryName();
  check(sys.mkdirat(upper.work.fd(), temporary, 0o700), 'mkdir');
  try {
    upper.setOpaque(upper.work, temporary);
    copyMetadata(context, own, '' as ByteString, stat, upper.work.fd(), temporary);
    check(renameAsOwner(upper.work.fd(), temporary, parent.fd(), name, RENAME_EXCHANGE), name);
    own.release();
  } finally {
    upper.discard(temporary);
  }
}

function renameInUpper(
  context: UnionContext,
  from: DiskDirectory,
  name: Name,
  to: DiskDirectory,
  newName: Name,
  sourceCovers: boolean,
  isDirectory: boolean,
): void {
  const upper = writableUpper(context);
  const leave = sourceCovers && upper.features.whiteoutDevices;
  let result = renameAsOwner(from.fd(), name, to.fd(), newName, leave ? RENAME_WHITEOUT : 0);
  if (result === -E.ENOTDIR && isDirectory) {
    // A whiteout stands at the new name, which only an exchange can move aside: it is the old
    // name's whiteout from now on.
    check(renameAsOwner(from.fd(), name, to.fd(), newName, RENAME_EXCHANGE), newName);
    // Where it stays it hides nothing: the rename is done.
    if (!leave) sys.unlinkat(from.fd(), name, 0);
    return;
  }
  if (result === -E.EINVAL && leave) {
    // The file system does not know RENAME_WHITEOUT.
    result = renameAsOwner(from.fd(), name, to.fd(), newName, 0);
    if (result >= 0) upper.makeWhiteout(from, name);
  }
  check(result, name);
}

/** Both names keep their dentries, and what they cover; what they lead to changes sides. */
function exchangeNames(context: UnionContext, from: Spot, to: Spot): void {
  readyForChange(context, from.parent);
  readyForChange(context, to.parent);
  const one = requireDentry(context, from.parent, from.name);
  const two = requireDentry(context, to.parent, to.name);
  const oneNode = nodeOf(context, one);
  const twoNode = nodeOf(context, two);
  if (oneNode === twoNode) return;
  adoptLink(context, one, oneNode);
  adoptLink(context, two, twoNode);
  const oneDirectory = upperDirectory(context, from.parent);
  const twoDirectory = upperDirectory(context, to.parent);
  const oneCovers = coversLower(from.parent, from.name, one);
  const twoCovers = coversLower(to.parent, to.name, two);
  if (oneNode.isDirectory()) beforeMove(context, oneNode, from, to, oneDirectory, twoCovers);
  if (twoNode.isDirectory()) beforeMove(context, twoNode, to, from, twoDirectory, oneCovers);
  if (from.parent.impure) markImpure(context, to.parent, twoDirectory);
  if (to.parent.impure) markImpure(context, from.parent, oneDirectory);
  check(
    renameAsOwner(oneDirectory.fd(), from.name, twoDirectory.fd(), to.name, RENAME_EXCHANGE),
    from.name,
  );
  if (twoCovers) announceMoved(context, oneNode, to);
  if (oneCovers) announceMoved(context, twoNode, from);

  const wasOne: Dentry = Object.assign(new Dentry(one.parent, one.name, one.type, one.holder), {
    ino: one.ino,
  });
  relocate(oneNode, one, twoDirectory, to.name);
  relocate(twoNode, two, oneDirectory, from.name);
  replaceIn(oneNode, one, two);
  replaceIn(twoNode, two, one);
  [one.type, one.ino, one.node, one.holder] = [two.type, two.ino, twoNode, oneDirectory];
  [two.type, two.ino, two.node, two.holder] = [wasOne.type, wasOne.ino, oneNode, twoDirectory];
  one.below = two.below = null;
}

function replaceIn(node: Node, old: Dentry, dentry: Dentry): void {
  node.dentries[node.dentries.indexOf(old)] = dentry;
}

export type { Spot };
