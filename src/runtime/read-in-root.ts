/** Files of a root file system, read without following a link out of it. */
import { closeSync, fstatSync, readSync } from 'node:fs';
import { bytesOf, type ByteString } from '../base/bytes.js';
import { check } from '../base/errno.js';
import * as c from '../sys/constants.js';
import { sys } from '../sys/index.js';

/** Of files that decide whom a program runs as: what an image has more of is not read. */
const LARGEST_FILE = 4 << 20;

/**
 * The contents of an open regular file, a character a byte. Empty for anything else: a device may
 * never end, a pipe never begin.
 */
export function contentsOf(fd: number): string {
  if (!fstatSync(fd).isFile()) return '';
  const pieces = Buffer.alloc(LARGEST_FILE);
  let size = 0;
  for (let more = 1; more > 0; size += more)
    more = readSync(fd, pieces, size, pieces.length - size, size);
  return pieces.toString('latin1', 0, size);
}

/** A function that knows the contents, a character a byte; empty where there is none. */
export function readInRoot(root: string, paths: readonly string[]): (path: string) => string {
  const contents = new Map<string, string>();
  const rootFd = check(
    sys.openat(c.AT_FDCWD, bytesOf(root), c.O_PATH | c.O_DIRECTORY | c.O_CLOEXEC, 0),
    root,
  );
  try {
    for (const path of paths) {
      const fd = sys.openat2(
        rootFd,
        path as ByteString,
        c.O_RDONLY | c.O_NONBLOCK | c.O_CLOEXEC,
        0,
        c.RESOLVE_IN_ROOT,
      );
      if (fd < 0) continue;
      try {
        contents.set(path, contentsOf(fd));
      } catch {
        // It cannot be read: as if it were not there.
      } finally {
        closeSync(fd);
      }
    }
  } finally {
    sys.close(rootFd);
  }
  return (path) => contents.get(path) ?? '';
}
