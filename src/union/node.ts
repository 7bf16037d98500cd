/**
 * Nodes and the names that lead to them.
 *
 * A node is one file of the union, however many names it has. It knows where its object lies: for a
 * file the one layer that wins, for a directory every layer that takes part, topmost first. A
 * dentry is one name in one directory of the union; it may or may not have a node yet. The kernel
 * holds nodes (lookup counts); nodes hold their dentries, and a directory holds the dentries of its
 * names.
 */
import type { ByteString, Name } from '../base/bytes.js';
import { ROOT_NODE, type NodeId } from '../vfs/filesystem.js';
import { onDisk, type DiskDirectory } from '../overlay/disk-directory.js';
import { UPPER, type LayerDirectory } from '../overlay/layer.js';
import { S_IFDIR } from '../overlay/stat-buffer.js';
import { sys } from '../sys/index.js';
import { numberedIdentity } from '../overlay/file-identity.js';

export class Dentry {
  parent: DirectoryNode;
  name: Name;
  /** DT_* of the winning object. */
  type: number;
  /** The parent's directory, in the topmost layer that has the name. */
  holder: LayerDirectory;
  /**
   * For a directory: the parent's directories further down whose entry of that name merges, if the
   * listing knew.
   */
  below: readonly LayerDirectory[] | null = null;
  /**
   * Whether a layer below the upper shows the name, so that its deletion needs a whiteout;
   * undefined: not known yet.
   */
  covers: boolean | undefined = undefined;
  /** `d_ino`, 0 when not known yet. */
  ino = 0;
  /**
   * Its place in the parent's listing; 0 while the directory has not been listed. Never reused, so
   * that readers keep their place.
   */
  cookie = 0;
  node: Node | null = null;

  constructor(parent: DirectoryNode, name: Name, type: number, holder: LayerDirectory) {
    this.parent = parent;
    this.name = name;
    this.type = type;
    this.holder = holder;
  }
}

export class Node {
  id: NodeId = 0 as NodeId;
  /** How often the kernel was given this node and has not returned it. */
  lookups = 0;
  /** `st_ino`: fixed for the node's life. */
  readonly ino: number;
  /** S_IFREG, S_IFDIR, … */
  readonly type: number;
  /**
   * Where the winning object lies: a directory of one layer and the name in it. For a directory
   * node its topmost object.
   */
  holder: LayerDirectory;
  name: Name;
  /**
   * The names by which it is known; empty once the last was removed. Several only for hard links.
   */
  dentries: Dentry[] = [];
  links: LinkGroup | null = null;
  /** A descriptor that alone keeps an unlinked upper file alive; -1 when there is none. */
  orphanFd = -1;
  /** The descriptor counts against the union's limit of them. */
  orphanCounted = false;
  /** An unlinked upper file that `work` keeps under a name of its own (`holder`, `name`). */
  parked = false;
  /**
   * Its name in the upper is known to be on the disk: it was flushed as a whole since this node was
   * made.
   */
  nameFlushed = false;
  /** Flags that forbid changes (protection.ts); undefined: not looked at yet. */
  protection: number | undefined = undefined;
  /** Settles when a copy-up that is under way has been published or has failed. */
  copyingUp: Promise<void> | null = null;
  /**
   * Its data is in a lower layer although its object is not (`overlay.metacopy`); undefined: not
   * looked at yet.
   */
  data: { holder: LayerDirectory; name: Name } | null | undefined = undefined;

  constructor(ino: number, type: number, holder: LayerDirectory, name: Name) {
    this.ino = ino;
    this.type = type;
    this.holder = holder;
    this.name = name;
  }

  isDirectory(): this is DirectoryNode {
    return this.type === S_IFDIR;
  }

  get inUpper(): boolean {
    return this.holder.layer.index === UPPER;
  }

  /** No name leads here any more. */
  get unlinked(): boolean {
    return this.dentries.length === 0 && this.id !== ROOT_NODE;
  }
}

export class DirectoryNode extends Node {
  /**
   * The merged directories, topmost first; the first is the upper's once the directory has been
   * copied up.
   */
  stack: LayerDirectory[];
  /** The names known so far; all of them when `complete`. */
  readonly entries = new Map<Name, Dentry>();
  complete = false;
  /**
   * All names, of which `entries` has those that a dentry was needed of. Not together with
   * `complete`.
   */
  packed: PackedListing | null = null;
  /**
   * It has more entries than are listed at once: single names are asked of the layers, and a
   * listing is waited for.
   */
  large = false;
  /** A packed listing cannot be had: some name must be looked at more closely. */
  unpackable = false;
  /**
   * Settles when a listing that is being read, or being made dentries of, is there or has failed.
   * Names come and go only afterwards.
   */
  preparing: Promise<void> | null = null;
  /**
   * The listing in descending order of cookies, once it was read; removed dentries stay until the
   * next compaction.
   */
  listing: Dentry[] | null = null;
  /** For the next name that comes; counts down. */
  nextCookie = 0;
  removedFromListing = 0;
  /**
   * What lookups of names that were not known have cost: layers asked while there was no listing,
   * then questions to the packed one.
   */
  probes = 0;
  /**
   * Nodes that live in `entries`: while there are any, this object must not be replaced by another.
   */
  liveChildren = 0;
  /** What `getattr` says of a removed directory. */
  lastStat: Float64Array | null = null;
  /** The upper directory carries `overlay.impure`: some inode numbers come from below. */
  impure = false;
  /** Directories in `stack` whose zero-size files may be whiteouts by xattr. */
  xattrWhiteouts: LayerDirectory[] | null = null;
  /**
   * The directory in `stack` that is opaque by xattr. fuse-overlayfs says it once more by a
   * `.wh..wh..opq` in it, which is no file.
   */
  opaque: LayerDirectory | null = null;

  constructor(ino: number, stack: LayerDirectory[]) {
    const top = stack[0] as LayerDirectory;
    super(ino, S_IFDIR, top, '' as Name);
    this.stack = stack;
  }

  get upper(): DiskDirectory | null {
    const top = this.stack[0] as LayerDirectory;
    return top.layer.index === UPPER ? onDisk(top) : null;
  }

  /** Lies in the upper layer alone: it may be renamed, and its names cover nothing. */
  get pureUpper(): boolean {
    return this.stack.length === 1 && this.inUpper;
  }

  /** The one dentry of a directory, or null for the root and a removed one. */
  get dentry(): Dentry | null {
    return this.dentries[0] ?? null;
  }
}

/** A file that has, or had, several names: hard-links.ts says what is remembered of it. */
export class LinkGroup {
  /** The file that all names began with: its layer, device and inode number. */
  readonly key: string;
  /** One of its names in the lower layer; of a group of the upper, where its node lies says it. */
  readonly origin: { readonly holder: LayerDirectory; readonly name: ByteString } | null;
  readonly node: Node;
  /**
   * The entry of the index that the file has, or has once it was copied up; null where it is not
   * indexed.
   */
  readonly entry: Name | null;
  /** The node is the copy that lies in the index. */
  indexed = false;
  /** Links that the lower file has. */
  readonly lowerNames: number;
  /** Names in the lower layer that have been neither removed nor replaced by one in the upper. */
  remaining: number;
  /** The group says what the layers no longer do: its node must stay when the kernel forgets it. */
  pinned = false;

  /**
   * `stat`, entry `index`: the attributes of the object `name` in `holder`, which has `names` names
   * in a lower layer.
   */
  constructor(
    node: Node,
    holder: LayerDirectory,
    name: ByteString,
    stat: Float64Array,
    index: number,
    names: number,
    entry: Name | null = null,
  ) {
    this.entry = entry;
    this.lowerNames = names;
    this.key = entry ?? keyOf(holder, stat, index);
    this.origin = holder.layer.index === UPPER ? null : { holder, name };
    this.node = node;
    this.remaining = names;
  }

  /** One lower name less. */
  taken(): void {
    this.remaining = Math.max(0, this.remaining - 1);
    if (!this.indexed) this.pinned = true;
  }
}

/** The file's layer, device and inode number. */
export function keyOf(holder: LayerDirectory, stat: Float64Array, index: number): string {
  return `${holder.layer.index}:${numberedIdentity(stat, index)}`;
}

export interface PackedListing {
  readonly records: Buffer;
  /**
   * What the records' numbers of directories mean. The node's own stack changes when it is copied
   * up.
   */
  readonly stack: readonly LayerDirectory[];
  /** Where a reader was last: a record's offset and number. */
  readonly reached: { offset: number; number: number };
}

/** The attributes of the node's winning object; `-errno` when it cannot be reached. */
export function statNode(node: Node, out: Float64Array): number {
  if (node.orphanFd >= 0) return sys.statx(node.orphanFd, '' as ByteString, out, 0);
  if (node.isDirectory()) {
    if (node.lastStat !== null) {
      out.set(node.lastStat);
      return 0;
    }
    return (node.stack[0] as LayerDirectory).stat('' as ByteString, out, 0);
  }
  return node.holder.stat(node.name, out, 0);
}
