/**
 * An actor: a child process (actor.c) that makes system calls when told, so that a test acts on a
 * mount as any user, as several at once, and never blocks or wedges the test's own process.
 *
 * Names, paths and data are text (sent as UTF-8) or bytes. A failed call rejects with `Errno`.
 * Calls on one actor run in the order they were made; they may be issued without awaiting each
 * other.
 */
import { execFileSync, spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Errno } from '../../src/base/errno.js';
import { root } from '../support/root.js';
import { AT_FDCWD, O_RDONLY } from './constants.js';

export type Bytes = string | Uint8Array;

/** stat(2), times in nanoseconds since the epoch. */
export interface Stat {
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly ino: bigint;
  readonly size: number;
  readonly blocks: number;
  readonly rdev: string;
  readonly dev: string;
  readonly atime: bigint;
  readonly mtime: bigint;
  readonly ctime: bigint;
}

export interface Entry {
  /** One character a byte. */
  readonly name: string;
  readonly ino: bigint;
  readonly type: number;
  /** The cookie that continues after this entry. */
  readonly offset: bigint;
}

/** A name in a tree. Numbers that are only compared are left as the actor wrote them. */
export type TreeEntry = {
  /** Relative to the tree's root, which is ''; one character a byte. */
  readonly path: string;
  /** What the directory's listing says of it; of the root nothing. */
  readonly told: { readonly ino: string; readonly type: number };
} & (
  | {
      readonly error: 0;
      readonly stat: {
        readonly mode: number;
        readonly nlink: number;
        readonly uid: number;
        readonly gid: number;
        readonly ino: string;
      };
      readonly more: {
        readonly size: string;
        readonly rdev: string;
        /** Nanoseconds since the epoch. */
        readonly mtime: string;
        /** Of a file's bytes; not one to trust against an attacker. */
        readonly sum: string;
        /** Of a symbolic link. */
        readonly target: string;
        /** Sorted; the value in hexadecimal behind an `x`, or -errno. */
        readonly xattrs: readonly (readonly [name: string, value: string])[];
      };
    }
  /** An errno: it, or its content, cannot be read. */
  | { readonly error: number; readonly stat?: undefined; readonly more?: undefined }
);

export interface Identity {
  readonly uid: number;
  readonly gid: number;
  readonly groups?: readonly number[];
  /** `none`: root that has its user id alone. */
  readonly capabilities?: 'none';
}

export interface ActorOptions {
  readonly cwd?: string;
  /** Default: as the test. Needs root. */
  readonly identity?: Identity;
  /** Default 0o022. */
  readonly umask?: number;
}

let program: string | undefined;

function compiled(): string {
  if (program === undefined) {
    const dir = mkdtempSync(join(tmpdir(), 'plyfs-actor-'));
    process.once('exit', () => rmSync(dir, { recursive: true, force: true }));
    program = join(dir, 'actor');
    execFileSync('cc', ['-O1', '-o', program, join(root, 'test/suites/actor.c')], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    // Actors of other users must reach it.
    execFileSync('chmod', ['0755', dir, program]);
  }
  return program;
}

/** In place of a descriptor or mapping: what the last open or mmap of this actor gave. */
export const GIVEN = -(2 ** 31);

function shown(op: string, args: readonly (number | bigint | Bytes)[]): string {
  const words = args.map((arg) =>
    (typeof arg === 'object' ? Buffer.from(arg).toString('latin1') : String(arg)).slice(0, 80),
  );
  return `${op}(${words.join(', ')})`;
}

interface Waiting {
  what(): string;
  resolve(words: string[]): void;
  reject(error: Error): void;
}

export class Actor {
  private readonly child: ChildProcessWithoutNullStreams;
  private readonly waiting: Waiting[] = [];
  /** Lines of calls that are to be sent in one piece. */
  private held: string[] | undefined;
  private readonly exited: Promise<void>;

  private constructor(cwd: string | undefined) {
    this.child = spawn(compiled(), [], {
      stdio: ['pipe', 'pipe', 'pipe'],
      ...(cwd === undefined ? {} : { cwd }),
    });
    let errors = '';
    this.child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
    this.child.stdin.on('error', () => undefined);
    let rest = '';
    this.child.stdout.setEncoding('latin1').on('data', (text: string) => {
      // A long line comes in many pieces.
      if (!text.includes('\n')) {
        rest += text;
        return;
      }
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.settle(line);
    });
    this.exited = new Promise((done) => {
      const gone = (why: string) => {
        for (const waiting of this.waiting.splice(0))
          waiting.reject(new Error(`the actor ended during ${waiting.what()}: ${why}${errors}`));
        done();
      };
      this.child.on('close', (code, signal) => gone(`${signal ?? code} `));
      this.child.on('error', (error) => gone(error.message));
    });
  }

  static async start(options: ActorOptions = {}): Promise<Actor> {
    const actor = new Actor(options.cwd);
    await actor.umask(options.umask ?? 0o022);
    if (options.identity) {
      const { uid, gid, groups = [], capabilities } = options.identity;
      await actor.number('become', uid, gid, ...groups);
      if (capabilities === 'none') await actor.number('drop_capabilities');
    }
    return actor;
  }

  get pid(): number {
    return this.child.pid ?? -1;
  }

  /**
   * From now on, and until the next time, calls are made with the effective ids of `identity`: a
   * process of root's.
   */
  as({ uid, gid, groups = [] }: Identity): Promise<number> {
    return this.number('as', uid, gid, ...groups);
  }

  /** Ends the process: its descriptors, locks and working directory are given up. */
  async end(): Promise<void> {
    this.child.stdin.end();
    await this.exited;
  }

  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.exited;
  }

  private settle(line: string): void {
    const waiting = this.waiting.shift();
    if (!waiting) return;
    const words = line.split(' ');
    const value = Number(words[0]);
    if (value < 0) waiting.reject(new Errno(-value, waiting.what()));
    else waiting.resolve(words);
  }

  /**
   * Sends the calls that `issue` makes in one piece, and they are answered in one: for many calls
   * of which none waits for what another program does.
   */
  together<T>(issue: () => T): T {
    if (this.held !== undefined) return issue();
    const lines: string[] = (this.held = []);
    try {
      return issue();
    } finally {
      this.held = undefined;
      const last = lines.pop();
      if (last !== undefined)
        this.child.stdin.write(lines.map((line) => `+${line}`).join('') + last);
    }
  }

  private call(op: string, args: readonly (number | bigint | Bytes)[]): Promise<string[]> {
    const words = args.map((arg) => {
      if (arg === GIVEN) return '$';
      return typeof arg === 'number' || typeof arg === 'bigint'
        ? arg.toString()
        : `x${Buffer.from(arg as string).toString('hex')}`;
    });
    return new Promise((resolve, reject) => {
      if (this.child.exitCode !== null || this.child.signalCode !== null) {
        reject(new Error(`the actor has ended (${op})`));
        return;
      }
      this.waiting.push({ what: () => shown(op, args), resolve, reject });
      const line = `${op} ${words.join(' ')}\n`;
      if (this.held === undefined) this.child.stdin.write(line);
      else this.held.push(line);
    });
  }

  private async number(op: string, ...args: (number | bigint | Bytes)[]): Promise<number> {
    return Number((await this.call(op, args))[0]);
  }

  private async bytes(op: string, ...args: (number | bigint | Bytes)[]): Promise<Buffer> {
    return Buffer.from(((await this.call(op, args))[1] ?? 'x').slice(1), 'hex');
  }

  private async statOf(op: string, what: number | Bytes): Promise<Stat> {
    const w = await this.call(op, [what]);
    const field = (i: number) => w[i] ?? '0';
    return {
      mode: Number(field(1)),
      nlink: Number(field(2)),
      uid: Number(field(3)),
      gid: Number(field(4)),
      ino: BigInt(field(5)),
      size: Number(field(6)),
      blocks: Number(field(7)),
      rdev: `${field(8)}:${field(9)}`,
      dev: `${field(10)}:${field(11)}`,
      atime: BigInt(field(12)),
      mtime: BigInt(field(13)),
      ctime: BigInt(field(14)),
    };
  }

  open(path: Bytes, flags = O_RDONLY, mode = 0o666): Promise<number> {
    return this.number('openat', AT_FDCWD, path, flags, mode);
  }
  openat(dirfd: number, path: Bytes, flags = O_RDONLY, mode = 0o666): Promise<number> {
    return this.number('openat', dirfd, path, flags, mode);
  }
  close(fd: number): Promise<number> {
    return this.number('close', fd);
  }
  dup(fd: number): Promise<number> {
    return this.number('dup', fd);
  }
  /** Without `offset`: at the descriptor's position. */
  async read(fd: number, length: number, offset = -1): Promise<string> {
    return (await this.bytes('read', fd, length, offset)).toString('latin1');
  }
  write(fd: number, data: Bytes, offset = -1): Promise<number> {
    return this.number('write', fd, data, offset);
  }
  /** What `read` gives, as runs: a byte and how often it comes. */
  async runs(fd: number, length: number, offset = -1): Promise<[byte: number, times: number][]> {
    const words = (await this.call('runs', [fd, length, offset])).slice(1).map(Number);
    const runs: [number, number][] = [];
    for (let i = 0; i < words.length; i += 2) runs.push([words[i] ?? 0, words[i + 1] ?? 0]);
    return runs;
  }
  /** Writes one byte so many times. */
  fill(fd: number, byte: number, times: number, offset = -1): Promise<number> {
    return this.number('fill', fd, byte, times, offset);
  }
  lseek(fd: number, offset: number | bigint, whence: number): Promise<number> {
    return this.number('lseek', fd, offset, whence);
  }
  stat(path: Bytes): Promise<Stat> {
    return this.statOf('stat', path);
  }
  lstat(path: Bytes): Promise<Stat> {
    return this.statOf('lstat', path);
  }
  fstat(fd: number): Promise<Stat> {
    return this.statOf('fstat', fd);
  }
  access(path: Bytes, mode: number): Promise<number> {
    return this.number('access', path, mode);
  }
  mkdir(path: Bytes, mode = 0o777): Promise<number> {
    return this.number('mkdir', path, mode);
  }
  rmdir(path: Bytes): Promise<number> {
    return this.number('rmdir', path);
  }
  unlink(path: Bytes): Promise<number> {
    return this.number('unlink', path);
  }
  rename(from: Bytes, to: Bytes, flags = 0): Promise<number> {
    return this.number('rename', from, to, flags);
  }
  /** `flags`: 0 or AT_SYMLINK_FOLLOW. */
  link(from: Bytes, to: Bytes, flags = 0): Promise<number> {
    return this.number('link', from, to, flags);
  }
  symlink(target: Bytes, path: Bytes): Promise<number> {
    return this.number('symlink', target, path);
  }
  async readlink(path: Bytes, size = 65536): Promise<string> {
    return (await this.bytes('readlink', path, size)).toString('latin1');
  }
  mknod(path: Bytes, mode: number, major = 0, minor = 0): Promise<number> {
    return this.number('mknod', path, mode, major, minor);
  }
  chmod(path: Bytes, mode: number): Promise<number> {
    return this.number('chmod', path, mode);
  }
  fchmod(fd: number, mode: number): Promise<number> {
    return this.number('fchmod', fd, mode);
  }
  /** -1 leaves an id. */
  lchown(path: Bytes, uid: number, gid: number): Promise<number> {
    return this.number('lchown', path, uid, gid);
  }
  /** Follows a symbolic link. */
  chown(path: Bytes, uid: number, gid: number): Promise<number> {
    return this.number('chown', path, uid, gid);
  }
  fchown(fd: number, uid: number, gid: number): Promise<number> {
    return this.number('fchown', fd, uid, gid);
  }
  /** Times as [seconds, nanoseconds]; does not follow a symbolic link. */
  utimens(
    path: Bytes,
    atime: readonly [number, number],
    mtime: readonly [number, number],
  ): Promise<number> {
    return this.number('utimens', path, ...atime, ...mtime);
  }
  futimens(
    fd: number,
    atime: readonly [number, number],
    mtime: readonly [number, number],
  ): Promise<number> {
    return this.number('futimens', fd, ...atime, ...mtime);
  }
  truncate(path: Bytes, size: number): Promise<number> {
    return this.number('truncate', path, size);
  }
  ftruncate(fd: number, size: number): Promise<number> {
    return this.number('ftruncate', fd, size);
  }
  fallocate(fd: number, mode: number, offset: number, length: number): Promise<number> {
    return this.number('fallocate', fd, mode, offset, length);
  }
  fsync(fd: number): Promise<number> {
    return this.number('fsync', fd);
  }
  fdatasync(fd: number): Promise<number> {
    return this.number('fdatasync', fd);
  }
  copyFileRange(
    from: number,
    fromOffset: number,
    to: number,
    toOffset: number,
    length: number,
    flags = 0,
  ): Promise<number> {
    return this.number('copy_file_range', from, fromOffset, to, toOffset, length, flags);
  }
  /** Writes at the position of `to`. */
  sendfile(to: number, from: number, fromOffset: number, length: number): Promise<number> {
    return this.number('sendfile', to, from, fromOffset, length);
  }
  /** The argument points to `word`, with room behind it. */
  ioctl(fd: number, request: number, word = 0): Promise<number> {
    return this.number('ioctl', fd, request, word);
  }
  setxattr(path: Bytes, name: Bytes, value: Bytes, flags = 0): Promise<number> {
    return this.number('lsetxattr', path, name, value, flags);
  }
  async getxattr(path: Bytes, name: Bytes, size = 65536): Promise<string> {
    return (await this.bytes('lgetxattr', path, name, size)).toString('latin1');
  }
  /** The size a value or list has (`size` 0 asks for it). */
  xattrSize(path: Bytes, name: Bytes): Promise<number> {
    return this.number('lgetxattr', path, name, 0);
  }
  /** The size a value of what is open has. */
  fxattrSize(fd: number, name: Bytes): Promise<number> {
    return this.number('fgetxattr', fd, name);
  }
  async listxattr(path: Bytes, size = 65536): Promise<string[]> {
    const list = (await this.bytes('llistxattr', path, size)).toString('latin1').split('\0');
    return list.slice(0, -1).sort();
  }
  removexattr(path: Bytes, name: Bytes): Promise<number> {
    return this.number('lremovexattr', path, name);
  }
  private async entries(op: string, ...args: (number | Bytes)[]): Promise<Entry[]> {
    const words = await this.call(op, args);
    const found: Entry[] = [];
    for (let i = 1; i + 3 < words.length; i += 4) {
      const word = (at: number) => words[at] ?? '0';
      found.push({
        name: Buffer.from(word(i).slice(1), 'hex').toString('latin1'),
        ino: BigInt(word(i + 1)),
        type: Number(word(i + 2)),
        offset: BigInt(word(i + 3)),
      });
    }
    return found;
  }
  /** One getdents64 call with a buffer of `size` bytes; empty at the end. */
  getdents(fd: number, size = 32768): Promise<Entry[]> {
    return this.entries('getdents', fd, size);
  }
  /** Every entry, `.` and `..` included, in the directory's order. */
  list(path: Bytes): Promise<Entry[]> {
    return this.entries('list', path);
  }
  /** Sorted names without `.` and `..`. */
  async names(path: Bytes = '.'): Promise<string[]> {
    const names = (await this.list(path)).map((entry) => entry.name);
    return names.filter((name) => name !== '.' && name !== '..').sort();
  }
  /** All that is listed from the beginning, by getdents64 calls with a buffer of `size` bytes. */
  listfd(fd: number, size: number): Promise<Entry[]> {
    return this.entries('listfd', fd, size);
  }
  /** Every name at and below `path`, in one call. */
  async tree(path: Bytes): Promise<TreeEntry[]> {
    const words = await this.call('tree', [path]);
    const latin1 = (word: string | undefined) =>
      Buffer.from((word ?? 'x').slice(1), 'hex').toString('latin1');
    const found: TreeEntry[] = [];
    for (let i = 1; i < words.length;) {
      const word = () => words[i++] ?? '0';
      const listed = { path: latin1(word()).slice(1), told: { ino: word(), type: Number(word()) } };
      const error = -Number(word());
      if (error !== 0) {
        found.push({ ...listed, error });
        continue;
      }
      const [mode, nlink, uid, gid] = [word(), word(), word(), word()].map(Number);
      const [ino, size, major, minor] = [word(), word(), word(), word()];
      const [mtime, sum, target] = [word(), word(), latin1(word())];
      const xattrs: [string, string][] = [];
      for (let count = Number(word()); count > 0; count--) xattrs.push([latin1(word()), word()]);
      found.push({
        ...listed,
        error: 0,
        stat: { mode: mode ?? 0, nlink: nlink ?? 0, uid: uid ?? 0, gid: gid ?? 0, ino },
        more: { size, rdev: `${major}:${minor}`, mtime, sum, target, xattrs: xattrs.sort() },
      });
    }
    return found;
  }
  /** Makes a subvolume of btrfs (BTRFS_IOC_SUBVOL_CREATE) in the directory `dirfd`. */
  subvolume(dirfd: number, name: Bytes): Promise<number> {
    return this.number('subvolume', dirfd, name);
  }
  /** Removes what is at and below `path`, and stays on its file system. */
  removeTree(path: Bytes): Promise<number> {
    return this.number('remove', path);
  }
  /** mount(2), where the source means nothing. */
  mount(type: string, dir: Bytes, options: Bytes): Promise<number> {
    return this.number('mount', type, dir, options);
  }
  umount(dir: Bytes): Promise<number> {
    return this.number('umount', dir);
  }
  chdir(path: Bytes): Promise<number> {
    return this.number('chdir', path);
  }
  fchdir(fd: number): Promise<number> {
    return this.number('fchdir', fd);
  }
  umask(mask: number): Promise<number> {
    return this.number('umask', mask);
  }
  /** RLIMIT_FSIZE: a file larger than this is EFBIG. */
  limitFileSize(bytes: number): Promise<number> {
    return this.number('limit', bytes);
  }
  flock(fd: number, operation: number): Promise<number> {
    return this.number('flock', fd, operation);
  }
  /** fcntl(2) locks; resolves to the lock's type as the call left it. `length` 0: to the end. */
  async lock(fd: number, command: number, type: number, start = 0, length = 0): Promise<number> {
    return Number((await this.call('lock', [fd, command, type, start, length]))[1]);
  }
  /** Resolves to a mapping's number for peek, poke, msync and munmap. */
  mmap(fd: number, length: number, protection: number, flags: number, offset = 0): Promise<number> {
    return this.number('mmap', fd, length, protection, flags, offset);
  }
  /** EFAULT beyond the end of the file, where a program would get SIGBUS. */
  async peek(map: number, offset: number, length: number): Promise<string> {
    return (await this.bytes('peek', map, offset, length)).toString('latin1');
  }
  poke(map: number, offset: number, data: Bytes): Promise<number> {
    return this.number('poke', map, offset, data);
  }
  msync(map: number): Promise<number> {
    return this.number('msync', map);
  }
  munmap(map: number): Promise<number> {
    return this.number('munmap', map);
  }
  async statvfs(
    path: Bytes,
  ): Promise<{ bsize: number; blocks: number; bfree: number; files: number; namemax: number }> {
    const [, bsize, blocks, bfree, files, namemax] = (await this.call('statvfs', [path])).map(
      Number,
    );
    return {
      bsize: bsize ?? 0,
      blocks: blocks ?? 0,
      bfree: bfree ?? 0,
      files: files ?? 0,
      namemax: namemax ?? 0,
    };
  }
  /** A listening Unix socket at `path` (at most 107 bytes). */
  bind(path: Bytes): Promise<number> {
    return this.number('bind', path);
  }
  /**
   * Runs a program without arguments; resolves to its exit status. Rejects when execve(2) fails.
   */
  exec(path: Bytes): Promise<number> {
    return this.number('exec', path);
  }

  /** Creates or replaces a file's content. */
  async put(path: Bytes, content: Bytes, mode = 0o666): Promise<void> {
    const fd = await this.open(path, 0o1 | 0o100 | 0o1000, mode);
    if (content.length > 0) await this.write(fd, content);
    await this.close(fd);
  }
  /** A file's whole content (at most 1 MiB). */
  async get(path: Bytes): Promise<string> {
    const fd = await this.open(path);
    try {
      return await this.read(fd, 1 << 20);
    } finally {
      await this.close(fd);
    }
  }
}

/** The results of calls that were made one after the other, or the first failure among them. */
export async function inOrder<T extends readonly unknown[]>(
  ...calls: { [K in keyof T]: Promise<T[K]> }
): Promise<T> {
  const settled = await Promise.allSettled(calls);
  for (const one of settled) if (one.status === 'rejected') throw one.reason;
  return settled.map((one) => (one as PromiseFulfilledResult<unknown>).value) as unknown as T;
}
