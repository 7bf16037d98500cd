/**
 * Hard links across copy-up.
 *
 * Several names of one lower file are one node. After copy-up through one of them the others must
 * still lead to the same file, although their dentries are in the lower layer: the group remembers
 * it while the mount lives, and every name that is looked up is linked into the upper, so that what
 * was written through it is there after remounting. (overlayfs breaks the link.) With `index=on`
 * the copy lies in the index (inode-index.ts), which says as much for good.
 *
 * Two names are one file when device and inode number say so, and the device is one whose numbers
 * can be believed. On another it takes a proof (src/overlay/file-identity.ts); without, each name is a
 * file of its own.
 */
import type { ByteString, Name } from '../base/bytes.js';
import { sys } from '../sys/index.js';
import { numberedIdentity, provedSame } from '../overlay/file-identity.js';
import type { Devices } from '../overlay/devices.js';
import { onDisk } from '../overlay/disk-directory.js';
import { UPPER, type LayerDirectory } from '../overlay/layer.js';
import type { Node } from './node.js';

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

function keyOf(holder: LayerDirectory, stat: Float64Array, index: number): string {
  return `${holder.layer.index}:${numberedIdentity(stat, index)}`;
}

/** The multiply linked files that have a node. */
export class LinkTable {
  readonly #devices: Devices;
  /** Of one key there are several where numbers are not kept apart. */
  readonly #groups = new Map<string, LinkGroup[]>();

  constructor(devices: Devices) {
    this.#devices = devices;
  }

  /** The group of the file `name` in `holder`, whose attributes are entry `index` of `stat`. */
  find(
    holder: LayerDirectory,
    name: ByteString,
    stat: Float64Array,
    index: number,
  ): LinkGroup | undefined {
    const groups = this.#groups.get(keyOf(holder, stat, index));
    if (groups === undefined || this.#devices.of(holder, name, stat, index).numbersApart)
      return groups?.[0];
    const fd = onDisk(holder).openPath(name);
    if (fd < 0) return undefined;
    try {
      return groups.find((group) => leadsTo(group, fd));
    } finally {
      sys.close(fd);
    }
  }

  /** The group of the file that has this entry in the index. */
  ofEntry(entry: Name): LinkGroup | undefined {
    return this.#groups.get(entry)?.[0];
  }

  add(group: LinkGroup): void {
    const groups = this.#groups.get(group.key);
    if (groups === undefined) this.#groups.set(group.key, [group]);
    else groups.push(group);
  }

  /** A node that the table of nodes lets go. */
  drop(node: Node): void {
    const group = node.links;
    if (group === null || group.pinned) return;
    const others = this.#groups.get(group.key)?.filter((other) => other !== group) ?? [];
    if (others.length === 0) this.#groups.delete(group.key);
    else this.#groups.set(group.key, others);
  }
}

/** Whether the open file `fd` is proved to be the group's. */
function leadsTo({ origin, node }: LinkGroup, fd: number): boolean {
  if (origin === null && node.orphanFd >= 0) return provedSame(node.orphanFd, fd);
  const { holder, name } = origin ?? node;
  const own = onDisk(holder).openPath(name);
  if (own < 0) return false;
  const same = provedSame(own, fd);
  sys.close(own);
  return same;
}
