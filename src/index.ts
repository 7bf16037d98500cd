/**
 * plyfs as a library: mounting a union of directories from a program.
 *
 * ```ts
 * import { mountUnion } from 'plyfs';
 * const union = await mountUnion({
 *   lowers: ['/layers/app', '/layers/base'],
 *   upper: '/upper',
 *   work: '/work',
 *   mountpoint: '/mnt',
 * });
 * // ... /mnt is served by this process ...
 * await union.unmount();
 * ```
 *
 * The process that mounts serves, one union or several: while it is blocked in synchronous work the
 * mounts wait, and when it ends they are dead. It must never touch its own mount synchronously,
 * `require` and `import` from there included: it would wait for itself. A program that cannot keep
 * to that starts `plyfs` instead.
 */
import { bytesOf, type ByteString } from './base/bytes.js';
import { mountUnion as mount, type MountedUnion } from './mount/mount-union.js';
import { parseMountOptions } from './mount/mount-options.js';

export { PlyfsError, UsageError } from './base/error.js';
export type { MountedUnion };

/** A path: text, or its bytes where it is not UTF-8. */
export type Path = string | Uint8Array;

export interface MountUnionOptions {
  /** The directories to join, the topmost first. They must not change while they are mounted. */
  readonly lowers: readonly Path[];
  /** Where changes go; absent: the union is read-only. Belongs to this mount alone. */
  readonly upper?: Path;
  /** With `upper`: an empty directory on the same file system. */
  readonly work?: Path;
  /** An existing directory. */
  readonly mountpoint: Path;
  /** Further options, as after the `-o` of plyfs: `redirect_dir=on,allow_other`. */
  readonly options?: string;
  /**
   * Takes sentences about what stops nothing: an option without effect, a layer's file system that
   * cannot keep something.
   */
  readonly warn?: (sentence: string) => void;
}

/**
 * Mounts a union and resolves when it answers. Rejects with `PlyfsError`, whose `code` says what is
 * wrong: nothing is mounted then. The process must run as root, or find `fusermount3` in PATH.
 */
export async function mountUnion(options: MountUnionOptions): Promise<MountedUnion> {
  const words = [`lowerdir=${options.lowers.map(escaped).join(':')}`];
  if (options.upper !== undefined) words.push(`upperdir=${escaped(options.upper)}`);
  if (options.work !== undefined) words.push(`workdir=${escaped(options.work)}`);
  const parsed = parseMountOptions([words.join(',') as ByteString, bytesOf(options.options ?? '')]);
  const warn = options.warn ?? (() => undefined);
  for (const sentence of parsed.ignored) warn(sentence);
  if (parsed.tracing !== undefined)
    warn('option ignored: trace: a program subscribes to the diagnostics channel plyfs.union');
  return mount({ ...parsed, mountpoint: pathBytes(options.mountpoint), warn });
}

function pathBytes(path: Path): ByteString {
  return typeof path === 'string'
    ? bytesOf(path)
    : (Buffer.from(path).toString('latin1') as ByteString);
}

/** What separates options and layers in an option list is part of a path here. */
function escaped(path: Path): string {
  return pathBytes(path).replace(/[\\:,]/g, '\\$&');
}
