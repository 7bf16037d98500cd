/**
 * Removing a directory with all that is in it: of any depth, with any names, never following a
 * link, and nothing of what is mounted inside. Cut off anywhere, the rest is a smaller tree of the
 * same kind.
 */
import { readlinkSync } from 'node:fs';
import { bytesOf, textOf, type ByteString, type Name } from '../base/bytes.js';
import { check, E, Errno } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import { readMountTable } from '../host/mount-table.js';
import { sys } from '../sys/index.js';
import {
  AT_FDCWD,
  AT_REMOVEDIR,
  DT_DIR,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_RDONLY,
  RESOLVE_NO_XDEV,
} from '../sys/constants.js';
import { listDirectory } from './directory-entries.js';
import { walkTrees, type TreeWalk, type Visit } from './walk-trees.js';

const HERE = '' as ByteString;
const unprivileged = process.geteuid?.() !== 0;

/**
 * Absent already: nothing. What a directory's mode keeps from its owner goes all the same. Throws
 * `Errno`, and `mount-inside`, with nothing removed, where something is mounted in it.
 */
export function removeTree(path: string): void {
  remove(AT_FDCWD, bytesOf(path), true, (root) => refuseMounts(root, path));
}

/**
 * Takes a name away with all that is below it, into no mount, as far as the modes let. 0 (also when
 * there was nothing) or `-errno`.
 */
export function removeTreeAt(dirfd: number, name: ByteString): number {
  try {
    remove(dirfd, name, false);
    return 0;
  } catch (error) {
    if (error instanceof Errno) return -error.errno;
    throw error;
  }
}

/** `opening`: directories that are closed to their owner are opened up. */
function remove(
  dirfd: number,
  name: ByteString,
  opening: boolean,
  before?: (root: number) => void,
): void {
  const root = openDirectory(dirfd, name, opening);
  if (root === -E.ENOENT) return;
  if (root === -E.ENOTDIR || root === -E.ELOOP) {
    unlink(dirfd, name, 0);
    return;
  }
  check(root, name);
  try {
    before?.(root);
    walkTrees([root], (walk) => emptied(walk, opening));
  } finally {
    sys.close(root);
  }
  unlink(dirfd, name, AT_REMOVEDIR);
}

function* emptied(walk: TreeWalk, opening: boolean): Visit<void> {
  for (const { name, type } of listDirectory(walk.fd())) {
    if (type !== DT_DIR) {
      const result = sys.unlinkat(walk.fd(), name, 0);
      if (result >= 0 || result === -E.ENOENT) continue;
      // Some file systems do not say what is a directory.
      if (result !== -E.EISDIR) check(result, name);
    }
    const fd = openDirectory(walk.fd(), name, opening);
    if (fd === -E.ENOENT) continue;
    yield { name: name as Name, fds: [check(fd, name)], visit: emptied(walk, opening) };
    unlink(walk.fd(), name, AT_REMOVEDIR);
  }
}

function unlink(dirfd: number, name: ByteString, flags: number): void {
  const result = sys.unlinkat(dirfd, name, flags);
  if (result !== -E.ENOENT) check(result, name);
}

/** By the mount table, before anything goes; `openDirectory` stops at what is mounted later. */
function refuseMounts(root: number, path: string): void {
  const inside = `${readlinkSync(`/proc/self/fd/${root}`, 'latin1')}/`;
  const mount = readMountTable().find(({ mountpoint }) => mountpoint.startsWith(inside));
  if (mount === undefined) return;
  throw new PlyfsError(
    'mount-inside',
    `Something is mounted at ${textOf(mount.mountpoint)}, inside ${path}, which is to be removed: unmount it, then run ply gc.`,
  );
}

function openDirectory(parent: number, name: ByteString, opening: boolean): number {
  const flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  const open = (): number => {
    const opened =
      parent === AT_FDCWD ? -E.ENOSYS : sys.openat2(parent, name, flags, 0, RESOLVE_NO_XDEV);
    return opened === -E.ENOSYS ? sys.openat(parent, name, flags, 0) : opened;
  };
  let fd = open();
  if (!opening) return fd;
  if (fd === -E.EACCES && sys.fchmodat(parent, name, 0o700) >= 0) fd = open();
  else if (fd >= 0 && unprivileged) sys.fchmodat(fd, HERE, 0o700);
  return fd;
}
