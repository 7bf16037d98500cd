/**
 * Blobs on their way from a registry: `<root>/plyfs/tmp/blobs/<hex>` holds the first bytes of one,
 * or all of it.
 *
 * - Who writes one holds flock(2) on it, exclusively; who has verified all of it keeps a shared
 *   lock as long as it is needed. So a blob that several processes want is fetched by one of them.
 * - Nothing of it is believed by who opens it: it may be another blob's beginning, or damaged.
 * - What nobody has locked was left by a process that did not finish; the next that wants the blob
 *   goes on from there, and garbage collection removes it (garbage.ts).
 */
import { closeSync, fstatSync, ftruncateSync, lstatSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { bytesOf } from '../base/bytes.js';
import { hexOf, type Digest } from '../base/digest.js';
import { reasonOf } from '../base/system-error.js';
import * as c from '../sys/constants.js';
import { sys } from '../sys/index.js';
import { makeDirectories, UnfitFile } from '../sys/stored-file.js';
import { namesIn } from './metadata-files.js';

/** Milliseconds between two looks at a file that another works on. */
const LOOK_AGAIN = 50;

function directoryOf(root: string): string {
  return join(root, 'plyfs/tmp/blobs');
}

export class BlobPart {
  readonly fd: number;
  readonly #path: string;
  #exclusive: boolean;
  #open = true;

  private constructor(fd: number, path: string, exclusive: boolean) {
    this.fd = fd;
    this.#path = path;
    this.#exclusive = exclusive;
  }

  /**
   * The file of this blob, made if need be; waits while another process writes to it. Not exclusive
   * only where another has all `size` bytes and has verified them.
   * Throws `root-damaged`, and the signal's reason.
   */
  static async take(
    root: string,
    digest: Digest,
    size: number,
    signal?: AbortSignal,
  ): Promise<BlobPart> {
    makeDirectories([directoryOf(root)], 0o700);
    const path = join(directoryOf(root), hexOf(digest));
    for (;;) {
      signal?.throwIfAborted();
      const part = BlobPart.#tryTake(path, size);
      if (part !== undefined) return part;
      await sleep(LOOK_AGAIN, undefined, signal && { signal });
    }
  }

  static #tryTake(path: string, size: number): BlobPart | undefined {
    const flags = c.O_RDWR | c.O_CREAT | c.O_NOFOLLOW | c.O_NONBLOCK | c.O_CLOEXEC;
    const fd = sys.openat(c.AT_FDCWD, bytesOf(path), flags, 0o600);
    if (fd < 0) throw new UnfitFile(path, 'unreadable', `cannot be opened (${reasonOf(-fd)})`);
    let kept = false;
    try {
      const stat = fstatSync(fd);
      if (!stat.isFile()) throw new UnfitFile(path, 'type', 'is no file');
      const exclusive = sys.flock(fd, c.LOCK_EX | c.LOCK_NB) === 0;
      const shared = !exclusive && stat.size === size && sys.flock(fd, c.LOCK_SH | c.LOCK_NB) === 0;
      if (!exclusive && !shared) return undefined;
      // Whoever had it may have removed it.
      if (lstatSync(path, { throwIfNoEntry: false })?.ino !== stat.ino) return undefined;
      kept = true;
      return new BlobPart(fd, path, exclusive);
    } finally {
      if (!kept) closeSync(fd);
    }
  }

  /** It may be written to. */
  get exclusive(): boolean {
    return this.#exclusive;
  }

  /** Bytes that are there. */
  get size(): number {
    return fstatSync(this.fd).size;
  }

  truncate(): void {
    ftruncateSync(this.fd, 0);
  }

  /** All of it is there and verified: others may read it. */
  share(): void {
    if (sys.flock(this.fd, c.LOCK_SH | c.LOCK_NB) === 0) this.#exclusive = false;
  }

  /**
   * `remove`: it is not needed any more, and goes unless another process needs it. Otherwise what
   * is there stays for who wants it next. Closing twice does nothing.
   */
  close({ remove }: { remove: boolean }): void {
    if (!this.#open) return;
    this.#open = false;
    const empty = this.size === 0;
    if ((remove || empty) && sys.flock(this.fd, c.LOCK_EX | c.LOCK_NB) === 0)
      rmSync(this.#path, { force: true });
    closeSync(this.fd);
  }
}

/** Paths of those that nobody works on. */
export function abandonedBlobParts(root: string): string[] {
  const directory = directoryOf(root);
  return namesIn(directory)
    .map((name) => join(directory, name))
    .filter((path) => ifUnlocked(path, () => undefined));
}

/** Removes one, unless somebody works on it. False where that is so. */
export function removeBlobPart(path: string): boolean {
  return ifUnlocked(path, () => rmSync(path, { force: true }));
}

function ifUnlocked(path: string, act: () => void): boolean {
  const flags = c.O_RDONLY | c.O_NOFOLLOW | c.O_NONBLOCK | c.O_CLOEXEC;
  const fd = sys.openat(c.AT_FDCWD, bytesOf(path), flags, 0);
  // A link, or what has gone meanwhile.
  if (fd < 0) return false;
  try {
    if (sys.flock(fd, c.LOCK_EX | c.LOCK_NB) !== 0) return false;
    act();
    return true;
  } finally {
    closeSync(fd);
  }
}
