/**
 * Owner, mode and type kept in an extended attribute, for layers written by somebody who could not
 * give them to the file itself.
 *
 * The value is `uid:gid:octalmode[:type]` (containers/storage, pkg/idtools and fuse-overlayfs.1,
 * "xattr_permissions"), with type one of dir, file, symlink, pipe, socket, block-MAJ-MIN,
 * char-MAJ-MIN; a mode that includes file-type bits is accepted.
 *
 * Layers with `user.containers.override_stat` keep `security.*` attributes beside it in the same
 * way, under `user.containers.override_` and the attribute's name (fuse-overlayfs from 1.14 on):
 * who may not give a file its owner may not give it capabilities either.
 */
import type { ByteString } from '../base/bytes.js';
import {
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
} from '../sys/constants.js';
import { sys } from '../sys/index.js';
import { StatField, STAT_FIELDS } from '../sys/syscalls.js';
import { ASIDE_PREFIX } from './private-xattrs.js';

export const OVERRIDE_CONTAINERS = `${ASIDE_PREFIX}stat` as ByteString;
export const OVERRIDE_PRIVILEGED = 'security.fuseoverlayfs.override_stat' as ByteString;
export const OVERRIDE_USER = 'user.fuseoverlayfs.override_stat' as ByteString;
/** In the order in which a layer's root is asked for them. */
export const OVERRIDE_NAMES = [OVERRIDE_PRIVILEGED, OVERRIDE_CONTAINERS, OVERRIDE_USER] as const;

export interface OverrideStat {
  uid: number;
  gid: number;
  /** Permission bits, set-id and sticky included. */
  mode: number;
  /** S_IFDIR, S_IFREG, …; 0 when the value does not say. */
  type: number;
  major: number;
  minor: number;
}

const SECURITY = 'security.';
const LONGEST = 256;
const MAX_ID = 0xfffffffe;
const pattern =
  /^(\d{1,10}):(\d{1,10}):([0-7]{1,7})(?::(dir|file|symlink|pipe|socket|(?:block|char)-\d{1,10}-\d{1,10}))?$/;
const types: Readonly<Record<string, number>> = {
  dir: S_IFDIR,
  file: S_IFREG,
  symlink: S_IFLNK,
  pipe: S_IFIFO,
  socket: S_IFSOCK,
};

/** Undefined for anything that is not of the form: the file then shows what it is. */
export function parseOverrideStat(value: Uint8Array): OverrideStat | undefined {
  if (value.length > LONGEST) return undefined;
  const match = pattern.exec(
    Buffer.from(value.buffer, value.byteOffset, value.length)
      .toString('latin1')
      .replace(/\0+$/, ''),
  );
  if (match === null) return undefined;
  const [, uid, gid, mode, type] = match;
  const bits = parseInt(mode as string, 8);
  const parsed = {
    uid: Number(uid),
    gid: Number(gid),
    mode: bits & 0o7777,
    type: bits & S_IFMT,
    major: 0,
    minor: 0,
  };
  if (parsed.uid > MAX_ID || parsed.gid > MAX_ID) return undefined;
  if (type !== undefined) {
    const [word, major, minor] = type.split('-') as [string, string?, string?];
    parsed.type = word === 'block' ? S_IFBLK : word === 'char' ? S_IFCHR : (types[word] as number);
    parsed.major = Number(major ?? 0);
    parsed.minor = Number(minor ?? 0);
    // The 32-bit encoding of a device number has 12 bits for the major and 20 for the minor.
    if (parsed.major >= 2 ** 12 || parsed.minor >= 2 ** 20) return undefined;
  }
  return parsed;
}

/** The value in the form that containers/storage reads. */
export function formatOverrideStat(override: OverrideStat): Buffer {
  const { uid, gid, mode, type, major, minor } = override;
  let word: string;
  switch (type) {
    case S_IFDIR:
      word = ':dir';
      break;
    case S_IFLNK:
      word = ':symlink';
      break;
    case S_IFIFO:
      word = ':pipe';
      break;
    case S_IFSOCK:
      word = ':socket';
      break;
    case S_IFBLK:
      word = `:block-${major}-${minor}`;
      break;
    case S_IFCHR:
      word = `:char-${major}-${minor}`;
      break;
    default:
      word = ':file';
  }
  return Buffer.from(`${uid}:${gid}:0${(mode & 0o7777).toString(8)}${word}`, 'latin1');
}

/**
 * Which of a layer's objects are what their attribute says. `every`: all that have one. `of-root`:
 * those of root that nobody else may write, since who may write a file may set its `user.`
 * attributes (xattr(7)).
 */
export interface OverrideBelief {
  readonly attribute: ByteString;
  readonly objects: 'every' | 'of-root';
}

/**
 * Whether the object in entry `index` of a stat buffer, as it is on disk, is one that root alone
 * can have marked. A write bit of an ACL shows in the group's.
 */
export function isRootsAlone(stat: Float64Array, index: number): boolean {
  const mode = stat[index * STAT_FIELDS + StatField.Mode] as number;
  return (
    stat[index * STAT_FIELDS + StatField.Uid] === 0 &&
    ((mode & S_IFMT) === S_IFLNK || (mode & 0o022) === 0)
  );
}

/**
 * Only a regular file stands for something else, and for nothing that needs a content of its own
 * kind: a directory, a symbolic link.
 */
export function typeUnder(override: OverrideStat, real: number): number {
  const { type } = override;
  return real === S_IFREG && type !== 0 && type !== S_IFDIR && type !== S_IFLNK ? type : real;
}

/** Puts what the attribute says into entry `index` of a stat buffer. */
export function applyOverride(stat: Float64Array, index: number, override: OverrideStat): void {
  const at = index * STAT_FIELDS;
  const real = (stat[at + StatField.Mode] as number) & S_IFMT;
  const type = typeUnder(override, real);
  stat[at + StatField.Mode] = type | override.mode;
  stat[at + StatField.Uid] = override.uid;
  stat[at + StatField.Gid] = override.gid;
  if (type !== real && (type === S_IFCHR || type === S_IFBLK)) {
    stat[at + StatField.RdevMajor] = override.major;
    stat[at + StatField.RdevMinor] = override.minor;
    stat[at + StatField.Size] = 0;
  }
}

const scratch = Buffer.alloc(512);

/** What the file's attribute says, if it has one that can be understood. */
export function readOverride(
  dirfd: number,
  name: ByteString,
  attribute: ByteString,
): OverrideStat | undefined {
  const size = sys.getxattrat(dirfd, name, attribute, scratch);
  return size < 0 ? undefined : parseOverrideStat(scratch.subarray(0, size));
}

/**
 * Where a layer with the attribute `override` keeps the attribute `name`; undefined: on the file
 * itself.
 */
export function xattrAside(
  name: ByteString,
  override: ByteString | undefined,
): ByteString | undefined {
  return override === OVERRIDE_CONTAINERS && name.startsWith(SECURITY)
    ? ((ASIDE_PREFIX + name) as ByteString)
    : undefined;
}

/** The attribute that such a layer keeps under this name, if it is one. */
export function xattrFromAside(
  onDisk: ByteString,
  override: ByteString | undefined,
): ByteString | undefined {
  if (override !== OVERRIDE_CONTAINERS || !onDisk.startsWith(ASIDE_PREFIX + SECURITY))
    return undefined;
  return onDisk.slice(ASIDE_PREFIX.length) as ByteString;
}
