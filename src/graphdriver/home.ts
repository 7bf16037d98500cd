/**
 * What every layout does in its home: directories of exact modes, small files read warily, ids that
 * are single names.
 */
import { chmodSync, lstatSync, mkdirSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { bytesOf } from '../base/bytes.js';
import { PlyfsError } from '../base/error.js';
import { parseCacheId } from '../base/ids.js';
import { reasonOf } from '../base/system-error.js';
import { AT_FDCWD, S_IFDIR } from '../sys/constants.js';
import { sys } from '../sys/index.js';
import { formatOverrideStat, OVERRIDE_CONTAINERS } from '../overlay/override-stat.js';
import { readStored, UnfitFile, type StoredKind } from '../sys/stored-file.js';

/** A directory so called was a layer, and is being deleted. */
const REMOVING = '-removing';

/** Makes it with that mode, whatever the umask. Throws what node:fs throws. */
export function makeDirectory(path: string, mode: number): void {
  mkdirSync(path, mode);
  chmodSync(path, mode);
}

/**
 * Whether owner, mode and type of a layer's files are their own, or kept in
 * `user.containers.override_stat`.
 */
export type Ownership = 'real' | 'override';

/** Only root can give files away and make device nodes. */
export const ownership: Ownership = process.geteuid?.() === 0 ? 'real' : 'override';

const ROOT = { uid: 0, gid: 0, mode: 0o755, type: S_IFDIR, major: 0, minor: 0 };

/** The root of a layer's files. */
export function makeLayerRoot(path: string): void {
  makeDirectory(path, 0o755);
  if (ownership === 'real') return;
  const set = sys.setxattrat(
    AT_FDCWD,
    bytesOf(path),
    OVERRIDE_CONTAINERS,
    formatOverrideStat(ROOT),
    0,
  );
  if (set >= 0) return;
  throw new PlyfsError(
    'xattrs-unsupported',
    `${path} takes no extended attributes (${reasonOf(-set)}), in which an ordinary user's layers keep their owners: put the data root on another file system.`,
  );
}

export function makeDirectoryIfMissing(path: string, mode: number): void {
  try {
    makeDirectory(path, mode);
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error;
  }
}

/** Symbolic links are not directories. */
export function isDirectory(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

export function exists(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/**
 * The content as Latin-1, white space at both ends cut off; undefined where there is no such file,
 * and what is wrong with one that cannot be used.
 */
export function readSmallFile(path: string, kind: StoredKind): string | UnfitFile | undefined {
  try {
    return readStored(path, kind)?.toString('latin1').trim();
  } catch (error) {
    if (error instanceof UnfitFile) return error;
    throw error;
  }
}

/**
 * The target of a symbolic link; undefined for anything else, and where there is nothing. Throws
 * what node:fs throws when it cannot be read.
 */
export function readLink(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch (error) {
    const code = codeOf(error);
    if (code === 'EINVAL' || code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw error;
  }
}

/**
 * Throws `layer-id-invalid` for what cannot be a layer's directory; `reserved`: names that the
 * layout has for itself.
 */
export function checkId(id: string, reserved: readonly string[] = []): void {
  if (parseCacheId(id) !== undefined && !id.endsWith(REMOVING) && !reserved.includes(id)) return;
  throw new PlyfsError(
    'layer-id-invalid',
    `'${id}' cannot be the id of a layer: use 64 hexadecimal digits.`,
  );
}

/** Where a layer's directory goes before it is deleted. */
export function removingName(id: string): string {
  return id + REMOVING;
}

/** The ids that have a directory in `path`, complete, half made or half removed; sorted. */
export function idsIn(path: string, reserved: readonly string[] = []): string[] {
  const ids = new Set<string>();
  let names: string[] = [];
  try {
    names = readdirSync(path);
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
  }
  for (const name of names) {
    const id = name.endsWith(REMOVING) ? name.slice(0, -REMOVING.length) : name;
    if (parseCacheId(id) !== undefined && !reserved.includes(id) && isDirectory(join(path, name)))
      ids.add(id);
  }
  return [...ids].sort();
}

export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string'
    ? error.code
    : undefined;
}

export function missing(id: string, home: string): PlyfsError {
  return new PlyfsError('layer-missing', `layer ${id} is not in ${home}: load its image again.`);
}

export function damaged(id: string, what: string): PlyfsError {
  return new PlyfsError(
    'layer-damaged',
    `layer ${id}: ${what}: remove the images that use it and load them again.`,
  );
}

export function alreadyThere(id: string, home: string): PlyfsError {
  return new PlyfsError(
    'layer-exists',
    `layer ${id} is in ${home} already: remove it first, or take another id.`,
  );
}
