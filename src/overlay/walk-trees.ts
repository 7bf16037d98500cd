/**
 * Going through a directory tree, or several side by side, whatever their depth: neither the stack
 * nor the number of open descriptors grows with it, and no path is handed to the kernel that is too
 * long for it.
 *
 * What is to be done in a directory is a generator. It yields what is `Below` it, the walk does
 * that first, and the generator goes on with its result: it reads like a function that calls
 * itself, and its frames are objects in a list.
 *
 * Descriptors of directories far above the current one are closed. On the way back such a directory
 * is opened again, as `..` of the one below or by the names from the root on, and must be the same
 * one: where somebody moved it meanwhile, the walk fails with ESTALE.
 */
import type { ByteString, Name } from '../base/bytes.js';
import { check, E, Errno } from '../base/errno.js';
import {
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  RESOLVE_BENEATH,
  RESOLVE_NO_SYMLINKS,
  RESOLVE_NO_XDEV,
} from '../sys/constants.js';
import { sys } from '../sys/index.js';
import { STAT_FIELDS } from '../sys/syscalls.js';
import { numberedIdentity } from './file-identity.js';

/** Descriptors that are kept open above the current directory. */
const KEPT = 128;
/** Bytes of a path in one call, without its NUL (PATH_MAX). */
export const PATH_BYTES = 4095;
const HERE = '' as ByteString;
const PARENT = '..' as ByteString;

/** A directory to be gone through next, in all trees that have it. */
export interface Below<R, P = never> {
  readonly name: Name;
  /** One a tree, -1 where it is not there. The walk closes them. */
  readonly fds: readonly number[];
  readonly visit: Visit<R, P>;
}

/**
 * What is done in one directory. Descriptors are asked of the walk (`TreeWalk.fd`) anew after each
 * `yield` of something below. `P`: what else it yields, which the walk hands on.
 */
export type Visit<R, P = never> = Generator<Below<R, P> | P, R, R>;

/** Where a walk is. */
export class TreeWalk {
  readonly #roots: readonly number[];
  readonly #flags: number;
  /** From the roots on. */
  readonly #levels: Level[] = [];
  #current: readonly number[];
  /** Levels above this one are closed. */
  #firstOpen = 0;
  /** Descriptors of open levels. */
  #open = 0;

  /** `flags`: with which a directory is opened again. */
  constructor(roots: readonly number[], flags: number) {
    this.#roots = roots;
    this.#flags = flags | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    this.#current = roots;
  }

  /** Of the current directory in a tree, -1 where it has none. Valid until the next `yield`. */
  fd(tree = 0): number {
    return this.#current[tree] as number;
  }

  /** The same in all trees. */
  get fds(): readonly number[] {
    return this.#current;
  }

  down(name: Name, fds: readonly number[]): void {
    this.#levels.push({ name, fds, identities: undefined });
    this.#current = fds;
    this.#open += count(fds);
    // The current level stays, however many trees there are.
    while (this.#open - count(fds) > KEPT && this.#firstOpen < this.#levels.length - 1)
      this.#shut(this.#levels[this.#firstOpen++]!);
  }

  /** Throws `Errno`. */
  up(): void {
    const left = this.#levels.pop()!;
    try {
      const level = this.#levels.at(-1);
      if (level === undefined) this.#current = this.#roots;
      else {
        if (level.identities !== undefined) this.#reopen(level, level.identities, left.fds);
        this.#current = level.fds;
      }
    } finally {
      this.#close(left);
      this.#firstOpen = Math.min(this.#firstOpen, Math.max(0, this.#levels.length - 1));
    }
  }

  close(): void {
    for (const level of this.#levels) if (level.identities === undefined) this.#close(level);
    this.#levels.length = 0;
  }

  #close({ fds }: Level): void {
    for (const fd of fds) if (fd >= 0) sys.close(fd);
    this.#open -= count(fds);
  }

  #shut(level: Level): void {
    const identities = level.fds.map((fd) => (fd < 0 ? undefined : identityOf(fd)));
    this.#close(level);
    level.identities = identities;
  }

  /** `below`: the directories that the walk comes from. */
  #reopen(
    level: Level,
    identities: NonNullable<Level['identities']>,
    below: readonly number[],
  ): void {
    const fds: number[] = identities.map(() => -1);
    closedOnError(fds, () => {
      for (const [tree, identity] of identities.entries()) {
        if (identity === undefined) continue;
        const child = below[tree] as number;
        const parent = child < 0 ? -E.ENOENT : sys.openat(child, PARENT, this.#flags, 0);
        // A directory that its owner may not search does not lead to the one above.
        fds[tree] = parent >= 0 ? parent : check(this.#byNames(tree), level.name);
        if (identityOf(fds[tree]) !== identity) throw new Errno(E.ESTALE, level.name);
      }
    });
    level.fds = fds;
    level.identities = undefined;
    this.#open += count(fds);
  }

  /** The last level, from the tree's root. */
  #byNames(tree: number): number {
    const names = this.#levels.map(({ name }) => name);
    return openBeneath(this.#roots[tree] as number, names, this.#flags);
  }
}

interface Level {
  readonly name: Name;
  fds: readonly number[];
  /** Of each directory, where the level is closed. */
  identities: readonly (string | undefined)[] | undefined;
}

/**
 * Does all that `first` makes of the roots, which are open directories, the caller's, one a tree.
 * Throws what the visits throw, and `Errno` where a directory cannot be opened again.
 */
export function walkTrees<R>(
  roots: readonly number[],
  first: (walk: TreeWalk) => Visit<R>,
  flags = O_PATH,
): R {
  const walking = walkTreesIn<R, never>(roots, first, flags);
  return walking.next().value;
}

/** As `walkTrees`; yields what the visits yield. */
export function* walkTreesIn<R, P>(
  roots: readonly number[],
  first: (walk: TreeWalk) => Visit<R, P>,
  flags = O_PATH,
): Generator<P, R, void> {
  const walk = new TreeWalk(roots, flags);
  const visits = [first(walk)];
  let result: R | undefined;
  try {
    for (;;) {
      const visit = visits.at(-1)!;
      // What the first call of a generator is given it never sees.
      const { done, value } = visit.next(result as R);
      result = undefined;
      if (done === true) {
        visits.pop();
        if (visits.length === 0) return value;
        result = value;
        walk.up();
      } else if (isBelow<R, P>(value)) {
        walk.down(value.name, value.fds);
        visits.push(value.visit);
      } else yield value;
    }
  } finally {
    while (visits.length > 0) visits.pop()!.return(undefined as R);
    walk.close();
  }
}

/** What `work` makes; where it throws, the descriptors are closed. */
export function closedOnError<T>(fds: readonly number[], work: () => T): T {
  try {
    return work();
  } catch (error) {
    for (const fd of fds) if (fd >= 0) sys.close(fd);
    throw error;
  }
}

function isBelow<R, P>(value: Below<R, P> | P): value is Below<R, P> {
  return typeof value === 'object' && value !== null && 'visit' in value;
}

function count(fds: readonly number[]): number {
  let open = 0;
  for (const fd of fds) if (fd >= 0) open++;
  return open;
}

const stat = new Float64Array(STAT_FIELDS);

function identityOf(fd: number): string {
  check(sys.statx(fd, HERE, stat, 0));
  return numberedIdentity(stat);
}

/**
 * What the names lead to, however many: a descriptor, or `-errno` where one is a symbolic link or a
 * mount point, among others.
 */
export function openBeneath(dirfd: number, names: Iterable<string>, flags: number): number {
  let fd = dirfd;
  for (const part of parts(names)) {
    const next = openPart(fd, part, flags);
    if (fd !== dirfd) sys.close(fd);
    if (next < 0) return next;
    fd = next;
  }
  return fd;
}

/** The names joined, as many at a time as one call takes. */
function* parts(names: Iterable<string>): Generator<ByteString> {
  let part = '';
  for (const name of names) {
    if (part !== '' && part.length + 1 + name.length > PATH_BYTES) {
      yield part as ByteString;
      part = '';
    }
    part = part === '' ? name : `${part}/${name}`;
  }
  if (part !== '') yield part as ByteString;
}

function openPart(dirfd: number, path: ByteString, flags: number): number {
  const resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
  const opened = sys.openat2(dirfd, path, flags, 0, resolve);
  if (opened !== -E.ENOSYS) return opened;
  // Before Linux 5.6.
  let fd = dirfd;
  for (const name of path.split('/')) {
    const next = sys.openat(fd, name as ByteString, flags, 0);
    if (fd !== dirfd) sys.close(fd);
    if (next < 0) return next;
    fd = next;
  }
  return fd;
}
