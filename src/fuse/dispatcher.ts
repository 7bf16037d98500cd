/**
 * Serves a file system over a session: takes requests, finds their handlers, answers.
 *
 * Invariants:
 * - A request is answered exactly once: by the value its handler returned, by the promise it
 *   returned when that settles, or by whoever the handler left the slot to (`NO_ANSWER`). What a
 *   handler throws is answered too: `Errno` as itself, anything else as EIO, reported on the
 *   channel `plyfs:fuse:error`. Nothing a file system does ends the loop.
 * - The event loop runs whenever no request is there. With one under way it runs after every
 *   request, so that what waits for a promise does not wait for a stream of others as well.
 * - After the device is gone nothing is answered; requests under way are waited for before the file
 *   system is destroyed, and the session is closed last.
 */
import { channel } from 'node:diagnostics_channel';
import type { Awaitable } from '../base/awaitable.js';
import { E, Errno } from '../base/errno.js';
import { Wake } from '../sys/session.js';
import type { Session } from '../sys/session.js';
import type { FileSystem } from '../vfs/filesystem.js';
import { Connection, NO_ANSWER } from './connection.js';
import type { ServeOptions } from './connection.js';
import {
  copyFileRange,
  copyFileRange64,
  fallocate,
  fsync,
  lseek,
  open,
  read,
  release,
  write,
} from './data.js';
import { fsyncdir, opendir, readdir, readdirplus, statfs, syncfs } from './directories.js';
import { ioctl } from './ioctl.js';
import { batchForget, forget, init, interrupt, notifyReply } from './lifecycle.js';
import * as names from './names.js';
import { Opcode, OPCODES, opcodeName } from './protocol.js';
import { Slot } from './request.js';
import { getxattr, listxattr, removexattr, setxattr } from './xattrs.js';

/** Bytes of body written into the slot, -errno, or NO_ANSWER. */
type Handler = (connection: Connection, slot: Slot) => Awaitable<number>;

/** A request that failed in a way no caller provoked. */
export interface UnexpectedError {
  readonly operation: string;
  readonly node: number;
  readonly error: unknown;
}

const errors = channel('plyfs:fuse:error');

function succeed(): number {
  return 0;
}

/** The kernel remembers ENOSYS and does without this operation from then on. */
function unsupported(): number {
  return -E.ENOSYS;
}

/** What serves each opcode. An absent one is unsupported. */
const handlers: Readonly<Record<number, Handler>> = {
  [Opcode.LOOKUP]: names.lookup,
  [Opcode.FORGET]: forget,
  [Opcode.GETATTR]: names.getattr,
  [Opcode.SETATTR]: names.setattr,
  [Opcode.READLINK]: names.readlink,
  [Opcode.SYMLINK]: names.symlink,
  [Opcode.MKNOD]: names.mknod,
  [Opcode.MKDIR]: names.mkdir,
  [Opcode.UNLINK]: names.unlink,
  [Opcode.RMDIR]: names.rmdir,
  [Opcode.RENAME]: names.rename,
  [Opcode.LINK]: names.link,
  [Opcode.OPEN]: open,
  [Opcode.READ]: read,
  [Opcode.WRITE]: write,
  [Opcode.STATFS]: statfs,
  [Opcode.RELEASE]: release,
  [Opcode.FSYNC]: fsync,
  [Opcode.SETXATTR]: setxattr,
  [Opcode.GETXATTR]: getxattr,
  [Opcode.LISTXATTR]: listxattr,
  [Opcode.REMOVEXATTR]: removexattr,
  // No write is held back here, so closing has nothing to flush.
  [Opcode.FLUSH]: unsupported,
  [Opcode.INIT]: init,
  [Opcode.OPENDIR]: opendir,
  [Opcode.READDIR]: readdir,
  [Opcode.RELEASEDIR]: succeed,
  [Opcode.FSYNCDIR]: fsyncdir,
  // Not negotiated: locks of one mount are the kernel's own.
  [Opcode.GETLK]: unsupported,
  [Opcode.SETLK]: unsupported,
  [Opcode.SETLKW]: unsupported,
  // The kernel checks permissions itself (default_permissions).
  [Opcode.ACCESS]: unsupported,
  [Opcode.CREATE]: names.create,
  [Opcode.INTERRUPT]: interrupt,
  [Opcode.BMAP]: unsupported,
  [Opcode.DESTROY]: succeed,
  [Opcode.IOCTL]: ioctl,
  [Opcode.POLL]: unsupported,
  [Opcode.NOTIFY_REPLY]: notifyReply,
  [Opcode.BATCH_FORGET]: batchForget,
  [Opcode.FALLOCATE]: fallocate,
  [Opcode.READDIRPLUS]: readdirplus,
  [Opcode.RENAME2]: names.rename2,
  [Opcode.LSEEK]: lseek,
  [Opcode.COPY_FILE_RANGE]: copyFileRange,
  [Opcode.SYNCFS]: syncfs,
  [Opcode.TMPFILE]: names.tmpfile,
  // There is no birth time to tell, and GETATTR tells the rest: one refusal saves a message for
  // each stat(1) of a new file.
  [Opcode.STATX]: unsupported,
  [Opcode.COPY_FILE_RANGE_64]: copyFileRange64,
};

const changing: readonly number[] = [
  Opcode.SETATTR,
  Opcode.SYMLINK,
  Opcode.MKNOD,
  Opcode.MKDIR,
  Opcode.UNLINK,
  Opcode.RMDIR,
  Opcode.RENAME,
  Opcode.LINK,
  Opcode.WRITE,
  Opcode.SETXATTR,
  Opcode.REMOVEXATTR,
  Opcode.CREATE,
  Opcode.FALLOCATE,
  Opcode.RENAME2,
  Opcode.COPY_FILE_RANGE,
  Opcode.TMPFILE,
  Opcode.COPY_FILE_RANGE_64,
];
const onXattrs: readonly number[] = [
  Opcode.SETXATTR,
  Opcode.GETXATTR,
  Opcode.LISTXATTR,
  Opcode.REMOVEXATTR,
];

/** These take no answer: whatever happens, their slot is released. */
function takesNoAnswer(opcode: number): boolean {
  return (
    opcode === Opcode.FORGET ||
    opcode === Opcode.BATCH_FORGET ||
    opcode === Opcode.INTERRUPT ||
    opcode === Opcode.NOTIFY_REPLY
  );
}

function tableOf(options: ServeOptions): readonly Handler[] {
  const table: Handler[] = [];
  for (let opcode = 0; opcode < OPCODES; opcode++) table.push(handlers[opcode] ?? unsupported);
  if (options.readOnly) for (const opcode of changing) table[opcode] = () => -E.EROFS;
  if (!options.xattrs) for (const opcode of onXattrs) table[opcode] = unsupported;
  return table;
}

/**
 * The kernel drops an answer, and so hangs its caller, unless the error is from 1 to 511
 * (fs/fuse/dev.c, fuse_dev_do_write).
 */
function wireErrno(errno: number): number {
  if (errno === E.ENOTSUPP) return E.EOPNOTSUPP;
  return errno > 0 && errno < 512 ? errno : E.EIO;
}

class Dispatcher {
  readonly #connection: Connection;
  readonly #session: Session;
  readonly #table: readonly Handler[];
  readonly #slots: Slot[] = [];
  readonly #observed: boolean;
  #drained: (() => void) | null = null;

  constructor(connection: Connection) {
    this.#connection = connection;
    this.#session = connection.session;
    this.#table = tableOf(connection.options);
    this.#observed = connection.options.trace !== undefined;
  }

  /** Serves until the file system is unmounted. */
  run(): Promise<void> {
    return new Promise((resolve, reject) => {
      const turn = (): void => {
        try {
          if (this.#turn()) this.#session.resume(turn);
          else resolve();
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
        }
      };
      // Not at once: the caller has its own things to do first.
      this.#session.resume(turn);
    });
  }

  /** Resolves once no request is under way. */
  drained(): Promise<void> {
    if (this.#connection.pending.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#drained = resolve;
    });
  }

  /** Serves until the event loop must run (true) or the session is over (false). */
  #turn(): boolean {
    const session = this.#session;
    const { pending } = this.#connection;
    let slot = -1;
    let result = 0;
    for (;;) {
      const next = session.next(slot, result);
      if (next === Wake.EventLoop) return true;
      if (next < 0) return false;
      result = this.#handle(next);
      slot = result === NO_ANSWER ? -1 : next;
      if (this.#connection.failure !== null) {
        session.answer(next, result);
        throw this.#connection.failure;
      }
      if (pending.size === 0) continue;
      if (slot >= 0) session.answer(slot, result);
      return true;
    }
  }

  #slot(index: number): Slot {
    const known = this.#slots[index];
    if (known !== undefined) return known;
    const session = this.#session;
    const memory = session.slots[index];
    if (memory === undefined) throw new RangeError(`the session has no slot ${index}`);
    return (this.#slots[index] = new Slot(index, memory, session.replyOffset, session.replySize));
  }

  #handle(index: number): number {
    const slot = this.#slot(index);
    const sound = slot.begin();
    const { opcode } = slot;
    if (this.#observed) slot.started = performance.now();
    let result;
    try {
      if (!sound) throw new Errno(E.EIO, 'malformed request');
      result = (this.#table[opcode] ?? unsupported)(this.#connection, slot);
    } catch (error) {
      result = this.#failed(slot, error);
    }
    if (typeof result === 'number') {
      if (this.#observed) this.#observe(slot, result);
      return result;
    }
    this.#wait(slot, result);
    return NO_ANSWER;
  }

  #wait(slot: Slot, result: Promise<number>): void {
    const { unique } = slot;
    this.#connection.pending.set(unique, slot.currentCaller);
    result.then(
      (value) => {
        this.#settle(slot, unique, value);
      },
      (error: unknown) => {
        this.#settle(slot, unique, this.#failed(slot, error));
      },
    );
  }

  #settle(slot: Slot, unique: number, result: number): void {
    const connection = this.#connection;
    connection.pending.delete(unique);
    if (this.#observed) this.#observe(slot, result);
    if (result !== NO_ANSWER && !connection.ended) this.#session.answer(slot.index, result);
    if (connection.pending.size === 0) this.#drained?.();
  }

  #failed(slot: Slot, error: unknown): number {
    const { opcode } = slot;
    if (!(error instanceof Errno) && errors.hasSubscribers) {
      const report: UnexpectedError = {
        operation: opcodeName(opcode),
        node: slot.nodeForTrace,
        error,
      };
      errors.publish(report);
    }
    if (takesNoAnswer(opcode)) {
      if (!this.#connection.ended) this.#session.release(slot.index);
      return NO_ANSWER;
    }
    return error instanceof Errno ? -wireErrno(error.errno) : -E.EIO;
  }

  #observe(slot: Slot, result: number): void {
    const { trace } = this.#connection.options;
    if (trace === undefined) return;
    const micros = (performance.now() - slot.started) * 1000;
    const known = result === NO_ANSWER ? null : result;
    try {
      trace({
        operation: opcodeName(slot.opcode),
        node: slot.nodeForTrace,
        name: slot.firstName,
        result: known,
        micros,
      });
    } catch (error) {
      // A failing observer must not cost the caller its answer.
      errors.publish({ operation: 'trace', node: 0, error } satisfies UnexpectedError);
    }
  }
}

/**
 * Serves `fs` until the file system is unmounted, then destroys it and closes the session. Rejects
 * with PlyfsError `kernel-too-old` when the handshake fails.
 */
export async function serve(
  session: Session,
  fs: FileSystem,
  options: ServeOptions,
): Promise<void> {
  const connection = new Connection(session, fs, options);
  const dispatcher = new Dispatcher(connection);
  try {
    fs.attach({
      descriptors: session,
      invalidateNode: (node, offset, length) => {
        if (!connection.ended) session.invalidateNode(node, offset, length);
      },
      invalidateEntry: (parent, name) => {
        if (!connection.ended) session.invalidateEntry(parent, name);
      },
    });
    await dispatcher.run();
  } finally {
    connection.ended = true;
    await dispatcher.drained();
    try {
      await fs.destroy();
    } finally {
      session.close();
    }
  }
}
