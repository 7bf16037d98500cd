/**
 * Whether two names lead to one file.
 *
 * By device and inode number, where a file system keeps its numbers apart. A file system over
 * others hands their numbers on: what it shows under one `st_dev` may be unrelated files of several
 * disks with equal numbers (mergerfs with `inodecalc=passthrough`, fuse-overlayfs, the kernel's
 * overlay of several btrfs subvolumes). There only a file handle proves that two names are one
 * file.
 */
import type { ByteString } from '../base/bytes.js';
import { check, E } from '../base/errno.js';
import { AT_HANDLE_FID, O_CLOEXEC, O_NOFOLLOW, O_PATH } from '../sys/constants.js';
import { sys } from '../sys/index.js';
import { readMountTable } from '../host/mount-table.js';
import { STAT_FIELDS, StatField } from '../sys/syscalls.js';

/**
 * Of statfs(2), f_type: file systems that keep inodes of their own, each with a number that no
 * other has under the same `st_dev`. ext2 to ext4, XFS, btrfs (a subvolume has an `st_dev` of its
 * own), tmpfs, ramfs, F2FS, squashfs, EROFS, ZFS, JFS, NILFS2 (linux/magic.h).
 */
const numbering: ReadonlySet<number> = new Set([
  0xef53, 0x58465342, 0x9123683e, 0x01021994, 0x858458f6, 0xf2f52010, 0x73717368, 0xe0f5e1e2,
  0x2fc12fc1, 0x3153464a, 0x3434,
]);
const BTRFS = 0x9123683e;
const FUSE = 0x65735546;
const OVERLAY = 0x794c7630;

/** struct file_handle with the most that follows it (MAX_HANDLE_SZ). */
const HANDLE_BYTES = 136;
const usage = new Float64Array(10);
const stat = new Float64Array(STAT_FIELDS);
const handles = [Buffer.alloc(HANDLE_BYTES), Buffer.alloc(HANDLE_BYTES)] as const;

function typeOf(fd: number): number | undefined {
  return sys.fstatfs(fd, usage) < 0 ? undefined : usage[0];
}

/** A union of ours, which keeps its numbers apart itself. */
function isOurs(fd: number): boolean {
  if (sys.statx(fd, '' as ByteString, stat, 0) < 0) return false;
  const shown = `${stat[StatField.DevMajor]!}:${stat[StatField.DevMinor]!}`;
  return readMountTable().some(({ device, type }) => device === shown && type === 'fuse.plyfs');
}

/** Whether no two files of the file system of `fd` share `st_dev` and `st_ino`. */
export function keepsNumbersApart(fd: number): boolean {
  const type = typeOf(fd);
  return type !== undefined && (numbering.has(type) || (type === FUSE && isOurs(fd)));
}

/**
 * Whether the file system of `fd` shows all its files under one `st_dev`: it has no subvolumes, and
 * is not made of others.
 */
export function hasOneDevice(fd: number): boolean {
  return typeOf(fd) !== BTRFS && keepsNumbersApart(fd);
}

/**
 * Whether two open files with one `st_dev` and `st_ino` are proved to be one. Both must be open:
 * then a handle that its file system gives again after a file was forgotten (fs/fuse/inode.c,
 * fuse_encode_fh) cannot have been given twice.
 */
export function provedSame(one: number, other: number): boolean {
  const [size, otherSize] = [
    handleOf(one, typeOf(one), handles[0]),
    handleOf(other, typeOf(other), handles[1]),
  ];
  return (
    size >= 0 &&
    size === otherSize &&
    handles[0].subarray(0, size).equals(handles[1].subarray(0, size))
  );
}

/**
 * Returns the bytes of the handle, or a negative number. Those of FUSE and of the kernel's overlay
 * can be made to identify only; others that can be had in that way alone are made of the number.
 * The overlay gives none before Linux 6.6: its numbers are believed there (0 bytes), which they may
 * be but over several subvolumes of one btrfs.
 */
function handleOf(fd: number, type: number | undefined, out: Buffer): number {
  const only =
    type === FUSE || type === OVERLAY
      ? sys.name_to_handle_at(fd, '' as ByteString, out, AT_HANDLE_FID)
      : -1;
  if (only >= 0) return only;
  return type === OVERLAY ? 0 : sys.name_to_handle_at(fd, '' as ByteString, out, 0);
}

/** Entry `index` of a stat buffer as `device:number`; no proof by itself. */
export function numberedIdentity(of: Float64Array, index = 0): string {
  const at = index * STAT_FIELDS;
  return `${of[at + StatField.DevMajor]!}:${of[at + StatField.DevMinor]!}:${of[at + StatField.InoHigh]!}:${of[at + StatField.InoLow]!}`;
}

/**
 * Which files of a tree are one, for those who count or pack each file once. A file that cannot be
 * told apart from others counts as one of its own.
 */
export class FileIdentities {
  /** By `st_dev`. */
  readonly #apart = new Map<number, boolean>();

  /**
   * A key that all names of the file share, and no other file has. Undefined for a file of which
   * that cannot be said, and for one that is gone. `of`, entry `index`: the attributes of `name` in
   * `dirfd`. Throws `Errno`.
   */
  keyOf(dirfd: number, name: ByteString, of: Float64Array, index = 0): string | undefined {
    const at = index * STAT_FIELDS;
    const device =
      (of[at + StatField.DevMajor] as number) * 2 ** 20 + (of[at + StatField.DevMinor] as number);
    if (this.#apart.get(device) === true) return numberedIdentity(of, index);
    const fd = sys.openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd === -E.ENOENT) return undefined;
    check(fd, name);
    try {
      const apart = this.#apart.get(device) ?? keepsNumbersApart(fd);
      this.#apart.set(device, apart);
      if (apart) return numberedIdentity(of, index);
      const type = typeOf(fd);
      // FUSE gives its handles again.
      const size = type === FUSE ? -1 : handleOf(fd, type, handles[0]);
      return size < 0
        ? undefined
        : `${numberedIdentity(of, index)}:${handles[0].toString('hex', 0, size)}`;
    } finally {
      sys.close(fd);
    }
  }
}

/** Counts files with several names once. */
export class CountedFiles {
  readonly #identities = new FileIdentities();
  readonly #counted = new Set<string>();

  /**
   * False for a further name of a file that was counted. `where` keeps trees apart that share
   * files. Else as `FileIdentities.keyOf`.
   */
  isFirst(dirfd: number, name: ByteString, of: Float64Array, index = 0, where = ''): boolean {
    if ((of[index * STAT_FIELDS + StatField.Nlink] as number) < 2) return true;
    const file = this.#identities.keyOf(dirfd, name, of, index);
    if (file === undefined) return true;
    const before = this.#counted.size;
    return this.#counted.add(`${where}:${file}`).size > before;
  }
}
