/**
 * The work directory: a place on the upper's file system for what is not finished.
 *
 * `workdir`/work is laid out as the kernel has it, so that either can mount after the other.
 * Whatever it holds when a union is opened is what a crash left, and is swept; but
 * `incompat/volatile` there says that a mount which flushed nothing may have been cut short: such
 * an upper is refused (overlayfs.rst, "Volatile mount").
 */
import type { ByteString, Name } from '../base/bytes.js';
import { bytesOf, textOf } from '../base/bytes.js';
import { E, Errno } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import { inPieces, type Pieces } from '../base/pieces.js';
import { reasonOf } from '../base/system-error.js';
import { sys } from '../sys/index.js';
import {
  AT_REMOVEDIR,
  DT_DIR,
  LOCK_EX,
  LOCK_NB,
  O_CLOEXEC,
  O_CREAT,
  O_WRONLY,
} from '../sys/constants.js';
import type { DiskDirectory } from '../overlay/disk-directory.js';
import type { EntryVisitor } from '../overlay/layer.js';

const WORK = bytesOf('work') as Name;
const INCOMPAT = bytesOf('incompat') as Name;
const VOLATILE = bytesOf('volatile') as Name;

/** Names that are removed before others have their turn: some milliseconds. */
const SWEPT_AT_ONCE = 512;

/**
 * Removes `name` and everything below it, never following a link; what cannot be removed stays for
 * the next sweep. Of a large tree, part of it now and the rest as the event loop turns: nobody
 * waits for it, and what is left when the union ends is swept by the next.
 */
export function sweep(directory: DiskDirectory, name: Name): void {
  const rest = inPieces(sweeping(directory, name), 1);
  rest?.catch(() => undefined);
}

/** The same, all of it at once. */
function sweepNow(directory: DiskDirectory, name: Name): void {
  void inPieces(sweeping(directory, name), Infinity);
}

/** A directory to be removed; `inside` once what was in it has been removed, or waits above it. */
interface Swept {
  readonly directory: DiskDirectory;
  readonly name: Name;
  inside: DiskDirectory | null;
}

function* sweeping(directory: DiskDirectory, name: Name): Pieces {
  const waiting: Swept[] = [{ directory, name, inside: null }];
  let removed = 0;
  for (let next = waiting.at(-1); next !== undefined; next = waiting.at(-1)) {
    if (++removed % SWEPT_AT_ONCE === 0) yield;
    const { inside } = next;
    if (inside !== null || removeSimple(next.directory, next.name)) {
      waiting.pop();
      if (inside === null) continue;
      inside.release();
      sys.unlinkat(next.directory.fd(), next.name, AT_REMOVEDIR);
      continue;
    }
    const entered = next.directory.descend(next.name);
    next.inside = entered;
    // A directory of another's making may be closed even to its owner (the kernel makes `work` with
    // mode 0).
    sys.fchmodat(next.directory.fd(), next.name, 0o700);
    let found: Name[] = [];
    const pieces = entered.listing((entry) => found.push(entry));
    for (;;) {
      let step;
      try {
        step = pieces.next();
      } catch (error) {
        if (!(error instanceof Errno)) throw error;
        break;
      }
      for (const entry of found) {
        if (++removed % SWEPT_AT_ONCE === 0) yield;
        if (!removeSimple(entered, entry))
          waiting.push({ directory: entered, name: entry, inside: null });
      }
      found = [];
      if (step.done === true) break;
    }
  }
}

/**
 * Removes what is no directory, or an empty one. False for one that holds something, which must be
 * entered.
 */
function removeSimple(directory: DiskDirectory, name: Name): boolean {
  if (sys.unlinkat(directory.fd(), name, 0) !== -E.EISDIR) return true;
  return sys.unlinkat(directory.fd(), name, AT_REMOVEDIR) >= 0;
}

/** What could not be removed when its time came is tried again at the end. */
export function sweepAll(work: DiskDirectory): void {
  try {
    for (const entry of entriesOf(work)) if (entry.name !== INCOMPAT) sweepNow(work, entry.name);
  } catch (error) {
    if (!(error instanceof Errno)) throw error;
  }
}

function entriesOf(directory: DiskDirectory): { name: Name; type: number }[] {
  const entries: { name: Name; type: number }[] = [];
  const visit: EntryVisitor = (name, type) => entries.push({ name, type });
  const failed = directory.list(visit);
  if (failed < 0) throw new Errno(-failed, 'readdir');
  return entries;
}

/**
 * Milliseconds: a daemon takes back some ten thousand nodes a second from the kernel before it
 * ends, fewer on a busy machine.
 */
const LOCK_PATIENCE = 10_000;
/** What overlayfs and fuse-overlayfs keep in a workdir. */
const known: readonly string[] = ['work', 'index'];

/**
 * Makes `workdir`/work ready: locked against another mount, empty, and marked if nothing will be
 * flushed. `workdir` itself stays open to keep the lock. Throws `PlyfsError`.
 */
export function prepareWorkdir(
  workdir: DiskDirectory,
  path: ByteString,
  isVolatile: boolean,
): DiskDirectory {
  const shown = textOf(path);
  if (!lock(workdir)) {
    throw new PlyfsError(
      'workdir-in-use',
      `workdir ${shown} is in use by another mount: unmount that one, or give this mount its own upperdir and workdir.`,
    );
  }
  const foreign = entriesOf(workdir).find(
    (entry) => !known.includes(entry.name) || entry.type !== DT_DIR,
  );
  if (foreign !== undefined) {
    throw new PlyfsError(
      'workdir-not-empty',
      `workdir ${shown} holds ${textOf(foreign.name)}, which no overlay put there: give an empty directory.`,
    );
  }
  const made = sys.mkdirat(workdir.fd(), WORK, 0o700);
  if (made < 0 && made !== -E.EEXIST) {
    throw new PlyfsError(
      'workdir-not-writable',
      `cannot write to workdir ${shown} (${reasonOf(-made)}): make it writable, or give another.`,
    );
  }
  sys.fchmodat(workdir.fd(), WORK, 0o700);
  const work = workdir.descend(WORK);
  for (const entry of entriesOf(work)) {
    if (entry.name === INCOMPAT && entry.type === DT_DIR) refuseVolatile(work, shown);
    sweepNow(work, entry.name);
  }
  if (isVolatile) markVolatile(work, shown);
  return work;
}

/** umount(8) returns before the daemon it ends has let go: that is waited for. */
function lock(workdir: DiskDirectory): boolean {
  const until = performance.now() + LOCK_PATIENCE;
  while (sys.flock(workdir.fd(), LOCK_EX | LOCK_NB) < 0) {
    if (performance.now() > until) return false;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
  }
  return true;
}

function refuseVolatile(work: DiskDirectory, shown: string): void {
  if (entriesOf(work.descend(INCOMPAT)).length === 0) return;
  throw new PlyfsError(
    'volatile-dirty',
    `workdir ${shown} was last used by a volatile mount, whose upperdir may be damaged: start from a fresh upperdir and workdir, ` +
      `or remove ${shown}/work/incompat if you know that the machine did not crash.`,
  );
}

function markVolatile(work: DiskDirectory, shown: string): void {
  sys.mkdirat(work.fd(), INCOMPAT, 0o700);
  const incompat = work.descend(INCOMPAT);
  sys.mkdirat(incompat.fd(), VOLATILE, 0o700);
  const fd = sys.openat(
    incompat.descend(VOLATILE).fd(),
    bytesOf('dirty'),
    O_WRONLY | O_CREAT | O_CLOEXEC,
    0o600,
  );
  if (fd < 0)
    throw new PlyfsError(
      'workdir-not-writable',
      `cannot mark workdir ${shown} as volatile (${reasonOf(-fd)}): make it writable.`,
    );
  sys.close(fd);
}
