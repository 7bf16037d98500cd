/**
 * A session on /dev/fuse: the descriptor, its request slots, and the native data path.
 *
 * JavaScript drives: it asks for the `next` request and hands over the answer to the one before in
 * the same call, so a request costs one native call. When there is none it returns to the event
 * loop, which calls it back for the next one. Nothing sleeps but the event loop itself: signals,
 * timers, promises and other sessions of the process go on as ever.
 *
 * A slot is one ArrayBuffer: the request as the kernel wrote it from byte 0, and the body of the
 * answer from byte `replyOffset` (native/ adds the 16-byte `fuse_out_header` in front of it). A
 * slot belongs to JavaScript from the `next` that returned it until it is answered; several may be
 * held at once, for work that is under way.
 *
 * READ and WRITE on a node whose descriptor is published never reach JavaScript, nor does the
 * GETXATTR that `answerAbsence` is about. A read that the page cache can serve, and a small write,
 * are done where the request was read; anything that may block goes to native threads. Every other
 * request, and READ and WRITE on a node without a (writable) descriptor, is returned by `next`.
 */
import type { ByteString, Name } from '../base/bytes.js';

/** What `next` returns in place of a slot. */
export const enum Wake {
  /**
   * No request is there, or it is the turn of others on the event loop: `resume`, and return to it.
   */
  EventLoop = -1,
  /** The file system was unmounted, or the connection aborted. No further call but `close`. */
  Unmounted = -2,
}

/**
 * How long requests of one opcode took from being read to being answered, natively or not:
 * microseconds.
 */
export interface RequestTimes {
  readonly opcode: number;
  readonly requests: number;
  /** Those that were answered with an error. */
  readonly failed: number;
  readonly total: number;
  /** At most a quarter too high. */
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export interface Session {
  readonly fd: number;
  /** The slots' memory, by slot number. May grow between calls of `next`. */
  readonly slots: readonly ArrayBuffer[];
  /** Where in a slot the body of the answer starts; there is room for `replySize` bytes. */
  readonly replyOffset: number;
  readonly replySize: number;

  /**
   * Answers `slot` as `answer` would, and takes the next request. `next(-1, 0)` only takes. Returns
   * the next request's slot, or a `Wake`; while requests stream, `Wake.EventLoop` after every 64 of
   * them or 4 milliseconds. It never sleeps, though it may look for a request for some
   * microseconds. Throws for a slot that is not JavaScript's, or too large a result.
   */
  next(slot: number, result: number): number;
  /**
   * Calls `callback` once, from the event loop, when `next` has a request, or the unmount, to tell
   * of: the way back after `Wake.EventLoop`. A second call before the first ran replaces the
   * callback.
   */
  resume(callback: () => void): void;
  /**
   * Answers: `result` >= 0: bytes of body, up to `replySize`; < 0: -errno, which the kernel sees as
   * EIO from -512 down. Frees the slot.
   */
  answer(slot: number, result: number): void;
  /** Frees the slot of a request that takes no answer (FORGET, BATCH_FORGET, INTERRUPT). */
  release(slot: number): void;
  /**
   * Has a READ or WRITE that JavaScript was given served by the native data path, its descriptor
   * being published now. Throws if it is not.
   */
  serve(slot: number): void;

  /**
   * The node's data is read, and written when `writable`, through `fd`, which the session owns from
   * here on: it closes it when another takes its place or it is retired, and no transfer uses it
   * any more. A writable one is open on the node's own file; another may be on one that only holds
   * its data (`overlay.metacopy`).
   */
  publish(node: number, fd: number, writable: boolean): void;
  /** Takes the node's descriptor back and closes it. No effect when there is none. */
  retire(node: number): void;
  /**
   * Whether a transfer used the node's descriptor since the last call (for a second-chance
   * eviction).
   */
  usedSince(node: number): boolean;
  /**
   * Has native/ answer a GETXATTR of this attribute where the file lacks it, on nodes with a
   * writable descriptor. Linux asks for `security.capability` before the first write to each file
   * and at each chown. Throws for what is no name of 1 to 255 bytes.
   */
  answerAbsence(attribute: ByteString): void;
  /** Limits of the INIT handshake that the data path must know: the largest WRITE in bytes. */
  setMaxWrite(bytes: number): void;

  /**
   * Notifications to the kernel; asynchronous and without an answer. They are sent off the main
   * thread: one may wait for a lock that a request holds.
   */
  invalidateNode(node: number, offset: number, length: number): void;
  invalidateEntry(parent: number, name: Name): void;
  /**
   * Has the kernel ask for the attributes of a node again, from now on. Only for the node of a
   * request that is under way.
   */
  expireAttributes(node: number): void;

  /**
   * Registers the file of `fd`, which stays the caller's, for passthrough: an id greater than 0
   * that answers to OPEN may name, or -errno (-ELOOP: its file system is stacked itself; -EPERM:
   * this process may not). The kernel holds the file until `backingClose`.
   */
  backingOpen(fd: number): number;
  /** Takes the id back; handles opened with it keep the file. */
  backingClose(id: number): void;

  /**
   * Requests by opcode since the start, [served natively, seen by JavaScript] (for traces and
   * tests).
   */
  counts(): Map<number, [native: number, script: number]>;
  /** Of all requests that are done, by opcode. */
  times(): RequestTimes[];
  /**
   * Waits for native transfers, closes every published descriptor and the device; twice is once. An
   * open session keeps the event loop alive. Afterwards `next` says Unmounted, `publish` closes
   * what it is given, and the rest does nothing.
   */
  close(): void;
}

export interface SessionConstructor {
  /**
   * `fd`: an open, mounted /dev/fuse. The session owns it from here on, unless this throws.
   * `maxWrite`: bytes of the largest WRITE to make room for, 4096 to 64 MiB.
   */
  open(fd: number, maxWrite: number): Session;
  /**
   * Receives one descriptor over the Unix socket `socket` (SCM_RIGHTS), as fusermount3 sends it;
   * waits for it. Returns it or -errno: -ECONNRESET when the other side closed without sending one,
   * -EPROTO for a message without one.
   */
  receiveFd(socket: number): number;
  /** A connected pair of Unix stream sockets, [ours (close-on-exec), the child's]. */
  socketpair(): [number, number] | number;
}

export type { ByteString };
