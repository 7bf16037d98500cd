/**
 * The nodes the kernel knows, by id.
 *
 * A node leaves the table when the kernel has returned every lookup, no child of it is in the
 * table, and nothing pins it (hard-links.ts). Ids are used again, so that tables indexed by id,
 * native/'s among them, stay dense.
 */
import { E, Errno } from '../base/errno.js';
import { ROOT_NODE, type NodeId } from '../vfs/filesystem.js';
import type { Dentry, DirectoryNode, Node } from './node.js';

export class NodeTable {
  readonly #nodes: (Node | undefined)[] = [undefined];
  readonly #free: number[] = [];
  readonly #onEvict: (node: Node) => void;

  /** `onEvict` is called for each node that leaves, before its id can be used again. */
  constructor(root: DirectoryNode, onEvict: (node: Node) => void) {
    root.id = ROOT_NODE;
    root.lookups = 1;
    this.#nodes.push(root);
    this.#onEvict = onEvict;
  }

  get size(): number {
    return this.#nodes.length - 1 - this.#free.length;
  }

  /** Throws ESTALE for an id that names no node. */
  get(id: NodeId): Node {
    const node = this.#nodes[id];
    if (node === undefined) throw new Errno(E.ESTALE, `node ${id}`);
    return node;
  }

  /** Throws ENOTDIR as well. */
  directory(id: NodeId): DirectoryNode {
    const node = this.get(id);
    if (!node.isDirectory()) throw new Errno(E.ENOTDIR, `node ${id}`);
    return node;
  }

  add(node: Node): void {
    const id = this.#free.pop() ?? this.#nodes.length;
    node.id = id as NodeId;
    this.#nodes[id] = node;
    for (const dentry of node.dentries) dentry.parent.liveChildren++;
  }

  forget(id: NodeId, count: number): void {
    const node = this.#nodes[id];
    if (node === undefined) return;
    node.lookups = Math.max(0, node.lookups - count);
    this.evictIfUnused(node);
  }

  /**
   * With it go the directories that were there for its sake alone, however many there are above
   * each other.
   */
  evictIfUnused(node: Node): void {
    let waiting: Node[] | null = null;
    for (let next: Node | undefined = node; next !== undefined; next = waiting?.pop()) {
      if (!this.#unused(next)) continue;
      this.#onEvict(next);
      this.#nodes[next.id] = undefined;
      this.#free.push(next.id);
      const dentries = next.dentries;
      next.dentries = [];
      for (const dentry of dentries) {
        dentry.node = null;
        dentry.parent.liveChildren--;
        if (this.#unused(dentry.parent)) (waiting ??= []).push(dentry.parent);
      }
    }
  }

  #unused(node: Node): boolean {
    if (node.lookups > 0 || node.id === ROOT_NODE || node.copyingUp !== null) return false;
    if (node.links !== null && node.links.pinned) return false;
    if (node.isDirectory() && node.liveChildren > 0) return false;
    return this.#nodes[node.id] === node;
  }

  /** Makes `dentry` a name of `node`. */
  attach(dentry: Dentry, node: Node): void {
    dentry.node = node;
    node.dentries.push(dentry);
    if (node.id !== 0) dentry.parent.liveChildren++;
  }

  /** Takes the name away from its node. */
  detach(dentry: Dentry): void {
    const node = dentry.node;
    if (node === null) return;
    dentry.node = null;
    node.dentries.splice(node.dentries.indexOf(dentry), 1);
    dentry.parent.liveChildren--;
    this.evictIfUnused(dentry.parent);
  }

  *values(): IterableIterator<Node> {
    for (const node of this.#nodes) if (node !== undefined) yield node;
  }
}
