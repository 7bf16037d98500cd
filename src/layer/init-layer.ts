/**
 * What lies between an image and a container: the mount points that a runtime needs (moby,
 * daemon/initlayer/setup_unix.go).
 *
 * Docker makes them through a mount. Here they are made in the init layer's own directory, which
 * comes to the same, because something new in an upper directory hides what is below; only of
 * directories must be known what they are below. Everything is reached from descriptors, one
 * component at a time, so that no link of an image is followed.
 */
import { dirname } from 'node:path/posix';
import { bytesOf, type ByteString } from '../base/bytes.js';
import { check, E, Errno } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import type { LayerDirectories } from '../graphdriver/driver.js';
import * as c from '../sys/constants.js';
import { sys } from '../sys/index.js';
import { formatOverrideStat, OVERRIDE_CONTAINERS } from '../overlay/override-stat.js';
import { StatField, STAT_FIELDS } from '../sys/syscalls.js';
import {
  ASIDE_PREFIX,
  isAnyUnionXattr,
  opaqueAttributes,
  ownMarks,
} from '../overlay/private-xattrs.js';
import { xattrNames } from '../sys/xattr-names.js';

type Content = 'directory' | 'file' | { readonly linkTo: string };

const contents: readonly (readonly [path: string, content: Content])[] = [
  ['dev/pts', 'directory'],
  ['dev/shm', 'directory'],
  ['proc', 'directory'],
  ['sys', 'directory'],
  ['.dockerenv', 'file'],
  ['etc/resolv.conf', 'file'],
  ['etc/hosts', 'file'],
  ['etc/hostname', 'file'],
  ['dev/console', 'file'],
  ['etc/mtab', { linkTo: '/proc/mounts' }],
];

const MODE = 0o755;
const HERE = '' as ByteString;
const DIRECTORY = c.O_RDONLY | c.O_DIRECTORY | c.O_NOFOLLOW | c.O_CLOEXEC;
const privileged = process.geteuid?.() === 0;

/**
 * One directory as the union shows it: in the init layer, and in those layers below where it is,
 * topmost first.
 */
interface Merged {
  readonly own: number;
  readonly below: readonly number[];
}

/**
 * Fills an init layer, which must be empty but for what is complete by itself. Throws
 * `init-layer-failed`.
 */
export function fillInitLayer(directories: LayerDirectories): void {
  try {
    fill(directories);
  } catch (error) {
    if (!(error instanceof Errno)) throw error;
    throw new PlyfsError(
      'init-layer-failed',
      `What a container is mounted on cannot be made in ${directories.own} (${error.message}): look at the disk, and at the layers below.`,
      { cause: error },
    );
  }
}

/** Throws `Errno`. */
function fill(directories: LayerDirectories): void {
  const opened: number[] = [];
  const open = (dirfd: number, name: ByteString): number => {
    const fd = check(sys.openat(dirfd, name, DIRECTORY, 0), name);
    opened.push(fd);
    return fd;
  };
  try {
    const root: Merged = {
      own: open(c.AT_FDCWD, bytesOf(directories.own)),
      below: directories.below.map((path) => open(c.AT_FDCWD, bytesOf(path))),
    };
    const merged = new Map([['.', root]]);
    const directory = (path: string): Merged => {
      const known = merged.get(path);
      if (known !== undefined) return known;
      const parent = directory(dirname(path));
      const made = makeDirectory(parent, nameOf(path), open);
      merged.set(path, made);
      return made;
    };
    for (const [path, content] of contents) {
      if (content === 'directory') directory(path);
      else makeFile(directory(dirname(path)), nameOf(path), content);
    }
  } finally {
    for (const fd of opened) sys.close(fd);
  }
}

function nameOf(path: string): ByteString {
  return bytesOf(path.slice(path.lastIndexOf('/') + 1));
}

const scratch = new Float64Array(STAT_FIELDS);

/** S_IFMT of what is there; 0 for nothing. */
function typeAt(dirfd: number, name: ByteString): number {
  const result = sys.statx(dirfd, name, scratch, 0);
  if (result === -E.ENOENT) return 0;
  check(result, name);
  return (scratch[StatField.Mode] as number) & c.S_IFMT;
}

/** Makes `name` a directory, if it is none, and as it is below, if it is one there. */
function makeDirectory(
  parent: Merged,
  name: ByteString,
  open: (dirfd: number, name: ByteString) => number,
): Merged {
  const below = directoriesBelow(parent, name).map((dirfd) => open(dirfd, name));
  const type = typeAt(parent.own, name);
  if (type !== 0 && type !== c.S_IFDIR) check(sys.unlinkat(parent.own, name, 0), name);
  if (type !== c.S_IFDIR) {
    check(sys.mkdirat(parent.own, name, MODE), name);
    const own = open(parent.own, name);
    const [nearest] = below;
    if (nearest === undefined) setOwner(own, HERE, c.S_IFDIR);
    else copyAttributes(nearest, own);
    return { own, below };
  }
  return { own: open(parent.own, name), below };
}

/** A directory of that name stays, as Docker leaves it. */
function makeFile(parent: Merged, name: ByteString, content: Exclude<Content, 'directory'>): void {
  const type = typeAt(parent.own, name);
  if (type === c.S_IFDIR || (type === 0 && directoriesBelow(parent, name).length > 0)) return;
  if (type !== 0) check(sys.unlinkat(parent.own, name, 0), name);
  if (content === 'file') {
    check(sys.mknodat(parent.own, name, c.S_IFREG | MODE, 0, 0), name);
    setOwner(parent.own, name, c.S_IFREG);
  } else {
    check(sys.symlinkat(bytesOf(content.linkTo), parent.own, name), name);
    if (privileged) check(sys.fchownat(parent.own, name, 0, 0), name);
  }
}

/** 0:0 and the mode, whatever the umask and who we are. */
function setOwner(dirfd: number, name: ByteString, type: number): void {
  check(sys.fchmodat(dirfd, name, MODE), name);
  if (privileged) check(sys.fchownat(dirfd, name, 0, 0), name);
  else {
    const value = formatOverrideStat({ uid: 0, gid: 0, mode: MODE, type, major: 0, minor: 0 });
    check(sys.setxattrat(dirfd, name, OVERRIDE_CONTAINERS, value, 0), name);
  }
}

/** Those of the layers below whose `name` is a directory that the union merges, topmost first. */
function directoriesBelow({ below }: Merged, name: ByteString): number[] {
  const found: number[] = [];
  for (const dirfd of below) {
    const type = typeAt(dirfd, name);
    if (type === 0) {
      if (typeAt(dirfd, `.wh.${name}` as ByteString) !== 0) break;
      continue;
    }
    // A whiteout, or something that hides what is below as well.
    if (type !== c.S_IFDIR) break;
    found.push(dirfd);
    if (isOpaque(dirfd, name)) break;
  }
  return found;
}

const opaqueNames = opaqueAttributes(ownMarks());
const value = Buffer.alloc(1);

function isOpaque(dirfd: number, name: ByteString): boolean {
  if (opaqueNames.some((opaque) => saysYes(dirfd, name, opaque))) return true;
  const fd = check(sys.openat(dirfd, name, DIRECTORY, 0), name);
  try {
    return ['.wh..wh..opq', '.wh..opq'].some((marker) => typeAt(fd, bytesOf(marker)) !== 0);
  } finally {
    sys.close(fd);
  }
}

/** A look that fails is not an answer: what is hidden would show. */
function saysYes(dirfd: number, name: ByteString, attribute: ByteString): boolean {
  const size = sys.getxattrat(dirfd, name, attribute, value);
  // It has none, or a longer one.
  if (size === -E.ENODATA || size === -E.EOPNOTSUPP || size === -E.ERANGE) return false;
  return check(size, attribute) === 1 && value.toString() === 'y';
}

/**
 * What a union keeps for itself, and not what a layer of an ordinary user's keeps beside a file.
 */
function isCopied(attribute: ByteString): boolean {
  return !isAnyUnionXattr(attribute) || (!privileged && attribute.startsWith(ASIDE_PREFIX));
}

function copyAttributes(from: number, to: number): void {
  check(sys.statx(from, HERE, scratch, 0));
  const mode = (scratch[StatField.Mode] as number) & 0o7777;
  const [uid, gid] = [scratch[StatField.Uid] as number, scratch[StatField.Gid] as number];
  if (privileged) check(sys.fchownat(to, HERE, uid, gid));
  check(sys.fchmodat(to, HERE, mode));
  const names = xattrNames(from, HERE);
  if (typeof names === 'number') throw new Errno(-names);
  const content = Buffer.alloc(c.XATTR_SIZE_MAX);
  for (const name of names) {
    if (!isCopied(name)) continue;
    const size = check(sys.getxattrat(from, HERE, name, content), name);
    check(sys.setxattrat(to, HERE, name, content.subarray(0, size), 0), name);
  }
}
