/**
 * Layers that running processes need though no image, mount or layer on disk refers to them yet:
 * those of an image that is being loaded.
 *
 * `<root>/plyfs/leases/<random>` is a log of what one process holds, `+ChainID` and `-ChainID`
 * lines, and is locked (flock(2)) as long as that process lives: a file that is not locked says
 * nothing, and goes. Under the store's lock a lease is taken, and others' are read, so that who
 * deletes a layer knows of every lease on it. Giving one back needs no lock: a line is one
 * write(2), and half a line is none.
 */
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { parseDigest, type ChainId } from '../base/digest.js';
import { check } from '../base/errno.js';
import { randomId } from '../base/ids.js';
import { LOCK_EX, LOCK_NB } from '../sys/constants.js';
import { sys } from '../sys/index.js';
import { assertDirectories, makeDirectories, openStored, readOpened } from '../sys/stored-file.js';
import { namesIn } from './metadata-files.js';

export class Leases {
  readonly #directory: string;
  readonly #counts = new Map<ChainId, number>();
  #own: { path: string; fd: number } | undefined;

  /** Throws `root-damaged` when there is no directory in its place. */
  constructor(root: string) {
    this.#directory = join(root, 'plyfs/leases');
    assertDirectories([this.#directory]);
  }

  /** Under the store's lock. */
  add(chainId: ChainId): void {
    const count = this.#counts.get(chainId) ?? 0;
    if (count === 0) this.#write(`+${chainId}\n`);
    this.#counts.set(chainId, count + 1);
  }

  /** Nothing, when there is none. */
  drop(chainId: ChainId): void {
    const count = this.#counts.get(chainId);
    if (count === undefined) return;
    if (count === 1) this.#write(`-${chainId}\n`);
    if (count === 1) this.#counts.delete(chainId);
    else this.#counts.set(chainId, count - 1);
  }

  /**
   * What other processes hold, and other stores of this one. With `sweep`, under the store's lock:
   * removes the files of those that have ended. Throws `root-damaged` for what is no file: what it
   * would say is not known.
   */
  others({ sweep }: { sweep: boolean }): Set<ChainId> {
    const held = new Set<ChainId>();
    for (const name of namesIn(this.#directory)) {
      const path = join(this.#directory, name);
      if (path === this.#own?.path) continue;
      const fd = openStored(path);
      // Its process closed it meanwhile.
      if (fd === undefined) continue;
      try {
        if (sys.flock(fd, LOCK_EX | LOCK_NB) !== 0)
          for (const chainId of heldIn(readOpened(fd, path, 'lease').toString('latin1')))
            held.add(chainId);
        else if (sweep) rmSync(path, { force: true });
      } finally {
        closeSync(fd);
      }
    }
    return held;
  }

  /** Drops all. */
  close(): void {
    if (this.#own === undefined) return;
    rmSync(this.#own.path, { force: true });
    closeSync(this.#own.fd);
    this.#own = undefined;
    this.#counts.clear();
  }

  /** Not flushed: it need not outlive a crash. */
  #write(line: string): void {
    this.#own ??= this.#create();
    writeSync(this.#own.fd, line);
  }

  #create(): { path: string; fd: number } {
    makeDirectories([this.#directory], 0o700);
    const path = join(this.#directory, randomId());
    const fd = openSync(path, 'ax', 0o600);
    // Waits at most for another's look.
    check(sys.flock(fd, LOCK_EX), 'flock');
    return { path, fd };
  }
}

function heldIn(log: string): Set<ChainId> {
  const held = new Set<ChainId>();
  for (const line of log.split('\n')) {
    const chainId = parseDigest(line.slice(1)) as ChainId | undefined;
    if (chainId === undefined) continue;
    if (line.startsWith('+')) held.add(chainId);
    else held.delete(chainId);
  }
  return held;
}
