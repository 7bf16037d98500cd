/**
 * Files of a data root, read as from a stranger: another user, another program or a damaged disk
 * may have put anything in their place.
 *
 * Invariants, for whatever a command opens there:
 * - no symbolic link is followed, on the way or at the end (openat2(2), RESOLVE_NO_SYMLINKS); the
 *   root's own path was resolved before;
 * - nothing is opened that may block or act (a FIFO, a device): the file is looked at through an
 *   O_PATH descriptor, and that very file is opened when it is a regular one, by O_NONBLOCK because
 *   somebody may hold a lease on it (fcntl(2));
 * - it is read to the bound of its kind, and no memory is taken for what only its size claims.
 */
import { closeSync, fstatSync, mkdirSync, readSync, type Stats } from 'node:fs';
import { bytesOf, type ByteString } from '../base/bytes.js';
import { E } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import { reasonOf } from '../base/system-error.js';
import * as c from './constants.js';
import { sys } from './index.js';

/** moby, daemon/graphdriver/overlay2/overlay.go, maxDepth: how many layers `lower` may name. */
export const MAX_LOWERS = 128;
/** AUFS's own limit of branches. */
export const MAX_AUFS_PARENTS = 127;

/** The most bytes that each kind of file may have. */
export const STORED_BYTES_MAX = {
  /**
   * diff, cache-id, parent, size, mount-id, init-id of layerdb; parent and lastUpdated of imagedb.
   * The longest proper one is an id of 255 characters.
   */
  id: 1024,
  /** descriptor.json of a layer: a registry's descriptor. */
  descriptor: 1 << 20,
  /** A configuration in imagedb; the largest known are some hundred kB. */
  configuration: 8 << 20,
  /** A manifest of an image: registries refuse those over 4 MiB. */
  manifest: 4 << 20,
  /** v2metadata-by-diffid: fifty entries, each with the name of a repository. */
  origins: 1 << 20,
  repositories: 64 << 20,
  /**
   * A container's record, dockerd's config.v2.json: the part of a configuration that says how it is
   * run, and more.
   */
  record: 16 << 20,
  /** Lines of 73 bytes, two for each layer that one process loaded. */
  lease: 16 << 20,
  format: 64,
  /** overlay2: a short name of 26 characters, and a newline. */
  link: 27,
  /** overlay2: `l/`, a short name and a colon for each layer. */
  lower: MAX_LOWERS * 29,
  /** aufs: a line for each layer below. */
  parents: MAX_AUFS_PARENTS * 256,
} as const;

export type StoredKind = keyof typeof STORED_BYTES_MAX;

/**
 * `type`: something else has its name, and no program keeps a file there. `link`: a symbolic link
 * leads to it. `unreadable`: what is there is not known, now.
 */
export type Unfitness = 'type' | 'link' | 'size' | 'unreadable';

/** What is in a file's or directory's place cannot be used. */
export class UnfitFile extends PlyfsError {
  /** The rest of a sentence that begins with the path: `is a FIFO`. */
  readonly problem: string;
  readonly what: Unfitness;

  constructor(path: string, what: Unfitness, problem: string) {
    super('root-damaged', `${path} ${problem}: remove it, or name another data root.`);
    this.name = 'UnfitFile';
    this.problem = problem;
    this.what = what;
  }
}

const PATH = c.O_PATH | c.O_NOFOLLOW | c.O_CLOEXEC;

/**
 * A descriptor of whatever is there, which opens nothing; undefined where there is nothing. Throws
 * `UnfitFile`.
 */
function lookAt(dirfd: number, name: string): number | undefined {
  const path = bytesOf(name);
  let fd = sys.openat2(dirfd, path, PATH, 0, c.RESOLVE_NO_SYMLINKS);
  // Before Linux 5.6: directories of a root are looked at by `assertDirectories` once more.
  if (fd === -E.ENOSYS) fd = sys.openat(dirfd, path, PATH, 0);
  if (fd >= 0) return fd;
  if (fd === -E.ENOENT) return undefined;
  if (fd === -E.ELOOP) throw new UnfitFile(name, 'link', 'is reached through a symbolic link');
  if (fd === -E.ENOTDIR)
    throw new UnfitFile(name, 'type', 'lies below something that is not a directory');
  throw new UnfitFile(name, 'unreadable', `cannot be opened (${reasonOf(-fd)})`);
}

function kindOf(stat: Stats): string {
  if (stat.isSymbolicLink()) return 'is a symbolic link';
  if (stat.isDirectory()) return 'is a directory';
  if (stat.isFIFO()) return 'is a FIFO';
  if (stat.isSocket()) return 'is a socket';
  return stat.isFile() ? 'is a file' : 'is a device';
}

/**
 * A descriptor, the caller's to close; undefined where there is no such file. `name` is relative to
 * `dirfd` unless absolute. Throws `UnfitFile` for all but regular files.
 */
export function openStored(
  name: string,
  options: { dirfd?: number; access?: 'read' | 'write' } = {},
): number | undefined {
  const { dirfd = c.AT_FDCWD, access = 'read' } = options;
  const looked = lookAt(dirfd, name);
  if (looked === undefined) return undefined;
  try {
    const stat = fstatSync(looked);
    if (!stat.isFile()) throw new UnfitFile(name, 'type', `${kindOf(stat)}, not a file`);
    const flags =
      (access === 'read' ? c.O_RDONLY : c.O_RDWR) | c.O_NONBLOCK | c.O_NOCTTY | c.O_CLOEXEC;
    const fd = sys.openat(looked, '' as ByteString, flags, 0);
    if (fd < 0) throw new UnfitFile(name, 'unreadable', `cannot be opened (${reasonOf(-fd)})`);
    return fd;
  } finally {
    closeSync(looked);
  }
}

/** The whole of it, or undefined where there is no such file. Throws `UnfitFile`. */
export function readStored(name: string, kind: StoredKind, dirfd?: number): Buffer | undefined {
  const fd = openStored(name, dirfd === undefined ? {} : { dirfd });
  if (fd === undefined) return undefined;
  try {
    return readOpened(fd, name, kind);
  } finally {
    closeSync(fd);
  }
}

/** The whole of a file that `openStored` opened. Throws `UnfitFile`. */
export function readOpened(fd: number, name: string, kind: StoredKind): Buffer {
  const limit = STORED_BYTES_MAX[kind];
  const tooLarge = (): UnfitFile =>
    new UnfitFile(
      name,
      'size',
      `is a file of more than ${limit} bytes, which none of its kind has`,
    );
  const { size } = fstatSync(fd);
  if (size > limit) throw tooLarge();
  // One more, by which it is seen that it has grown meanwhile.
  let buffer = Buffer.allocUnsafe(size + 1);
  let length = 0;
  for (;;) {
    const got = readSync(fd, buffer, length, buffer.length - length, length);
    length += got;
    if (got === 0) return buffer.subarray(0, length);
    if (length > limit) throw tooLarge();
    if (length === buffer.length)
      buffer = Buffer.concat([buffer, Buffer.alloc(Math.min(length, limit + 1 - length))]);
  }
}

/** Each of them is a directory itself, or not there. Throws `UnfitFile`. */
export function assertDirectories(paths: readonly string[]): void {
  for (const path of paths) {
    const fd = lookAt(c.AT_FDCWD, path);
    if (fd === undefined) continue;
    try {
      const stat = fstatSync(fd);
      if (stat.isSymbolicLink())
        throw new UnfitFile(
          path,
          'link',
          'is a symbolic link, and no link within a data root is followed (what lies elsewhere can be mounted there)',
        );
      if (!stat.isDirectory())
        throw new UnfitFile(path, 'type', `${kindOf(stat)}, not a directory`);
    } finally {
      closeSync(fd);
    }
  }
}

/**
 * Makes those that are missing, in this order, and their parents. Throws `UnfitFile`, and what
 * mkdir(2) throws.
 */
export function makeDirectories(paths: readonly string[], mode: number): void {
  assertDirectories(paths);
  for (const path of paths) mkdirSync(path, { recursive: true, mode });
  assertDirectories(paths);
}
