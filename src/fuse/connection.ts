/**
 * What the handlers of one mount share.
 */
import type { PlyfsError } from '../base/error.js';
import type { Session } from '../sys/session.js';
import type { Caller, FileSystem, NodeId } from '../vfs/filesystem.js';
import type { BackingFiles } from './backing.js';
import { InitFlag } from './protocol.js';
import { timeoutOf } from './reply.js';
import type { Timeouts } from './reply.js';

/** One handled request, told to a `trace` function. */
export interface RequestTrace {
  readonly operation: string;
  readonly node: number;
  /** The first name in the request, if it has one. */
  readonly name: string | null;
  /** Bytes of body, or -errno. null: there was none, or the data path answered. */
  readonly result: number | null;
  readonly micros: number;
}

export interface ServeOptions {
  /** How long the kernel may believe names, attributes and absences: seconds, or Infinity. */
  readonly entryTimeout: number;
  readonly attrTimeout: number;
  readonly negativeTimeout: number;
  /** The kernel collects writes and owns size and times of files meanwhile. */
  readonly writeback: boolean;
  /** Refuse all changes with EROFS. */
  readonly readOnly: boolean;
  /** false: extended attributes are unknown here, and the kernel does not ask again. */
  readonly xattrs: boolean;
  /** POSIX ACLs are kept by the file system and checked by the kernel. */
  readonly acl: boolean;
  /** The kernel checks permissions. Without, there are no ACLs. */
  readonly permissions: boolean;
  /** The kernel reads and writes files of the upper itself: opens are told. */
  readonly passthrough: boolean;
  /**
   * Called once, when the handshake is decided. Its answer goes out before the event loop turns.
   */
  readonly ready?: () => void;
  readonly trace?: (request: RequestTrace) => void;
}

export const defaultServeOptions: ServeOptions = {
  entryTimeout: Infinity,
  attrTimeout: Infinity,
  negativeTimeout: Infinity,
  writeback: false,
  readOnly: false,
  xattrs: true,
  acl: true,
  permissions: true,
  passthrough: false,
};

/**
 * A handler's result when the slot is not its to answer any more: released, or left to the data
 * path.
 */
export const NO_ANSWER = -0x1_0000;

export class Connection {
  readonly session: Session;
  readonly fs: FileSystem;
  readonly options: ServeOptions;
  readonly timeouts: Timeouts;
  /** Nodes whose attributes the kernel may not keep. */
  readonly changing = new Set<NodeId>();
  /** INIT flags that both sides agreed on. */
  flags = 0;
  /** With passthrough, once it was agreed on. */
  backing: BackingFiles | null = null;
  /** Requests under way, by their number, with who asked if that is known. */
  readonly pending = new Map<number, Caller | null>();
  /** The device is gone: nothing may be answered any more. */
  ended = false;
  /** Why the handshake failed. */
  failure: PlyfsError | null = null;

  constructor(session: Session, fs: FileSystem, options: ServeOptions) {
    this.session = session;
    this.fs = fs;
    this.options = options;
    this.timeouts = {
      entry: timeoutOf(options.entryTimeout),
      attr: timeoutOf(options.attrTimeout),
      negative: timeoutOf(options.negativeTimeout),
      changing: this.changing,
    };
  }

  get openWithoutMessage(): boolean {
    return (this.flags & InitFlag.NO_OPEN_SUPPORT) !== 0;
  }

  get opendirWithoutMessage(): boolean {
    return (this.flags & InitFlag.NO_OPENDIR_SUPPORT) !== 0;
  }

  get extendedSetxattr(): boolean {
    return (this.flags & InitFlag.SETXATTR_EXT) !== 0;
  }
}
