/**
 * Who may change a data root: one writer at a time, and none while dockerd runs on it.
 *
 * `<root>/plyfs/store.lock` is held (flock(2), exclusive) for each publication, deletion, and
 * whatever must see the store unchanged. What is done under it is synchronous and takes
 * milliseconds: nothing is awaited, so it is waited for by blocking, and one thread needs no second
 * lock. What takes long, as filling a layer, is done before, in directories that nobody else
 * touches (metadata-store.ts).
 *
 * dockerd keeps its layers in memory and would neither see a change nor expect one. It holds flock
 * on its databases while it runs (bbolt, db.go); of those seen locked by dockerd 20.10, that of
 * networks is so only with networking on, and containerd's may survive a killed dockerd.
 */
import { closeSync } from 'node:fs';
import { join } from 'node:path';
import { bytesOf } from '../base/bytes.js';
import { check, E } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import { reasonOf } from '../base/system-error.js';
import * as c from '../sys/constants.js';
import { sys } from '../sys/index.js';
import { makeDirectories, openStored, UnfitFile } from '../sys/stored-file.js';
import { namesIn } from './metadata-files.js';

const OPEN_ATTEMPTS = 10;

export class RootLock {
  readonly #root: string;
  #fd: number | undefined;
  #depth = 0;

  /** Makes `<root>/plyfs/`. Throws `root-in-use`. */
  constructor(root: string) {
    assertNoDockerd(root);
    this.#root = root;
    makeDirectories([join(root, 'plyfs')], 0o700);
    this.#fd = openLock(join(root, 'plyfs/store.lock'));
  }

  /**
   * What `work` calls may ask for the lock again. Throws `root-in-use` when dockerd was started
   * meanwhile.
   */
  exclusively<T>(work: () => T extends Promise<unknown> ? never : T): T {
    const fd = this.#fd;
    if (fd === undefined) throw new Error(`The store on ${this.#root} was closed.`);
    if (this.#depth === 0) {
      assertNoDockerd(this.#root);
      let got: number;
      do got = sys.flock(fd, c.LOCK_EX);
      while (got === -E.EINTR);
      check(got, 'flock');
    }
    this.#depth++;
    try {
      return work();
    } finally {
      if (--this.#depth === 0) sys.flock(fd, c.LOCK_UN);
    }
  }

  /** Closing twice does nothing. */
  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }
}

function openLock(path: string): number {
  // Somebody else may make it, or take it away, between the two.
  for (let attempt = 0; attempt < OPEN_ATTEMPTS; attempt++) {
    const there = openStored(path, { access: 'write' });
    if (there !== undefined) return there;
    const made = sys.openat(
      c.AT_FDCWD,
      bytesOf(path),
      c.O_RDWR | c.O_CREAT | c.O_EXCL | c.O_NOFOLLOW | c.O_CLOEXEC,
      0o600,
    );
    if (made >= 0) return made;
    if (made !== -E.EEXIST)
      throw new UnfitFile(path, 'unreadable', `cannot be made (${reasonOf(-made)})`);
  }
  throw new UnfitFile(path, 'unreadable', 'comes and goes');
}

/**
 * The databases that dockerd locks, if it runs on `root`. Throws `root-damaged` where that cannot
 * be known.
 */
export function lockedDatabase(root: string): string | undefined {
  const databases = [
    'volumes/metadata.db',
    'network/files/local-kv.db',
    ...buildkitDatabases(root),
  ];
  return databases.find((path) => isLocked(join(root, path)));
}

/** Those of dockerd's builder, relative to `root`. */
export function buildkitDatabases(root: string): string[] {
  return namesIn(join(root, 'buildkit'))
    .filter((name) => name.endsWith('.db'))
    .map((name) => join('buildkit', name));
}

function assertNoDockerd(root: string): void {
  const database = lockedDatabase(root);
  if (database !== undefined)
    throw new PlyfsError(
      'root-in-use',
      `A running dockerd uses ${root} (it holds ${database}): stop it before you change anything there.`,
    );
}

/**
 * A database of dockerd's, the caller's to close; undefined where there is none. Throws
 * `root-damaged`.
 */
export function openDatabase(path: string): number | undefined {
  try {
    return openStored(path);
  } catch (error) {
    if (error instanceof UnfitFile && error.what === 'type') return undefined;
    throw error;
  }
}

function isLocked(path: string): boolean {
  const fd = openDatabase(path);
  if (fd === undefined) return false;
  try {
    return sys.flock(fd, c.LOCK_SH | c.LOCK_NB) === -E.EWOULDBLOCK;
  } finally {
    closeSync(fd);
  }
}
