/**
 * The second transport: serves a file system through the npm package `fuse-native` (2.2.6), which
 * is libfuse 2.9 and path-based.
 *
 * Each operation is a hop from a libfuse thread to the event loop and back: the thread waits until
 * it is answered. What is asked by path becomes a node (node-paths.ts), then an operation of the
 * contract (operations.ts).
 *
 * Invariants:
 * - Every lookup count taken is given back, when the mount is gone at the latest; the file system
 *   is destroyed after that.
 * - A request is answered exactly once (adapter.ts).
 * - This process never touches its own mount: the event loop that would answer is the one that
 *   asks. And libfuse's descriptor is inherited by child processes: one that uses the mount and
 *   outlives this process waits for ever.
 *
 * Its limits, in short (in full, with reasons, and as data: limits.ts): no caller, so new files
 * belong to the serving user; ACLs not enforced; times in milliseconds, and only both at once;
 * UTF-8 names; 32-bit inode numbers; hard-linked names cached apart; `.fuse_hidden…` names; no
 * rename flags, fallocate, SEEK_DATA or O_TMPFILE; several times slower on metadata.
 */
import { execFile } from 'node:child_process';
import { closeSync, readdirSync, readlinkSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { bytesOf } from '../../base/bytes.js';
import { messageOf, PlyfsError } from '../../base/error.js';
import type { FileSystem } from '../../vfs/filesystem.js';
import type { RequestTrace } from '../connection.js';
import { createMount } from './adapter.js';
import { Descriptors } from './descriptors.js';
import { loadFuseNative } from './load.js';
import { Operations } from './operations.js';

export interface FuseNativeOptions {
  /** Further options as of `mount -o`, one each: `allow_other`, `ro`, `suid`, `dev`. */
  readonly mountOptions?: readonly string[];
  /** What df(1) shows in its first column. */
  readonly source?: string;
  /**
   * How long the kernel may believe names, attributes and absences: seconds. At most 1, the default
   * for the first two (0 for absences): for longer, the names of a hard-linked file would show
   * different attributes.
   */
  readonly entryTimeout?: number;
  readonly attrTimeout?: number;
  readonly negativeTimeout?: number;
  /** false: extended attributes are unknown here. */
  readonly xattrs?: boolean;
  /** How many paths' nodes are kept. */
  readonly maxPaths?: number;
  readonly trace?: (request: RequestTrace) => void;
}

export interface FuseNativeMount {
  /** Absolute. */
  readonly mountpoint: string;
  /**
   * Unmounts, and resolves when `closed` does. Rejects with PlyfsError `unmount-failed`, when it is
   * in use for one: the mount then goes on. `lazy` detaches a mount that is in use, too; it is
   * served until its last file is closed.
   */
  unmount(lazy?: boolean): Promise<void>;
  /**
   * Resolves when the mount is gone, whoever unmounted it, and the file system is destroyed;
   * rejects with what that threw.
   */
  readonly closed: Promise<void>;
}

const MAX_TIMEOUT = 1;
const DEFAULT_MAX_PATHS = 8192;
/**
 * fuse-native.c copies the mount point, and the options, into 1,024 bytes and cuts off what is
 * longer.
 */
const MAX_BYTES = 1023;
/**
 * libfuse does not tell when the connection has ended; this often (ms) its descriptor is looked
 * for.
 */
const WATCH_INTERVAL = 200;
/** The same while we are unmounting. */
const CLOSE_INTERVAL = 5;

/**
 * Mounts and serves. The mount point is text: one that is not UTF-8 cannot be passed. Throws
 * PlyfsError: `fuse-native-unusable`, `mountpoint-unusable`, `mount-failed` (libfuse then has said
 * why on stderr).
 */
export async function serveFuseNative(
  fileSystem: FileSystem,
  mountpoint: string,
  options: FuseNativeOptions = {},
): Promise<FuseNativeMount> {
  const fuseNative = loadFuseNative();
  const path = resolve(mountpoint);
  assertMountpoint(path);
  const mountOptions = mountOptionsOf(options);
  if (bytesOf(mountOptions).length + 2 > MAX_BYTES) {
    throw new PlyfsError(
      'mount-failed',
      `The mount options are longer than the ${MAX_BYTES - 2} bytes that fuse-native can pass: give fewer.`,
    );
  }

  const descriptors = new Descriptors();
  const operations = new Operations(fileSystem, descriptors, options.maxPaths ?? DEFAULT_MAX_PATHS);
  fileSystem.attach({
    descriptors,
    // libfuse 2.9 cannot tell the kernel, whose timeouts are short; our own paths may have changed.
    invalidateNode: () => undefined,
    invalidateEntry: () => {
      operations.paths.clear();
    },
  });

  let requests = 0;
  let drained: (() => void) | null = null;
  const mount = createMount(fuseNative, path, operations, {
    mountOptions,
    xattrs: options.xattrs ?? true,
    underWay: (change) => {
      requests += change;
      if (requests === 0) drained?.();
    },
    answered: (operation, file, result, started) => {
      options.trace?.({
        operation,
        node: 0,
        name: bytesOf(file),
        result,
        micros: (performance.now() - started) * 1000,
      });
    },
  });

  const before = new Set(fuseDescriptors());
  const opened = () => fuseDescriptors().filter((fd) => !before.has(fd));
  try {
    await mount.mount();
  } catch (error) {
    mount.detach();
    // An option that libfuse does not know is found out after mounting, and the mount left without
    // anyone to serve it.
    if (opened().length > 0) {
      for (const fd of opened()) closeSync(fd);
      await unmount(path, true);
    }
    throw new PlyfsError(
      'mount-failed',
      `fuse-native could not mount on ${path} (${messageOf(error)}): look at what libfuse printed.`,
      {
        cause: error,
      },
    );
  }
  const [device] = opened();

  const watch = new Watch(() => device === undefined || !isFuseDescriptor(device));
  const closed = (async () => {
    await watch.ended;
    mount.detach();
    if (requests > 0) await new Promise<void>((done) => (drained = done));
    operations.clear();
    try {
      await fileSystem.destroy();
    } finally {
      descriptors.clear();
    }
  })();
  watch.start(WATCH_INTERVAL);
  // Who waits for `closed` hears of a failure there; nobody has to wait.
  closed.catch(() => undefined);

  return {
    mountpoint: path,
    closed,
    unmount: async (lazy = false) => {
      if (!watch.hasEnded) {
        await unmount(path, lazy);
        watch.start(CLOSE_INTERVAL);
      }
      await closed;
    },
  };
}

/** Asks again and again whether something has ended. */
class Watch {
  readonly ended: Promise<void>;
  readonly #hasEnded: () => boolean;
  #resolve: () => void = () => undefined;
  #timer: NodeJS.Timeout | null = null;
  hasEnded = false;

  constructor(hasEnded: () => boolean) {
    this.#hasEnded = hasEnded;
    this.ended = new Promise((resolve) => (this.#resolve = resolve));
  }

  /** From now on every `interval` milliseconds. */
  start(interval: number): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = setInterval(() => {
      this.#look();
    }, interval);
  }

  #look(): void {
    if (!this.#hasEnded()) return;
    this.hasEnded = true;
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#resolve();
  }
}

function assertMountpoint(path: string): void {
  if (bytesOf(path).length > MAX_BYTES) {
    throw new PlyfsError(
      'mountpoint-unusable',
      `The mount point is longer than the ${MAX_BYTES} bytes that fuse-native can pass: mount on a shorter path.`,
    );
  }
  let directory;
  try {
    directory = statSync(path).isDirectory();
  } catch (error) {
    throw new PlyfsError(
      'mountpoint-unusable',
      `The mount point ${path} cannot be used (${messageOf(error)}): name an existing directory.`,
      {
        cause: error,
      },
    );
  }
  if (!directory)
    throw new PlyfsError(
      'mountpoint-unusable',
      `The mount point ${path} is not a directory: name one.`,
    );
}

function mountOptionsOf(options: FuseNativeOptions): string {
  const bounded = (seconds: number | undefined, standard: number) =>
    Math.min(seconds ?? standard, MAX_TIMEOUT);
  const all = [
    // The kernel checks permissions: we do not learn who asks.
    'default_permissions',
    // The file system's inode numbers, not libfuse's own.
    'use_ino',
    // Writes of up to 128 KiB and not of one page.
    'big_writes',
    // As in FUSE 3.
    'nonempty',
    'subtype=plyfs',
    `fsname=${options.source ?? 'plyfs'}`,
    `entry_timeout=${bounded(options.entryTimeout, MAX_TIMEOUT)}`,
    `attr_timeout=${bounded(options.attrTimeout, MAX_TIMEOUT)}`,
    `negative_timeout=${bounded(options.negativeTimeout, 0)}`,
    ...(options.mountOptions ?? []),
  ];
  // fuse_opt.c: a comma or backslash in a value is escaped.
  return all.map((option) => option.replace(/[\\,]/g, '\\$&')).join(',');
}

/** This process's descriptors of /dev/fuse. */
function fuseDescriptors(): number[] {
  return readdirSync('/proc/self/fd').map(Number).filter(isFuseDescriptor);
}

function isFuseDescriptor(fd: number): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`) === '/dev/fuse';
  } catch {
    return false;
  }
}

/** In another process: unmounting writes back what is dirty, which this one then has to serve. */
async function unmount(path: string, lazy: boolean): Promise<void> {
  const fusermount = lazy ? ['-u', '-z', '--', path] : ['-u', '--', path];
  const umount = lazy ? ['-i', '-l', '--', path] : ['-i', '--', path];
  const ways: [command: string, words: string[]][] = [
    ['fusermount3', fusermount],
    ['fusermount', fusermount],
    ['umount', umount],
  ];
  for (const [command, words] of ways) {
    const said = await run(command, words);
    if (said === null) continue;
    if (said === '') return;
    throw new PlyfsError(
      'unmount-failed',
      `${path} could not be unmounted (${said}): end what uses it and try again.`,
    );
  }
  throw new PlyfsError(
    'unmount-failed',
    `${path} could not be unmounted, as there is neither fusermount3 nor umount here: install fuse3.`,
  );
}

/** What the command complained of, empty when it succeeded; null when there is no such command. */
function run(command: string, words: string[]): Promise<string | null> {
  return new Promise((done) => {
    execFile(command, words, (error, _stdout, stderr) => {
      if (error === null) done('');
      else if (error.code === ('ENOENT' as unknown)) done(null);
      else done(stderr.trim() || error.message);
    });
  });
}
