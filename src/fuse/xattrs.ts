/**
 * Handlers of the operations on extended attributes.
 */
import { after } from '../base/awaitable.js';
import type { Awaitable } from '../base/awaitable.js';
import { E, Errno } from '../base/errno.js';
import type { ByteString } from '../base/bytes.js';
import type { Connection } from './connection.js';
import { GetxattrIn, InitFlag, SETXATTR_ACL_KILL_SGID, SetxattrIn } from './protocol.js';
import { writeBytes, writeWord } from './reply.js';
import type { Slot } from './request.js';

/** XATTR_NAME_MAX of linux/limits.h. */
const XATTR_NAME_MAX = 255;

function attributeName(slot: Slot): ByteString {
  const name = slot.string();
  if (name.length > XATTR_NAME_MAX) throw new Errno(E.ERANGE);
  slot.firstName ??= name;
  return name;
}

/** A size of 0 asks how large the value is. */
function value(slot: Slot, size: number, bytes: Uint8Array): number {
  if (size === 0) return writeWord(slot, bytes.length);
  if (bytes.length > size) return -E.ERANGE;
  return bytes.length > slot.replySize ? -E.E2BIG : writeBytes(slot, bytes);
}

export function getxattr(c: Connection, slot: Slot): Awaitable<number> {
  slot.fixed(GetxattrIn.size);
  const size = slot.u32(GetxattrIn.bufferSize);
  const name = attributeName(slot);
  return after(
    orNoAcl(c, name, () => c.fs.getxattr(slot.node, name)),
    (bytes) => (bytes === null ? -E.ENODATA : value(slot, size, bytes)),
  );
}

/**
 * A file on a file system without ACLs has none. While the kernel checks permissions it takes
 * EOPNOTSUPP for a refusal (fs/fuse/acl.c, __fuse_get_acl), once ACLs were negotiated.
 */
function orNoAcl(
  c: Connection,
  name: ByteString,
  get: () => Awaitable<Uint8Array | null>,
): Awaitable<Uint8Array | null> {
  if ((c.flags & InitFlag.POSIX_ACL) === 0 || !name.startsWith('system.posix_acl_')) return get();
  const failed = (error: unknown): null => {
    if (error instanceof Errno && error.errno === E.EOPNOTSUPP) return null;
    throw error;
  };
  try {
    const bytes = get();
    return bytes instanceof Promise ? bytes.catch(failed) : bytes;
  } catch (error) {
    return failed(error);
  }
}

export function listxattr(c: Connection, slot: Slot): Awaitable<number> {
  slot.fixed(GetxattrIn.size);
  const size = slot.u32(GetxattrIn.bufferSize);
  return after(c.fs.listxattr(slot.node, slot.caller()), (bytes) => value(slot, size, bytes));
}

export function setxattr(c: Connection, slot: Slot): Awaitable<number> {
  const extended = c.extendedSetxattr;
  slot.fixed(extended ? SetxattrIn.size : SetxattrIn.oldSize);
  const size = slot.u32(SetxattrIn.valueSize);
  const killSetGid =
    extended && (slot.u32(SetxattrIn.setxattrFlags) & SETXATTR_ACL_KILL_SGID) !== 0;
  const name = attributeName(slot);
  return after(
    c.fs.setxattr(
      slot.node,
      name,
      slot.data(size),
      slot.u32(SetxattrIn.flags),
      killSetGid,
      slot.caller(),
    ),
    () => 0,
  );
}

export function removexattr(c: Connection, slot: Slot): Awaitable<number> {
  slot.fixed(0);
  return after(c.fs.removexattr(slot.node, attributeName(slot), slot.caller()), () => 0);
}
