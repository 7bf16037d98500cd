/**
 * A copy of a directory with all that is in it: data reflinked where the file system can, hard
 * links within it kept, owner, mode, xattrs and times (nanoseconds) as they were. Works by
 * descriptors; a link is copied, never followed, and nothing that is mounted inside is.
 *
 * An ordinary user's copy belongs to that user, and has no device nodes: as everything such a user
 * writes.
 */
import { bytesOf, type ByteString, type Name } from '../base/bytes.js';
import { check, E, Errno } from '../base/errno.js';
import {
  AT_FDCWD,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_RDONLY,
  O_WRONLY,
  RESOLVE_NO_XDEV,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  XATTR_SIZE_MAX,
} from '../sys/constants.js';
import { FileIdentities } from '../overlay/file-identity.js';
import { sys } from '../sys/index.js';
import { openPrivately } from '../sys/private-mount.js';
import { StatField, STAT_FIELDS } from '../sys/syscalls.js';
import { xattrNames } from '../sys/xattr-names.js';
import { listDirectory } from '../overlay/directory-entries.js';
import { closedOnError, walkTrees, type TreeWalk, type Visit } from '../overlay/walk-trees.js';

const HERE = '' as ByteString;
/** The trees of the walk. */
const FROM = 0;
const TO = 1;
const READ_DIRECTORY = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

/**
 * `to` and `links` must not exist; `links`, on the file system of `to`, is left behind with a name
 * for each file that has several. Throws `Errno`.
 */
export function copyTree(from: string, to: string, links: string): void {
  const copy = new TreeCopy(links);
  try {
    const root = openPrivately(bytesOf(from));
    try {
      if (root === undefined) copy.root(AT_FDCWD, bytesOf(from), bytesOf(to));
      else copy.root(root, bytesOf('.'), bytesOf(to));
    } finally {
      if (root !== undefined) sys.close(root);
    }
  } finally {
    copy.close();
  }
}

class TreeCopy {
  readonly #links: string;
  #linksFd = -1;
  readonly #identities = new FileIdentities();
  /** By the identity of a file with several names: its name in `links`. */
  readonly #linked = new Map<string, ByteString>();
  readonly #xattrs = new XattrCopy();

  constructor(links: string) {
    this.#links = links;
  }

  close(): void {
    if (this.#linksFd >= 0) sys.close(this.#linksFd);
  }

  /** The copy is `to`, a path. */
  root(from: number, name: ByteString, to: ByteString): void {
    const fds = directories(from, name, AT_FDCWD, to);
    try {
      walkTrees(fds, (walk) => this.#directory(walk), READ_DIRECTORY);
    } finally {
      for (const fd of fds) sys.close(fd);
    }
  }

  *#directory(walk: TreeWalk): Visit<void> {
    const own = new Float64Array(STAT_FIELDS);
    check(sys.statx(walk.fd(FROM), HERE, own, 0));
    for (const { name } of listDirectory(walk.fd(FROM))) {
      const [from, to] = [walk.fd(FROM), walk.fd(TO)];
      const stat = new Float64Array(STAT_FIELDS);
      check(sys.statx(from, name, stat, 0), name);
      if ((stat[StatField.Mode]! & S_IFMT) !== S_IFDIR) {
        this.#file(from, name, to, stat);
        continue;
      }
      const fds = directories(from, name, to, name);
      yield { name: name as Name, fds, visit: this.#directory(walk) };
    }
    this.#attributes(walk.fd(FROM), HERE, walk.fd(TO), HERE, own);
  }

  /** All but a directory. */
  #file(from: number, name: ByteString, to: number, stat: Float64Array): void {
    const type = stat[StatField.Mode]! & S_IFMT;
    const several = stat[StatField.Nlink]! > 1;
    const identity = several ? this.#identities.keyOf(from, name, stat) : undefined;
    const known = identity === undefined ? undefined : this.#linked.get(identity);
    if (known !== undefined) {
      check(sys.linkat(this.#linksFd, known, to, name), name);
      return;
    }
    switch (type) {
      case S_IFREG:
        this.#regular(from, name, to, stat);
        break;
      case S_IFLNK:
        check(sys.symlinkat(targetOf(from, name), to, name), name);
        this.#attributes(from, name, to, name, stat);
        break;
      default: {
        const device = type === S_IFCHR || type === S_IFBLK;
        check(
          sys.mknodat(
            to,
            name,
            type | 0o600,
            device ? stat[StatField.RdevMajor]! : 0,
            device ? stat[StatField.RdevMinor]! : 0,
          ),
          name,
        );
        this.#attributes(from, name, to, name, stat);
      }
    }
    if (identity !== undefined) this.#linked.set(identity, this.#keep(to, name));
  }

  /** A name in `links` for a file of which more names are to come. */
  #keep(directory: number, name: ByteString): ByteString {
    if (this.#linksFd < 0) {
      const path = bytesOf(this.#links);
      check(sys.mkdirat(AT_FDCWD, path, 0o700), this.#links);
      this.#linksFd = check(sys.openat(AT_FDCWD, path, READ_DIRECTORY, 0), this.#links);
    }
    const kept = bytesOf(String(this.#linked.size));
    check(sys.linkat(directory, name, this.#linksFd, kept), name);
    return kept;
  }

  #regular(from: number, name: ByteString, to: number, stat: Float64Array): void {
    const source = check(
      openSource(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC),
      name,
    );
    try {
      const target = check(
        sys.openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600),
        name,
      );
      try {
        const size = stat[StatField.Size]!;
        // A file that is shorter than it was a moment ago stays as long as it was.
        if (size > 0 && check(sys.copyData(source, target, 0, size, true), name) < size)
          check(sys.ftruncate(target, size), name);
        const listed = xattrNames(source, HERE);
        // Beyond the bound of listxattr(2) a file is listed from its directory alone.
        this.#attributes(
          source,
          HERE,
          target,
          HERE,
          stat,
          listed === -E.E2BIG ? xattrNames(from, name) : listed,
        );
      } finally {
        sys.close(target);
      }
    } finally {
      sys.close(source);
    }
  }

  /** Owner first: changing it clears set-id bits and capabilities. */
  #attributes(
    from: number,
    name: ByteString,
    to: number,
    newName: ByteString,
    stat: Float64Array,
    attributes = xattrNames(from, name),
  ): void {
    if (typeof attributes === 'number') throw new Errno(-attributes, name);
    const owned = sys.fchownat(to, newName, stat[StatField.Uid]!, stat[StatField.Gid]!);
    if (owned !== -E.EPERM && owned !== -E.EINVAL) check(owned, newName);
    this.#xattrs.copy(from, name, attributes, to, newName);
    const mode = stat[StatField.Mode]!;
    if ((mode & S_IFMT) !== S_IFLNK) check(sys.fchmodat(to, newName, mode & 0o7777), newName);
    const [atime, atimeNsec, mtime, mtimeNsec] = stat.subarray(
      StatField.AtimeSec,
      StatField.MtimeNsec + 1,
    ) as unknown as [number, number, number, number];
    check(sys.utimensat(to, newName, atime, atimeNsec, mtime, mtimeNsec), newName);
  }
}

/** The directory and the one newly made for it, in the order of the walk's trees. */
function directories(
  from: number,
  name: ByteString,
  to: number,
  newName: ByteString,
): [source: number, target: number] {
  const source = check(openSource(from, name, READ_DIRECTORY), name);
  return closedOnError([source], () => {
    check(sys.mkdirat(to, newName, 0o700), newName);
    return [source, check(sys.openat(to, newName, READ_DIRECTORY, 0), newName)];
  });
}

/** EXDEV where something is mounted in the tree. */
function openSource(from: number, name: ByteString, flags: number): number {
  const fd = from === AT_FDCWD ? -E.ENOSYS : sys.openat2(from, name, flags, 0, RESOLVE_NO_XDEV);
  return fd === -E.ENOSYS ? sys.openat(from, name, flags, 0) : fd;
}

class XattrCopy {
  readonly #value = Buffer.alloc(XATTR_SIZE_MAX);

  copy(
    from: number,
    name: ByteString,
    attributes: readonly ByteString[],
    to: number,
    newName: ByteString,
  ): void {
    for (const attribute of attributes) {
      const length = check(sys.getxattrat(from, name, attribute, this.#value), attribute);
      const result = sys.setxattrat(to, newName, attribute, this.#value.subarray(0, length), 0);
      // Labels and capabilities are not an ordinary user's to set.
      if (
        result < 0 &&
        !(attribute.startsWith('security.') && (result === -E.EPERM || result === -E.EOPNOTSUPP))
      ) {
        throw new Errno(-result, attribute);
      }
    }
  }
}

const linkBuffer = Buffer.alloc(4097);

function targetOf(directory: number, name: ByteString): ByteString {
  const length = check(sys.readlinkat(directory, name, linkBuffer), name);
  return linkBuffer.toString('latin1', 0, length) as ByteString;
}
