/** Directories of a layer read for packing and comparing: names in byte order, each with its attributes. */
import type { ByteString, Name } from '../base/bytes.js';
import { E, errnoName } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import { textOf } from '../base/bytes.js';
import { O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_PATH } from '../sys/constants.js';
import { sys } from '../sys/index.js';
import { applyOverride, OVERRIDE_CONTAINERS, readOverride } from '../sys/override-stat.js';
import { STAT_FIELDS, StatField } from '../sys/syscalls.js';
import type { Ownership } from './entry-writer.js';
import { namesIn } from './layer-root.js';

const EMPTY = '' as ByteString;

export interface Listing {
  /** In byte order. */
  readonly names: readonly Name[];
  /** Of each name, `STAT_FIELDS` doubles. */
  readonly stat: Float64Array;
}

/** Names that vanish meanwhile are left out. With ownership `override`, attributes are what the attribute says. Throws `tree-unreadable`. */
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
    if (kept.length < index) stat.copyWithin(kept.length * STAT_FIELDS, index * STAT_FIELDS, (index + 1) * STAT_FIELDS);
    if (ownership === 'override') override(dirfd, name, stat, kept.length);
    kept.push(name);
  }
  return { names: kept, stat };
}

/** Entry 0 of `stat`, as `list` has it. Returns `-errno` when it cannot be had. */
export function statOne(dirfd: number, name: ByteString, ownership: Ownership, stat: Float64Array): number {
  const result = sys.statx(dirfd, name, stat, 0);
  if (result >= 0 && ownership === 'override') override(dirfd, name, stat, 0);
  return result;
}

function override(dirfd: number, name: ByteString, stat: Float64Array, index: number): void {
  const found = readOverride(dirfd, name, OVERRIDE_CONTAINERS);
  if (found !== undefined) applyOverride(stat, index, found);
}

/** A directory in a directory, its descriptor the caller's to close; undefined when it is gone, or no directory any more. Throws `tree-unreadable`. */
export function openChild(dirfd: number, name: ByteString, path: ByteString): number | undefined {
  const fd = sys.openat(dirfd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
  if (fd === -E.ENOENT || fd === -E.ENOTDIR || fd === -E.ELOOP) return undefined;
  if (fd < 0) throw unreadable(fd, path);
  return fd;
}

/** XATTR_LIST_MAX and XATTR_SIZE_MAX of limits.h. */
const scratch = Buffer.alloc(64 * 1024);

/** In byte order; none where the file system has none. */
export function xattrNames(dirfd: number, name: ByteString, path: ByteString): ByteString[] {
  const size = sys.listxattrat(dirfd, name, scratch);
  if (size === -E.EOPNOTSUPP || size === -E.ENOENT) return [];
  if (size < 0) throw unreadable(size, path);
  if (size === 0) return [];
  return (scratch.toString('latin1', 0, size - 1).split('\0') as ByteString[]).sort();
}

/** A buffer of its own; undefined when there is none. */
export function xattr(dirfd: number, name: ByteString, attribute: ByteString): Buffer | undefined {
  const size = sys.getxattrat(dirfd, name, attribute, scratch);
  return size < 0 ? undefined : Buffer.from(scratch.subarray(0, size));
}

export function join(parent: ByteString, name: ByteString): ByteString {
  return parent === EMPTY ? name : (`${parent}/${name}` as ByteString);
}

/** `result` is `-errno`; `path` is relative to the tree. */
export function unreadable(result: number, path: ByteString): PlyfsError {
  const what = path === EMPTY ? 'root of the tree' : `file ${textOf(path)}`;
  return new PlyfsError('tree-unreadable', `The ${what} cannot be read (${errnoName(-result)}): look at its rights and at the disk.`);
}
