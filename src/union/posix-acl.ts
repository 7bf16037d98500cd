/**
 * What a new file inherits from its directory's default ACL (acl(5), "Object creation and default
 * ACLs").
 *
 * The upper's file system does this by itself for a file made in its place. For one that is made in
 * the workdir and then moved over a whiteout it is done here, in the binary form of
 * `system.posix_acl_*` (linux/posix_acl_xattr.h).
 */
import type { ByteString } from '../base/bytes.js';

export const ACL_ACCESS = 'system.posix_acl_access' as ByteString;
export const ACL_DEFAULT = 'system.posix_acl_default' as ByteString;

const VERSION = 2;
const HEADER = 4;
const ENTRY = 8;
const USER_OBJ = 0x01;
const GROUP_OBJ = 0x04;
const MASK = 0x10;
const OTHER = 0x20;

export interface InheritedAcl {
  /** Permission bits after inheritance; the umask plays no part. */
  mode: number;
  /** The new file's access ACL; null when the mode says it all. */
  access: Buffer | null;
}

/** Applies a directory's default ACL to `mode`. Undefined when the value cannot be understood. */
export function inheritAcl(defaultAcl: Uint8Array, mode: number): InheritedAcl | undefined {
  if (defaultAcl.length < HEADER || (defaultAcl.length - HEADER) % ENTRY !== 0) return undefined;
  const access = Buffer.from(defaultAcl);
  if (access.readUInt32LE(0) !== VERSION) return undefined;
  let group = -1;
  let mask = -1;
  let extended = false;
  let bits = mode;
  const limit = (at: number, shift: number): void => {
    const permitted = access.readUInt16LE(at) & (mode >> shift) & 7;
    access.writeUInt16LE(permitted, at);
    bits = (bits & ~(7 << shift)) | (permitted << shift);
  };
  for (let at = HEADER; at < access.length; at += ENTRY) {
    switch (access.readUInt16LE(at)) {
      case USER_OBJ:
        limit(at + 2, 6);
        break;
      case OTHER:
        limit(at + 2, 0);
        break;
      case GROUP_OBJ:
        group = at + 2;
        break;
      case MASK:
        mask = at + 2;
        extended = true;
        break;
      default:
        extended = true;
    }
  }
  const forGroup = mask >= 0 ? mask : group;
  if (forGroup < 0) return undefined;
  limit(forGroup, 3);
  return { mode: bits, access: extended ? access : null };
}
