/**
 * Types of the npm package `fuse-native` 2.2.6, which has none: what index.js offers, with those
 * internals that the adapter overrides (adapter.ts says why). Results are 0, a count, or `-errno`.
 */
declare module 'fuse-native' {
  class Fuse {
    constructor(
      mountpoint: string,
      operations: Fuse.Operations,
      options?: { timeout?: number | false },
    );
    /** Calls back when the kernel's INIT has been answered, or with why it could not mount. */
    mount(done: (error: Error | null) => void): void;

    /** Absolute. */
    readonly mnt: string;
    readonly ops: Fuse.Operations;
    _thread: Buffer | null;
    _openCallback: ((error: Error | null) => void) | null;
    /** By opcode. */
    readonly _handlers: Fuse.Handler[];
    /** Memory for a libfuse thread's state; called by the addon with this object as `this`. */
    readonly _malloc: (bytes: number) => Buffer;
    _getImplementedArray(): Uint32Array;
    _fuseOptions(): string;
    _open(done: (error: Error | null) => void): void;
    _op_getattr(this: { readonly ops: Fuse.Operations }, signal: Fuse.Signal, path: string): void;
    _op_fgetattr(signal: Fuse.Signal, path: string, handle: number): void;
    _op_utimens(
      signal: Fuse.Signal,
      path: string,
      atimeLow: number,
      atimeHigh: number,
      mtimeLow: number,
      mtimeHigh: number,
    ): void;
    _op_getxattr(
      signal: Fuse.Signal,
      path: string,
      name: string,
      value: Buffer,
      position: number,
    ): void;
    _op_listxattr(signal: Fuse.Signal, path: string, list: Buffer): void;
  }

  namespace Fuse {
    /**
     * Answers the request: the result, then what the operation's `fuse_native_signal_*` in
     * fuse-native.c takes.
     */
    type Signal = (result: number, ...values: unknown[]) => void;
    /** `state` is the `fuse_thread_locals_t` of the libfuse thread that waits. */
    type Handler = (this: Fuse, state: Buffer, opcode: number, ...parameters: never[]) => void;

    type Done = (result: number) => void;
    type Give<T> = (result: number, value?: T) => void;

    interface Stat {
      mode: number;
      uid: number;
      gid: number;
      size: number;
      dev: number;
      nlink: number;
      ino: number;
      rdev: number;
      blksize: number;
      blocks: number;
      /** Milliseconds since the epoch. */
      atime: number;
      mtime: number;
      ctime: number;
    }

    interface Statfs {
      bsize: number;
      frsize: number;
      blocks: number;
      bfree: number;
      bavail: number;
      files: number;
      ffree: number;
      favail: number;
      namemax: number;
    }

    /**
     * An absent operation is unknown to libfuse, which answers ENOSYS or does what its manual says.
     */
    interface Operations {
      getattr?(path: string, give: Give<Stat>): void;
      fgetattr?(path: string, handle: number, give: Give<Stat>): void;
      readdir?(
        path: string,
        give: (result: number, names?: string[], stats?: Partial<Stat>[]) => void,
      ): void;
      readlink?(path: string, give: Give<string>): void;
      mknod?(path: string, mode: number, device: number, done: Done): void;
      mkdir?(path: string, mode: number, done: Done): void;
      symlink?(target: string, path: string, done: Done): void;
      unlink?(path: string, done: Done): void;
      rmdir?(path: string, done: Done): void;
      rename?(from: string, to: string, done: Done): void;
      link?(from: string, to: string, done: Done): void;
      chmod?(path: string, mode: number, done: Done): void;
      chown?(path: string, uid: number, gid: number, done: Done): void;
      truncate?(path: string, size: number, done: Done): void;
      ftruncate?(path: string, handle: number, size: number, done: Done): void;
      utimens?(path: string, atime: number, mtime: number, done: Done): void;
      open?(path: string, flags: number, give: Give<number>): void;
      create?(path: string, mode: number, give: Give<number>): void;
      read?(
        path: string,
        handle: number,
        buffer: Buffer,
        length: number,
        offset: number,
        done: Done,
      ): void;
      write?(
        path: string,
        handle: number,
        buffer: Buffer,
        length: number,
        offset: number,
        done: Done,
      ): void;
      fsync?(path: string, dataOnly: number, handle: number, done: Done): void;
      fsyncdir?(path: string, dataOnly: number, handle: number, done: Done): void;
      release?(path: string, handle: number, done: Done): void;
      statfs?(path: string, give: Give<Statfs>): void;
      setxattr?(
        path: string,
        name: string,
        value: Buffer,
        position: number,
        flags: number,
        done: Done,
      ): void;
      getxattr?(path: string, name: string, position: number, give: Give<Buffer>): void;
      listxattr?(path: string, give: Give<string[]>): void;
      removexattr?(path: string, name: string, done: Done): void;
    }
  }

  export = Fuse;
}
