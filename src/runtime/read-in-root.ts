/** Files of a root file system, read without following a link out of it. */
import { closeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { bytesOf, type ByteString } from '../base/bytes.js';
import { check } from '../base/errno.js';
import * as c from '../sys/constants.js';
import { sys } from '../sys/index.js';

/** Of files that decide whom a program runs as. */
export const LARGEST_FILE = 4 << 20;

/** A function that knows the contents, a character a byte; empty where there is none. */
export async function readInRoot(root: string, paths: readonly string[]): Promise<(path: string) => string> {
  const contents = new Map<string, string>();
  const rootFd = check(sys.openat(c.AT_FDCWD, bytesOf(root), c.O_PATH | c.O_DIRECTORY | c.O_CLOEXEC, 0), root);
  try {
    for (const path of paths) {
      const fd = sys.openat2(rootFd, path as ByteString, c.O_RDONLY | c.O_NONBLOCK | c.O_CLOEXEC, 0, c.RESOLVE_IN_ROOT);
      if (fd < 0) continue;
      try {
        contents.set(path, (await readFile(`/proc/self/fd/${fd}`)).toString('latin1', 0, LARGEST_FILE));
      } catch {
        // A directory, or a device.
      } finally {
        closeSync(fd);
      }
    }
  } finally {
    sys.close(rootFd);
  }
  return (path) => contents.get(path) ?? '';
}
