/** Carrying a file's metadata over to its copy. */
import type { ByteString } from '../base/bytes.js';
import { check, E } from '../base/errno.js';
import { sys } from '../sys/index.js';
import { StatField } from '../sys/syscalls.js';
import type { UnionContext } from './context.js';
import type { LayerDirectory } from '../overlay/layer.js';
import { readXattr } from '../overlay/marks.js';
import { protectionIn, writeProtection } from './protection.js';
import { nameOnDisk, nameShown } from './shown-xattrs.js';
import { field, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../overlay/stat-buffer.js';
import { onDisk } from '../overlay/disk-directory.js';
import {
  FS_SYNC_FL,
  FS_NOATIME_FL,
  FS_IOC_GETFLAGS,
  FS_IOC_SETFLAGS,
  O_CLOEXEC,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_RDONLY,
} from '../sys/constants.js';

/** Of capabilities(7), "File capabilities". */
export const CAPABILITY = 'security.capability' as ByteString;

/** Of FS_*_FL, those that a copy takes along (fs/overlayfs/overlayfs.h, OVL_COPY_FS_FLAGS_MASK). */
const COPIED = FS_SYNC_FL | FS_NOATIME_FL;
const flags = Buffer.alloc(4);

/**
 * Owner, mode, xattrs and times of a source whose attributes are `stat`, to `name` relative to
 * `dirfd` (or `dirfd` itself). In this order: a change of owner clears set-id bits and
 * `security.capability`, a mode may forbid its owner to set `user.` attributes and to open the
 * file, all of them change times.
 */
export function copyMetadata(
  context: UnionContext,
  source: LayerDirectory,
  sourceName: ByteString,
  stat: Float64Array,
  dirfd: number,
  name: ByteString,
): void {
  const mode = field(stat, 0, StatField.Mode);
  const uid = field(stat, 0, StatField.Uid);
  const gid = field(stat, 0, StatField.Gid);
  const type = mode & S_IFMT;
  const { override } = context.ownership;
  if (override !== undefined) {
    context.ownership.describe(
      dirfd,
      name,
      mode,
      uid,
      gid,
      field(stat, 0, StatField.RdevMajor),
      field(stat, 0, StatField.RdevMinor),
    );
  } else check(sys.fchownat(dirfd, name, uid, gid), 'chown');
  copyXattrs(source, sourceName, dirfd, name, type === S_IFLNK ? undefined : override);
  if (type === S_IFREG || type === S_IFDIR)
    copyFlags(context, source, sourceName, protectionIn(stat, 0), dirfd, name);
  if (override === undefined && type !== S_IFLNK)
    check(sys.fchmodat(dirfd, name, mode & 0o7777), 'chmod');
  restoreTimes(dirfd, name, stat);
}

/**
 * Each attribute as the mount shows it, to where the copy keeps it (`override`: the attribute that
 * keeps its owner).
 */
function copyXattrs(
  source: LayerDirectory,
  sourceName: ByteString,
  dirfd: number,
  name: ByteString,
  override: ByteString | undefined,
): void {
  const attributes = source.xattrNames(sourceName);
  if (typeof attributes === 'number') return void check(attributes, 'listxattr');
  const { marks } = source.layer;
  const aside = source.overrideOf(sourceName);
  const shown = new Map<ByteString, ByteString>();
  for (const attribute of attributes) {
    const shownAs = nameShown(attribute, marks, aside);
    // What is kept aside counts before what the file has itself.
    if (shownAs !== undefined && (attribute !== shownAs || !shown.has(shownAs)))
      shown.set(shownAs, attribute);
  }
  const capability = shown.get(CAPABILITY);
  shown.delete(CAPABILITY);
  for (const [shownAs, attribute] of shown) {
    copyXattr(source, sourceName, attribute, dirfd, name, nameOnDisk(shownAs, marks, override));
  }
  if (capability !== undefined)
    copyXattr(source, sourceName, capability, dirfd, name, nameOnDisk(CAPABILITY, marks, override));
}

function copyXattr(
  source: LayerDirectory,
  sourceName: ByteString,
  attribute: ByteString,
  dirfd: number,
  name: ByteString,
  copy: ByteString,
): void {
  const value = readXattr(source, sourceName, attribute);
  if (typeof value === 'number') {
    if (value !== -E.ENODATA && value !== -E.EOPNOTSUPP) check(value, attribute);
    return;
  }
  const result = sys.setxattrat(dirfd, name, copy, value, 0);
  if (result >= 0) return;
  // What protects the file must not be lost in silence; the rest is not worth a failed write
  // (ovl_must_copy_xattr).
  const required = copy.endsWith(CAPABILITY) || copy.startsWith('system.posix_acl_');
  if (required || (result !== -E.EOPNOTSUPP && result !== -E.EPERM)) check(result, copy);
}

/** Access and modification time, to the nanosecond. */
export function restoreTimes(dirfd: number, name: ByteString, stat: Float64Array): void {
  const result = sys.utimensat(
    dirfd,
    name,
    field(stat, 0, StatField.AtimeSec),
    field(stat, 0, StatField.AtimeNsec),
    field(stat, 0, StatField.MtimeSec),
    field(stat, 0, StatField.MtimeNsec),
  );
  check(result, 'utimensat');
}

/**
 * What a copy of a file or directory takes along of its source's flags (fs/overlayfs/copy_up.c,
 * ovl_copy_fileattr). `protection`: the source's. A file system without flags, or without these,
 * stops no copy.
 */
export function copyFlags(
  context: UnionContext,
  source: LayerDirectory,
  sourceName: ByteString,
  protection: number,
  dirfd: number,
  name: ByteString,
): void {
  if (protection !== 0 && context.upper?.features.marks === true)
    writeProtection(context.upper, dirfd, name, protection, false);
  const from = openSource(source, sourceName);
  if (from < 0) return;
  const got = sys.fileFlags(from, FS_IOC_GETFLAGS, flags);
  sys.close(from);
  const copied = got < 0 ? 0 : flags.readUInt32LE(0) & COPIED;
  if (copied === 0) return;
  const to =
    name === ''
      ? sys.openat(dirfd, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC, 0)
      : sys.openat(dirfd, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC, 0);
  if (to < 0) return;
  if (sys.fileFlags(to, FS_IOC_GETFLAGS, flags) >= 0) {
    flags.writeUInt32LE(((flags.readUInt32LE(0) & ~COPIED) | copied) >>> 0, 0);
    sys.fileFlags(to, FS_IOC_SETFLAGS, flags);
  }
  sys.close(to);
}

/** `name` may be empty for the directory itself. Returns `-errno`. */
export function openSource(directory: LayerDirectory, name: ByteString): number {
  return name === ''
    ? sys.openat(onDisk(directory).fd(), '.' as ByteString, O_RDONLY | O_NONBLOCK | O_CLOEXEC, 0)
    : directory.open(name);
}
