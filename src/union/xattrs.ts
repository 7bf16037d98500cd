/** Extended attributes through the mount: passed on to the winning object, the union's own hidden and escaped (overlay-xattrs.ts). */
import { after, type Awaitable } from '../base/awaitable.js';
import type { ByteString } from '../base/bytes.js';
import { check, E, Errno } from '../base/errno.js';
import { sys } from '../sys/index.js';
import type { Caller } from '../vfs/filesystem.js';
import { killSetGid, upperTarget } from './attributes.js';
import type { UnionContext } from './context.js';
import { mayAdministrate } from './capability.js';
import { copyUp, writableUpper } from './copy-up.js';
import type { LayerDirectory } from './layer.js';
import { statNode } from './merge.js';
import type { Node } from './node.js';
import { OWNER_XATTR, parseOwner } from './ownership.js';
import { field } from './stat-buffer.js';
import { StatField } from '../sys/syscalls.js';
import { isPrivateXattr, xattrFromDisk, xattrToDisk } from './overlay-xattrs.js';
import { ACL_ACCESS } from './posix-acl.js';

const ACL_NAMES = 'system.posix_acl_';
const scratch = Buffer.alloc(64 * 1024);

function read(node: Node, use: (directory: LayerDirectory | number, name: ByteString) => number): number {
  if (node.orphanFd >= 0) return use(node.orphanFd, '' as ByteString);
  if (node.isDirectory()) {
    if (node.lastStat !== null) throw new Errno(E.ENOENT, 'the directory was removed');
    return use(node.stack[0] as LayerDirectory, '' as ByteString);
  }
  return use(node.holder, node.name);
}

/** Which attributes this mount has anything to do with. Throws EOPNOTSUPP. */
function requireSupported(context: UnionContext, name: ByteString): void {
  if (!context.options.xattrs) throw new Errno(E.EOPNOTSUPP, name);
  if (!context.options.acl && name.startsWith(ACL_NAMES)) throw new Errno(E.EOPNOTSUPP, name);
}

export function getxattr(context: UnionContext, node: Node, name: ByteString): Uint8Array | null {
  requireSupported(context, name);
  if (name === OWNER_XATTR && context.ownership.emulated) return ownerOf(context, node);
  const attribute = xattrToDisk(name);
  if (attribute === undefined) return null;
  const size = read(node, (directory, file) =>
    typeof directory === 'number' ? sys.getxattrat(directory, file, attribute, scratch) : directory.getxattr(file, attribute, scratch),
  );
  // "Not supported" would make every access to the file fail: Linux asks for ACLs before it grants one (fs/fuse/acl.c, fuse_get_acl).
  if (size === -E.ENODATA || (size === -E.EOPNOTSUPP && name.startsWith(ACL_NAMES))) return null;
  return Buffer.from(scratch.subarray(0, check(size, name)));
}

function ownerOf(context: UnionContext, node: Node): Uint8Array {
  check(statNode(node, context.stat), 'stat');
  const [uid, gid] = [field(context.stat, 0, StatField.Uid), field(context.stat, 0, StatField.Gid)];
  return Buffer.from(`${uid}:${gid}`, 'latin1');
}

function setOwner(context: UnionContext, node: Node, value: Uint8Array, caller: Caller): Awaitable<void> {
  const { uid, gid } = parseOwner(value);
  return after(copyUp(context, node, caller), () => {
    const { dirfd, name } = upperTarget(context, node);
    context.ownership.chown(dirfd, name, uid, gid);
  });
}

export function listxattr(context: UnionContext, node: Node, caller: Caller): Uint8Array {
  if (!context.options.xattrs) throw new Errno(E.EOPNOTSUPP, 'listxattr');
  const size = read(node, (directory, file) =>
    typeof directory === 'number' ? sys.listxattrat(directory, file, scratch) : directory.listxattr(file, scratch),
  );
  if (size === -E.EOPNOTSUPP || size === 0) return new Uint8Array(0);
  let shown = '';
  let administrator: boolean | undefined;
  for (const attribute of scratch.toString('latin1', 0, check(size, 'listxattr') - 1).split('\0')) {
    if (isPrivateXattr(attribute)) continue;
    if (!context.options.acl && attribute.startsWith(ACL_NAMES)) continue;
    const name = xattrFromDisk(attribute as ByteString);
    if (name.startsWith('trusted.') && !(administrator ??= mayAdministrate(caller))) continue;
    shown += name + '\0';
  }
  return Buffer.from(shown, 'latin1');
}

export function setxattr(
  context: UnionContext,
  node: Node,
  name: ByteString,
  value: Uint8Array,
  flags: number,
  kill: boolean,
  caller: Caller,
): Awaitable<void> {
  requireSupported(context, name);
  writableUpper(context);
  if (name === OWNER_XATTR && context.ownership.emulated) return setOwner(context, node, value, caller);
  const attribute = xattrToDisk(name);
  if (attribute === undefined) throw new Errno(E.EPERM, name);
  // The request's memory may be used again while a copy-up runs.
  const kept = node.inUpper ? value : Buffer.from(value);
  return after(copyUp(context, node, caller), () => {
    const { dirfd, name: file } = upperTarget(context, node);
    check(sys.setxattrat(dirfd, file, attribute, kept, flags), name);
    // The flag comes with a default ACL, too, which leaves the mode alone.
    if (kill && attribute === ACL_ACCESS) killSetGid(context, node);
  });
}

export function removexattr(context: UnionContext, node: Node, name: ByteString, caller: Caller): Awaitable<void> {
  requireSupported(context, name);
  writableUpper(context);
  const attribute = xattrToDisk(name);
  if (attribute === undefined) throw new Errno(E.ENODATA, name);
  // Removing what is not there is no reason for a copy-up.
  if (!node.inUpper && getxattr(context, node, name) === null) throw new Errno(E.ENODATA, name);
  return after(copyUp(context, node, caller), () => {
    const { dirfd, name: file } = upperTarget(context, node);
    check(sys.removexattrat(dirfd, file, attribute), name);
  });
}
