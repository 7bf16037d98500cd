/**
 * The names of a file's extended attributes.
 *
 * listxattr(2) returns XATTR_LIST_MAX bytes of them at most and else E2BIG, while XFS stores any
 * number. The kernel's overlay is not bound so, because it asks the file system from within
 * (fs/overlayfs/copy_up.c, ovl_copy_xattr); who has the rights asks XFS itself.
 */
import type { ByteString } from '../base/bytes.js';
import { E } from '../base/errno.js';
import { XATTR_LIST_MAX } from './constants.js';
import { sys } from './index.js';

/** Bytes that names take at most on XFS: 16,000 of the longest. */
const MOST = 64 * XATTR_LIST_MAX;
const NONE: readonly ByteString[] = [];
const scratch = Buffer.alloc(XATTR_LIST_MAX);

/**
 * In the file system's order; none where it has no attributes. A number is `-errno`: E2BIG where
 * they are more than this process can list, and also where `dirfd` is no directory.
 */
export function xattrNames(dirfd: number, name: ByteString): readonly ByteString[] | number {
  const size = sys.listxattrat(dirfd, name, scratch);
  if (size === 0 || size === -E.EOPNOTSUPP) return NONE;
  if (size > 0) return split(scratch, size);
  if (size !== -E.E2BIG) return size;
  const room = Buffer.allocUnsafe(MOST);
  const beyond = sys.xfsListxattrat(dirfd, name, room);
  return beyond < 0 ? -E.E2BIG : split(room, beyond);
}

function split(names: Buffer, size: number): ByteString[] {
  return names.toString('latin1', 0, size - 1).split('\0') as ByteString[];
}
