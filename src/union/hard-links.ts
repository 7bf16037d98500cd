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
 * can be believed. On another it takes a proof (src/overlay/file-identity.ts); without, each name
 * is a file of its own.
 */
import type { ByteString, Name } from '../base/bytes.js';
import { sys } from '../sys/index.js';
import { provedSame } from '../overlay/file-identity.js';
import type { Devices } from '../overlay/devices.js';
import { onDisk } from '../overlay/disk-directory.js';
import { type LayerDirectory } from '../overlay/layer.js';
import type { LinkGroup } from './node.js';
import { type Node, keyOf } from './node.js';

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
