/**
 * Directories of a layer read for packing and comparing: names in byte order, each with its
 * attributes.
 *
 * A look that fails is not an answer: only "no such attribute", "not supported" and "gone" mean
 * that nothing is there. Anything else is thrown, or a mark or an attribute would be missing from
 * what is made of the tree, without a word.
 */
import type { ByteString, Name } from '../base/bytes.js';
import { E, Errno } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import { textOf } from '../base/bytes.js';
import { reasonOf } from '../base/system-error.js';
import { STATX_ATTR_MOUNT_ROOT, XATTR_SIZE_MAX } from '../sys/constants.js';
import { sys } from '../sys/index.js';
import {
  applyOverride,
  OVERRIDE_CONTAINERS,
  parseOverrideStat,
  type OverrideStat,
} from './override-stat.js';
import { STAT_FIELDS, StatField } from '../sys/syscalls.js';
import { xattrNames } from '../sys/xattr-names.js';
import { namesIn, openBelow, typeAt } from './layer-root.js';
import type { Ownership } from './form.js';

const EMPTY = '' as ByteString;

export interface Listing {
  /** In byte order. */
  readonly names: readonly Name[];
  /** Of each name, `STAT_FIELDS` doubles. */
  readonly stat: Float64Array;
}

/**
 * Names that vanish meanwhile are left out. With ownership `override`, attributes are what the
 * attribute says. Throws `tree-unreadable`.
 */
export function list(dirfd: number, path: ByteString, ownership: Ownership): Listing {
  const names = namesIn(dirfd);
  if (typeof names === 'number') throw unreadable(names, path);
  names.sort();
  const stat = new Float64Array(names.length * STAT_FIELDS);
  sys.statxMany(dirfd, names, names.length, stat);
  const kept: Name[] = [];
  for (const [index, name] of names.entries()) {
    const result = stat[index * STAT_FIELDS + StatField.Result] as number;
    if (result === -E.ENOENT) continue;
    if (result < 0) throw unreadable(result, join(path, name));
    if (isMountPoint(stat, index)) throw unreadable(-E.EXDEV, join(path, name));
    if (kept.length < index)
      stat.copyWithin(kept.length * STAT_FIELDS, index * STAT_FIELDS, (index + 1) * STAT_FIELDS);
    if (ownership === 'override') override(dirfd, name, join(path, name), stat, kept.length);
    kept.push(name);
  }
  return { names: kept, stat };
}

function isMountPoint(stat: Float64Array, index: number): boolean {
  return (
    ((stat[index * STAT_FIELDS + StatField.Attributes] as number) & STATX_ATTR_MOUNT_ROOT) !== 0
  );
}

/**
 * Entry 0 of `stat`, as `list` has it. Returns `-errno` when it cannot be had. Throws
 * `tree-unreadable` for the attribute; `path` is the name's.
 */
export function statOne(
  dirfd: number,
  name: ByteString,
  path: ByteString,
  ownership: Ownership,
  stat: Float64Array,
): number {
  const result = sys.statx(dirfd, name, stat, 0);
  if (result >= 0 && ownership === 'override') override(dirfd, name, path, stat, 0);
  return result;
}

function override(
  dirfd: number,
  name: ByteString,
  path: ByteString,
  stat: Float64Array,
  index: number,
): void {
  const found = overrideOf(dirfd, name, path);
  if (found !== undefined) applyOverride(stat, index, found);
}

/** Owner, mode and type that are kept beside the file, if they are. Throws `tree-unreadable`. */
export function overrideOf(
  dirfd: number,
  name: ByteString,
  path: ByteString,
): OverrideStat | undefined {
  const value = xattr(dirfd, name, OVERRIDE_CONTAINERS, path);
  return value === undefined ? undefined : parseOverrideStat(value);
}

/** Whether the directory has the name; `path` is its path. Throws `tree-unreadable`. */
export function isThere(dirfd: number, name: ByteString, path: ByteString): boolean {
  const type = typeAt(dirfd, name);
  // The marker of a long name may be a name that no file has.
  if (type === -E.ENOENT || type === -E.ENAMETOOLONG) return false;
  if (type < 0) throw unreadable(type, path);
  return true;
}

/**
 * A directory in a directory, its descriptor the caller's to close; undefined when it is gone, or
 * no directory any more. Throws `tree-unreadable`.
 */
export function openChild(dirfd: number, name: ByteString, path: ByteString): number | undefined {
  const fd = openBelow(dirfd, name);
  if (fd === -E.ENOENT || fd === -E.ENOTDIR || fd === -E.ELOOP) return undefined;
  if (fd < 0) throw unreadable(fd, path);
  return fd;
}

const scratch = Buffer.alloc(XATTR_SIZE_MAX);

/** In byte order; none where the file system has none. */
export function sortedXattrNames(dirfd: number, name: ByteString, path: ByteString): ByteString[] {
  const names = xattrNames(dirfd, name);
  if (names === -E.ENOENT) return [];
  if (typeof names === 'number') throw unreadable(names, path);
  return [...names].sort();
}

/**
 * A buffer of its own; undefined when there is none, or no such file any more. `path` is the
 * file's. Throws `tree-unreadable`.
 */
export function xattr(
  dirfd: number,
  name: ByteString,
  attribute: ByteString,
  path: ByteString,
): Buffer | undefined {
  const size = sys.getxattrat(dirfd, name, attribute, scratch);
  if (size >= 0) return Buffer.from(scratch.subarray(0, size));
  if (size === -E.ENODATA || size === -E.EOPNOTSUPP || size === -E.ENOENT) return undefined;
  throw unreadable(size, path, `attribute ${attribute} of the `);
}

export function join(parent: ByteString, name: ByteString): ByteString {
  return parent === EMPTY ? name : (`${parent}/${name}` as ByteString);
}

/** What `look` finds out about a file, or `tree-unreadable` for the errno it throws. */
export function orUnreadable<T>(path: ByteString, look: () => T): T {
  try {
    return look();
  } catch (error) {
    throw error instanceof Errno ? unreadable(-error.errno, path) : error;
  }
}

/** `result` is `-errno`; `path` is relative to the tree; `part` is what of it. */
export function unreadable(result: number, path: ByteString, part = ''): PlyfsError {
  const what = path === EMPTY ? 'root of the tree' : `file ${textOf(path)}`;
  if (result === -E.EXDEV)
    return new PlyfsError(
      'tree-unreadable',
      `At the ${what} something is mounted: unmount it first.`,
    );
  if (result === -E.E2BIG) {
    return new PlyfsError(
      'tree-unreadable',
      `The ${what} has more attributes than can be listed (their names take over 64 KiB): on an XFS root of the machine can list them.`,
    );
  }
  return new PlyfsError(
    'tree-unreadable',
    `The ${part}${what} cannot be read (${reasonOf(-result)}): look at its rights and at the disk.`,
  );
}
