/**
 * Hard links across copy-up.
 *
 * Several names of one lower file are one node. After copy-up through one of them the others must still lead to the
 * same file, although their dentries are in the lower layer: the group remembers it while the mount
 * lives, and every name that is looked up is linked into the upper, so that what was written through it is
 * there after remounting. (overlayfs does the same with `index=on`, and breaks the link without.)
 */
import type { Node } from './node.js';

export class LinkGroup {
  /** The lower file that all names began with. */
  readonly layerIndex: number;
  readonly inode: number;
  readonly node: Node;
  /** Names in the lower layer that have been neither removed nor replaced by one in the upper. */
  remaining: number;
  /** The group says what the layers no longer do: its node must stay when the kernel forgets it. */
  pinned = false;

  constructor(layerIndex: number, inode: number, node: Node, names: number) {
    this.layerIndex = layerIndex;
    this.inode = inode;
    this.node = node;
    this.remaining = names;
  }

  /** One lower name less. */
  taken(): void {
    this.remaining = Math.max(0, this.remaining - 1);
    this.pinned = true;
  }
}

/** The multiply linked files that have a node, by layer and the inode number they have there. */
export class LinkTable {
  readonly #groups = new Map<string, LinkGroup>();

  find(layerIndex: number, inode: number): LinkGroup | undefined {
    return this.#groups.get(`${layerIndex}:${inode}`);
  }

  add(group: LinkGroup): void {
    this.#groups.set(`${group.layerIndex}:${group.inode}`, group);
  }

  /** A node that the table of nodes lets go. */
  drop(node: Node): void {
    const group = node.links;
    if (group !== null && !group.pinned) this.#groups.delete(`${group.layerIndex}:${group.inode}`);
  }
}
