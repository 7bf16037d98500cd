/**
 * The tar of what a layer changes: from the layer's own directory (native diff), or from a merged
 * tree and a list of changes (naive diff), as moby makes them (pkg/archive: TarWithOptions with an
 * overlay's whiteouts, ExportChanges).
 *
 * Entries are in byte order of names, times in whole seconds, owners numbers only; the same tree
 * gives the same bytes. A file named `.wh.X` in a layer is written as it is called, and will be a
 * whiteout to who reads the tar: the format has no other word for it, and Docker does the same.
 */
import type { ByteSource } from '../base/byte-source.js';
import { textOf, type ByteString, type Name } from '../base/bytes.js';
import { E, Errno } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import {
  O_RDONLY,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
} from '../sys/constants.js';
import { FileIdentities } from '../overlay/file-identity.js';
import { sys } from '../sys/index.js';
import { STAT_FIELDS, StatField } from '../sys/syscalls.js';
import type { Change } from './changes.js';
import { META_PREFIX, OPAQUE_MARKER, WHITEOUT_PREFIX } from './entry-path.js';
import { LayerRoot, openRegular, splitPath } from '../overlay/layer-root.js';
import { BLOCK } from './tar-block.js';
import { encodeHeader, END_OF_ARCHIVE, type HeaderFields } from './tar-encoder.js';
import {
  directoryMarks,
  fileXattr,
  fileXattrNames,
  isXattrWhiteout,
  metacopyMark,
  type DirectoryMarks,
} from '../overlay/layer-marks.js';
import {
  isThere,
  join,
  list,
  openChild,
  orUnreadable,
  statOne,
  unreadable,
  sortedXattrNames,
} from '../overlay/tree-reader.js';
import { walkTreesIn, type TreeWalk, type Visit } from '../overlay/walk-trees.js';
import type { Ownership } from '../overlay/form.js';

export interface PackOptions {
  /** Whose every file is said to be. */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined;
  /**
   * How the directory says what it deletes: `overlay` by devices 0:0 and attributes, `aufs` by
   * `.wh.` files besides, `none` not at all.
   */
  readonly form: 'overlay' | 'aufs' | 'none';
  readonly ownership: Ownership;
}

/** Bytes of a piece. */
const PIECE = 256 * 1024;
const EMPTY = '' as ByteString;
const WHITEOUT_MODE = 0o600;
/** What fuse-overlayfs leaves in some opaque directories, besides the marker. */
const STRAY_MARKER = '.wh..opq';

/**
 * The native diff. What is gone meanwhile is left out. Throws `layer-missing`, `tree-unreadable`,
 * `file-changed`, and `layer-needs-merge` for a directory that has only part of its files' content
 * (metacopy) or names of the layers below (redirect): then the naive diff is the only one.
 */
export function packTree(directory: string, options: PackOptions): ByteSource {
  return batched(function* () {
    const root = LayerRoot.open(directory);
    try {
      yield* new Packer(options).root(root.fd);
      yield END_OF_ARCHIVE;
    } finally {
      root.close();
    }
  });
}

/**
 * The naive diff: `changes` of the merged tree at `directory`, in their order. What is gone
 * meanwhile is left out. Throws as `packTree`.
 */
export function packChanges(
  directory: string,
  changes: readonly Change[],
  options: { ownership?: Ownership } = {},
): ByteSource {
  return batched(function* () {
    const root = LayerRoot.open(directory);
    const stat = new Float64Array(STAT_FIELDS);
    const ownership = options.ownership ?? 'real';
    try {
      const packer = new Packer({ form: 'none', ownership });
      for (const { kind, path } of changes) {
        const { parent, name } = splitPath(path.slice(1) as ByteString);
        if (kind === 'D') {
          yield encodeHeader({
            name: join(parent, (WHITEOUT_PREFIX + name) as ByteString),
            flag: '0',
            mode: WHITEOUT_MODE,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: 0,
          });
          continue;
        }
        const dirfd = root.directory(parent);
        const result =
          dirfd < 0 ? dirfd : statOne(dirfd, name, join(parent, name), ownership, stat);
        if (result === -E.ENOENT || result === -E.ENOTDIR) continue;
        if (result < 0) throw unreadable(result, path);
        yield* packer.file(dirfd, name, join(parent, name), stat, 0);
      }
      yield END_OF_ARCHIVE;
    } finally {
      root.close();
    }
  });
}

/**
 * One file, or a directory with all that is in it, under the name `as`; what is in the directory
 * only, where that is empty. `dirfd` is the caller's, and `name` may be empty for the directory
 * itself. A link is packed, not what it leads to. Throws as `packTree`.
 */
export function packFile(
  dirfd: number,
  name: ByteString,
  as: ByteString,
  options: PackOptions,
): ByteSource {
  return batched(function* () {
    const packer = new Packer(options);
    if (as === EMPTY) yield* packer.root(dirfd);
    else yield* packer.named(dirfd, name, as);
    yield END_OF_ARCHIVE;
  });
}

class Packer {
  readonly #form: PackOptions['form'];
  readonly #ownership: Ownership;
  readonly #owner: PackOptions['owner'];
  readonly #identities = new FileIdentities();
  /** The first name of each file that has several, by its identity. */
  readonly #names = new Map<string, ByteString>();
  readonly #buffer = Buffer.allocUnsafe(PIECE);

  constructor(options: PackOptions) {
    this.#form = options.form;
    this.#ownership = options.ownership;
    this.#owner = options.owner;
  }

  /** Nothing, when it is gone. */
  *named(dirfd: number, name: ByteString, as: ByteString): Generator<Uint8Array, void> {
    const stat = new Float64Array(STAT_FIELDS);
    const result = statOne(dirfd, name, as, this.#ownership, stat);
    if (result === -E.ENOENT) return;
    if (result < 0) throw unreadable(result, as);
    if (((stat[StatField.Mode] as number) & S_IFMT) !== S_IFDIR) {
      yield* this.file(dirfd, name, as, stat, 0);
      return;
    }
    const fd = openChild(dirfd, name, as);
    if (fd === undefined) return;
    try {
      const marks = yield* this.#directory(fd, dirfd, name, as, stat, 0);
      yield* this.#tree(fd, as, marks);
    } finally {
      sys.close(fd);
    }
  }

  /** All that is in the directory. */
  *#tree(
    fd: number,
    path: ByteString,
    marks: DirectoryMarks | undefined,
  ): Generator<Uint8Array, void> {
    const visit = (walk: TreeWalk): Visit<void, Uint8Array> => this.#content(walk, path, marks);
    try {
      yield* walkTreesIn([fd], visit);
    } catch (error) {
      throw error instanceof Errno ? unreadable(-error.errno, path) : error;
    }
  }

  *#content(
    walk: TreeWalk,
    path: ByteString,
    marks: DirectoryMarks | undefined,
  ): Visit<void, Uint8Array> {
    const { names, stat } = list(walk.fd(), path, this.#ownership);
    for (const [index, name] of names.entries()) {
      const dirfd = walk.fd();
      const child = join(path, name);
      const type = (stat[index * STAT_FIELDS + StatField.Mode] as number) & S_IFMT;
      if (this.#form !== 'none') {
        if (this.#isLeftOut(path, name)) continue;
        if (
          isDevice00(stat, index) ||
          (marks?.xattrWhiteouts === true &&
            type === S_IFREG &&
            isXattrWhiteout(dirfd, name, child, this.#ownership))
        ) {
          const marker = (WHITEOUT_PREFIX + name) as ByteString;
          // One that is there as a file is written with the others.
          if (!this.#hasMarker(dirfd, marker, path))
            yield this.#whiteout(join(path, marker), stat, index);
          continue;
        }
      }
      if (type !== S_IFDIR) {
        yield* this.file(dirfd, name, child, stat, index);
        continue;
      }
      const fd = openChild(dirfd, name, child);
      if (fd === undefined) continue;
      let entered = false;
      try {
        const childMarks = yield* this.#directory(fd, dirfd, name, child, stat, index);
        entered = true;
        yield { name, fds: [fd], visit: this.#content(walk, child, childMarks) };
      } finally {
        if (!entered) sys.close(fd);
      }
    }
  }

  /** Its own entries, not those of what is in it. */
  *#directory(
    fd: number,
    dirfd: number,
    name: ByteString,
    path: ByteString,
    stat: Float64Array,
    index: number,
  ): Generator<Uint8Array, DirectoryMarks | undefined> {
    yield* this.file(dirfd, name, path, stat, index);
    if (this.#form === 'none') return undefined;
    const marks = directoryMarks(fd, path, this.#ownership);
    if (marks.redirect) throw needsMerge(path);
    if (marks.opaque && !this.#hasMarker(fd, OPAQUE_MARKER as ByteString, path))
      yield this.#opaqueMarker(path, stat, index);
    return marks;
  }

  /** The layer's root: it has no entry of its own. */
  *root(fd: number): Generator<Uint8Array, void> {
    const stat = new Float64Array(STAT_FIELDS);
    const result = statOne(fd, EMPTY, EMPTY, this.#ownership, stat);
    if (result < 0) throw unreadable(result, EMPTY);
    const marks = this.#form === 'none' ? undefined : directoryMarks(fd, EMPTY, this.#ownership);
    if (marks?.opaque === true && !this.#hasMarker(fd, OPAQUE_MARKER as ByteString, EMPTY))
      yield this.#opaqueMarker(EMPTY, stat, 0);
    yield* this.#tree(fd, EMPTY, marks);
  }

  #opaqueMarker(directory: ByteString, stat: Float64Array, index: number): Buffer {
    const fields = this.#fields(join(directory, OPAQUE_MARKER as ByteString), stat, index);
    return encodeHeader({ ...fields, flag: '0', mode: fields.mode & 0o777, size: 0, mtime: 0 });
  }

  /** `path`: of the directory. */
  #hasMarker(dirfd: number, marker: ByteString, path: ByteString): boolean {
    return this.#form === 'aufs' && isThere(dirfd, marker, join(path, marker));
  }

  /** Bookkeeping of AUFS and fuse-overlayfs. */
  #isLeftOut(path: ByteString, name: Name): boolean {
    if (this.#form !== 'aufs') return false;
    return (
      name === STRAY_MARKER ||
      (path === EMPTY && name.startsWith(META_PREFIX) && name !== OPAQUE_MARKER)
    );
  }

  #whiteout(name: ByteString, stat: Float64Array, index: number): Buffer {
    return encodeHeader({
      ...this.#fields(name, stat, index),
      flag: '0',
      mode: WHITEOUT_MODE,
      size: 0,
    });
  }

  /**
   * Any file, a directory without what is in it; nothing for a socket, which tars have no type for.
   */
  *file(
    dirfd: number,
    name: ByteString,
    path: ByteString,
    stat: Float64Array,
    index: number,
  ): Generator<Uint8Array, void> {
    const at = index * STAT_FIELDS;
    const type = (stat[at + StatField.Mode] as number) & S_IFMT;
    if (type === S_IFSOCK) return;
    const fields = this.#fields(type === S_IFDIR ? (`${path}/` as ByteString) : path, stat, index);
    const first = type === S_IFDIR ? undefined : this.#firstName(dirfd, name, path, stat, index);
    if (first !== undefined) {
      yield encodeHeader({ ...fields, flag: '1', linkname: first, size: 0 });
      return;
    }
    const xattrs = this.#xattrs(dirfd, name, path);
    switch (type) {
      case S_IFDIR:
        yield encodeHeader({ ...fields, flag: '5', size: 0, xattrs });
        break;
      case S_IFLNK: {
        const linkname = this.#target(dirfd, name, path);
        if (linkname === undefined) this.#forgetName(path);
        else yield encodeHeader({ ...fields, flag: '2', size: 0, linkname, xattrs });
        break;
      }
      case S_IFCHR:
      case S_IFBLK: {
        const [major, minor] = [
          stat[at + StatField.RdevMajor] as number,
          stat[at + StatField.RdevMinor] as number,
        ];
        yield encodeHeader({
          ...fields,
          flag: type === S_IFCHR ? '3' : '4',
          size: 0,
          major,
          minor,
          xattrs,
        });
        break;
      }
      case S_IFIFO:
        yield encodeHeader({ ...fields, flag: '6', size: 0, xattrs });
        break;
      default:
        yield* this.#regular(dirfd, name, path, {
          ...fields,
          flag: '0',
          size: stat[at + StatField.Size] as number,
          xattrs,
        });
    }
  }

  *#regular(
    dirfd: number,
    name: ByteString,
    path: ByteString,
    fields: HeaderFields,
  ): Generator<Uint8Array, void> {
    const fd = openRegular(dirfd, name, O_RDONLY);
    if (fd === -E.ENOENT) {
      this.#forgetName(path);
      return;
    }
    if (fd < 0) throw unreadable(fd, path);
    try {
      yield encodeHeader(fields);
      for (let at = 0; at < fields.size;) {
        const got = sys.pread(fd, this.#buffer.subarray(0, Math.min(PIECE, fields.size - at)), at);
        if (got < 0) throw unreadable(got, path);
        if (got === 0) {
          throw new PlyfsError(
            'file-changed',
            `The file ${textOf(path)} became shorter while it was read: try again when nothing writes to it.`,
          );
        }
        yield this.#buffer.subarray(0, got);
        at += got;
      }
      yield END_OF_ARCHIVE.subarray(0, (BLOCK - (fields.size % BLOCK)) % BLOCK);
    } finally {
      sys.close(fd);
    }
  }

  #fields(
    name: ByteString,
    stat: Float64Array,
    index: number,
  ): Omit<HeaderFields, 'flag' | 'size'> {
    const at = index * STAT_FIELDS;
    return {
      name,
      mode: (stat[at + StatField.Mode] as number) & 0o7777,
      uid: this.#owner?.uid ?? (stat[at + StatField.Uid] as number),
      gid: this.#owner?.gid ?? (stat[at + StatField.Gid] as number),
      mtime: stat[at + StatField.MtimeSec] as number,
    };
  }

  /** Of a file with several names, the one that was written before. */
  #firstName(
    dirfd: number,
    name: ByteString,
    path: ByteString,
    stat: Float64Array,
    index: number,
  ): ByteString | undefined {
    if ((stat[index * STAT_FIELDS + StatField.Nlink] as number) < 2) return undefined;
    const identity = orUnreadable(path, () => this.#identities.keyOf(dirfd, name, stat, index));
    if (identity === undefined) return undefined;
    const first = this.#names.get(identity);
    if (first === undefined) this.#names.set(identity, path);
    return first;
  }

  /** It was not written after all: its other names are no links to it. */
  #forgetName(path: ByteString): void {
    for (const [identity, name] of this.#names) if (name === path) this.#names.delete(identity);
  }

  #xattrs(dirfd: number, name: ByteString, path: ByteString): Map<ByteString, Uint8Array> {
    const xattrs = new Map<ByteString, Uint8Array>();
    const onDisk = sortedXattrNames(dirfd, name, path);
    if (this.#form !== 'none' && onDisk.includes(metacopyMark(this.#ownership)))
      throw needsMerge(path);
    for (const attribute of fileXattrNames(onDisk, this.#ownership)) {
      const value = fileXattr(dirfd, name, attribute, path, this.#ownership);
      if (value !== undefined) xattrs.set(attribute, value);
    }
    return xattrs;
  }

  #target(dirfd: number, name: ByteString, path: ByteString): ByteString | undefined {
    const size = sys.readlinkat(dirfd, name, this.#buffer);
    if (size === -E.ENOENT) return undefined;
    if (size < 0) throw unreadable(size, path);
    return this.#buffer.toString('latin1', 0, size) as ByteString;
  }
}

function isDevice00(stat: Float64Array, index: number): boolean {
  const at = index * STAT_FIELDS;
  return (
    ((stat[at + StatField.Mode] as number) & S_IFMT) === S_IFCHR &&
    stat[at + StatField.RdevMajor] === 0 &&
    stat[at + StatField.RdevMinor] === 0
  );
}

function needsMerge(path: ByteString): PlyfsError {
  return new PlyfsError(
    'layer-needs-merge',
    `The file ${textOf(path)} has part of itself in the layers below (redirect or metacopy): only the mounted layer can be compared with them.`,
  );
}

/** Gathers small pieces, in a buffer that the next piece overwrites. */
async function* batched(pieces: () => Generator<Uint8Array, void>): ByteSource {
  const buffer = Buffer.allocUnsafe(PIECE);
  let filled = 0;
  for (const piece of pieces()) {
    if (piece.length > PIECE - filled) {
      yield buffer.subarray(0, filled);
      filled = 0;
    }
    if (piece.length === PIECE) yield piece;
    else {
      buffer.set(piece, filled);
      filled += piece.length;
    }
  }
  if (filled > 0) yield buffer.subarray(0, filled);
}
