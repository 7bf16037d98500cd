/**
 * Directories seen through a private, bare copy of their mount, as the kernel's overlay sees its
 * layers (fs/overlayfs/super.c, clone_private_mount): where something is mounted inside, the copy
 * has what is covered there.
 *
 * It takes CAP_SYS_ADMIN over the mount namespace, Linux 5.2, and in a user namespace that no mount
 * inside the directory is locked to its parent (open_tree(2), mount_namespaces(7)). Who has no copy
 * passes RESOLVE_NO_XDEV to openat2(2).
 */
import { readlinkSync } from 'node:fs';
import { bytesOf, type ByteString } from '../base/bytes.js';
import {
  AT_FDCWD,
  O_CLOEXEC,
  O_DIRECTORY,
  O_RDONLY,
  OPEN_TREE_CLONE,
  RESOLVE_BENEATH,
  RESOLVE_NO_SYMLINKS,
} from './constants.js';
import { sys } from './index.js';
import { StatField, STAT_FIELDS } from './syscalls.js';

const HERE = bytesOf('.');
const ITSELF = '' as ByteString;
const READ_DIRECTORY = O_RDONLY | O_DIRECTORY | O_CLOEXEC;

/**
 * The directory through a copy of its mount, the caller's to close; undefined where there is none
 * to be had.
 */
export function openPrivately(path: ByteString): number | undefined {
  const [inside] = openBeneath(path, [HERE]);
  return inside;
}

/**
 * A directory and `above`, which it lies in, as `openBothPrivately` has them; paths are absolute
 * and without symbolic links.
 */
export function openPrivatelyBelow(
  above: ByteString,
  path: ByteString,
): [above: number, directory: number] | undefined {
  const [opened, below] = path.startsWith(`${above}/`)
    ? openBeneath(above, [HERE, path.slice(above.length + 1) as ByteString])
    : [];
  return opened === undefined || below === undefined ? undefined : [opened, below];
}

/**
 * Two open directories of one mount, through one copy of it: rename(2) and link(2) go from mount to
 * mount never. The caller closes both; undefined where there is no copy to be had.
 */
export function openBothPrivately(
  one: number,
  other: number,
): [one: number, other: number] | undefined {
  const [path, otherPath] = [pathOf(one), pathOf(other)];
  if (path === undefined || otherPath === undefined) return undefined;
  const above = commonDirectory(path, otherPath);
  const relative = (to: string): ByteString =>
    to === above ? HERE : (to.slice(above === '/' ? 1 : above.length + 1) as ByteString);
  const opened = openBeneath(above as ByteString, [relative(path), relative(otherPath)]);
  const [copied, otherCopied] = opened;
  // A path tells where a directory was: another may stand there now, or a mount lie between.
  const same =
    copied !== undefined &&
    otherCopied !== undefined &&
    isSame(copied, one) &&
    isSame(otherCopied, other);
  if (same) return [copied, otherCopied];
  for (const fd of opened) sys.close(fd);
  return undefined;
}

/** Descriptors of directories below `path`, all or none, through one copy of its mount. */
function openBeneath(path: ByteString, names: readonly ByteString[]): number[] {
  const tree = sys.open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | O_CLOEXEC);
  if (tree < 0) return [];
  const opened: number[] = [];
  for (const name of names) {
    const fd = name === HERE ? sys.openat(tree, name, READ_DIRECTORY, 0) : openat2(tree, name);
    if (fd >= 0) opened.push(fd);
  }
  sys.close(tree);
  if (opened.length === names.length) return opened;
  for (const fd of opened) sys.close(fd);
  return [];
}

function openat2(tree: number, name: ByteString): number {
  return sys.openat2(tree, name, READ_DIRECTORY, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
}

/** Absolute; undefined where the directory cannot be reached from this process's root. */
function pathOf(fd: number): string | undefined {
  try {
    const path = readlinkSync(`/proc/self/fd/${fd}`, 'latin1');
    return path.startsWith('/') ? path : undefined;
  } catch {
    return undefined;
  }
}

function commonDirectory(one: string, other: string): string {
  const [words, others] = [one.split('/'), other.split('/')];
  let common = 0;
  while (common < words.length && words[common] === others[common]) common++;
  return words.slice(0, common).join('/') || '/';
}

const stats = new Float64Array(2 * STAT_FIELDS);
const identity = [
  StatField.DevMajor,
  StatField.DevMinor,
  StatField.InoHigh,
  StatField.InoLow,
] as const;

function isSame(one: number, other: number): boolean {
  if (sys.statx(one, ITSELF, stats, 0) < 0 || sys.statx(other, ITSELF, stats, 1) < 0) return false;
  return identity.every((field) => stats[field] === stats[STAT_FIELDS + field]);
}
