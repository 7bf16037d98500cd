/**
 * A layer that is a directory on disk, and the upper layer's directories in particular.
 *
 * Everything is reached by one component at a time from the layer's root descriptor, which was
 * opened before mounting: no path is joined from strings that a layer controls, no symbolic link is
 * followed, and a mount over the layer does not matter. Descriptors of directories are a cache: any
 * of them may be closed and opened again, through openat2(2) with RESOLVE_BENEATH, from the nearest
 * ancestor that is still open.
 */
import { LRUCache } from 'lru-cache';
import type { ByteString, Name } from '../base/bytes.js';
import { E, Errno } from '../base/errno.js';
import { sys } from '../sys/index.js';
import {
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOATIME,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  RESOLVE_BENEATH,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  RESOLVE_NO_XDEV,
  SEEK_SET,
  STATX_ATTR_MOUNT_ROOT,
} from '../sys/constants.js';
import { StatField, STAT_FIELDS } from '../sys/syscalls.js';
import { UPPER, type EntryVisitor, type Layer, type LayerDirectory, type Device } from './layer.js';
import { asOwner, wayTo } from './owner-rights.js';
import { applyOverride, isRootsAlone, readOverride, type OverrideBelief } from './override-stat.js';
import { xattrNames } from '../sys/xattr-names.js';

/** Some thousand entries. */
const direntBuffer = Buffer.alloc(64 * 1024);
const ownStat = new Float64Array(STAT_FIELDS);

/** A path handed to one openat2 call stays below PATH_MAX. */
const MAX_RELATIVE_PATH = 4000;
const RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;

/**
 * The open descriptors of directories of all layers of one union: least recently used ones are
 * closed.
 */
export class DirectoryDescriptors {
  readonly #open: LRUCache<DiskDirectory, number>;

  readonly max: number;

  /** `max` must exceed what one operation uses at once (a dozen). */
  constructor(max: number) {
    this.max = max;
    this.#open = new LRUCache({ max, dispose: (fd, directory) => directory.closed(fd) });
  }

  touch(directory: DiskDirectory): void {
    this.#open.get(directory);
  }
  add(directory: DiskDirectory, fd: number): void {
    this.#open.set(directory, fd);
  }
  drop(directory: DiskDirectory): void {
    this.#open.delete(directory);
  }
  closeAll(): void {
    this.#open.clear();
  }
  get size(): number {
    return this.#open.size;
  }
}

export class DiskDirectory implements LayerDirectory {
  readonly layer: Layer;
  readonly #descriptors: DirectoryDescriptors;
  /** Changes when the upper directory is renamed. */
  parent: DiskDirectory | null;
  name: Name;
  #fd = -1;
  #device: Device | null = null;
  /**
   * What `list` reads from: it stays open when the cache lets go of it, as it may while entries are
   * looked at.
   */
  #listed = -1;
  /**
   * What is mounted in it can be seen, and is not of the layer: EXDEV for everything at and below
   * such a name. It costs a statx(2) for some changes, and asks for Linux 5.8.
   */
  readonly #bounded: boolean;

  private constructor(
    layer: Layer,
    descriptors: DirectoryDescriptors,
    parent: DiskDirectory | null,
    name: Name,
    bounded: boolean,
  ) {
    this.layer = layer;
    this.#descriptors = descriptors;
    this.#bounded = bounded;
    this.parent = parent;
    this.name = name;
  }

  /**
   * The layer's root; `fd` is this object's from here on and stays open. `bounded`: mounts in it
   * are kept out.
   */
  static root(
    layer: Layer,
    descriptors: DirectoryDescriptors,
    fd: number,
    bounded = false,
  ): DiskDirectory {
    const root = new DiskDirectory(layer, descriptors, null, '' as Name, bounded);
    root.#fd = fd;
    return root;
  }

  descend(name: Name, device?: Device): DiskDirectory {
    const below = new DiskDirectory(this.layer, this.#descriptors, this, name, this.#bounded);
    if (device !== undefined) below.#device = device;
    return below;
  }

  device(): Device {
    const { device, devices } = this.layer;
    return devices === null ? device : (this.#device ??= devices.ofDirectory(this));
  }

  /**
   * An open descriptor. Valid until the event loop turns: others may push it out of the cache.
   * Throws `Errno`.
   */
  fd(): number {
    if (this.#fd >= 0) {
      if (this.parent !== null) this.#descriptors.touch(this);
      return this.#fd;
    }
    let from = this.parent as DiskDirectory;
    const missing: ByteString[] = [this.name];
    while (from.#fd < 0) {
      missing.push(from.name);
      from = from.parent as DiskDirectory;
    }
    let base = from.#fd;
    let intermediate = -1;
    for (let i = missing.length - 1; i >= 0;) {
      let path: string = missing[i--] as ByteString;
      while (i >= 0 && path.length + (missing[i] as ByteString).length < MAX_RELATIVE_PATH)
        path += '/' + (missing[i--] as ByteString);
      const fd = openDirectory(base, path as ByteString, this.#bounded, this.layer.index === UPPER);
      if (intermediate >= 0) sys.close(intermediate);
      if (fd < 0) throw new Errno(-fd, path);
      intermediate = base = fd;
    }
    this.#fd = base;
    this.#descriptors.add(this, base);
    return base;
  }

  /** The cache let go of the descriptor. */
  closed(fd: number): void {
    this.#fd = -1;
    if (fd !== this.#listed) sys.close(fd);
  }

  /** Closes the descriptor now: the directory is about to go. */
  release(): void {
    if (this.parent === null) {
      if (this.#fd >= 0) sys.close(this.#fd);
      this.#fd = -1;
    } else this.#descriptors.drop(this);
  }

  stat(name: ByteString, out: Float64Array, index: number): number {
    let result = sys.statx(this.fd(), name, out, index);
    if (result === -E.EACCES)
      result = this.#asOwner(name, () => sys.statx(this.fd(), name, out, index));
    if (this.#bounded && result >= 0 && isMountPoint(name, out, index)) return -E.EXDEV;
    if (this.layer.overrideStat !== undefined && result >= 0) this.#override(name, out, index);
    return result;
  }

  statMany(names: readonly ByteString[], count: number, out: Float64Array): number {
    const result = sys.statxMany(this.fd(), names, count, out);
    if (this.#bounded) {
      for (let i = 0; i < count; i++) {
        const found = (out[i * STAT_FIELDS + StatField.Result] as number) >= 0;
        if (found && isMountPoint(names[i] as ByteString, out, i))
          out[i * STAT_FIELDS + StatField.Result] = -E.EXDEV;
      }
    }
    if (this.layer.overrideStat !== undefined) {
      for (let i = 0; i < count; i++) {
        if ((out[i * STAT_FIELDS + StatField.Result] as number) >= 0)
          this.#override(names[i] as ByteString, out, i);
      }
    }
    return result;
  }

  #override(name: ByteString, out: Float64Array, index: number): void {
    const { attribute, objects } = this.layer.overrideStat as OverrideBelief;
    const override = readOverride(this.fd(), name, attribute);
    if (override === undefined) return;
    if (objects === 'every' || isRootsAlone(out, index)) applyOverride(out, index, override);
    else this.layer.unbelieved.ownersOf(this, name, attribute);
  }

  list(visit: EntryVisitor): number {
    for (const pieces = this.listing(visit); ;) {
      const { done, value } = pieces.next();
      if (done === true) return value;
    }
  }

  *listing(visit: EntryVisitor): Generator<number, number, undefined> {
    const fd = this.fd();
    const at = sys.lseek(fd, 0, SEEK_SET);
    // An O_PATH descriptor (a directory that we may search but not read) cannot be listed.
    if (at < 0) return at === -E.EBADF ? -E.EACCES : at;
    this.#listed = fd;
    try {
      return yield* readEntries(fd, visit);
    } finally {
      this.#listed = -1;
      if (this.#fd !== fd) sys.close(fd);
    }
  }

  open(name: ByteString): number {
    return this.#asOwner(name, () =>
      openRegular(this.fd(), name, O_RDONLY | O_NOATIME, this.#bounded),
    );
  }

  /**
   * In the upper layer: a regular file, for reading and writing. `noatime` holds for files of this
   * process's own user, and for root.
   */
  openForWriting(name: ByteString, { noatime }: { noatime: boolean }): number {
    const fd = noatime
      ? openName(this.fd(), name, O_RDWR | UNBLOCKED | O_NOATIME, this.#bounded)
      : -E.EPERM;
    return fd === -E.EPERM ? openName(this.fd(), name, O_RDWR | UNBLOCKED, this.#bounded) : fd;
  }

  /** The same whatever the modes say: whoever opened the file through the mount was allowed to. */
  openAsOwner(name: ByteString, how: { noatime: boolean }): number {
    return this.#asOwner(name, () => this.openForWriting(name, how));
  }

  /** The upper is its owner's to change; of a lower layer the modes stay, and what they forbid. */
  #asOwner(name: ByteString, attempt: () => number): number {
    return this.layer.index === UPPER ? asOwner(() => wayTo(this.fd(), name), attempt) : attempt();
  }

  /**
   * Before a change by name of what was looked up some time ago. Throws EXDEV where something is
   * mounted there since.
   */
  requireOwn(name: ByteString): void {
    if (
      this.#bounded &&
      sys.statx(this.fd(), name, mountStat, 0) >= 0 &&
      isMountPoint(name, mountStat, 0)
    )
      throw new Errno(E.EXDEV, name);
  }

  /** Any file, by an O_PATH descriptor that keeps it alive and opens nothing. */
  openPath(name: ByteString): number {
    return openName(this.fd(), name, O_PATH | O_NOFOLLOW | O_CLOEXEC, this.#bounded);
  }

  readlink(name: ByteString, buffer: Uint8Array): number {
    return this.#asOwner(name, () => sys.readlinkat(this.fd(), name, buffer));
  }

  getxattr(name: ByteString, attribute: ByteString, buffer: Uint8Array | null): number {
    const size = sys.getxattrat(this.fd(), name, attribute, buffer);
    // A `user.` attribute asks for permission to read (xattr(7)). A mark that is not seen would
    // change what the union shows.
    return size === -E.EACCES
      ? this.#asOwner(name, () => sys.getxattrat(this.fd(), name, attribute, buffer))
      : size;
  }

  xattrNames(name: ByteString): readonly ByteString[] | number {
    return xattrNames(this.fd(), name);
  }

  overrideOf(name: ByteString): ByteString | undefined {
    if (this.layer.overrideStat === undefined) return undefined;
    const { attribute, objects } = this.layer.overrideStat;
    const believed =
      objects === 'every' ||
      (sys.statx(this.fd(), name, ownStat, 0) >= 0 && isRootsAlone(ownStat, 0));
    return believed ? attribute : undefined;
  }

  handle(name: ByteString, buffer: Uint8Array): number {
    return sys.name_to_handle_at(this.fd(), name, buffer, 0);
  }
}

/** Every entry but `.` and `..`; 0 or `-errno`. */
function* readEntries(fd: number, visit: EntryVisitor): Generator<number, number, undefined> {
  let size: number;
  while ((size = sys.getdents64(fd, direntBuffer)) > 0) yield visitEntries(size, visit);
  return size;
}

/** What getdents64 has written; returns how many entries. */
function visitEntries(size: number, visit: EntryVisitor): number {
  let count = 0;
  for (let offset = 0; offset < size; count++) {
    const length = direntBuffer.readUInt16LE(offset + 16);
    const start = offset + 19;
    const end = direntBuffer.indexOf(0, start);
    const name = direntBuffer.toString('latin1', start, end);
    if (name !== '.' && name !== '..') {
      visit(
        name as Name,
        direntBuffer[offset + 18] as number,
        direntBuffer.readUInt32LE(offset),
        direntBuffer.readUInt32LE(offset + 4),
      );
    }
    offset += length;
  }
  return count;
}

/** A directory of the upper layer, which is always on disk. */
export function onDisk(directory: LayerDirectory): DiskDirectory {
  if (directory instanceof DiskDirectory) return directory;
  throw new Errno(E.EIO, 'the layer is not on disk');
}

const mountStat = new Float64Array(STAT_FIELDS);

/** A directory that was opened is in the layer: the name of one that was not is asked for. */
function isMountPoint(name: ByteString, stat: Float64Array, index: number): boolean {
  return (
    name !== '' &&
    ((stat[index * STAT_FIELDS + StatField.Attributes] as number) & STATX_ATTR_MOUNT_ROOT) !== 0
  );
}

/** A caller below root meets files of others at every turn: it does not ask twice a file. */
const mayOpenWithoutAtime = process.geteuid?.() === 0;

/**
 * O_NOATIME is for the owner and CAP_FOWNER only (open(2)): others go without. `bounded`: not to
 * where something is mounted.
 */
function openQuietly(dirfd: number, name: ByteString, flags: number, bounded: boolean): number {
  if (mayOpenWithoutAtime || (flags & O_NOATIME) === 0) {
    const fd = openName(dirfd, name, flags, bounded);
    if (fd !== -E.EPERM || (flags & O_NOATIME) === 0) return fd;
  }
  return openName(dirfd, name, flags & ~O_NOATIME, bounded);
}

function openName(dirfd: number, name: ByteString, flags: number, bounded: boolean): number {
  if (!bounded) return sys.openat(dirfd, name, flags, 0);
  const fd = sys.openat2(dirfd, name, flags, 0, RESOLVE_NO_XDEV);
  return fd === -E.ENOSYS ? sys.openat(dirfd, name, flags, 0) : fd;
}

/** `ours`: what its modes keep from its owner is opened all the same. */
function openDirectory(base: number, path: ByteString, bounded: boolean, ours: boolean): number {
  const flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
  const pathFlags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  let fd: number;
  if (path.includes('/')) {
    const resolve = RESOLVE | (bounded ? RESOLVE_NO_XDEV : 0);
    fd = sys.openat2(base, path, flags, 0, resolve);
    if (fd === -E.EACCES)
      fd = ours
        ? openStepByStep(base, path, bounded, ours)
        : sys.openat2(base, path, pathFlags, 0, resolve);
    if (fd === -E.ENOSYS) return openStepByStep(base, path, bounded, ours);
  } else {
    const open = (): number => openQuietly(base, path, flags | O_NOATIME, bounded);
    fd = ours ? asOwner(() => wayTo(base, path), open) : open();
    if (fd === -E.EACCES) fd = openName(base, path, pathFlags, bounded);
  }
  return fd;
}

/** One component a call: before Linux 5.6 there is no openat2, and rights are given one by one. */
function openStepByStep(base: number, path: ByteString, bounded: boolean, ours: boolean): number {
  let fd = base;
  for (const component of path.split('/')) {
    const next = openDirectory(fd, component as ByteString, bounded, ours);
    if (fd !== base) sys.close(fd);
    if (next < 0) return next;
    fd = next;
  }
  return fd;
}

/**
 * The caller has seen that a name is a regular file; O_NONBLOCK only keeps a layer that is changed
 * from outside from blocking the session on a fifo.
 */
const UNBLOCKED = O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;

function openRegular(dirfd: number, name: ByteString, flags: number, bounded: boolean): number {
  return openQuietly(dirfd, name, flags | UNBLOCKED, bounded);
}

/** A directory's path from its layer's root, with a leading slash; empty for the root itself. */
export function layerPath(directory: DiskDirectory): string {
  let path = '';
  for (let at = directory; at.parent !== null; at = at.parent) path = `/${at.name}${path}`;
  return path;
}
