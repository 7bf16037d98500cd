/**
 * The system calls that Node lacks, one function each, under the call's own name.
 *
 * Conventions, which native/ keeps and nothing above it needs to repeat:
 * - a call returns its result, or `-errno`; it throws only for an argument of the wrong type
 *   (TypeError), or a buffer without room for what the call always fills (RangeError);
 * - paths, names, link targets and xattr names are byte strings (one byte a character; of a
 *   character above U+00FF the low byte is taken); longer than 4095 bytes is -ENAMETOOLONG, a NUL
 *   inside -EINVAL;
 * - a `name` is looked up relative to `dirfd`; the empty name means the file `dirfd` itself refers
 *   to (also when `dirfd` was opened with O_PATH); the last component is never followed when it is
 *   a symbolic link;
 * - offsets and lengths are bytes, as numbers (files beyond 2^53 bytes do not exist in practice);
 * - functions that end in `Async` run on libuv's thread pool and resolve to the result or `-errno`.
 */
import type { Awaitable } from '../base/awaitable.js';
import type { ByteString } from '../base/bytes.js';

/**
 * What statx(2) said of one file: a view on `STAT_FIELDS` doubles, filled by native/ in one call.
 * Inode numbers at or above 2^53 do not fit a double: `inoHigh`/`inoLow` hold both 32-bit halves.
 */
export const enum StatField {
  Mask,
  Mode,
  Nlink,
  Uid,
  Gid,
  InoLow,
  InoHigh,
  Size,
  Blocks,
  Blksize,
  RdevMajor,
  RdevMinor,
  DevMajor,
  DevMinor,
  AtimeSec,
  AtimeNsec,
  MtimeSec,
  MtimeNsec,
  CtimeSec,
  CtimeNsec,
  BtimeSec,
  BtimeNsec,
  /** stx_attributes, low 32 bits (STATX_ATTR_MOUNT_ROOT is 0x2000). */
  Attributes,
  /** In a batch: 0, or `-errno` of this entry's call. */
  Result,
}
/** Doubles a file takes in a stat buffer. */
export const STAT_FIELDS = 24;

export interface Syscalls {
  /**
   * No flag is added: pass O_CLOEXEC. The empty path opens the file `dirfd` refers to anew (through
   * /proc/self/fd).
   */
  openat(dirfd: number, path: ByteString, flags: number, mode: number): number;
  /**
   * `resolve`: RESOLVE_* bits. `mode` is 0 unless `flags` create. The empty path is -ENOENT.
   * -ENOSYS before Linux 5.6. Tried again a while when it is -EAGAIN.
   */
  openat2(dirfd: number, path: ByteString, flags: number, mode: number, resolve: number): number;
  close(fd: number): number;
  /** Close-on-exec. */
  dup(fd: number): number;
  /** Close-on-exec. */
  pipe(): [read: number, write: number] | number;

  /**
   * AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, AT_STATX_SYNC_AS_STAT, STATX_BASIC_STATS | STATX_BTIME;
   * fills `out` from `index * STAT_FIELDS`.
   */
  statx(dirfd: number, name: ByteString, out: Float64Array, index: number): number;
  /**
   * `statx` of `names[0..count)` into consecutive entries of `out`; each entry's `StatField.Result`
   * says how it went. Returns count.
   */
  statxMany(dirfd: number, names: readonly ByteString[], count: number, out: Float64Array): number;

  /**
   * Raw `linux_dirent64` records into `buffer`; returns bytes, 0 at the end. `fd` must not be
   * O_PATH.
   */
  getdents64(fd: number, buffer: Uint8Array): number;
  /**
   * The names of `count` directories, topmost first, merged by overlayfs's rules, as records of
   * src/union/packed-listing.ts, in the order in which they are met. `directories`, three numbers
   * each: its descriptor, what is added to its inode numbers, and one that does not count here;
   * `upper`: the first is the upper layer's. A character device 0:0 is a whiteout. Returns the
   * bytes the records take: when that is more than `out` has, nothing was written. -EOPNOTSUPP: a
   * name has no type, or a number from `limit` on: look closer. -E2BIG: they have more than `most`
   * entries together.
   */
  listDirectories(
    directories: Float64Array,
    count: number,
    upper: boolean,
    limit: number,
    out: Uint8Array,
    most: number,
  ): number;
  /**
   * The same however many entries there are, on libuv's thread pool: the records, or `-errno`. It
   * duplicates the descriptors at once.
   */
  listDirectoriesAsync(
    directories: Float64Array,
    count: number,
    upper: boolean,
    limit: number,
  ): Awaitable<Uint8Array | number>;
  /**
   * Turns such records into `fuse_dirent`, with `plus` into `fuse_direntplus` without a node, from
   * byte `start` of `out`, `limit` bytes at most. `cursor`: offset of the next record, its number,
   * bytes used so far; it is moved on. An entry's cookie is `cookieBase` and its number. Returns 0
   * at the end, 1 when the next did not fit, 2 when it is a directory.
   */
  packEntries(
    records: Uint8Array,
    cursor: Float64Array,
    out: Uint8Array,
    start: number,
    limit: number,
    plus: boolean,
    cookieBase: number,
  ): number;
  /**
   * Looks for the directory `name` in each of `count` directories in order, and merges the names of
   * those found as `listDirectories` does. `parents`, three numbers each: a descriptor, what is
   * added to its inode numbers, and its device (major times 2^20, and minor) where a directory
   * found may lie on another, else -1. `found`, a number each: 1 it has that directory, 2 so too
   * and the search ends there, because its attributes of the classes user and trusted may be marks;
   * 0 it has no such name, or the search had ended; `-errno`: it has something else (ENOTDIR,
   * ELOOP), which ends the search, or it could not be told. Returns the bytes of the records, more
   * than `out` has when nothing was written; -EOPNOTSUPP where `out` is null, there are marks, a
   * directory lies on another device, it takes a closer look (`listDirectories`), or there are more
   * than a few thousand entries.
   */
  findDirectories(
    parents: Float64Array,
    count: number,
    name: ByteString,
    upper: boolean,
    limit: number,
    found: Float64Array,
    out: Uint8Array | null,
  ): number;
  /** The offset of the name's record; -ENOENT. */
  findEntry(records: Uint8Array, name: ByteString): number;
  /** The offset of the record after the first `count`. */
  skipEntries(records: Uint8Array, count: number): number;
  lseek(fd: number, offset: number, whence: number): number;
  readlinkat(dirfd: number, name: ByteString, buffer: Uint8Array): number;

  mkdirat(dirfd: number, name: ByteString, mode: number): number;
  mknodat(dirfd: number, name: ByteString, mode: number, major: number, minor: number): number;
  symlinkat(target: ByteString, dirfd: number, name: ByteString): number;
  /**
   * An empty `name` links the file `dirfd` refers to (AT_EMPTY_PATH, else through /proc/self/fd:
   * works unprivileged and for O_TMPFILE).
   */
  linkat(dirfd: number, name: ByteString, newDirfd: number, newName: ByteString): number;
  /** `flags`: 0 or AT_REMOVEDIR. */
  unlinkat(dirfd: number, name: ByteString, flags: number): number;
  renameat2(
    dirfd: number,
    name: ByteString,
    newDirfd: number,
    newName: ByteString,
    flags: number,
  ): number;

  /** Never follows a symbolic link (fchmodat2, else O_PATH and /proc/self/fd). */
  fchmodat(dirfd: number, name: ByteString, mode: number): number;
  /** -1 (0xffffffff) leaves an id as it is. */
  fchownat(dirfd: number, name: ByteString, uid: number, gid: number): number;
  /**
   * Nanoseconds may be UTIME_NOW (0x3fffffff) or UTIME_OMIT (0x3ffffffe). Seconds may be negative.
   */
  utimensat(
    dirfd: number,
    name: ByteString,
    atimeSec: number,
    atimeNsec: number,
    mtimeSec: number,
    mtimeNsec: number,
  ): number;
  ftruncate(fd: number, size: number): number;
  fallocate(fd: number, mode: number, offset: number, length: number): number;
  /** Process-wide; returns the former mask. */
  umask(mask: number): number;

  /** xattr calls never follow a symbolic link. `buffer` null asks for the size. */
  getxattrat(
    dirfd: number,
    name: ByteString,
    attribute: ByteString,
    buffer: Uint8Array | null,
  ): number;
  /** NUL-terminated names, as listxattr(2). */
  listxattrat(dirfd: number, name: ByteString, buffer: Uint8Array | null): number;
  /**
   * The same without the bound of XATTR_LIST_MAX, on XFS and with CAP_SYS_ADMIN in the first user
   * namespace (EPERM); `dirfd` is a directory. EOPNOTSUPP elsewhere; E2BIG for more than `buffer`.
   */
  xfsListxattrat(dirfd: number, name: ByteString, buffer: Uint8Array): number;
  /** `flags`: 0, XATTR_CREATE (1) or XATTR_REPLACE (2). */
  setxattrat(
    dirfd: number,
    name: ByteString,
    attribute: ByteString,
    value: Uint8Array,
    flags: number,
  ): number;
  removexattrat(dirfd: number, name: ByteString, attribute: ByteString): number;

  pread(fd: number, buffer: Uint8Array, offset: number): number;
  pwrite(fd: number, buffer: Uint8Array, offset: number): number;
  fsync(fd: number): number;
  /**
   * Gives the file's data to the device, and if told so waits until it lies there; what describes
   * the file (its size, its name) need not: sync_file_range(2) of all of it.
   */
  writeOut(fd: number, wait: boolean): number;
  /**
   * Copies `length` bytes at `offset` from one file to the same place in another: FICLONERANGE if
   * `reflink` and it works, else copy_file_range, else read and write; holes of the source stay
   * holes (SEEK_DATA/SEEK_HOLE). Returns bytes passed over (`length`, or fewer at the source's end
   * of file). Holes are passed over, not written: the target must have no data there. It reaches to
   * the end of what was passed over afterwards. Moves the position of `from`.
   */
  copyData(from: number, to: number, offset: number, length: number, reflink: boolean): number;
  /** copy_file_range(2) proper: different offsets, no hole handling. */
  copyFileRange(
    from: number,
    fromOffset: number,
    to: number,
    toOffset: number,
    length: number,
  ): number;

  /**
   * The file handle's bytes (struct file_handle: handle_bytes u32, handle_type i32, f_handle; 136
   * at most) into `buffer`; returns their count. `flags`: 0, or AT_HANDLE_FID for one that only
   * identifies (-EINVAL before Linux 6.5).
   */
  name_to_handle_at(dirfd: number, name: ByteString, buffer: Uint8Array, flags: number): number;
  /** Opens by such bytes, on the file system of `mountFd`. Needs CAP_DAC_READ_SEARCH. */
  open_by_handle_at(mountFd: number, handle: Uint8Array, flags: number): number;
  /**
   * The file system's UUID (FS_IOC_GETFSUUID, or ext4's and btrfs's own; 16 bytes), or -ENOTTY
   * where the kernel or the file system has none.
   */
  fsuuid(fd: number, buffer: Uint8Array): number;

  /** Fills [type, bsize, blocks, bfree, bavail, files, ffree, namelen, frsize, flags]. */
  fstatfs(fd: number, out: Float64Array): number;
  /**
   * ioctl(2) with FS_IOC_GETFLAGS or SETFLAGS, 4 bytes of `value` (FS_*_FL), or with
   * FS_IOC_FSGETXATTR or FSSETXATTR, 28 (struct fsxattr). -ENOTTY where the file system has none,
   * and for other requests.
   */
  fileFlags(fd: number, request: number, value: Uint8Array): number;
  /** The project that a file's blocks are counted for (FS_IOC_FSGETXATTR); 0: none. */
  getProjectId(fd: number): number;
  /** Also makes what is created in the directory belong to the project. */
  setProjectId(fd: number, id: number): number;
  /**
   * Most bytes of the project on the file system of `fd`; 0: no limit. `device` is needed before
   * Linux 5.14 only, and may be empty. XFS.
   */
  setProjectQuota(fd: number, device: ByteString, id: number, bytes: number): number;
  /** `operation`: LOCK_SH 1, LOCK_EX 2, LOCK_NB 4, LOCK_UN 8. */
  flock(fd: number, operation: number): number;
  /**
   * _exit(2). process.exit waits for threads, and one of Node's may be in a read of a pipe that
   * nobody writes to.
   */
  exitNow(status: number): never;
  /**
   * From now on SIGHUP, SIGINT and SIGTERM, for which this process has handlers already, end it by
   * _exit(128 + signal) unless `signalHandled` is called within `milliseconds`: JavaScript may be
   * held by a system call on what does not answer (a FIFO, a lock, a dead file system). Once a
   * process.
   */
  endUnlessHandled(milliseconds: number): number;
  signalHandled(): void;
  /**
   * Hands free pages of malloc's heap back to the system (malloc_trim(3)), where the C library can.
   */
  trimMemory(): void;
  /** [soft, hard] of RLIMIT_NOFILE (infinity as Number.MAX_SAFE_INTEGER). */
  getNofile(): [soft: number, hard: number];
  setNofile(soft: number): number;

  /** An empty `type` or `data` is none. */
  mount(
    source: ByteString,
    target: ByteString,
    type: ByteString,
    flags: number,
    data: ByteString,
  ): number;
  /**
   * `mount`, with relative paths (of `data` too) starting from `dirfd`: a page of `data` holds more
   * of them.
   */
  mountFrom(
    dirfd: number,
    source: ByteString,
    target: ByteString,
    type: ByteString,
    flags: number,
    data: ByteString,
  ): number;
  umount2(target: ByteString, flags: number): number;
  /** `flags`: OPEN_TREE_CLONE 1 | O_CLOEXEC; returns a descriptor. */
  open_tree(dirfd: number, path: ByteString, flags: number): number;
  /** What `ps -o comm` shows of the calling thread: the first 15 bytes. */
  setProcessName(name: ByteString): number;

  /**
   * Of the calling thread: CLONE_NEWNS its mounts, CLONE_NEWPID what it starts from now on (and no
   * threads: `setns` back first).
   */
  unshare(flags: number): number;
  setns(fd: number, type: number): number;
  /** Switches the loopback interface of a new network namespace on. */
  loopbackUp(): number;
  /** Unlocks the terminal of an open /dev/ptmx; returns its number below /dev/pts. */
  unlockTerminal(master: number): number;
  setWindowSize(terminal: number, rows: number, columns: number): number;
  /**
   * A file in memory, close-on-exec, that can be executed and sealed (memfd_create(2)); the name is
   * shown below /proc only.
   */
  memfdCreate(name: ByteString): number;
  /** `seals`: F_SEAL_* bits. */
  addSeals(fd: number, seals: number): number;

  /**
   * Whether `startRootEmulation` can work here (native/root-emulation.h): 0 or `-errno`; -EPERM
   * where RLIMIT_RSS or RLIMIT_LOCKS has a hard limit.
   */
  rootEmulationPossible(): number;
  /**
   * Answers, on a thread of its own and until `listener` has no process left, the calls of a
   * container whose user namespace has one id. `listener` belongs to the thread from here on, also
   * when this fails: it is closed when the answering ends, and the container's calls then fail
   * instead of waiting. `proc`: a descriptor of a procfs of this PID namespace, which stays the
   * caller's and open; the device is that of the union that keeps owners; the rest is whom the
   * container runs as.
   */
  startRootEmulation(
    listener: number,
    proc: number,
    deviceMajor: number,
    deviceMinor: number,
    uid: number,
    gid: number,
    groups: Float64Array,
  ): number;
  /** The uid and gid that new files of an emulated process get. */
  emulatedIds(pid: number, out: Float64Array): number;

  /**
   * No call of the kernel's: carries the CRC-64 (ISO, as Go's hash/crc64) in `state`, 8 bytes
   * big-endian and zeros at first, on over `bytes`.
   */
  crc64(state: Uint8Array, bytes: Uint8Array): number;

  // Descriptors stay open until the promise is settled: that is the caller's to see to.
  /**
   * Writes what `from` has to read to `to`, on a thread of its own, until there is no more (also
   * EIO, of a terminal whose other end is gone): 0. An errno of reading, `-errno` of writing,
   * -ECANCELED when `stop` had something to read, or its other end was closed, while there was
   * nothing to do.
   */
  relayAsync(from: number, to: number, stop: number): Promise<number>;
  fsyncAsync(fd: number, dataOnly: boolean): Promise<number>;
  writeOutAsync(fd: number): Promise<number>;
  syncfsAsync(fd: number): Promise<number>;
  /** Moves the position that all duplicates of `fd` share. */
  lseekAsync(fd: number, offset: number, whence: number): Promise<number>;
  ftruncateAsync(fd: number, size: number): Promise<number>;
  fallocateAsync(fd: number, mode: number, offset: number, length: number): Promise<number>;
  copyDataAsync(
    from: number,
    to: number,
    offset: number,
    length: number,
    reflink: boolean,
  ): Promise<number>;
  copyFileRangeAsync(
    from: number,
    fromOffset: number,
    to: number,
    toOffset: number,
    length: number,
  ): Promise<number>;
  /**
   * Lets the process's table of descriptors grow to `count`, at most the soft RLIMIT_NOFILE
   * (`-EINVAL`), in one step. In a process of several threads each step, a doubling, holds up the
   * open(2) that needed it for an RCU grace period, 8–30 ms (fs/file.c, expand_fdtable); those
   * meanwhile do not wait.
   */
  roomForDescriptorsAsync(count: number): Promise<number>;
  /** For a mount that this process serves: umount(2) waits until what is dirty was written back. */
  umount2Async(target: ByteString, flags: number): Promise<number>;
}
