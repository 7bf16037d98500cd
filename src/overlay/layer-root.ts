/**
 * A layer's directory, and all that is in it, by a descriptor.
 *
 * Paths come from tars and lead nowhere but into this directory: the kernel resolves them as if it
 * were the root of the file system (openat2(2), RESOLVE_IN_ROOT), symbolic links included, which is
 * what moby's extraction in a chroot makes of them. The last component is never followed. No link
 * is followed in a path that is too long for one call: no tar has it, it is of a walk.
 *
 * What is mounted inside is not of the layer: it is not seen, or, where the caller may not look
 * past it (src/sys/private-mount.ts), EXDEV.
 */
import type { ByteString, Name } from '../base/bytes.js';
import { E } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import { bytesOf } from '../base/bytes.js';
import { reasonOf } from '../base/system-error.js';
import { openPrivately, openPrivatelyBelow } from '../sys/private-mount.js';
import { sys } from '../sys/index.js';
import {
  AT_FDCWD,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOATIME,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_XDEV,
  S_IFMT,
  S_IFREG,
} from '../sys/constants.js';
import { STAT_FIELDS, StatField } from '../sys/syscalls.js';
import { openBeneath, PATH_BYTES } from './walk-trees.js';

const EMPTY = '' as ByteString;
const RESOLVE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
const READ_DIRECTORY = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
const DIRECTORY = O_PATH | O_DIRECTORY | O_CLOEXEC;
/** Open directories that are kept: a tar goes through a tree in order. */
const KEPT = 64;
const isRoot = process.geteuid?.() === 0;

const stat = new Float64Array(STAT_FIELDS);
const direntBuffer = Buffer.alloc(64 * 1024);

function opened(directory: string): number {
  const fd = sys.openat(AT_FDCWD, bytesOf(directory), READ_DIRECTORY, 0);
  if (fd >= 0) return fd;
  throw new PlyfsError(
    'layer-missing',
    `The layer's directory ${directory} cannot be opened (${reasonOf(-fd)}): see that it is there.`,
  );
}

export class LayerRoot {
  readonly fd: number;
  /**
   * A directory above, where one was asked for: what is moved there stays on the mount. Else -1.
   */
  readonly above: number;
  /**
   * By path; the least recently used is first. Valid while no directory and no symbolic link is
   * taken away.
   */
  readonly #directories = new Map<string, number>();
  readonly #resolution: number;

  private constructor(fd: number, resolution: number, above = -1) {
    this.fd = fd;
    this.above = above;
    this.#resolution = resolution;
  }

  /** Throws `layer-missing`. */
  static open(directory: string): LayerRoot {
    const path = bytesOf(directory);
    const fd = openPrivately(path) ?? opened(directory);
    return new LayerRoot(fd, RESOLVE | RESOLVE_NO_XDEV);
  }

  /**
   * With `above`, a directory in which it lies; both paths are without symbolic links. Throws
   * `layer-missing`.
   */
  static openBelow(above: string, directory: string): LayerRoot {
    const [aboveFd, fd] = openPrivatelyBelow(bytesOf(above), bytesOf(directory)) ?? [
      opened(above),
      opened(directory),
    ];
    return new LayerRoot(fd, RESOLVE | RESOLVE_NO_XDEV, aboveFd);
  }

  /**
   * A directory that is open, by a descriptor of its own; unless it is `bounded`, with what is
   * mounted in it. Throws `layer-missing`.
   */
  static at(dirfd: number, bounded: boolean): LayerRoot {
    const fd = sys.openat(dirfd, EMPTY, READ_DIRECTORY, 0);
    if (fd < 0)
      throw new PlyfsError(
        'layer-missing',
        `A directory cannot be opened (${reasonOf(-fd)}): see that it is there.`,
      );
    return new LayerRoot(fd, bounded ? RESOLVE | RESOLVE_NO_XDEV : RESOLVE);
  }

  close(): void {
    this.forget();
    sys.close(this.fd);
    if (this.above >= 0) sys.close(this.above);
  }

  /** Closes what is kept open: names on the way to it may lead elsewhere now. */
  forget(): void {
    for (const fd of this.#directories.values()) sys.close(fd);
    this.#directories.clear();
  }

  /**
   * A directory's descriptor, this object's to close, valid until a few dozen others were asked
   * for; or `-errno`.
   */
  directory(path: ByteString): number {
    if (path === '') return this.fd;
    const kept = this.#directories.get(path);
    if (kept !== undefined) {
      this.#directories.delete(path);
      this.#directories.set(path, kept);
      return kept;
    }
    const fd =
      path.length > PATH_BYTES
        ? this.#resolveLong(path, DIRECTORY)
        : this.#resolve(path, DIRECTORY);
    if (fd < 0) return fd;
    if (this.#directories.size >= KEPT) {
      const [oldest, oldFd] = this.#directories.entries().next().value as [string, number];
      this.#directories.delete(oldest);
      sys.close(oldFd);
    }
    this.#directories.set(path, fd);
    return fd;
  }

  /**
   * A regular file's descriptor, the caller's to close, or `-errno` (ELOOP for a symbolic link,
   * EINVAL for what is no regular file).
   */
  openFile(path: ByteString, flags: number): number {
    if (path === '') return -E.EISDIR;
    const { parent, name } = splitPath(path);
    const dirfd = this.directory(parent);
    return dirfd < 0 ? dirfd : openRegular(dirfd, name, flags);
  }

  #resolve(path: ByteString, flags: number): number {
    const fd = sys.openat2(this.fd, path, flags, 0, this.#resolution);
    return fd === -E.ENOSYS ? this.#stepByStep(path, flags) : fd;
  }

  /** Mostly it lies in a directory that was just asked for. */
  #resolveLong(path: ByteString, flags: number): number {
    const { parent, name } = splitPath(path);
    const kept = this.#directories.get(parent);
    return kept === undefined
      ? openBeneath(this.fd, path.split('/'), flags | O_NOFOLLOW)
      : openBeneath(kept, [name], flags | O_NOFOLLOW);
  }

  /** Before Linux 5.6: one component a call, and no symbolic link on the way. */
  #stepByStep(path: ByteString, flags: number): number {
    let fd = this.fd;
    for (const component of path.split('/')) {
      const next = sys.openat(fd, component as ByteString, flags | O_NOFOLLOW, 0);
      if (fd !== this.fd) sys.close(fd);
      if (next < 0) return next;
      fd = next;
    }
    return fd;
  }
}

export function openRegular(dirfd: number, name: ByteString, flags: number): number {
  const all = flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  let fd = isRoot ? sys.openat(dirfd, name, all | O_NOATIME, 0) : -E.EPERM;
  if (fd === -E.EPERM) fd = sys.openat(dirfd, name, all, 0);
  if (fd < 0) return fd;
  const result = sys.statx(fd, EMPTY, stat, 0);
  if (result >= 0 && ((stat[StatField.Mode] as number) & S_IFMT) === S_IFREG) return fd;
  sys.close(fd);
  return result < 0 ? result : -E.EINVAL;
}

/** S_IFDIR, S_IFREG, … of a name, or `-errno`. */
export function typeAt(dirfd: number, name: ByteString): number {
  const result = sys.statx(dirfd, name, stat, 0);
  return result < 0 ? result : (stat[StatField.Mode] as number) & S_IFMT;
}

/**
 * The names in a directory, `.` and `..` left out. Its own descriptor: the given one may be O_PATH.
 * Or `-errno`.
 */
export function namesIn(dirfd: number): Name[] | number {
  const fd = sys.openat(dirfd, EMPTY, READ_DIRECTORY, 0);
  if (fd < 0) return fd;
  const names: Name[] = [];
  try {
    let size: number;
    while ((size = sys.getdents64(fd, direntBuffer)) > 0) {
      for (let offset = 0; offset < size; offset += direntBuffer.readUInt16LE(offset + 16)) {
        const name = direntBuffer.toString(
          'latin1',
          offset + 19,
          direntBuffer.indexOf(0, offset + 19),
        );
        if (name !== '.' && name !== '..') names.push(name as Name);
      }
    }
    return size < 0 ? size : names;
  } finally {
    sys.close(fd);
  }
}

/**
 * A directory in a directory, by an O_PATH descriptor; or `-errno`: EXDEV where something is
 * mounted.
 */
export function openBelow(dirfd: number, name: ByteString): number {
  const flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  const fd = sys.openat2(dirfd, name, flags, 0, RESOLVE_NO_XDEV);
  return fd === -E.ENOSYS ? sys.openat(dirfd, name, flags, 0) : fd;
}

export interface SplitPath {
  readonly parent: ByteString;
  readonly name: Name;
}

/** Of a path that is not the root. */
export function splitPath(path: ByteString): SplitPath {
  const slash = path.lastIndexOf('/');
  return {
    parent: (slash < 0 ? '' : path.slice(0, slash)) as ByteString,
    name: path.slice(slash + 1) as Name,
  };
}
