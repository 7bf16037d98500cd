/**
 * Whether a read-write layer is written to by somebody whose mount cannot be seen from here: one in
 * another mount namespace, or one that is just ending.
 *
 * Who serves a union holds flock(2) on its workdir (src/union/workdir.ts); who holds it here keeps
 * others from mounting. The kernel's overlay takes no such lock.
 */
import { fstatSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as later } from 'node:timers/promises';
import { bytesOf } from '../base/bytes.js';
import { E } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import {
  AT_FDCWD,
  LOCK_EX,
  LOCK_NB,
  LOCK_SH,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_RDONLY,
} from '../sys/constants.js';
import { sys } from '../sys/index.js';
import type { Mount, StoreState } from './store-state.js';

/**
 * Milliseconds. umount(8) returns before the daemon it ends has let go: for one that is seen to be
 * ending, as long as a loaded machine may take.
 */
const PATIENCE = 3000;
const PATIENCE_WITH_ENDING = 60_000;
const PAUSE = 10;

/** Keeps everybody from writing to the layer while `work` is done. Throws `layer-in-use`. */
export async function whileUnused<T>(
  state: StoreState,
  mount: Mount,
  work: () => Promise<T>,
): Promise<T> {
  const fd = openWorkdir(state, mount);
  try {
    const from = performance.now();
    while (fd !== undefined && sys.flock(fd, LOCK_EX | LOCK_NB) === -E.EWOULDBLOCK) {
      const patience = isEnding(state, mount, fd) ? PATIENCE_WITH_ENDING : PATIENCE;
      if (performance.now() - from > patience) throw inUse(mount, fd);
      await later(PAUSE);
    }
    return await work();
  } finally {
    if (fd !== undefined) sys.close(fd);
  }
}

/** Waits for whoever is just ending. Throws `layer-in-use`. */
export function untilUnused(state: StoreState, mount: Mount): Promise<void> {
  return whileUnused(state, mount, () => Promise.resolve());
}

/**
 * Waits for a server whose mount has just ended, so that what was written to it is in its
 * directories, and for nobody else: what another mount namespace has in use may be read.
 */
export async function untilLetGo(state: StoreState, mount: Mount): Promise<void> {
  const fd = openWorkdir(state, mount);
  if (fd === undefined) return;
  try {
    const until = performance.now() + PATIENCE_WITH_ENDING;
    // Shared: two who wait do not take each other for the server.
    while (sys.flock(fd, LOCK_SH | LOCK_NB) === -E.EWOULDBLOCK && isEnding(state, mount, fd)) {
      if (performance.now() > until) throw inUse(mount, fd);
      await later(PAUSE);
    }
  } finally {
    sys.close(fd);
  }
}

function inUse({ name }: Mount, fd: number): PlyfsError {
  const holder = holderOf(fd);
  const by = holder === undefined ? 'another process' : `process ${holder}`;
  return new PlyfsError(
    'layer-in-use',
    `'${name}' is in use by ${by}, whose mount of it is not seen from here: unmount it there, or end what runs in it, first.`,
  );
}

function isShownWritable({ driver }: StoreState, { mountId }: Mount): boolean {
  return driver.mounts().some(({ id, readOnly }) => id === mountId && !readOnly);
}

/** Who holds the lock is in this mount namespace, where the mount is not any more. */
function isEnding(state: StoreState, mount: Mount, fd: number): boolean {
  if (isShownWritable(state, mount)) return false;
  try {
    const holder = holderOf(fd);
    return (
      holder !== undefined &&
      readlinkSync(`/proc/${holder}/ns/mnt`) === readlinkSync('/proc/self/ns/mnt')
    );
  } catch {
    return false;
  }
}

/**
 * The process that holds the lock, as proc_locks(5) names it: undefined where it is in another PID
 * namespace.
 */
function holderOf(fd: number): number | undefined {
  try {
    const { dev, ino } = fstatSync(fd, { bigint: true });
    // As makedev(3) packs them.
    const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & ~0xfffn);
    const minor = (dev & 0xffn) | ((dev >> 12n) & ~0xffn & 0xffffffffn);
    const place = `${major.toString(16).padStart(2, '0')}:${minor.toString(16).padStart(2, '0')}:${ino}`;
    const holder = readFileSync('/proc/locks', 'latin1')
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .find((words) => words[1] === 'FLOCK' && words[5] === place);
    const pid = Number(holder?.[4]);
    return pid > 0 ? pid : undefined;
  } catch {
    return undefined;
  }
}

/** Of a server that is just ending: no. Whoever uses the layer waits for it. */
export function isWrittenTo(state: StoreState, mount: Mount): boolean {
  if (isShownWritable(state, mount)) return true;
  const fd = openWorkdir(state, mount);
  if (fd === undefined) return false;
  try {
    return sys.flock(fd, LOCK_SH | LOCK_NB) === -E.EWOULDBLOCK && !isEnding(state, mount, fd);
  } finally {
    sys.close(fd);
  }
}

/** Undefined where there is none, which nobody holds then. */
function openWorkdir({ driver }: StoreState, { mountId }: Mount): number | undefined {
  let path: string | undefined;
  try {
    path = driver.directories(mountId).work;
  } catch (error) {
    // What is damaged cannot be mounted.
    if (error instanceof PlyfsError) return undefined;
    throw error;
  }
  if (path === undefined) return undefined;
  const fd = sys.openat(
    AT_FDCWD,
    bytesOf(path),
    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
    0,
  );
  return fd < 0 ? undefined : fd;
}
