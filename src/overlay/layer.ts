/**
 * Layers, and the one seam through which they are read.
 *
 * A layer is a tree of directories; `LayerDirectory` is one of them. The union asks it for nothing
 * but what is declared here, so that a tree may come from a directory on disk (disk-directory.ts)
 * or from elsewhere. Lower layers never change while they are mounted; the upper layer is changed
 * by this union alone.
 */
import type { ByteString, Name } from '../base/bytes.js';
import type { OverrideBelief } from './override-stat.js';
import type { MarkClass } from './private-xattrs.js';
import type { WhiteoutForm } from './form.js';

/**
 * The upper layer's index; lower layers count from 1, topmost first, also when there is no upper.
 */
export const UPPER = 0;

/** Of lower ones: overlayfs's own limit (fs/overlayfs/params.c, OVL_MAX_STACK). */
export const MAX_LAYERS = 500;

export interface Layer {
  readonly index: number;
  readonly form: WhiteoutForm;
  /** What its root lies on. */
  readonly device: Device;
  /**
   * Where further devices are asked for, of a layer that may show several; null: all its
   * directories lie on `device`.
   */
  readonly devices: DirectoryDevices | null;
  /** No layer lies below: what its markers say of lower layers has no effect. */
  readonly bottom: boolean;
  /** Which marks are read in it; the same in all layers of a union. */
  readonly marks: MarkClass;
  /**
   * Whether its files carry owner, mode and type in an override_stat xattr, under which name, and
   * which of them are believed.
   */
  readonly overrideStat: OverrideBelief | undefined;
  /** To be told of what is met and not believed. */
  readonly unbelieved: Disbelief;
}

/** Tells what directories of layers lie on (devices.ts). */
export interface DirectoryDevices {
  ofDirectory(directory: LayerDirectory): Device;
}

/** Is told of attributes in a layer that are not believed (belief.ts). */
export interface Disbelief {
  /** One that keeps the owner of `name`. */
  ownersOf(directory: LayerDirectory, name: ByteString, attribute: ByteString): void;
  /** A mark that the union's class of marks does not read. */
  mark(directory: LayerDirectory, name: ByteString, attribute: string): void;
  /** One by which `name` would be another file below. */
  detour(directory: LayerDirectory, name: ByteString, suffix: string): void;
}

/** Receives each entry of a directory but `.` and `..`; `type` is DT_* of dirent(5). */
export type EntryVisitor = (name: Name, type: number, inoLow: number, inoHigh: number) => void;

/**
 * Calls return what the system call of that name returns, or `-errno`; names are single components.
 */
export interface LayerDirectory {
  readonly layer: Layer;
  /**
   * The directory of that name below this one. No system call: that it exists is the caller's
   * knowledge, and so is what it lies on if `device` is given.
   */
  descend(name: Name, device?: Device): LayerDirectory;
  /** What it lies on, and so all that is in it but mount points and roots of subvolumes. */
  device(): Device;
  /** Fills entry `index` of a stat buffer (StatField). The empty name is the directory itself. */
  stat(name: ByteString, out: Float64Array, index: number): number;
  statMany(names: readonly ByteString[], count: number, out: Float64Array): number;
  list(visit: EntryVisitor): number;
  /**
   * The same in pieces (src/base/pieces.ts), as many entries each as one getdents64(2) gives:
   * yields how many. Returns as `list` does.
   */
  listing(visit: EntryVisitor): Generator<number, number, undefined>;
  /** What `stat` showed to be a regular file, for reading. */
  open(name: ByteString): number;
  readlink(name: ByteString, buffer: Uint8Array): number;
  getxattr(name: ByteString, attribute: ByteString, buffer: Uint8Array | null): number;
  /** As `xattrNames` of src/sys/xattr-names.ts. */
  xattrNames(name: ByteString): readonly ByteString[] | number;
  /**
   * The attribute that carries the owner of what has the name, in a layer that has such, if it is
   * believed of that.
   */
  overrideOf(name: ByteString): ByteString | undefined;
  /** The bytes of name_to_handle_at(2). */
  handle(name: ByteString, buffer: Uint8Array): number;
  /** Gives back what is held open for this directory; it may be used again. */
  release(): void;
}

export interface Device {
  readonly major: number;
  readonly minor: number;
  /**
   * What is added to an inode number of its own, and from which number on there is no room for it
   * (inode-numbers.ts).
   */
  readonly base: number;
  readonly limit: number;
  /** No two files on it share a number. Otherwise a shared number proves nothing. */
  readonly numbersApart: boolean;
  /** Null when it has none: handles of its files cannot be told from another's. */
  readonly uuid: Buffer | null;
  /** The same in every mount, where the file system has a UUID. */
  readonly name: string;
}
