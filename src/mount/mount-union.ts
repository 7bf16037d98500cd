/**
 * Mounting a union: where the file system (src/union) and what serves it to the kernel (src/fuse)
 * meet.
 *
 * Order: the layers are opened before the mount is made, so that a mount over one of its own layers
 * still reads what was there; nothing is mounted when a layer cannot be opened. From the mount on
 * this process touches nothing below the mount point.
 */
import { realpathSync } from 'node:fs';
import { bytesOf, textOf, type ByteString } from '../base/bytes.js';
import { PlyfsError } from '../base/error.js';
import { E } from '../base/errno.js';
import { reasonOf } from '../base/system-error.js';
import { defaultServeOptions, type RequestTrace, type ServeOptions } from '../fuse/connection.js';
import { serve } from '../fuse/dispatcher.js';
import { MAX_TRANSFER } from '../fuse/init.js';
import { checkMountpoint, mountNative, type MountOptions, type Mounted } from '../fuse/mount.js';
import { endAbandoned } from './end-abandoned.js';
import { raiseReadAhead } from '../fuse/readahead.js';
import { requestTable } from '../fuse/statistics.js';
import { sessions, sys } from '../sys/index.js';
import type { LayerInUse, UnionOptions } from '../union/options.js';
import { descriptorsWanted, openUnion, type Union } from '../union/union.js';
import type { FileSystem } from '../vfs/filesystem.js';

export interface MountUnionOptions {
  /** An existing directory: absolute, or relative to the current directory. */
  readonly mountpoint: ByteString;
  readonly union: UnionOptions;
  readonly mount: MountOptions;
  /**
   * How long the kernel may believe names and attributes without asking: seconds. Default:
   * Infinity.
   */
  readonly timeout?: number;
  /** The kernel collects small writes. */
  readonly writeback?: boolean;
  /** The kernel reads and writes files of the upper itself; for root only. */
  readonly passthrough?: boolean;
  readonly transport?: 'native' | 'fuse-native';
  /**
   * Takes one sentence about anything that the caller might want to know and that stops nothing.
   */
  readonly warn?: (sentence: string) => void;
  /** Is told of every request that reached JavaScript. */
  readonly trace?: (request: RequestTrace) => void;
}

export interface MountedUnion {
  /** Absolute. */
  readonly mountpoint: ByteString;
  /**
   * Takes the mount out of the tree and waits until all is flushed and closed. Throws PlyfsError
   * `mount-busy` when files in it are in use; with `lazy` the mount then disappears at once and
   * ends when the last of them is closed.
   */
  unmount(options?: { lazy?: boolean }): Promise<void>;
  /**
   * Settles when the mount has ended, whoever unmounted it, and everything is flushed and closed.
   */
  readonly closed: Promise<void>;
  /** What it is made of, topmost first. */
  readonly layers: readonly LayerInUse[];
  /** A table of the requests served so far, and what the mount holds at the moment, for people. */
  statistics(): string;
}

/**
 * Mounts and resolves once the mount answers. Rejects with PlyfsError, and then nothing is mounted:
 * what `openUnion` and `mountNative` throw, `kernel-too-old`, `no-passthrough` and
 * `passthrough-denied`.
 */
export async function mountUnion(options: MountUnionOptions): Promise<MountedUnion> {
  const mountpoint = resolved(options.mountpoint);
  // Before anything is written to the workdir.
  checkMountpoint(mountpoint);
  if (options.passthrough === true && process.geteuid?.() !== 0) {
    throw new PlyfsError(
      'passthrough-denied',
      'only root may have the kernel pass reads and writes through: leave out the option passthrough',
    );
  }
  // Nobody waits for it, and what it does holds up nobody.
  void sys.roomForDescriptorsAsync(descriptorsWanted(options.union.lowers.length));
  const noatime = (options.mount.atime ?? 'noatime') === 'noatime';
  if (options.union.upper !== undefined) await endAbandoned(options.union.upper);
  const fs = openUnion(
    { ...options.union, noatime, mountpoint },
    options.warn ?? (() => undefined),
  );
  if (options.transport === 'fuse-native')
    return orDestroy(fs, () => mountFuseNative(mountpoint, fs, options));
  const mounted = await orDestroy(fs, () => mountNative(mountpoint, options.mount));
  return serveMounted(mountpoint, mounted, fs, options);
}

/** A file system that was not mounted is not destroyed by who serves it. */
async function orDestroy<T>(fs: FileSystem, mount: () => T | Promise<T>): Promise<T> {
  try {
    return await mount();
  } catch (error) {
    await fs.destroy();
    throw error;
  }
}

/** Through the npm package, which is loaded only when it is asked for. */
async function mountFuseNative(
  mountpoint: ByteString,
  fs: Union,
  options: MountUnionOptions,
): Promise<MountedUnion> {
  const { serveFuseNative } = await import('../fuse/fuse-native/serve.js');
  const text = textOf(mountpoint);
  if (bytesOf(text) !== mountpoint) {
    throw new PlyfsError(
      'mountpoint-unusable',
      `the mount point ${text} is not UTF-8, which fuse-native cannot pass: choose another`,
    );
  }
  const { readOnly, suid, dev, exec, atime, allowOther, fsname } = options.mount;
  const root = process.geteuid?.() === 0;
  const words = [
    readOnly ? 'ro' : 'rw',
    (suid ?? root) ? 'suid' : 'nosuid',
    (dev ?? root) ? 'dev' : 'nodev',
    exec === false ? 'noexec' : 'exec',
    ...((atime ?? 'noatime') === 'noatime' ? ['noatime'] : []),
    ...((allowOther ?? root) ? ['allow_other'] : []),
  ];
  const mounted = await serveFuseNative(fs, text, {
    mountOptions: words,
    xattrs: options.union.xattrs,
    ...(fsname === undefined ? {} : { source: textOf(fsname) }),
    // Unless they are limited, fuse-native has better ones for itself.
    ...(options.timeout === undefined || options.timeout === Infinity
      ? {}
      : {
          entryTimeout: options.timeout,
          attrTimeout: options.timeout,
          negativeTimeout: options.timeout,
        }),
    ...(options.trace === undefined ? {} : { trace: options.trace }),
  });
  return {
    mountpoint,
    closed: mounted.closed,
    layers: layersOf(fs),
    unmount: ({ lazy = false } = {}) => mounted.unmount(lazy),
    statistics: () => held(fs),
  };
}

async function serveMounted(
  mountpoint: ByteString,
  mounted: Mounted,
  fs: Union,
  options: MountUnionOptions,
): Promise<MountedUnion> {
  const session = sessions.open(mounted.fd, MAX_TRANSFER);
  const timeout = options.timeout ?? Infinity;
  let answers = (): void => undefined;
  const ready = new Promise<void>((resolve) => (answers = resolve));
  const closed = serve(session, fs, {
    ...defaultServeOptions,
    entryTimeout: timeout,
    attrTimeout: timeout,
    negativeTimeout: timeout,
    writeback: options.writeback ?? false,
    passthrough: options.passthrough ?? false,
    // What is mounted read-only may become writable: until then the kernel refuses changes by
    // itself.
    readOnly: options.union.upper === undefined,
    xattrs: options.union.xattrs,
    acl: options.union.acl && options.union.xattrs,
    permissions: options.mount.permissions ?? true,
    // The immediate runs when the kernel has its answer.
    ready: () => setImmediate(answers),
    ...(options.trace === undefined ? {} : { trace: options.trace }),
  } satisfies ServeOptions).catch(async (error: unknown) => {
    // Nobody answers any more: a mount left in the tree would refuse everything with ENOTCONN.
    await mounted.unmount(true);
    throw error;
  });
  // Whoever does not care how the mount ended need not say so.
  closed.catch(() => undefined);

  const ended = closed.then(() => {
    throw new PlyfsError(
      'mount-ended',
      `the mount at ${textOf(mountpoint)} was taken away before it answered: mount it again`,
    );
  });
  await Promise.race([ready, ended]);
  ended.catch(() => undefined);
  raiseReadAhead(mountpoint);

  return {
    mountpoint,
    closed,
    layers: layersOf(fs),
    async unmount({ lazy = false } = {}) {
      const result = await mounted.unmount(lazy);
      if (result === -E.EBUSY) {
        throw new PlyfsError(
          'mount-busy',
          `${textOf(mountpoint)} is in use: end what uses it, or unmount it lazily`,
        );
      }
      // EINVAL: it is not mounted any more, which is what was wanted.
      if (result < 0 && result !== -E.EINVAL) {
        throw new PlyfsError(
          'umount-failed',
          `${textOf(mountpoint)} cannot be unmounted (${reasonOf(-result)}): try umount or fusermount3 -u`,
        );
      }
      if (!lazy) await closed;
    },
    statistics: () => requestTable(session.times(), session.counts()) + held(fs),
  };
}

/** By absolute paths: a process that serves leaves the directory it was started in. */
function layersOf(fs: Union): LayerInUse[] {
  const here = bytesOf(process.cwd());
  return fs
    .layers()
    .map((layer) =>
      layer.path.startsWith('/')
        ? layer
        : { ...layer, path: `${here}/${layer.path}` as ByteString },
    );
}

function held(fs: FileSystem): string {
  const { nodes, descriptors } = fs.usage();
  return `nodes ${nodes}, descriptors ${descriptors}\n`;
}

/**
 * Absolute and without symbolic links, or as it was given if it cannot be looked at: mounting then
 * says why.
 */
function resolved(path: ByteString): ByteString {
  try {
    return realpathSync
      .native(Buffer.from(path, 'latin1'), 'buffer')
      .toString('latin1') as ByteString;
  } catch {
    return path;
  }
}
