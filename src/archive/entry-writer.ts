/**
 * Makes one file of a layer after the other, with its attributes, in the order in which each call
 * leaves the others' results alone: owner, xattrs, mode, times.
 */
import { textOf, type ByteString, type Name } from '../base/bytes.js';
import { E, Errno, errnoName } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import { reasonOf } from '../base/system-error.js';
import {
  O_CLOEXEC,
  O_CREAT,
  O_EXCL,
  O_NOFOLLOW,
  O_WRONLY,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} from '../sys/constants.js';
import { sys } from '../sys/index.js';
import { formatOverrideStat, OVERRIDE_CONTAINERS } from '../overlay/override-stat.js';
import { STAT_FIELDS, StatField } from '../sys/syscalls.js';
import { isAnyUnionXattr } from '../overlay/private-xattrs.js';
import { cleanPath, hostile, isReserved, LINK_DIRECTORY } from './entry-path.js';
import { tooLarge, type LayerEntry } from './layer-reader.js';
import { typeAt, type LayerRoot, splitPath } from '../overlay/layer-root.js';
import { removeTreeAt } from '../overlay/remove-tree.js';
import { nameInLayer } from '../overlay/layer-marks.js';
import { LostAttributes } from './lost-attributes.js';
import { overrideOf } from '../overlay/tree-reader.js';
import type { Ownership } from '../overlay/form.js';
import type { EntryTime } from './pax.js';

const EMPTY = '' as ByteString;
/** Directories that a tar has files in but does not have. */
const IMPLIED_MODE = 0o755;
const OPAQUE = Buffer.from('y');
/**
 * Why an attribute may be left out: the file system has none such, we may not set it, or it has no
 * such name or size.
 */
const cannotHave: ReadonlySet<number> = new Set([
  E.EOPNOTSUPP,
  E.EPERM,
  E.EINVAL,
  E.ERANGE,
  E.E2BIG,
]);
/** What a path that has nothing at its end fails with. */
const leadsNowhere: ReadonlySet<number> = new Set([E.ENOENT, E.ENOTDIR, E.ELOOP, E.ENAMETOOLONG]);
/** Seconds: what nanoseconds of 64 bits hold (moby, pkg/archive, time.go). */
const MAX_TIME = Number(2n ** 63n / 1_000_000_000n);

const stat = new Float64Array(STAT_FIELDS);

/**
 * Bytes: of the paths of all of a layer's directories, which are kept until their times are set. A
 * million of 64 bytes.
 */
const DIRECTORY_PATHS_MAX = 64 << 20;

interface Times {
  readonly atime: EntryTime;
  readonly mtime: EntryTime;
}

export class EntryWriter {
  readonly #root: LayerRoot;
  readonly #override: boolean;
  /** The attribute of an opaque directory, where whiteouts are devices. */
  readonly #opaque: ByteString | undefined;
  readonly #directoryTimes = new Map<ByteString, Times>();
  /** Bytes of their paths. */
  #directoryPaths = 0;
  readonly lost = new LostAttributes();
  /** What becomes of a file that makes room for another; undefined: it is removed. */
  readonly #replace: ((dirfd: number, name: Name) => number) | undefined;

  /** `replace` takes a name away, and returns 0 or `-errno`. */
  constructor(
    root: LayerRoot,
    ownership: Ownership,
    opaque: ByteString | undefined,
    replace?: (dirfd: number, name: Name) => number,
  ) {
    this.#replace = replace;
    this.#root = root;
    this.#override = ownership === 'override';
    this.#opaque = opaque;
  }

  /**
   * The directory's descriptor, which belongs to the root; made with those above it where missing.
   */
  directory(path: ByteString): number {
    const fd = this.#root.directory(path);
    if (fd >= 0) return fd;
    const missing = [path];
    for (let at = path, error = fd; ;) {
      if (error !== -E.ENOENT && error !== -E.ENOTDIR) throw failed(error, 'opened', at);
      at = splitPath(at).parent;
      error = this.#root.directory(at);
      if (error >= 0) break;
      missing.push(at);
    }
    for (const each of missing.reverse()) this.#imply(each);
    return this.#opened(path);
  }

  #opened(directory: ByteString): number {
    const fd = this.#root.directory(directory);
    if (fd < 0) throw failed(fd, 'opened', directory);
    return fd;
  }

  /** The directory above is there; only a whiteout of the layer itself makes room for it. */
  #imply(path: ByteString): void {
    const { parent, name } = splitPath(path);
    let dirfd = this.#opened(parent);
    let result = sys.mkdirat(dirfd, name, 0o700);
    if (result === -E.EEXIST && this.#isWhiteout(dirfd, name, path)) {
      dirfd = this.#clear(dirfd, parent, name);
      result = sys.mkdirat(dirfd, name, 0o700);
      if (result >= 0) this.makeOpaque(dirfd, path, name);
    }
    if (result === -E.EEXIST)
      throw hostile(`has files in ${textOf(path)}, which is no directory in it`);
    if (result < 0) throw failed(result, 'made', path);
    this.#attributes(dirfd, name, path, {
      type: S_IFDIR,
      mode: IMPLIED_MODE,
      uid: 0,
      gid: 0,
      owned: false,
    });
  }

  /** Everything but the root. */
  async write(entry: LayerEntry): Promise<void> {
    const { path } = entry;
    const { parent, name } = splitPath(path);
    const dirfd = this.directory(parent);
    switch (entry.type) {
      case 'file':
        await this.#file(entry, dirfd, parent, name);
        break;
      case 'directory':
        this.#directory(entry, dirfd, parent, name);
        break;
      case 'symlink': {
        if (entry.linkname === '')
          throw hostile(
            `has the symbolic link ${textOf(path)}, which leads to nothing: its target is empty`,
          );
        const made = this.#replacing(dirfd, parent, name, path, (fd) =>
          sys.symlinkat(entry.linkname, fd, name),
        );
        this.#entryAttributes(made, name, entry, S_IFLNK);
        break;
      }
      case 'link':
        this.#link(entry, dirfd, parent, name);
        break;
      case 'character':
        this.#special(entry, dirfd, parent, name, S_IFCHR);
        break;
      case 'block':
        this.#special(entry, dirfd, parent, name, S_IFBLK);
        break;
      case 'fifo':
        this.#special(entry, dirfd, parent, name, S_IFIFO);
        break;
    }
  }

  /** A marker that stays a file: an empty one, whatever the tar says it is. */
  async writeMarker(entry: LayerEntry): Promise<void> {
    const { parent, name } = splitPath(entry.path);
    const fd = this.#create(this.directory(parent), parent, name, entry.path);
    try {
      this.#entryAttributes(fd, EMPTY, entry, S_IFREG);
    } finally {
      sys.close(fd);
    }
  }

  async #file(entry: LayerEntry, dirfd: number, parent: ByteString, name: Name): Promise<void> {
    const { path, extents } = entry;
    const fd = this.#create(dirfd, parent, name, path);
    try {
      if (extents === undefined) {
        let at = 0;
        for await (const piece of entry.body) {
          writeAll(fd, piece, at, path);
          at += piece.length;
        }
      } else await writeExtents(fd, entry, extents);
      this.#entryAttributes(fd, EMPTY, entry, S_IFREG);
    } finally {
      sys.close(fd);
    }
  }

  #directory(entry: LayerEntry, dirfd: number, parent: ByteString, name: Name): void {
    const { path } = entry;
    let result = sys.mkdirat(dirfd, name, 0o700);
    if (result === -E.EEXIST && typeOf(dirfd, name, path) !== S_IFDIR) {
      const deleted = this.#isWhiteout(dirfd, name, path);
      dirfd = this.#clear(dirfd, parent, name);
      result = sys.mkdirat(dirfd, name, 0o700);
      if (result >= 0 && deleted) this.makeOpaque(dirfd, path, name);
    }
    if (result < 0 && result !== -E.EEXIST) throw failed(result, 'made', path);
    this.#entryAttributes(dirfd, name, entry, S_IFDIR);
    this.#rememberTimes(path, entry);
  }

  updateRoot(entry: LayerEntry): void {
    this.#entryAttributes(this.#root.fd, EMPTY, entry, S_IFDIR);
    this.#rememberTimes(EMPTY, entry);
  }

  #special(entry: LayerEntry, dirfd: number, parent: ByteString, name: Name, type: number): void {
    const { path, major, minor } = entry;
    // What does not fit would become another device: 12 and 20 bits.
    if (major < 0 || minor < 0 || major >= 2 ** 12 || minor >= 2 ** 20) {
      throw hostile(
        `has the device ${textOf(path)} with the number ${major}:${minor}, which Linux does not have`,
      );
    }
    const made = this.#replacing(dirfd, parent, name, path, (fd) =>
      this.#override
        ? sys.mknodat(fd, name, S_IFREG | 0o600, 0, 0)
        : sys.mknodat(fd, name, type | 0o600, major, minor),
    );
    this.#entryAttributes(made, name, entry, type);
  }

  #link(entry: LayerEntry, dirfd: number, parent: ByteString, name: Name): void {
    const { path } = entry;
    const target = cleanPath(entry.linkname);
    const where = splitPath(target);
    if (target === '' || (isReserved(target) && where.parent !== LINK_DIRECTORY)) {
      throw hostile(
        `has the hard link ${textOf(path)} to ${textOf(entry.linkname)}, which is no file`,
      );
    }
    const targetDirectory = this.#root.directory(where.parent);
    const there = targetDirectory < 0 ? targetDirectory : typeAt(targetDirectory, where.name);
    if (there < 0) {
      if (!leadsNowhere.has(-there)) throw failed(there, 'read', target);
      throw new PlyfsError(
        'archive-damaged',
        `The layer has the hard link ${textOf(path)} to ${textOf(entry.linkname)}, which is not in it: fetch or make the archive again.`,
      );
    }
    const made = this.#replacing(dirfd, parent, name, path, (fd) => {
      // What made room for it may have been on the way to its target.
      const directory = this.#root.directory(where.parent);
      if (directory >= 0 && typeAt(directory, where.name) === S_IFDIR)
        throw hostile(
          `has the hard link ${textOf(path)} to ${textOf(entry.linkname)}, which is a directory`,
        );
      return directory < 0 ? directory : sys.linkat(directory, where.name, fd, name);
    });
    const type = typeOf(made, name, path);
    // As moby has it, the last name's attributes are the file's; what it is, it stays.
    if (type === S_IFLNK) {
      this.#own(made, name, path, entry.uid, entry.gid);
      return;
    }
    const known = this.#override ? overrideOf(made, name, path) : undefined;
    this.#entryAttributes(
      made,
      name,
      known === undefined ? entry : { ...entry, major: known.major, minor: known.minor },
      known?.type ?? type,
    );
  }

  whiteout(entry: LayerEntry, path: ByteString): void {
    const { parent, name } = splitPath(path);
    const dirfd = this.directory(parent);
    const result = sys.mknodat(dirfd, name, S_IFCHR, 0, 0);
    if (result === -E.EEXIST) {
      // The layer's own file hides what is below without more; of its own directory nothing from
      // below may show.
      if (typeOf(dirfd, name, path) === S_IFDIR) this.makeOpaque(dirfd, path, name);
      return;
    }
    if (result < 0) throw failed(result, 'made a whiteout of', path);
    if (!this.#override) this.#own(dirfd, name, path, entry.uid, entry.gid);
  }

  /** `name` in it, or the directory itself. */
  makeOpaque(dirfd: number, path: ByteString, name: ByteString = EMPTY): void {
    if (this.#opaque === undefined) return;
    const result = sys.setxattrat(dirfd, name, this.#opaque, OPAQUE, 0);
    if (result < 0) throw failed(result, `given the attribute ${this.#opaque}`, path);
  }

  #rememberTimes(path: ByteString, entry: LayerEntry): void {
    if (!this.#directoryTimes.has(path)) this.#directoryPaths += path.length;
    if (this.#directoryPaths > DIRECTORY_PATHS_MAX)
      throw tooLarge(
        'directories whose paths have more bytes than the bound',
        `${DIRECTORY_PATHS_MAX} bytes in sum`,
      );
    this.#directoryTimes.set(path, timesOf(entry));
  }

  /** Last: what is made in a directory changes its time. */
  setDirectoryTimes(): void {
    for (const [path, { atime, mtime }] of this.#directoryTimes) {
      const fd = this.#root.directory(path);
      // Something else has taken its place since.
      if (fd === -E.ENOENT || fd === -E.ENOTDIR) continue;
      const result =
        fd < 0 ? fd : sys.utimensat(fd, EMPTY, atime.sec, atime.nsec, mtime.sec, mtime.nsec);
      if (result < 0) throw failed(result, 'given its times', path);
    }
  }

  #isWhiteout(dirfd: number, name: ByteString, path: ByteString): boolean {
    if (this.#opaque === undefined) return false;
    const result = sys.statx(dirfd, name, stat, 0);
    if (result < 0) throw failed(result, 'read', path);
    const type = (stat[StatField.Mode] as number) & S_IFMT;
    return type === S_IFCHR && stat[StatField.RdevMajor] === 0 && stat[StatField.RdevMinor] === 0;
  }

  /** A new empty regular file, open for writing. */
  #create(dirfd: number, parent: ByteString, name: Name, path: ByteString): number {
    let fd = -1;
    this.#replacing(
      dirfd,
      parent,
      name,
      path,
      (directory) =>
        (fd = sys.openat(
          directory,
          name,
          O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC,
          0o600,
        )),
    );
    return fd;
  }

  /**
   * Makes a name, in place of what has it: a later file of a tar replaces an earlier one. Returns
   * the directory's descriptor as it is afterwards.
   */
  #replacing(
    dirfd: number,
    parent: ByteString,
    name: Name,
    path: ByteString,
    make: (dirfd: number) => number,
  ): number {
    let result = make(dirfd);
    if (result === -E.EEXIST) {
      dirfd = this.#clear(dirfd, parent, name);
      result = make(dirfd);
    }
    if (result === -E.EPERM)
      throw failed(
        result,
        'made (it takes the rights of root, or a file system without such files)',
        path,
      );
    if (result < 0) throw failed(result, 'made', path);
    return dirfd;
  }

  #clear(dirfd: number, parent: ByteString, name: Name): number {
    const path = (parent === '' ? name : `${parent}/${name}`) as ByteString;
    const type = typeOf(dirfd, name, path);
    const replace = this.#isWhiteout(dirfd, name, path)
      ? removeTreeAt
      : (this.#replace ?? removeTreeAt);
    const result = replace(dirfd, name);
    if (result < 0) throw failed(result, 'replaced', path);
    if (type !== S_IFDIR && type !== S_IFLNK) return dirfd;
    this.#root.forget();
    return this.#opened(parent);
  }

  #entryAttributes(dirfd: number, name: ByteString, entry: LayerEntry, type: number): void {
    const { path, xattrs } = entry;
    this.#attributes(dirfd, name, path, {
      type,
      mode: entry.mode,
      uid: entry.uid,
      gid: entry.gid,
      owned: true,
      major: entry.major,
      minor: entry.minor,
      xattrs,
    });
    if (type === S_IFDIR) return;
    const { atime, mtime } = timesOf(entry);
    const result = sys.utimensat(dirfd, name, atime.sec, atime.nsec, mtime.sec, mtime.nsec);
    if (result < 0) throw failed(result, 'given its times', path);
  }

  #attributes(
    dirfd: number,
    name: ByteString,
    path: ByteString,
    attributes: {
      type: number;
      mode: number;
      uid: number;
      gid: number;
      /** False: as the file is made. */
      owned: boolean;
      major?: number;
      minor?: number;
      xattrs?: ReadonlyMap<ByteString, Uint8Array>;
    },
  ): void {
    const { type, mode, uid, gid, major = 0, minor = 0 } = attributes;
    if (!this.#override && attributes.owned) this.#own(dirfd, name, path, uid, gid);
    for (const [attribute, value] of attributes.xattrs ?? []) {
      if (isAnyUnionXattr(attribute)) {
        this.lost.add(attribute, 'it belongs to the union', path);
        continue;
      }
      const kept =
        type === S_IFLNK ? attribute : nameInLayer(attribute, this.#override ? 'override' : 'real');
      const result = sys.setxattrat(dirfd, name, kept, value, 0);
      if (cannotHave.has(-result)) this.lost.add(attribute, errnoName(-result), path);
      else if (result < 0) throw failed(result, `given the attribute ${textOf(attribute)}`, path);
    }
    if (type === S_IFLNK) return;
    let real = mode;
    if (this.#override) {
      const value = formatOverrideStat({ uid, gid, mode, type, major, minor });
      const result = sys.setxattrat(dirfd, name, OVERRIDE_CONTAINERS, value, 0);
      if (result < 0)
        throw failed(
          result,
          `given the attribute ${OVERRIDE_CONTAINERS}, which keeps its owner`,
          path,
        );
      // Who applied the layer reads it and takes it away again; nobody gets rights by it.
      real = (mode & 0o777) | (type === S_IFDIR ? 0o700 : 0o600);
    }
    const result = sys.fchmodat(dirfd, name, real);
    if (result < 0) throw failed(result, 'given its mode', path);
  }

  #own(dirfd: number, name: ByteString, path: ByteString, uid: number, gid: number): void {
    if (this.#override) return;
    const result = sys.fchownat(dirfd, name, uid, gid);
    if (result < 0) throw failed(result, 'given its owner', path);
  }
}

function writeAll(fd: number, bytes: Uint8Array, at: number, path: ByteString): void {
  for (let done = 0; done < bytes.length;) {
    const result = sys.pwrite(fd, done === 0 ? bytes : bytes.subarray(done), at + done);
    if (result <= 0) throw failed(result === 0 ? -E.EIO : result, 'written', path);
    done += result;
  }
}

async function writeExtents(
  fd: number,
  entry: LayerEntry,
  extents: NonNullable<LayerEntry['extents']>,
): Promise<void> {
  const size = sys.ftruncate(fd, entry.size);
  if (size < 0) throw failed(size, 'given its size', entry.path);
  let index = 0;
  let done = 0;
  for await (const piece of entry.body) {
    for (let at = 0; at < piece.length;) {
      let extent = extents[index]!;
      // Extents without data mark the end of a file, among others.
      while (done === extent.length) {
        extent = extents[++index]!;
        done = 0;
      }
      const part = piece.subarray(at, at + extent.length - done);
      writeAll(fd, part, extent.offset + done, entry.path);
      at += part.length;
      done += part.length;
    }
  }
}

/** S_IFDIR, S_IFREG, … of a name that is there. Throws `apply-failed`. */
export function typeOf(dirfd: number, name: ByteString, path: ByteString): number {
  const type = typeAt(dirfd, name);
  if (type < 0) throw failed(type, 'read', path);
  return type;
}

/**
 * The later of both as access time, and the epoch for what 64 bits of nanoseconds since then do not
 * hold, as moby has it.
 */
function timesOf({ atime, mtime }: LayerEntry): Times {
  const later =
    atime !== undefined &&
    (atime.sec > mtime.sec || (atime.sec === mtime.sec && atime.nsec > mtime.nsec))
      ? atime
      : mtime;
  return { atime: bounded(later), mtime: bounded(mtime) };
}

const epoch: EntryTime = { sec: 0, nsec: 0 };

function bounded(time: EntryTime): EntryTime {
  return time.sec < 0 || time.sec >= MAX_TIME ? epoch : time;
}

/** `result` is `-errno`. */
export function failed(result: number, done: string, path: ByteString): PlyfsError {
  const errno = -result;
  const shown = path === '' ? 'root' : `file ${textOf(path)}`;
  const cause = new Errno(errno);
  // No path of a layer that is one can meet these.
  if (leadsNowhere.has(errno))
    return hostile(`has the ${shown}, which cannot be ${done} (${reasonOf(errno)})`, { cause });
  return new PlyfsError(
    'apply-failed',
    `The layer's ${shown} cannot be ${done} (${reasonOf(errno)}): look at the file system and at who runs this.`,
    { cause },
  );
}
