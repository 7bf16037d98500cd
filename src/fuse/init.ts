/**
 * The INIT handshake, as a pure function: what the kernel offers and what the mount wants, to what
 * both will do.
 */
import { PlyfsError } from '../base/error.js';
import {
  InitFlag as F,
  InitFlag2 as F2,
  OLDEST_MINOR,
  PROTOCOL_MAJOR,
  PROTOCOL_MINOR,
} from './protocol.js';

/**
 * Bytes of the largest READ and WRITE. The kernel's own limit is 256 pages of 4 KiB
 * (fs.fuse.max_pages_limit).
 */
export const MAX_TRANSFER = 1 << 20;
const MAX_PAGES = 256;
/** What a kernel without FUSE_MAX_PAGES sends at most: 32 pages. */
const OLD_MAX_TRANSFER = 32 * 4096;
/**
 * Requests that the kernel may queue on its own account (readahead, writeback), and when it calls
 * the device congested.
 */
const MAX_BACKGROUND = 64;
const CONGESTION_THRESHOLD = 48;

export interface InitRequest {
  readonly major: number;
  readonly minor: number;
  /** Bytes. */
  readonly maxReadahead: number;
  readonly flags: number;
  /** 0 without INIT_EXT. */
  readonly flags2: number;
}

export interface InitOptions {
  /** The kernel collects writes and owns size and times of files meanwhile. */
  readonly writeback: boolean;
  /** The file system keeps POSIX ACLs; the kernel checks them. */
  readonly acl: boolean;
  /** The kernel checks permissions (`default_permissions`). */
  readonly permissions: boolean;
  /** The kernel reads and writes files of the upper itself. Not with `writeback`. */
  readonly passthrough: boolean;
}

export interface InitAnswer {
  readonly major: number;
  readonly minor: number;
  readonly maxReadahead: number;
  readonly flags: number;
  readonly flags2: number;
  readonly maxBackground: number;
  readonly congestionThreshold: number;
  readonly maxWrite: number;
  /** Nanoseconds. */
  readonly timeGran: number;
  readonly maxPages: number;
  /** File systems stacked on each other, this one among them; 0 without passthrough. */
  readonly maxStackDepth: number;
  /** The kernel speaks a newer major version and will send INIT again in ours. */
  readonly again: boolean;
}

/** Wanted by every mount, if the kernel has it. */
const wanted =
  F.ASYNC_READ |
  F.BIG_WRITES |
  F.MAX_PAGES |
  F.ASYNC_DIO |
  // A default ACL takes the umask's place, and only the file system sees it.
  F.DONT_MASK |
  F.PARALLEL_DIROPS |
  F.DO_READDIRPLUS |
  F.READDIRPLUS_AUTO |
  F.CACHE_SYMLINKS |
  // Opening and closing cached files and directories without a message.
  F.NO_OPEN_SUPPORT |
  F.NO_OPENDIR_SUPPORT |
  // Data changes only through this mount: no invalidation by size or mtime.
  F.EXPLICIT_INVAL_DATA |
  // Otherwise every write asks for security.capability first.
  F.HANDLE_KILLPRIV_V2 |
  F.SETXATTR_EXT |
  F.INIT_EXT |
  F.HAS_IOCTL_DIR |
  // Statements about the device, not requests: the kernel splices whenever the server does.
  F.SPLICE_READ |
  F.SPLICE_WRITE |
  F.SPLICE_MOVE;

/*
 * Not taken, with the reason: POSIX_LOCKS, FLOCK_LOCKS: locks of one mount are the kernel's own
 * business. ATOMIC_O_TRUNC: O_TRUNC comes as a SETATTR, which needs no OPEN (but see passthrough).
 * EXPORT_SUPPORT: `.` and `..` are never looked up; node ids are used again, so handles could name
 * another file. AUTO_INVAL_DATA: nothing changes behind the mount's back. HANDLE_KILLPRIV: the
 * first version would have every write clear set-id bits; without V2 the kernel does it.
 * ABORT_ERROR: an aborted connection and an unmount end the session alike. MAP_ALIGNMENT,
 * HAS_INODE_DAX, SUBMOUNTS: virtiofs.
 */

const wanted2 =
  F2.CREATE_SUPP_GROUP |
  // Makes name_to_handle_at(2) refuse, instead of handing out handles that may come to name another
  // file.
  F2.NO_EXPORT_SUPPORT |
  F2.HAS_RESEND |
  F2.HAS_EXPIRE_ONLY |
  // Sound because default_permissions is always on.
  F2.ALLOW_IDMAP;

/*
 * Not taken: SECURITY_CTX (labels are set by setxattr), DIRECT_IO_ALLOW_MMAP (what is opened with
 * FOPEN_DIRECT_IO is so that each write is seen), OVER_IO_URING, REQUEST_TIMEOUT (a long copy-up
 * would abort the mount).
 */

/** The layers' file systems may not be stacked themselves; another overlay may lie on this one. */
const PASSTHROUGH_STACK_DEPTH = 1;

/** Throws PlyfsError `kernel-too-old` or `no-passthrough`. */
export function negotiate(request: InitRequest, options: InitOptions): InitAnswer {
  if (request.major > PROTOCOL_MAJOR) return answer(request, PROTOCOL_MINOR, 0, 0, true);
  if (request.major < PROTOCOL_MAJOR || request.minor < OLDEST_MINOR) {
    throw new PlyfsError(
      'kernel-too-old',
      `this kernel speaks FUSE protocol ${request.major}.${request.minor}, but ${PROTOCOL_MAJOR}.${OLDEST_MINOR} is needed: use Linux 3.15 or newer`,
    );
  }
  let want = wanted;
  if (options.writeback) want |= F.WRITEBACK_CACHE;
  if (options.acl) want |= F.POSIX_ACL;
  // Opens must be told, to name the backing file; O_TRUNC with them, so that no data is copied up
  // to be cut off.
  if (options.passthrough) want = (want & ~F.NO_OPEN_SUPPORT) | F.ATOMIC_O_TRUNC;
  const flags = request.flags & want;
  // A mount of mapped ids without permissions is refused (fs/fuse/inode.c, process_init_reply).
  const want2 =
    (options.permissions ? wanted2 : wanted2 & ~F2.ALLOW_IDMAP) |
    (options.passthrough ? F2.PASSTHROUGH : 0);
  const flags2 = (flags & F.INIT_EXT) !== 0 ? request.flags2 & want2 : 0;
  if (options.passthrough && (flags2 & F2.PASSTHROUGH) === 0) {
    throw new PlyfsError(
      'no-passthrough',
      'this kernel has no FUSE passthrough: use Linux 6.9 or newer with CONFIG_FUSE_PASSTHROUGH, or mount without the option passthrough',
    );
  }
  return answer(request, Math.min(request.minor, PROTOCOL_MINOR), flags, flags2, false);
}

function answer(
  request: InitRequest,
  minor: number,
  flags: number,
  flags2: number,
  again: boolean,
): InitAnswer {
  const manyPages = (flags & F.MAX_PAGES) !== 0;
  return {
    major: PROTOCOL_MAJOR,
    minor,
    maxReadahead: request.maxReadahead,
    flags: flags >>> 0,
    flags2: flags2 >>> 0,
    maxBackground: MAX_BACKGROUND,
    congestionThreshold: CONGESTION_THRESHOLD,
    maxWrite: manyPages ? MAX_TRANSFER : OLD_MAX_TRANSFER,
    timeGran: 1,
    maxPages: manyPages ? MAX_PAGES : 0,
    maxStackDepth: (flags2 & F2.PASSTHROUGH) === 0 ? 0 : PASSTHROUGH_STACK_DEPTH,
    again,
  };
}
