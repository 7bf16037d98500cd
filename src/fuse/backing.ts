/**
 * Passthrough: files that the kernel reads and writes itself, on a backing file that the answer to
 * OPEN names.
 *
 * The kernel has an inode either cached or passed through while it is open (fs/fuse/iomode.c). A
 * handle of the other kind, or with another backing file, fails with EIO. Hence:
 * - a node's first handle decides for all that are open beside it; what is passed through is the
 *   file that holds the data for the node's whole life, so a lower file that a change would copy up
 *   is cached, and stays so until its last handle is closed;
 * - the backing id is registered with the first handle and taken back after the last RELEASE. The
 *   kernel has left the mode before it sends RELEASE, so what is believed here lasts longer than
 *   what is so there, which does no harm.
 *
 * The set-id bits that a write takes away are lost sight of by the kernel when it writes with this
 * process's rights (FUSE_HANDLE_KILLPRIV_V2 leaves them to the server): handles of such files write
 * through us (FOPEN_DIRECT_IO). Not so where a file gets such a bit while it is open already:
 * nothing takes it away when that handle then writes. What a shared mapping changes shows in the
 * backing file alone, so its attributes are not kept while a handle is open that may map so.
 */
import { O_ACCMODE, O_RDWR } from '../sys/constants.js';
import type { Session } from '../sys/session.js';
import type { NodeId } from '../vfs/filesystem.js';
import { FOPEN_DIRECT_IO, FOPEN_KEEP_CACHE, FOPEN_PASSTHROUGH } from './protocol.js';

const S_ISUID_OR_S_ISGID = 0o6000;

interface OpenNode {
  /** 0: cached. */
  backingId: number;
  handles: number;
  /** Handles that may make a shared mapping to write in. */
  mappers: number;
}

export interface Opened {
  readonly flags: number;
  readonly backingId: number;
}

export class BackingFiles {
  readonly #session: Session;
  readonly #changing: Set<NodeId>;
  readonly #nodes = new Map<NodeId, OpenNode>();

  /** `changing`: where nodes are put whose attributes the kernel may not keep. */
  constructor(session: Session, changing: Set<NodeId>) {
    this.#session = session;
    this.#changing = changing;
  }

  /**
   * Counts a handle. `fd`: the file that will always hold the node's data, or -1. `flags`:
   * open(2)'s. `mode`: the file's, when it is opened for writing.
   */
  open(node: NodeId, fd: number, flags: number, mode: number): Opened {
    let known = this.#nodes.get(node);
    if (known === undefined) {
      known = {
        backingId: fd < 0 ? 0 : Math.max(0, this.#session.backingOpen(fd)),
        handles: 0,
        mappers: 0,
      };
      this.#nodes.set(node, known);
    }
    known.handles++;
    if (known.backingId === 0) return { flags: fd < 0 ? FOPEN_KEEP_CACHE : 0, backingId: 0 };
    if ((flags & O_ACCMODE) === O_RDWR && known.mappers++ === 0) {
      this.#changing.add(node);
      this.#session.expireAttributes(node);
    }
    const direct = (mode & S_ISUID_OR_S_ISGID) !== 0 ? FOPEN_DIRECT_IO : 0;
    return { flags: FOPEN_PASSTHROUGH | direct, backingId: known.backingId };
  }

  release(node: NodeId, flags: number): void {
    const known = this.#nodes.get(node);
    if (known === undefined) return;
    if (known.backingId !== 0 && (flags & O_ACCMODE) === O_RDWR && --known.mappers === 0)
      this.#changing.delete(node);
    if (--known.handles > 0) return;
    this.#nodes.delete(node);
    if (known.backingId !== 0) this.#session.backingClose(known.backingId);
  }
}
