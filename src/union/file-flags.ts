/** Flags of files through the mount, and on their way into the upper: lsattr(1) and chattr(1). */
import type { Awaitable } from '../base/awaitable.js';
import { after } from '../base/awaitable.js';
import type { ByteString } from '../base/bytes.js';
import { check, E, Errno } from '../base/errno.js';
import {
  AT_FDCWD,
  FS_APPEND_FL,
  FS_IMMUTABLE_FL,
  FS_IOC_FSGETXATTR,
  FS_IOC_FSSETXATTR,
  FS_IOC_GETFLAGS,
  FS_IOC_SETFLAGS,
  FS_XFLAG_APPEND,
  FS_XFLAG_IMMUTABLE,
  O_CLOEXEC,
  O_NONBLOCK,
  O_RDONLY,
} from '../sys/constants.js';
import { sys } from '../sys/index.js';
import type { Caller } from '../vfs/filesystem.js';
import { upperTarget } from './attributes.js';
import type { UnionContext } from './context.js';
import { copyUp, writableUpper } from './copy-up.js';
import type { LayerDirectory } from '../overlay/layer.js';
import type { Node } from './node.js';
import { APPEND, IMMUTABLE, protectionOf, writeProtection } from './protection.js';
import { S_IFDIR, S_IFREG } from '../overlay/stat-buffer.js';
import { openSource } from './metadata.js';

/** The bits by which each form of the value says what `protection` says. */
const bits = {
  plain: { immutable: FS_IMMUTABLE_FL, append: FS_APPEND_FL },
  extended: { immutable: FS_XFLAG_IMMUTABLE, append: FS_XFLAG_APPEND },
} as const;

/**
 * fs/overlayfs/inode.c, ovl_fileattr_get. Throws ENOTTY where the file's own file system has none.
 */
export function getFlags(node: Node, extended: boolean, value: Uint8Array): void {
  const fd = openFor(node);
  const result = sys.fileFlags(fd, extended ? FS_IOC_FSGETXATTR : FS_IOC_GETFLAGS, value);
  sys.close(fd);
  check(result, 'ioctl');
  const { immutable, append } = extended ? bits.extended : bits.plain;
  const protection = protectionOf(node);
  const view = new DataView(value.buffer, value.byteOffset);
  const set =
    ((protection & IMMUTABLE) !== 0 ? immutable : 0) | ((protection & APPEND) !== 0 ? append : 0);
  view.setUint32(0, view.getUint32(0, true) | set, true);
}

/**
 * fs/overlayfs/inode.c, ovl_fileattr_set: copies up. Immutable and append-only are kept in an
 * attribute.
 */
export function setFlags(
  context: UnionContext,
  node: Node,
  extended: boolean,
  value: Uint8Array,
  caller: Caller,
): Awaitable<void> {
  if (node.type !== S_IFREG && !node.isDirectory()) throw new Errno(E.ENOTTY, 'ioctl');
  writableUpper(context);
  return after(copyUp(context, node, caller), () => {
    const had = protectionOf(node);
    const { immutable, append } = extended ? bits.extended : bits.plain;
    const view = new DataView(value.buffer, value.byteOffset);
    const wanted = view.getUint32(0, true);
    view.setUint32(0, wanted & ~(immutable | append), true);
    const protection =
      ((wanted & immutable) !== 0 ? IMMUTABLE : 0) | ((wanted & append) !== 0 ? APPEND : 0);
    const { dirfd, name } = upperTarget(context, node);
    writeProtection(context.upper, dirfd, name, protection, had !== 0);
    node.protection = protection;
    // One that is open to be written goes; the next write is asked for.
    context.files.drop(node);
    const fd = openFor(node);
    const result = sys.fileFlags(fd, extended ? FS_IOC_FSSETXATTR : FS_IOC_SETFLAGS, value);
    sys.close(fd);
    check(result, 'ioctl');
  });
}

/** The node's own object, opened for ioctl(2). Throws `Errno`. */
function openFor(node: Node): number {
  if (node.type !== S_IFREG && node.type !== S_IFDIR) throw new Errno(E.ENOTTY, 'ioctl');
  if (node.orphanFd >= 0) {
    const path = `/proc/self/fd/${node.orphanFd}` as ByteString;
    return check(sys.openat(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC, 0), 'open');
  }
  const directory = node.isDirectory() ? (node.stack[0] as LayerDirectory) : node.holder;
  return check(openSource(directory, node.isDirectory() ? ('' as ByteString) : node.name), 'open');
}
