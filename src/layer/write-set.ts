/**
 * A directory of layerdb that is not in the store yet, or not any more; its flock(2) tells others
 * that somebody works on it.
 */
import { closeSync, constants, fchmodSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { check } from '../base/errno.js';
import { LOCK_EX, LOCK_NB } from '../sys/constants.js';
import { sys } from '../sys/index.js';

const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

export class WriteSet {
  #path: string;
  #fd: number | undefined;

  private constructor(path: string, fd: number) {
    this.#path = path;
    this.#fd = fd;
  }

  /**
   * For a directory that nobody works on: what is waited for is at most another's look whether it
   * is in use.
   */
  static lock(path: string): WriteSet {
    const fd = openSync(path, DIRECTORY);
    check(sys.flock(fd, LOCK_EX), `flock ${path}`);
    return new WriteSet(path, fd);
  }

  /**
   * Undefined when somebody else works on it. Throws what open(2) throws: ENOTDIR also for a
   * symbolic link.
   */
  static tryLock(path: string): WriteSet | undefined {
    const fd = openSync(path, DIRECTORY);
    if (sys.flock(fd, LOCK_EX | LOCK_NB) === 0) return new WriteSet(path, fd);
    closeSync(fd);
    return undefined;
  }

  get path(): string {
    return this.#path;
  }

  /** It is this process's to finish or take away. */
  get isOpen(): boolean {
    return this.#fd !== undefined;
  }

  /** Not flushed: `StoreState.flush` is for all that belongs to the layer. */
  write(name: string, content: string | Uint8Array): void {
    const fd = openSync(join(this.#path, name), 'wx', 0o644);
    try {
      const bytes = typeof content === 'string' ? Buffer.from(content) : content;
      for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at);
      fchmodSync(fd, 0o644);
    } finally {
      closeSync(fd);
    }
  }

  chmod(mode: number): void {
    fchmodSync(this.#open(), mode);
  }

  /** Still locked. Throws when something is there that rename(2) does not replace. */
  moveTo(path: string): void {
    renameSync(this.#path, path);
    this.#path = path;
  }

  /** With all it holds. */
  remove(): void {
    rmSync(this.#path, { recursive: true, force: true });
    this.close();
  }

  /** Leaves it to whoever wants it. Closing twice does nothing. */
  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  #open(): number {
    if (this.#fd === undefined) throw new Error(`${this.#path} is closed`);
    return this.#fd;
  }
}

/**
 * Whether somebody works on the directory at `path`. One that has gone meanwhile is nobody's.
 * Throws what open(2) throws where that cannot be known.
 */
export function isInUse(path: string): boolean {
  try {
    const mine = WriteSet.tryLock(path);
    mine?.close();
    return mine === undefined;
  } catch (error) {
    if (isNoDirectory(error)) return false;
    throw error;
  }
}

/** What opening a directory fails with where there is nothing, or something else. */
export function isNoDirectory(error: unknown): boolean {
  return (
    error instanceof Error &&
    'code' in error &&
    (error.code === 'ENOENT' || error.code === 'ENOTDIR' || error.code === 'ELOOP')
  );
}
