/**
 * fuse-native's class, with our operations and without five of its faults (2.2.6, its last
 * version):
 * - `fgetattr` calls `getattr` by path: here it goes by the handle;
 * - `utimens` gets atime twice (fuse-native.c passes `l->atime` for both): mtime is read from the
 *   waiting thread's state;
 * - `getxattr` and `listxattr` answer with more bytes than the kernel has room for, and libfuse
 *   then sends what lies behind its buffer: here that is ERANGE;
 * - mounting stats the mount point and refuses one that is a mount point itself;
 * - unmounting runs a shell with the path in its command line: serve.ts unmounts.
 * Mount options are ours, too, as its own table lacks `use_ino` and `big_writes`.
 *
 * A callback must be called exactly once with arguments of the right types: a libfuse thread waits
 * for it without a limit (its timer is off: it would answer and leave the operation running).
 */
import { channel } from 'node:diagnostics_channel';
import type Fuse from 'fuse-native';
import { E, Errno } from '../../base/errno.js';
import type { UnexpectedError } from '../dispatcher.js';
import type { FuseNative } from './load.js';
import type { Operations } from './operations.js';

export interface Mount {
  /** Resolves when the kernel's INIT has been answered. */
  mount(): Promise<void>;
  /** Lets go of the event loop, after the connection has ended. */
  detach(): void;
}

export interface AdapterOptions {
  /** As of `mount -o`, escaped, without `-o`. */
  readonly mountOptions: string;
  readonly xattrs: boolean;
  /** Told of each answered request: bytes or -errno. */
  readonly answered: (operation: string, path: string, result: number, started: number) => void;
  /** Requests under way, up and down. */
  readonly underWay: (change: 1 | -1) => void;
}

const errors = channel('plyfs:fuse:error');
const TWO_32 = 0x1_0000_0000;

/** Where fuse_thread_locals_t (fuse-native.c) has the times, on 64-bit machines. */
const ATIME = 104;
const MTIME = 112;

export function createMount(
  fuseNative: FuseNative,
  mountpoint: string,
  operations: Operations,
  options: AdapterOptions,
): Mount {
  const { binding } = fuseNative;

  /** Runs an operation and answers it once, whatever comes of it. */
  function answer<T>(
    operation: string,
    path: string,
    action: () => Promise<T>,
    succeeded: (value: T) => number,
    failed: (result: number) => void,
  ): void {
    const started = performance.now();
    options.underWay(1);
    action()
      .then(succeeded)
      .catch((error: unknown) => {
        const result = resultOf(operation, error);
        failed(result);
        return result;
      })
      .then((result) => {
        options.underWay(-1);
        options.answered(operation, path, result, started);
      })
      .catch((error: unknown) => {
        errors.publish({ operation, node: 0, error } satisfies UnexpectedError);
      });
  }

  function nothing(
    operation: string,
    path: string,
    done: Fuse.Done,
    action: () => Promise<void>,
  ): void {
    answer(operation, path, action, () => (done(0), 0), done);
  }

  function value<T>(
    operation: string,
    path: string,
    give: Fuse.Give<T>,
    action: () => Promise<T>,
  ): void {
    answer(operation, path, action, (result) => (give(0, result), 0), give);
  }

  /** For read and write, whose count is the result. */
  function count(
    operation: string,
    path: string,
    done: Fuse.Done,
    action: () => Promise<number>,
  ): void {
    answer(operation, path, action, (bytes) => (done(bytes), bytes), done);
  }

  const o = operations;
  const table: Fuse.Operations = {
    getattr: (path, give) => value('GETATTR', path, give, () => o.getattr(path)),
    // Present so that libfuse asks by handle; `_op_fgetattr` below answers.
    fgetattr: (_path, _handle, give) => give(-E.ENOSYS),
    readdir: (path, give) =>
      answer(
        'READDIR',
        path,
        () => o.readdir(path),
        (entries) => {
          give(
            0,
            entries.map(({ name }) => name),
            // Absent times would each become a Date.now().
            entries.map(({ stat }) => ({ ...stat, atime: 0, mtime: 0, ctime: 0 })),
          );
          return entries.length;
        },
        give,
      ),
    readlink: (path, give) => value('READLINK', path, give, () => o.readlink(path)),
    mknod: (path, mode, device, done) =>
      nothing('MKNOD', path, done, () => o.mknod(path, mode, device)),
    mkdir: (path, mode, done) => nothing('MKDIR', path, done, () => o.mkdir(path, mode)),
    symlink: (target, path, done) => nothing('SYMLINK', path, done, () => o.symlink(target, path)),
    unlink: (path, done) => nothing('UNLINK', path, done, () => o.unlink(path)),
    rmdir: (path, done) => nothing('RMDIR', path, done, () => o.rmdir(path)),
    rename: (from, to, done) => nothing('RENAME', from, done, () => o.rename(from, to)),
    link: (from, to, done) => nothing('LINK', from, done, () => o.link(from, to)),
    chmod: (path, mode, done) => nothing('CHMOD', path, done, () => o.chmod(path, mode)),
    chown: (path, uid, gid, done) => nothing('CHOWN', path, done, () => o.chown(path, uid, gid)),
    truncate: (path, size, done) => nothing('TRUNCATE', path, done, () => o.truncate(path, size)),
    ftruncate: (path, handle, size, done) =>
      nothing('FTRUNCATE', path, done, () => o.ftruncate(handle, size)),
    utimens: (path, atime, mtime, done) =>
      nothing('UTIMENS', path, done, () => o.utimens(path, atime, mtime)),
    open: (path, _flags, give) => value('OPEN', path, give, () => o.open(path)),
    create: (path, mode, give) => value('CREATE', path, give, () => o.create(path, mode)),
    read: (path, handle, buffer, length, offset, done) =>
      count('READ', path, done, () => o.read(handle, buffer, length, offset)),
    write: (path, handle, buffer, length, offset, done) =>
      count('WRITE', path, done, () => o.write(handle, buffer, length, offset)),
    fsync: (path, dataOnly, handle, done) =>
      nothing('FSYNC', path, done, () => o.fsync(handle, dataOnly !== 0)),
    fsyncdir: (path, dataOnly, _handle, done) =>
      nothing('FSYNCDIR', path, done, () => o.fsyncdir(path, dataOnly !== 0)),
    release: (path, handle, done) =>
      nothing('RELEASE', path, done, async () => o.handles.release(handle)),
    statfs: (path, give) => value('STATFS', path, give, () => o.statfs()),
    // Absent: access (the kernel checks, by default_permissions), flush (nothing is held back),
    // opendir and releasedir (no state).
    ...(options.xattrs && {
      setxattr: (path, name, bytes, _position, flags, done) => {
        // The buffer is libfuse's: the file system gets its own.
        const copy = Uint8Array.from(bytes);
        nothing('SETXATTR', path, done, () => o.setxattr(path, name, copy, flags));
      },
      // Present so that libfuse asks; `_op_getxattr` and `_op_listxattr` below answer.
      getxattr: (_path, _name, _position, give) => give(-E.ENOSYS),
      listxattr: (_path, give) => give(-E.ENOSYS),
      removexattr: (path, name, done) =>
        nothing('REMOVEXATTR', path, done, () => o.removexattr(path, name)),
    }),
  };

  class Adapter extends fuseNative.Fuse {
    override _fuseOptions(): string {
      return `-o${options.mountOptions}`;
    }

    override _open(done: (error: Error | null) => void): void {
      this._thread = Buffer.alloc(binding.sizeof_fuse_thread_t);
      // Called by the INIT handler.
      this._openCallback = done;
      try {
        binding.fuse_native_mount(
          this.mnt,
          this._fuseOptions(),
          this._thread,
          this,
          this._malloc,
          this._handlers,
          this._getImplementedArray(),
        );
      } catch (error) {
        done(error as Error);
      }
    }

    override _op_fgetattr(signal: Fuse.Signal, path: string, handle: number): void {
      // The package's `_op_getattr` turns a stat into the array that the addon takes.
      const getattr = (_path: string, give: Fuse.Give<Fuse.Stat>) =>
        value('FGETATTR', path, give, () => o.fgetattr(handle));
      fuseNative.Fuse.prototype._op_getattr.call({ ops: { getattr } }, signal, path);
    }

    override _op_utimens(
      signal: Fuse.Signal,
      path: string,
      atimeLow: number,
      atimeHigh: number,
      mtimeLow: number,
      mtimeHigh: number,
    ): void {
      const times = [signed(atimeLow, atimeHigh), signed(mtimeLow, mtimeHigh)] as const;
      nothing('UTIMENS', path, signal, () => o.utimens(path, ...times));
    }

    override _op_getxattr(signal: Fuse.Signal, path: string, name: string, room: Buffer): void {
      bytes('GETXATTR', path, signal, room, () => o.getxattr(path, name));
    }

    override _op_listxattr(signal: Fuse.Signal, path: string, room: Buffer): void {
      bytes('LISTXATTR', path, signal, room, () => o.listxattr(path));
    }
  }

  /**
   * The size when there is no room, as getxattr(2) has it. `room`'s memory is detached from
   * JavaScript by the signal.
   */
  function bytes(
    operation: string,
    path: string,
    signal: Fuse.Signal,
    room: Buffer,
    action: () => Promise<Uint8Array>,
  ): void {
    const send = (result: number) => {
      signal(result, room.buffer);
    };
    const succeeded = (result: Uint8Array) => {
      if (room.length > 0) {
        if (result.length > room.length) throw new Errno(E.ERANGE);
        room.set(result);
      }
      send(result.length);
      return result.length;
    };
    answer(operation, path, action, succeeded, send);
  }

  const fuse = new Adapter(mountpoint, table, { timeout: false });
  const passed = fuse._handlers[binding.op_utimens];
  if (passed !== undefined) fuse._handlers[binding.op_utimens] = withMtime(passed);

  return {
    mount: () =>
      new Promise((resolve, reject) => {
        fuse.mount((error) => {
          if (error === null) resolve();
          else reject(error);
        });
      }),
    detach: () => {
      if (fuse._thread !== null) binding.fuse_native_unmount(fuse.mnt, fuse._thread);
    },
  };
}

/** Puts mtime in its place, if the state is laid out as we know it: atime is where it should be. */
function withMtime(handler: Fuse.Handler): Fuse.Handler {
  return function (this: Fuse, state: Buffer, opcode: number, ...parameters: never[]): void {
    const [path, low, high] = parameters as unknown as [string, number, number];
    const known =
      state.length >= MTIME + 8 &&
      state.readUInt32LE(ATIME) === low &&
      state.readUInt32LE(ATIME + 4) === high;
    if (!known) {
      handler.call(this, state, opcode, ...parameters);
      return;
    }
    const times = [path, low, high, state.readUInt32LE(MTIME), state.readUInt32LE(MTIME + 4)];
    handler.call(this, state, opcode, ...(times as never[]));
  };
}

function signed(low: number, high: number): number {
  return (high | 0) * TWO_32 + low;
}

function resultOf(operation: string, error: unknown): number {
  if (error instanceof Errno) return -wireErrno(error.errno);
  // What node:fs throws for a transfer.
  const { errno } = error as { errno?: unknown };
  if (typeof errno === 'number' && errno < 0 && errno > -4096) return errno;
  if (errors.hasSubscribers)
    errors.publish({ operation, node: 0, error } satisfies UnexpectedError);
  return -E.EIO;
}

function wireErrno(errno: number): number {
  if (errno === E.ENOTSUPP) return E.EOPNOTSUPP;
  return errno > 0 && errno < 512 ? errno : E.EIO;
}
