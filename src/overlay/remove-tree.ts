/**
 * Removing a directory with all that is in it: of any depth, with any names, never following a
 * link, and nothing of what is mounted inside.
 *
 * Directories inside directories are moved up beside those of the first level before they are
 * emptied, so that two descriptors do for any depth and no path is ever joined. Cut off anywhere,
 * the rest is a smaller tree of the same kind.
 */
import { randomBytes } from 'node:crypto';
import { readlinkSync } from 'node:fs';
import { bytesOf, textOf, type ByteString } from '../base/bytes.js';
import { check, E } from '../base/errno.js';
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
  RENAME_NOREPLACE,
  RESOLVE_NO_XDEV,
} from '../sys/constants.js';
import { listDirectory } from './directory-entries.js';

const HERE = '' as ByteString;

/**
 * Absent already: nothing. Throws `Errno`, and `mount-inside`, with nothing removed, where
 * something is mounted in it.
 */
export function removeTree(path: string): void {
  const bytes = bytesOf(path);
  const root = openDirectory(AT_FDCWD, bytes);
  if (root === -E.ENOENT) return;
  if (root === -E.ENOTDIR || root === -E.ELOOP) {
    check(sys.unlinkat(AT_FDCWD, bytes, 0), path);
    return;
  }
  check(root, path);
  try {
    refuseMounts(root, path);
    const names = new FreshNames();
    const pending = emptied(root, root, names);
    for (let name; (name = pending.pop()) !== undefined;) {
      const directory = openDirectory(root, name);
      if (directory === -E.ENOENT) continue;
      check(directory, name);
      try {
        pending.push(...emptied(directory, root, names));
      } finally {
        sys.close(directory);
      }
      check(sys.unlinkat(root, name, AT_REMOVEDIR), name);
    }
  } finally {
    sys.close(root);
  }
  check(sys.unlinkat(AT_FDCWD, bytes, AT_REMOVEDIR), path);
}

/**
 * Removes what is in `directory` but directories, which then stand in `root` under the names
 * returned.
 */
function emptied(directory: number, root: number, names: FreshNames): ByteString[] {
  const moved: ByteString[] = [];
  for (const { name, type } of listDirectory(directory)) {
    if (type !== DT_DIR) {
      const result = sys.unlinkat(directory, name, 0);
      if (result >= 0 || result === -E.ENOENT) continue;
      // Some file systems do not say what is a directory.
      if (result !== -E.EISDIR) check(result, name);
    }
    if (directory === root) {
      moved.push(name);
      continue;
    }
    const removed = sys.unlinkat(directory, name, AT_REMOVEDIR);
    if (removed >= 0) continue;
    if (removed !== -E.ENOTEMPTY && removed !== -E.EEXIST) check(removed, name);
    moved.push(moveUp(directory, name, root, names));
  }
  return moved;
}

function moveUp(directory: number, name: ByteString, root: number, names: FreshNames): ByteString {
  for (;;) {
    const fresh = names.next();
    let result = sys.renameat2(directory, name, root, fresh, RENAME_NOREPLACE);
    if (result === -E.EACCES) {
      // Moving a directory changes its `..`, for which its owner needs to be able to write to it.
      sys.fchmodat(directory, name, 0o700);
      result = sys.renameat2(directory, name, root, fresh, RENAME_NOREPLACE);
    }
    if (result >= 0) return fresh;
    if (result !== -E.EEXIST) check(result, name);
  }
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

/** A directory that may be closed even to its owner is opened up first. */
function openDirectory(parent: number, name: ByteString): number {
  const flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  const open = (): number => {
    const opened =
      parent === AT_FDCWD ? -E.ENOSYS : sys.openat2(parent, name, flags, 0, RESOLVE_NO_XDEV);
    return opened === -E.ENOSYS ? sys.openat(parent, name, flags, 0) : opened;
  };
  const fd = open();
  if (fd >= 0) {
    makeWritable(fd);
    return fd;
  }
  if (fd !== -E.EACCES || sys.fchmodat(parent, name, 0o700) < 0) return fd;
  return open();
}

const unprivileged = process.geteuid?.() !== 0;

function makeWritable(fd: number): void {
  if (unprivileged) sys.fchmodat(fd, HERE, 0o700);
}

class FreshNames {
  readonly #prefix = `.${randomBytes(8).toString('hex')}-`;
  #count = 0;

  next(): ByteString {
    return bytesOf(`${this.#prefix}${++this.#count}`);
  }
}
