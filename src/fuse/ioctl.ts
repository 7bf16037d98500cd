/**
 * ioctl(2): the flags of files, which the kernel asks for as it asks for any (fs/fuse/ioctl.c,
 * fuse_fileattr_get).
 *
 * All else is ENOTTY, isatty(3) first of all. No answer spares the next one: the kernel remembers
 * none.
 */
import { after } from '../base/awaitable.js';
import type { Awaitable } from '../base/awaitable.js';
import { E } from '../base/errno.js';
import {
  FS_IOC_FSGETXATTR,
  FS_IOC_FSSETXATTR,
  FS_IOC_GETFLAGS,
  FS_IOC_SETFLAGS,
} from '../sys/constants.js';
import type { Connection } from './connection.js';
import { IoctlIn, IoctlOut } from './protocol.js';
import type { Slot } from './request.js';

/** Bytes of an int, and of struct fsxattr (linux/fs.h). */
const FLAGS_SIZE = 4;
const EXTENDED_SIZE = 28;

export function ioctl(c: Connection, slot: Slot): Awaitable<number> {
  slot.fixed(IoctlIn.size);
  const command = slot.u32(IoctlIn.cmd);
  switch (command) {
    case FS_IOC_GETFLAGS:
    case FS_IOC_FSGETXATTR:
      return getFlags(c, slot, command === FS_IOC_FSGETXATTR);
    case FS_IOC_SETFLAGS:
    case FS_IOC_FSSETXATTR:
      return setFlags(c, slot, command === FS_IOC_FSSETXATTR);
    default:
      return -E.ENOTTY;
  }
}

function getFlags(c: Connection, slot: Slot, extended: boolean): Awaitable<number> {
  const size = extended ? EXTENDED_SIZE : FLAGS_SIZE;
  // A program that sends the request itself has an answer of the size that the number says.
  const room = slot.u32(IoctlIn.outSize);
  if (room < size || IoctlOut.size + room > slot.replySize) return -E.EINVAL;
  const value = new Uint8Array(size);
  return after(c.fs.getFlags(slot.node, extended, value), () => {
    const start = slot.reply;
    slot.bytes.fill(0, start, start + IoctlOut.size);
    slot.bytes.set(value, start + IoctlOut.size);
    return IoctlOut.size + size;
  });
}

function setFlags(c: Connection, slot: Slot, extended: boolean): Awaitable<number> {
  if (c.options.readOnly) return -E.EROFS;
  const size = extended ? EXTENDED_SIZE : FLAGS_SIZE;
  if (slot.u32(IoctlIn.inSize) < size) return -E.EINVAL;
  const { node } = slot;
  // The request's memory may be used again while a copy-up runs.
  const value = Uint8Array.from(slot.data(size));
  return after(c.fs.setFlags(node, extended, value, slot.caller()), () => {
    // The change time is another one, and the kernel does not know.
    if (!c.ended) c.session.expireAttributes(node);
    slot.bytes.fill(0, slot.reply, slot.reply + IoctlOut.size);
    return IoctlOut.size;
  });
}
