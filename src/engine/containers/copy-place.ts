/**
 * A path that `ply cp` was given, looked up: on the host, or in a container, where the kernel
 * resolves it as if the container's root were that of the file system (openat2(2),
 * RESOLVE_IN_ROOT), so that no link leads out of it, nor to what is mounted in it.
 */
import { textOf, type ByteString } from '../../base/bytes.js';
import { E } from '../../base/errno.js';
import { PlyfsError } from '../../base/error.js';
import { reasonOf } from '../../base/system-error.js';
import {
  AT_FDCWD,
  O_CLOEXEC,
  O_DIRECTORY,
  O_PATH,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_XDEV,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
} from '../../sys/constants.js';
import { sys } from '../../sys/index.js';
import { STAT_FIELDS, StatField } from '../../sys/syscalls.js';

const HERE = '' as ByteString;
const LINKS_MAX = 40;
const PATH_MAX = 4096;

export class Place {
  /**
   * The directory that `name` is in, or the directory meant itself, where `name` is empty. The
   * place's to close.
   */
  readonly dirfd: number;
  /** Empty: the directory itself, as of `/`, `..` and `DIR/.`. */
  readonly name: ByteString;
  /** S_IFMT of what is there; 0 for nothing. */
  readonly type: number;

  constructor(dirfd: number, name: ByteString, type: number) {
    this.dirfd = dirfd;
    this.name = name;
    this.type = type;
  }

  get isDirectory(): boolean {
    return this.type === S_IFDIR;
  }

  close(): void {
    sys.close(this.dirfd);
  }
}

/**
 * `root`: the container's, or AT_FDCWD for the host's paths. `follow`: what a link in the last
 * place leads to is meant. Throws `copy-path-missing`.
 */
export function lookUp(root: number, path: ByteString, { follow }: { follow: boolean }): Place {
  let at = root === AT_FDCWD ? path : (`/${path}` as ByteString);
  for (let links = 0; ; links++) {
    const [, before = '', name = ''] = /^([^]*?)([^/]*)$/.exec(withoutTrailing(at))!;
    const isItself =
      name === '' || name === '.' || name === '..' || (at.endsWith('/') && followable(root, at));
    const dirfd = openDirectory(root, (isItself ? at : before === '' ? '.' : before) as ByteString);
    if (dirfd < 0) throw missing(path, dirfd);
    if (isItself) return new Place(dirfd, HERE, S_IFDIR);
    const type = typeOf(dirfd, name as ByteString);
    if (type !== S_IFLNK || !follow) return new Place(dirfd, name as ByteString, type);
    const target = targetOf(dirfd, name as ByteString);
    sys.close(dirfd);
    if (links === LINKS_MAX) throw missing(path, -E.ELOOP);
    at = (target.startsWith('/') ? target : before + target) as ByteString;
  }
}

/** `DIR/` means the directory also where DIR is a link to it. */
function followable(root: number, path: ByteString): boolean {
  const fd = openDirectory(root, path);
  if (fd >= 0) sys.close(fd);
  return fd >= 0;
}

function withoutTrailing(path: ByteString): string {
  return path.replace(/\/+$/, '') === '' ? '' : path.replace(/\/+$/, '');
}

/** The descriptor, or `-errno`. */
function openDirectory(root: number, path: ByteString): number {
  const flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  if (root === AT_FDCWD)
    return sys.openat(AT_FDCWD, path === '' ? ('/' as ByteString) : path, flags, 0);
  return sys.openat2(
    root,
    path === '' ? ('/' as ByteString) : path,
    flags,
    0,
    RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
  );
}

function typeOf(dirfd: number, name: ByteString): number {
  const stat = new Float64Array(STAT_FIELDS);
  const result = sys.statx(dirfd, name, stat, 0);
  if (result === -E.ENOENT) return 0;
  if (result < 0) throw missing(name, result);
  return (stat[StatField.Mode] as number) & S_IFMT;
}

function targetOf(dirfd: number, name: ByteString): string {
  const target = Buffer.alloc(PATH_MAX);
  const size = sys.readlinkat(dirfd, name, target);
  if (size < 0) throw missing(name, size);
  return target.toString('latin1', 0, size);
}

function missing(path: ByteString, result: number): PlyfsError {
  return new PlyfsError(
    'copy-path-missing',
    `${textOf(path)} cannot be had (${reasonOf(-result)}): name a file or directory that is there.`,
  );
}
