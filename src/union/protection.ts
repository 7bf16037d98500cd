/**
 * Immutable and append-only files (ioctl_getflags(2), FS_IMMUTABLE_FL and FS_APPEND_FL), as the
 * kernel's overlay keeps and heeds them.
 *
 * A lower file has the flags itself. In the upper they are the attribute `overlay.protattr`,
 * letters `a` and `i`: a file that had the flag could not be linked into its place, nor anything be
 * copied up below such a directory (fs/overlayfs/copy_up.c, ovl_copy_fileattr). What the flags
 * forbid is refused here, because an inode of FUSE does not have them.
 */
import type { ByteString } from '../base/bytes.js';
import { check, E, Errno } from '../base/errno.js';
import { STATX_ATTR_APPEND, STATX_ATTR_IMMUTABLE } from '../sys/constants.js';
import { StatField } from '../sys/syscalls.js';
import { type Dentry, type DirectoryNode, type Node, statNode } from './node.js';
import { readOverlayXattr } from '../overlay/marks.js';
import { removeXattrAsOwner, setXattrAsOwner } from '../overlay/owner-rights.js';
import type { UpperLayer } from './upper-layer.js';
import { field, newStatBuffer, S_IFDIR, S_IFREG } from '../overlay/stat-buffer.js';

/**
 * Bits of a node's `protection`: those of statx(2), which FS_IMMUTABLE_FL and FS_APPEND_FL are,
 * too.
 */
export const IMMUTABLE = STATX_ATTR_IMMUTABLE;
export const APPEND = STATX_ATTR_APPEND;
export const UNPROTECTED = 0;

const stat = newStatBuffer();

/** Of a lower object, by its attributes. */
export function protectionIn(attributes: Float64Array, index: number): number {
  return field(attributes, index, StatField.Attributes) & (IMMUTABLE | APPEND);
}

/** Which flags the node has: looked at once. */
export function protectionOf(node: Node): number {
  return (node.protection ??= readProtection(node));
}

function readProtection(node: Node): number {
  if (node.type !== S_IFREG && node.type !== S_IFDIR) return UNPROTECTED;
  if (!node.inUpper) return statNode(node, stat) < 0 ? UNPROTECTED : protectionIn(stat, 0);
  // One that has no name any more was known when it had.
  if (node.orphanFd >= 0) return UNPROTECTED;
  const letters = node.isDirectory()
    ? readOverlayXattr(node.holder, '' as ByteString, PROTATTR)?.toString('latin1')
    : readOverlayXattr(node.holder, node.name, PROTATTR)?.toString('latin1');
  return letters === undefined
    ? UNPROTECTED
    : (letters.includes('i') ? IMMUTABLE : 0) | (letters.includes('a') ? APPEND : 0);
}

const PROTATTR = 'protattr';

/**
 * Records the flags with an object of the upper. `had`: it may have some. Throws EPERM where the
 * upper has no attributes to keep them in (ovl_set_protattr).
 */
export function writeProtection(
  upper: UpperLayer | null,
  dirfd: number,
  name: ByteString,
  protection: number,
  had: boolean,
): void {
  if (protection === UNPROTECTED && !had) return;
  if (upper?.features.marks !== true) {
    if (protection !== UNPROTECTED) throw new Errno(E.EPERM, 'no attributes to keep the flags in');
    return;
  }
  const attribute = upper.attribute(PROTATTR);
  if (protection === UNPROTECTED) {
    const removed = removeXattrAsOwner(dirfd, name, attribute);
    if (removed !== -E.ENODATA && removed !== -E.EOPNOTSUPP) check(removed, PROTATTR);
    return;
  }
  const letters =
    ((protection & APPEND) !== 0 ? 'a' : '') + ((protection & IMMUTABLE) !== 0 ? 'i' : '');
  check(setXattrAsOwner(dirfd, name, attribute, Buffer.from(letters, 'latin1'), 0), PROTATTR);
}

function refuse(what: string): never {
  throw new Errno(E.EPERM, what);
}

/** Before a name comes into the directory (fs/namei.c, may_create). */
export function refuseEntry(directory: DirectoryNode): void {
  if ((protectionOf(directory) & IMMUTABLE) !== 0) refuse('an immutable directory');
}

/** Before a name goes or is replaced (fs/namei.c, may_delete). */
export function refuseRemoval(dentry: Dentry): void {
  if (protectionOf(dentry.parent) !== UNPROTECTED) refuse('an immutable or append-only directory');
  const protection = dentry.node === null ? protectionOfName(dentry) : protectionOf(dentry.node);
  if (protection !== UNPROTECTED) refuse('an immutable or append-only file');
}

/** The kernel knows the node of what it removes; another's is soon asked of its layer. */
function protectionOfName({ holder, name }: Dentry): number {
  return holder.stat(name, stat, 0) < 0 ? UNPROTECTED : protectionIn(stat, 0);
}

/**
 * Before owner, mode, times, attributes or the count of links change (fs/attr.c, notify_change;
 * fs/xattr.c, xattr_permission).
 */
export function refuseChange(node: Node): void {
  if (protectionOf(node) !== UNPROTECTED) refuse('an immutable or append-only file');
}

/** Before times become now, which an append-only file allows. */
export function refuseTouch(node: Node): void {
  if ((protectionOf(node) & IMMUTABLE) !== 0) refuse('an immutable file');
}

/** Before data change. `appending`: only behind its end. */
export function refuseWrite(node: Node, appending: boolean): void {
  const protection = protectionOf(node);
  if (protection === UNPROTECTED || (protection === APPEND && appending)) return;
  refuse('an immutable or append-only file');
}
