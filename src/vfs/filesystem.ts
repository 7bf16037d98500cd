/**
 * The contract between a file system (src/union) and what serves it to the kernel (src/fuse).
 *
 * Inode-based: operations name a node by the id an earlier `lookup` returned, never by path. An
 * operation returns its value, or a promise of it when it has to wait (a large copy-up, fsync); it
 * fails by throwing, or rejecting with, `Errno`. Operations are called from one thread; several may
 * be under way, and two that wait may overlap in any order: the file system serialises what must
 * not interleave.
 *
 * Reference counts: `lookup`, `mknod`, `mkdir`, `symlink`, `link`, `tmpfile` and each entry that
 * `readdir` delivers with a node add one to that node's lookup count; `forget` takes them back. At
 * zero the node may go.
 */
import type { Awaitable } from '../base/awaitable.js';
import type { ByteString, Name } from '../base/bytes.js';

declare const nodeId: unique symbol;
/** A node as the kernel knows it: 1 is the root. Ids of forgotten nodes are used again. */
export type NodeId = number & { readonly [nodeId]: true };
/** What a `lookup` that found nothing returns: the kernel may remember that, too. */
export const NO_NODE = 0 as NodeId;
export const ROOT_NODE = 1 as NodeId;

/** The attributes of a node, in the units of stat(2). One object is filled again and again. */
export class Attributes {
  ino = 0;
  /** File type and permission bits. */
  mode = 0;
  nlink = 0;
  uid = 0;
  gid = 0;
  rdevMajor = 0;
  rdevMinor = 0;
  /** Bytes. */
  size = 0;
  /** Of 512 bytes. */
  blocks = 0;
  blksize = 0;
  atimeSec = 0;
  atimeNsec = 0;
  mtimeSec = 0;
  mtimeNsec = 0;
  ctimeSec = 0;
  ctimeNsec = 0;
}

/** Who asks. */
export interface Caller {
  readonly uid: number;
  readonly gid: number;
  /** A thread's, really. 0 when not known, or not in this process's PID namespace. */
  readonly pid: number;
  /** Not yet applied to a new file's mode: a default ACL takes its place. */
  readonly umask: number;
  /**
   * A supplementary group of the caller that equals the parent directory's group, if the kernel
   * told us; -1 otherwise.
   */
  readonly parentGroup: number;
  /**
   * Set when the caller was interrupted by a signal: long work may then stop with EINTR, leaving
   * nothing half done.
   */
  interrupted: boolean;
}

/** What setattr changes; an absent field stays. */
export interface AttributeChange {
  mode?: number;
  uid?: number;
  gid?: number;
  size?: number;
  atime?: TimeChange;
  mtime?: TimeChange;
  /**
   * The caller may not keep set-id bits (FUSE_HANDLE_KILLPRIV_V2): clear them, and
   * security.capability, with this change.
   */
  killSetId?: boolean;
  /**
   * chown(2) that leaves both ids as they are, which takes set-id bits away and needs the file's
   * owner where there are any. The kernel sends the same before a write by somebody who may not
   * keep the bits.
   */
  idsKept?: boolean;
}
/** `now`, or seconds and nanoseconds since the epoch. */
export type TimeChange = 'now' | { sec: number; nsec: number };

/** `DirectorySink.packed` stopped at a directory. */
export const AT_DIRECTORY = 2;

/**
 * Receives a directory's entries. Each method returns false when the entry did not fit: stop, it is
 * delivered next time.
 */
export interface DirectorySink {
  /** `type`: DT_* of dirent(5). `cookie`: where to go on after this entry. */
  entry(name: ByteString, ino: number, type: number, cookie: number): boolean;
  /**
   * With the node, whose lookup count the file system has raised by one if, and only if, this
   * returns true.
   */
  entryPlus(
    name: ByteString,
    node: NodeId,
    attributes: Attributes,
    type: number,
    cookie: number,
  ): boolean;
  /** Whether `entryPlus` with a name of this many bytes would fit. */
  fits(nameBytes: number): boolean;
  /**
   * Entries without nodes from records of `sys.listDirectories`, with the cursor that
   * `sys.packEntries` moves on, and returning what that does: 0 at the end, 1 when the next did not
   * fit, or AT_DIRECTORY. Absent in a sink that takes them one by one.
   */
  packed?(records: Uint8Array, cursor: Float64Array, cookieBase: number): number;
}

export interface FileSystemStatistics {
  bsize: number;
  frsize: number;
  blocks: number;
  bfree: number;
  bavail: number;
  files: number;
  ffree: number;
  namelen: number;
}

/** What a file system holds at the moment. It falls back when the kernel forgets nodes. */
export interface FileSystemUsage {
  /** Nodes in memory, the root among them. */
  readonly nodes: number;
  /** Open files and directories, what stays open from beginning to end aside. */
  readonly descriptors: number;
}

/**
 * Where a file system makes descriptors known, so that data flows without asking it for each
 * transfer. The table owns what is published.
 */
export interface DescriptorTable {
  publish(node: NodeId, fd: number, writable: boolean): void;
  retire(node: NodeId): void;
  usedSince(node: NodeId): boolean;
}

/** What serves the file system: given to it once, before the first operation. */
export interface Host {
  readonly descriptors: DescriptorTable;
  /**
   * Makes the kernel forget the cached attributes, and the data from `offset` (all when `length` is
   * 0; none when `offset` < 0).
   */
  invalidateNode(node: NodeId, offset: number, length: number): void;
  invalidateEntry(parent: NodeId, name: Name): void;
}

export interface FileSystem {
  attach(host: Host): void;

  /** NO_NODE when there is no such name. */
  lookup(parent: NodeId, name: Name, out: Attributes): Awaitable<NodeId>;
  forget(node: NodeId, count: number): void;
  getattr(node: NodeId, out: Attributes): Awaitable<void>;
  setattr(node: NodeId, change: AttributeChange, caller: Caller, out: Attributes): Awaitable<void>;
  readlink(node: NodeId): Awaitable<ByteString>;

  /** `mode` with its file type bits; the umask is the file system's to apply. */
  mknod(
    parent: NodeId,
    name: Name,
    mode: number,
    rdevMajor: number,
    rdevMinor: number,
    caller: Caller,
    out: Attributes,
  ): Awaitable<NodeId>;
  mkdir(
    parent: NodeId,
    name: Name,
    mode: number,
    caller: Caller,
    out: Attributes,
  ): Awaitable<NodeId>;
  symlink(
    parent: NodeId,
    name: Name,
    target: ByteString,
    caller: Caller,
    out: Attributes,
  ): Awaitable<NodeId>;
  link(
    node: NodeId,
    newParent: NodeId,
    newName: Name,
    caller: Caller,
    out: Attributes,
  ): Awaitable<void>;
  /** An unnamed file in `parent`'s file system (O_TMPFILE); `link` may name it later. */
  tmpfile(parent: NodeId, mode: number, caller: Caller, out: Attributes): Awaitable<NodeId>;
  unlink(parent: NodeId, name: Name, caller: Caller): Awaitable<void>;
  rmdir(parent: NodeId, name: Name, caller: Caller): Awaitable<void>;
  /** `flags`: RENAME_NOREPLACE 1, RENAME_EXCHANGE 2; EINVAL for RENAME_WHITEOUT. */
  rename(
    parent: NodeId,
    name: Name,
    newParent: NodeId,
    newName: Name,
    flags: number,
    caller: Caller,
  ): Awaitable<void>;

  /**
   * The descriptor through which the node's data is read; with `write`, after copy-up, also
   * written. It has been published to the descriptor table and is valid until the event loop turns
   * (duplicate it to keep it). `appending`: the write is at the file's end, wherever that is.
   */
  openFile(node: NodeId, write: boolean, caller: Caller, appending?: boolean): Awaitable<number>;
  /**
   * What was opened to append to has been handed on: a file to which may only be appended is not
   * written again without being asked for.
   */
  appended(node: NodeId): void;
  /**
   * A descriptor, as `openFile` returns it, of the file that holds the node's data for as long as
   * the node lives; -1 while that may still change: a lower file of a union that can be changed.
   * With `write`, after copy-up.
   */
  backingFile(node: NodeId, write: boolean, caller: Caller, appending?: boolean): Awaitable<number>;
  /** After a write by a caller who may not keep set-id bits (WRITE_KILL_SUIDGID). */
  killSetId(node: NodeId, caller: Caller): void;
  fsync(node: NodeId, dataOnly: boolean): Awaitable<void>;
  fallocate(
    node: NodeId,
    mode: number,
    offset: number,
    length: number,
    caller: Caller,
  ): Awaitable<void>;
  /** SEEK_DATA (3) or SEEK_HOLE (4). */
  lseek(node: NodeId, offset: number, whence: number, caller: Caller): Awaitable<number>;
  copyFileRange(
    from: NodeId,
    fromOffset: number,
    to: NodeId,
    toOffset: number,
    length: number,
    caller: Caller,
  ): Awaitable<number>;

  /**
   * From the entry after `cookie` (0: the start) until the sink is full. `.` and `..` included.
   * With `plus`, through `entryPlus`.
   */
  readdir(node: NodeId, cookie: number, plus: boolean, sink: DirectorySink): Awaitable<void>;
  fsyncdir(node: NodeId, dataOnly: boolean): Awaitable<void>;
  syncfs(): Awaitable<void>;
  statfs(out: FileSystemStatistics): Awaitable<void>;

  /**
   * Null when there is no such attribute: Linux asks for some that hardly a file has at each write
   * and chown, and a throw is dear.
   */
  getxattr(node: NodeId, name: ByteString): Awaitable<Uint8Array | null>;
  /**
   * NUL-terminated names. Of `trusted.*` only a caller with CAP_SYS_ADMIN is told, as by the
   * kernel.
   */
  listxattr(node: NodeId, caller: Caller): Awaitable<Uint8Array>;
  /** `flags`: 0, XATTR_CREATE (1), XATTR_REPLACE (2). `killSetGid`: FUSE_SETXATTR_ACL_KILL_SGID. */
  setxattr(
    node: NodeId,
    name: ByteString,
    value: Uint8Array,
    flags: number,
    killSetGid: boolean,
    caller: Caller,
  ): Awaitable<void>;
  removexattr(node: NodeId, name: ByteString, caller: Caller): Awaitable<void>;

  /**
   * The flags of a file or directory (ioctl_getflags(2), ioctl_fsgetxattr(2)): 4 bytes of FS_*_FL
   * into `value`, or, where `extended`, the 28 of a struct fsxattr. ENOTTY where there are none.
   */
  getFlags(node: NodeId, extended: boolean, value: Uint8Array): Awaitable<void>;
  /** What the caller may not change the kernel has refused. */
  setFlags(node: NodeId, extended: boolean, value: Uint8Array, caller: Caller): Awaitable<void>;

  usage(): FileSystemUsage;

  /**
   * The mount is gone: flush what `fsync` semantics promise, clean the workdir, close descriptors.
   */
  destroy(): Awaitable<void>;
}
