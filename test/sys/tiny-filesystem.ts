/**
 * The smallest file system that the session's tests can mount: a root directory with files that are
 * others' on disk.
 *
 * Its process must never touch the mount (it would wait for itself): clients are child processes.
 */
import { spawn } from 'node:child_process';
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  statSync,
  truncateSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bytesOf } from '../../src/base/bytes.js';
import { sessions, sys } from '../../src/sys/index.js';
import { Wake, type Session } from '../../src/sys/session.js';

export const enum Op {
  Lookup = 1,
  Forget = 2,
  Getattr = 3,
  Setattr = 4,
  Mkdir = 9,
  Open = 14,
  Read = 15,
  Write = 16,
  Statfs = 17,
  Fsync = 20,
  Init = 26,
  Opendir = 27,
  Interrupt = 36,
  Destroy = 38,
  BatchForget = 42,
}

export const MAX_WRITE = 1 << 20;
const ENOENT = 2;
const ENOSYS = 38;
const HEADER = 40;
const ATTR = 88;
/** FUSE_ASYNC_READ, BIG_WRITES, NO_OPEN_SUPPORT, PARALLEL_DIROPS, MAX_PAGES, NO_OPENDIR_SUPPORT. */
const INIT_FLAGS = 1 | (1 << 5) | (1 << 17) | (1 << 18) | (1 << 22) | (1 << 24);
const MNT_DETACH = 2;

export interface TinyFile {
  readonly node: number;
  readonly path: string;
}

/**
 * What a test does with a request in place of the file system: a result for `next`, or `held` if it
 * answers later.
 */
export type Intercept = (
  opcode: number,
  slot: number,
  view: DataView,
) => number | 'held' | undefined;

export class TinyFilesystem {
  readonly mountpoint: string;
  readonly session: Session;
  readonly files = new Map<string, TinyFile>();
  intercept: Intercept = () => undefined;
  /** Seconds that the kernel may remember names. */
  entryTimeout = 0;
  /** Settles when `next` says Unmounted. */
  readonly unmounted: Promise<void>;
  readonly #views: DataView[] = [];
  #settle: () => void = () => undefined;
  #pendingSlot = -1;
  #pendingResult = 0;

  constructor(backing: string) {
    let node = 2;
    for (const name of readdirSync(backing))
      this.files.set(name, { node: node++, path: join(backing, name) });
    this.mountpoint = mkdtempSync(join(tmpdir(), 'plyfs-session-'));
    const fd = openSync('/dev/fuse', constants.O_RDWR);
    const data = `fd=${fd},rootmode=40000,user_id=0,group_id=0,allow_other`;
    const result = sys.mount(
      bytesOf('tiny'),
      bytesOf(this.mountpoint),
      bytesOf('fuse.tiny'),
      0,
      bytesOf(data),
    );
    if (result < 0) {
      closeSync(fd);
      throw new Error(`mount: errno ${-result}`);
    }
    this.session = sessions.open(fd, MAX_WRITE);
    this.unmounted = new Promise((resolve) => (this.#settle = resolve));
    // `next` sleeps: not before the code that mounts has run to its end.
    this.session.resume(this.#pump);
  }

  node(name: string): number {
    const file = this.files.get(name);
    if (file === undefined) throw new Error(`no file ${name}`);
    return file.node;
  }

  publish(name: string, writable: boolean): void {
    const file = this.files.get(name);
    if (file === undefined) throw new Error(`no file ${name}`);
    this.session.publish(
      file.node,
      openSync(file.path, writable ? constants.O_RDWR : constants.O_RDONLY),
      writable,
    );
  }

  view(slot: number): DataView {
    return (this.#views[slot] ??= new DataView(this.session.slots[slot] as ArrayBuffer));
  }

  unmount(): number {
    return sys.umount2(bytesOf(this.mountpoint), MNT_DETACH);
  }

  /** Unmounts unless that was done; no error when called twice. */
  end(): void {
    this.unmount();
    this.session.close();
    rmSync(this.mountpoint, { recursive: true, force: true });
  }

  /** The name at `offset` of the request. */
  name(slot: number, offset = HEADER): string {
    const bytes = new Uint8Array(this.session.slots[slot] as ArrayBuffer, offset, 256);
    return Buffer.from(bytes.subarray(0, bytes.indexOf(0))).toString('latin1');
  }

  readonly #pump = (): void => {
    for (;;) {
      const slot = this.session.next(this.#pendingSlot, this.#pendingResult);
      this.#pendingSlot = -1;
      if (slot === Wake.EventLoop) {
        this.session.resume(this.#pump);
        return;
      }
      if (slot < 0) {
        this.#settle();
        return;
      }
      const view = this.view(slot);
      const opcode = view.getUint32(4, true);
      const result = this.intercept(opcode, slot, view) ?? this.#answer(opcode, slot, view);
      if (result === 'held') {
        // Whoever holds it may have settled a promise.
        this.session.resume(this.#pump);
        return;
      }
      this.#pendingSlot = slot;
      this.#pendingResult = result;
    }
  };

  #answer(opcode: number, slot: number, view: DataView): number | 'held' {
    const out = this.session.replyOffset;
    new Uint8Array(view.buffer, out, 256).fill(0);
    switch (opcode) {
      case Op.Init:
        view.setUint32(out, 7, true);
        view.setUint32(out + 4, 38, true);
        view.setUint32(out + 8, 1 << 20, true);
        view.setUint32(out + 12, (view.getUint32(HEADER + 12, true) & INIT_FLAGS) >>> 0, true);
        view.setUint16(out + 16, 64, true);
        view.setUint16(out + 18, 48, true);
        view.setUint32(out + 20, MAX_WRITE, true);
        view.setUint32(out + 24, 1, true);
        view.setUint16(out + 28, MAX_WRITE / 4096, true);
        this.session.setMaxWrite(MAX_WRITE);
        return 64;
      case Op.Forget:
      case Op.BatchForget:
      case Op.Interrupt:
        this.session.release(slot);
        return 'held';
      case Op.Lookup: {
        const file = this.files.get(this.name(slot));
        if (file === undefined) return -ENOENT;
        view.setBigUint64(out, BigInt(file.node), true);
        view.setBigUint64(out + 16, BigInt(this.entryTimeout), true);
        this.#attributes(view, out + 40, file);
        return 40 + ATTR;
      }
      case Op.Getattr:
      case Op.Setattr: {
        const node = Number(view.getBigUint64(16, true));
        const file = [...this.files.values()].find((candidate) => candidate.node === node);
        const FATTR_SIZE = 1 << 3;
        if (
          opcode === Op.Setattr &&
          file !== undefined &&
          (view.getUint32(HEADER, true) & FATTR_SIZE) !== 0
        ) {
          truncateSync(file.path, Number(view.getBigUint64(HEADER + 16, true)));
        }
        this.#attributes(view, out + 16, file);
        return 16 + ATTR;
      }
      case Op.Read:
        return this.#read(view, out);
      case Op.Statfs:
        return 80;
      case Op.Fsync:
        return 0;
      default:
        return -ENOSYS;
    }
  }

  #read(view: DataView, out: number): number {
    const node = Number(view.getBigUint64(16, true));
    const file = [...this.files.values()].find((candidate) => candidate.node === node);
    if (file === undefined) return -ENOENT;
    const fd = openSync(file.path, constants.O_RDONLY);
    const body = new Uint8Array(view.buffer, out, view.getUint32(HEADER + 16, true));
    const bytes = readSync(fd, body, 0, body.length, Number(view.getBigUint64(HEADER + 8, true)));
    closeSync(fd);
    return bytes;
  }

  /** `file` undefined: the root. */
  #attributes(view: DataView, at: number, file: TinyFile | undefined): void {
    const S_IFDIR = 0o040000;
    const stat = file === undefined ? undefined : statSync(file.path);
    view.setBigUint64(at, BigInt(file?.node ?? 1), true);
    view.setBigUint64(at + 8, BigInt(stat?.size ?? 0), true);
    // Sockets and pipes in the backing directory are shown as regular files, so that they are read
    // through the session.
    view.setUint32(at + 60, file === undefined ? S_IFDIR | 0o755 : 0o100644, true);
    view.setUint32(at + 64, 1, true);
    view.setUint32(at + 80, 4096, true);
  }
}

export interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a client; its working directory is not on the mount. */
export function run(
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: '/',
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C', ...env },
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString('latin1')));
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString('latin1')));
    child.on('error', reject);
    child.on('close', (status) => {
      resolve({ status, stdout, stderr });
    });
  });
}

/** A client written in JavaScript; `args` are its `process.argv.slice(1)`. */
export function runScript(
  source: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<Outcome> {
  return run(process.execPath, ['-e', source, ...args], env);
}

/** This process's open descriptors. */
export function descriptorCount(): number {
  return readdirSync('/proc/self/fd').length;
}
