/**
 * The wire protocol of /dev/fuse: numbers and layouts, nothing else.
 *
 * Source: the kernel's include/uapi/linux/fuse.h up to protocol 7.45 (Linux 6.18). All fields are
 * in host byte order, all structures are padded to 8 bytes. Offsets and sizes are bytes; those of
 * requests count from the end of `fuse_in_header`, those of answers from the end of
 * `fuse_out_header`.
 */

export const PROTOCOL_MAJOR = 7;
/** The newest minor version whose messages are known here. */
export const PROTOCOL_MINOR = 45;
/**
 * The oldest minor version that is served (Linux 3.15): `fuse_init_out` has its present size since.
 */
export const OLDEST_MINOR = 23;

export const Opcode = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  GETLK: 31,
  SETLK: 32,
  SETLKW: 33,
  ACCESS: 34,
  CREATE: 35,
  INTERRUPT: 36,
  BMAP: 37,
  DESTROY: 38,
  IOCTL: 39,
  POLL: 40,
  NOTIFY_REPLY: 41,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  SETUPMAPPING: 48,
  REMOVEMAPPING: 49,
  SYNCFS: 50,
  TMPFILE: 51,
  STATX: 52,
  COPY_FILE_RANGE_64: 53,
} as const;

/** Every known opcode is below this. */
export const OPCODES = 54;

const opcodeNames: readonly string[] = Object.entries(Opcode).reduce<string[]>(
  (names, [name, opcode]) => {
    names[opcode] = name;
    return names;
  },
  [],
);

export function opcodeName(opcode: number): string {
  return opcodeNames[opcode] ?? `opcode ${opcode}`;
}

/** `flags` of INIT: bits 0 to 31. */
export const InitFlag = {
  ASYNC_READ: 1 << 0,
  POSIX_LOCKS: 1 << 1,
  FILE_OPS: 1 << 2,
  ATOMIC_O_TRUNC: 1 << 3,
  EXPORT_SUPPORT: 1 << 4,
  BIG_WRITES: 1 << 5,
  DONT_MASK: 1 << 6,
  SPLICE_WRITE: 1 << 7,
  SPLICE_MOVE: 1 << 8,
  SPLICE_READ: 1 << 9,
  FLOCK_LOCKS: 1 << 10,
  HAS_IOCTL_DIR: 1 << 11,
  AUTO_INVAL_DATA: 1 << 12,
  DO_READDIRPLUS: 1 << 13,
  READDIRPLUS_AUTO: 1 << 14,
  ASYNC_DIO: 1 << 15,
  WRITEBACK_CACHE: 1 << 16,
  NO_OPEN_SUPPORT: 1 << 17,
  PARALLEL_DIROPS: 1 << 18,
  HANDLE_KILLPRIV: 1 << 19,
  POSIX_ACL: 1 << 20,
  ABORT_ERROR: 1 << 21,
  MAX_PAGES: 1 << 22,
  CACHE_SYMLINKS: 1 << 23,
  NO_OPENDIR_SUPPORT: 1 << 24,
  EXPLICIT_INVAL_DATA: 1 << 25,
  MAP_ALIGNMENT: 1 << 26,
  SUBMOUNTS: 1 << 27,
  HANDLE_KILLPRIV_V2: 1 << 28,
  SETXATTR_EXT: 1 << 29,
  INIT_EXT: 1 << 30,
} as const;

/** `flags2` of INIT: the header's bits 32 to 63, valid with INIT_EXT. */
export const InitFlag2 = {
  SECURITY_CTX: 1 << 0,
  HAS_INODE_DAX: 1 << 1,
  CREATE_SUPP_GROUP: 1 << 2,
  HAS_EXPIRE_ONLY: 1 << 3,
  DIRECT_IO_ALLOW_MMAP: 1 << 4,
  PASSTHROUGH: 1 << 5,
  NO_EXPORT_SUPPORT: 1 << 6,
  HAS_RESEND: 1 << 7,
  ALLOW_IDMAP: 1 << 8,
  OVER_IO_URING: 1 << 9,
  REQUEST_TIMEOUT: 1 << 10,
} as const;

/** Bits of `fuse_setattr_in.valid`. */
export const SetattrValid = {
  MODE: 1 << 0,
  UID: 1 << 1,
  GID: 1 << 2,
  SIZE: 1 << 3,
  ATIME: 1 << 4,
  MTIME: 1 << 5,
  FH: 1 << 6,
  ATIME_NOW: 1 << 7,
  MTIME_NOW: 1 << 8,
  LOCKOWNER: 1 << 9,
  CTIME: 1 << 10,
  KILL_SUIDGID: 1 << 11,
} as const;

export const FOPEN_DIRECT_IO = 1 << 0;
export const FOPEN_KEEP_CACHE = 1 << 1;
export const FOPEN_CACHE_DIR = 1 << 3;
export const FOPEN_PASSTHROUGH = 1 << 7;
/** In `OpenIn.openFlags`: a truncation takes the set-id bits along. */
export const OPEN_KILL_SUIDGID = 1 << 0;
export const WRITE_CACHE = 1 << 0;
export const WRITE_KILL_SUIDGID = 1 << 2;
export const FSYNC_FDATASYNC = 1 << 0;
export const SETXATTR_ACL_KILL_SGID = 1 << 0;
/** Type of the request extension that holds `fuse_supp_groups`. */
export const EXT_GROUPS = 32;

/** `fuse_in_header`; `total_extlen` counts units of 8 bytes and is 0 before 7.38. */
export const InHeader = {
  len: 0,
  opcode: 4,
  unique: 8,
  nodeid: 16,
  uid: 24,
  gid: 28,
  pid: 32,
  totalExtlen: 36,
  size: 40,
} as const;

export const InitIn = {
  major: 0,
  minor: 4,
  maxReadahead: 8,
  flags: 12,
  flags2: 16,
  oldSize: 16,
  size: 64,
} as const;
export const InitOut = {
  major: 0,
  minor: 4,
  maxReadahead: 8,
  flags: 12,
  maxBackground: 16,
  congestionThreshold: 18,
  maxWrite: 20,
  timeGran: 24,
  maxPages: 28,
  mapAlignment: 30,
  flags2: 32,
  maxStackDepth: 36,
  requestTimeout: 40,
  size: 64,
} as const;

export const ForgetIn = { nlookup: 0, size: 8 } as const;
export const BatchForgetIn = { count: 0, size: 8 } as const;
export const ForgetOne = { nodeid: 0, nlookup: 8, size: 16 } as const;
export const InterruptIn = { unique: 0, size: 8 } as const;
export const GetattrIn = { flags: 0, fh: 8, size: 16 } as const;
export const SetattrIn = {
  valid: 0,
  fh: 8,
  fileSize: 16,
  lockOwner: 24,
  atime: 32,
  mtime: 40,
  ctime: 48,
  atimensec: 56,
  mtimensec: 60,
  ctimensec: 64,
  mode: 68,
  uid: 76,
  gid: 80,
  size: 88,
} as const;
export const MknodIn = { mode: 0, rdev: 4, umask: 8, size: 16 } as const;
export const MkdirIn = { mode: 0, umask: 4, size: 8 } as const;
export const CreateIn = { flags: 0, mode: 4, umask: 8, openFlags: 12, size: 16 } as const;
export const RenameIn = { newdir: 0, size: 8 } as const;
export const Rename2In = { newdir: 0, flags: 8, size: 16 } as const;
export const LinkIn = { oldnodeid: 0, size: 8 } as const;
export const OpenIn = { flags: 0, openFlags: 4, size: 8 } as const;
export const ReleaseIn = { fh: 0, flags: 8, releaseFlags: 12, lockOwner: 16, size: 24 } as const;
export const ReadIn = {
  fh: 0,
  offset: 8,
  length: 16,
  readFlags: 20,
  lockOwner: 24,
  flags: 32,
  size: 40,
} as const;
export const WriteIn = {
  fh: 0,
  offset: 8,
  length: 16,
  writeFlags: 20,
  lockOwner: 24,
  flags: 32,
  size: 40,
} as const;
export const FsyncIn = { fh: 0, flags: 8, size: 16 } as const;
export const SetxattrIn = {
  valueSize: 0,
  flags: 4,
  oldSize: 8,
  setxattrFlags: 8,
  size: 16,
} as const;
export const GetxattrIn = { bufferSize: 0, size: 8 } as const;
export const FallocateIn = { fh: 0, offset: 8, length: 16, mode: 24, size: 32 } as const;
export const IoctlIn = {
  fh: 0,
  flags: 8,
  cmd: 12,
  arg: 16,
  inSize: 24,
  outSize: 28,
  size: 32,
} as const;
/**
 * What the call returned, flags, and counts of memory areas that only an unrestricted ioctl has;
 * the data follow.
 */
export const IoctlOut = { result: 0, flags: 4, inIovs: 8, outIovs: 12, size: 16 } as const;
export const LseekIn = { fh: 0, offset: 8, whence: 16, size: 24 } as const;
export const CopyFileRangeIn = {
  fhIn: 0,
  offIn: 8,
  nodeidOut: 16,
  fhOut: 24,
  offOut: 32,
  length: 40,
  flags: 48,
  size: 56,
} as const;
/** `fuse_ext_header`, then `fuse_supp_groups`: a count and that many ids. */
export const ExtHeader = { extSize: 0, type: 4, size: 8 } as const;

export const Attr = {
  ino: 0,
  fileSize: 8,
  blocks: 16,
  atime: 24,
  mtime: 32,
  ctime: 40,
  atimensec: 48,
  mtimensec: 52,
  ctimensec: 56,
  mode: 60,
  nlink: 64,
  uid: 68,
  gid: 72,
  rdev: 76,
  blksize: 80,
  flags: 84,
  size: 88,
} as const;
export const EntryOut = {
  nodeid: 0,
  generation: 8,
  entryValid: 16,
  attrValid: 24,
  entryValidNsec: 32,
  attrValidNsec: 36,
  attr: 40,
  size: 128,
} as const;
export const AttrOut = { attrValid: 0, attrValidNsec: 8, attr: 16, size: 104 } as const;
export const OpenOut = { fh: 0, openFlags: 8, backingId: 12, size: 16 } as const;
export const StatfsOut = {
  blocks: 0,
  bfree: 8,
  bavail: 16,
  files: 24,
  ffree: 32,
  bsize: 40,
  namelen: 44,
  frsize: 48,
  padding: 52,
  size: 80,
} as const;
export const GetxattrOut = { valueSize: 0, size: 8 } as const;
export const LseekOut = { offset: 0, size: 8 } as const;
export const WriteOut = { written: 0, size: 8 } as const;
export const CopyFileRangeOut = { copied: 0, size: 8 } as const;
/**
 * The name follows; records are aligned to 8 bytes. `fuse_direntplus` is an `EntryOut` and then
 * this.
 */
export const Dirent = { ino: 0, off: 8, namelen: 16, type: 20, name: 24 } as const;
