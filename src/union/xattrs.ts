/**
 * Extended attributes through the mount: passed on to the winning object, the union's own hidden
 * and escaped (shown-xattrs.ts).
 */
import { after, type Awaitable } from '../base/awaitable.js';
import type { ByteString } from '../base/bytes.js';
import { check, E, Errno } from '../base/errno.js';
import { sys } from '../sys/index.js';
import type { Caller } from '../vfs/filesystem.js';
import { killSetGid, upperTarget } from './attributes.js';
import type { UnionContext } from './context.js';
import { mayAdministrate } from './caller-rights.js';
import { copyUp, writableUpper } from './copy-up.js';
import type { LayerDirectory } from '../overlay/layer.js';
import { CAPABILITY } from './metadata.js';
import { type Node, statNode } from './node.js';
import { removeXattrAsOwner, setXattrAsOwner } from '../overlay/owner-rights.js';
import { OWNER_XATTR, parseOwner } from './ownership.js';
import { field, S_IFLNK } from '../overlay/stat-buffer.js';
import { StatField } from '../sys/syscalls.js';
import { xattrToDisk } from '../overlay/private-xattrs.js';
import { xattrNames } from '../sys/xattr-names.js';
import { nameOnDisk, nameShown } from './shown-xattrs.js';
import { ACL_ACCESS } from './posix-acl.js';
import { refuseChange } from './protection.js';

const ACL_NAMES = 'system.posix_acl_';
const scratch = Buffer.alloc(64 * 1024);

/**
 * What the node's attributes are read from, by name; a descriptor's own where the name is empty.
 * Throws ENOENT for a removed directory.
 */
function read<T>(node: Node, use: (directory: LayerDirectory | number, name: ByteString) => T): T {
  if (node.orphanFd >= 0) return use(node.orphanFd, '' as ByteString);
  if (node.isDirectory()) {
    if (node.lastStat !== null) throw new Errno(E.ENOENT, 'the directory was removed');
    return use(node.stack[0] as LayerDirectory, '' as ByteString);
  }
  return use(node.holder, node.name);
}

function readAttribute(node: Node, attribute: ByteString): number {
  return read(node, (directory, file) =>
    typeof directory === 'number'
      ? sys.getxattrat(directory, file, attribute, scratch)
      : directory.getxattr(file, attribute, scratch),
  );
}

/** The attribute that keeps the node's owner, if one does. */
function overrideOf(context: UnionContext, node: Node): ByteString | undefined {
  if (node.orphanFd >= 0) return context.ownership.override;
  return node.isDirectory()
    ? node.stack[0]?.overrideOf('' as ByteString)
    : node.holder.overrideOf(node.name);
}

/** Which attributes this mount has anything to do with. Throws EOPNOTSUPP. */
function requireSupported(context: UnionContext, name: ByteString): void {
  if (!context.options.xattrs) throw new Errno(E.EOPNOTSUPP, name);
  if (!context.options.acl && name.startsWith(ACL_NAMES)) throw new Errno(E.EOPNOTSUPP, name);
}

export function getxattr(context: UnionContext, node: Node, name: ByteString): Uint8Array | null {
  requireSupported(context, name);
  if (name === OWNER_XATTR && context.ownership.emulated) return ownerOf(context, node);
  const { marks } = context.belief;
  const kept = nameOnDisk(name, marks, overrideOf(context, node));
  let size = readAttribute(node, kept);
  // A layer may have given its files some of their own before it kept them aside.
  const plain = xattrToDisk(name, marks);
  if (size === -E.ENODATA && kept !== plain) size = readAttribute(node, plain);
  // "Not supported" would make every access to the file fail: Linux asks for ACLs before it grants
  // one (fs/fuse/acl.c, fuse_get_acl).
  if (size === -E.ENODATA || (size === -E.EOPNOTSUPP && name.startsWith(ACL_NAMES))) return null;
  return Buffer.from(scratch.subarray(0, check(size, name)));
}

function ownerOf(context: UnionContext, node: Node): Uint8Array {
  check(statNode(node, context.stat), 'stat');
  const [uid, gid] = [field(context.stat, 0, StatField.Uid), field(context.stat, 0, StatField.Gid)];
  return Buffer.from(`${uid}:${gid}`, 'latin1');
}

function setOwner(
  context: UnionContext,
  node: Node,
  value: Uint8Array,
  caller: Caller,
): Awaitable<void> {
  const { uid, gid } = parseOwner(value);
  return after(copyUp(context, node, caller), () => {
    const { dirfd, name } = upperTarget(context, node);
    context.ownership.chown(dirfd, name, uid, gid);
  });
}

export function listxattr(context: UnionContext, node: Node, caller: Caller): Uint8Array {
  if (!context.options.xattrs) throw new Errno(E.EOPNOTSUPP, 'listxattr');
  const names = read(node, (directory, file) =>
    typeof directory === 'number' ? xattrNames(directory, file) : directory.xattrNames(file),
  );
  if (typeof names === 'number') throw new Errno(-names, 'listxattr');
  const shown = new Set<ByteString>();
  let administrator: boolean | undefined;
  const override = overrideOf(context, node);
  for (const attribute of names) {
    const name = nameShown(attribute, context.belief.marks, override);
    if (name === undefined || (!context.options.acl && name.startsWith(ACL_NAMES))) continue;
    if (name.startsWith('trusted.') && !(administrator ??= mayAdministrate(caller))) continue;
    shown.add(name);
  }
  return Buffer.from([...shown].map((name) => `${name}\0`).join(''), 'latin1');
}

/**
 * Where the upper keeps an attribute of the node. A symbolic link has no `user.` attributes in
 * which to keep others (xattr(7)).
 */
function nameInUpper(context: UnionContext, node: Node, shown: ByteString): ByteString {
  return nameOnDisk(
    shown,
    context.belief.marks,
    node.type === S_IFLNK ? undefined : context.ownership.override,
  );
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
  refuseChange(node);
  if (name === OWNER_XATTR && context.ownership.emulated)
    return setOwner(context, node, value, caller);
  // The request's memory may be used again while a copy-up runs.
  const kept = node.inUpper ? value : Buffer.from(value);
  return after(copyUp(context, node, caller), () => {
    const { dirfd, name: file } = upperTarget(context, node);
    check(setXattrAsOwner(dirfd, file, nameInUpper(context, node, name), kept, flags), name);
    // A file that has capabilities must not be written past this process (open-files.ts).
    if (name === CAPABILITY) context.files.drop(node);
    // The flag comes with a default ACL, too, which leaves the mode alone.
    if (kill && name === ACL_ACCESS) killSetGid(context, node);
  });
}

export function removexattr(
  context: UnionContext,
  node: Node,
  name: ByteString,
  caller: Caller,
): Awaitable<void> {
  requireSupported(context, name);
  writableUpper(context);
  refuseChange(node);
  // Removing what is not there is no reason for a copy-up.
  if (!node.inUpper && getxattr(context, node, name) === null) throw new Errno(E.ENODATA, name);
  return after(copyUp(context, node, caller), () => {
    const { dirfd, name: file } = upperTarget(context, node);
    const attribute = nameInUpper(context, node, name);
    let removed = removeXattrAsOwner(dirfd, file, attribute);
    const plain = xattrToDisk(name, context.belief.marks);
    if (removed === -E.ENODATA && attribute !== plain)
      removed = removeXattrAsOwner(dirfd, file, plain);
    check(removed, name);
  });
}
