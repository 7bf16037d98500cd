/**
 * Which node a path names.
 *
 * libfuse names files by path, the file system by node. A path is walked from the root by `lookup`,
 * and the nodes on the way are kept, a bounded number of them. Each `NodeReference` stands for one
 * lookup count: it is given back to the file system when the last holder (the cache, a request
 * under way, an open handle) lets go.
 *
 * A walk that a change overtakes may have seen the old names: what it found is used, but not kept
 * (`#changes`).
 */
import { LRUCache } from 'lru-cache';
import type { Name } from '../../base/bytes.js';
import { E, Errno } from '../../base/errno.js';
import {
  Attributes,
  NO_NODE,
  ROOT_NODE,
  type FileSystem,
  type NodeId,
} from '../../vfs/filesystem.js';
import { assertWhole, nameOf } from './text.js';

export class NodeReference {
  readonly node: NodeId;
  readonly #fileSystem: FileSystem | null;
  #holders = 1;

  /** Takes over one lookup count; null: there is none to give back (the root). */
  constructor(node: NodeId, fileSystem: FileSystem | null) {
    this.node = node;
    this.#fileSystem = fileSystem;
  }

  hold(): this {
    this.#holders++;
    return this;
  }

  release(): void {
    this.#holders--;
    if (this.#holders < 0)
      throw new RangeError(`node ${this.node} was released more often than held`);
    if (this.#holders === 0) this.#fileSystem?.forget(this.node, 1);
  }
}

/** The directory and the last component of a path. The caller releases `parent`. */
export interface Place {
  readonly parent: NodeReference;
  readonly name: Name;
}

export class NodePaths {
  readonly #fileSystem: FileSystem;
  readonly #root = new NodeReference(ROOT_NODE, null);
  readonly #known: LRUCache<string, NodeReference>;
  #changes = 0;

  /** `max`: how many paths are kept. */
  constructor(fileSystem: FileSystem, max: number) {
    this.#fileSystem = fileSystem;
    this.#known = new LRUCache({
      max,
      dispose: (reference) => {
        reference.release();
      },
    });
  }

  /**
   * The node at `path`, to be released by the caller. `out`, when given, is filled with its
   * attributes. Throws ENOENT; EILSEQ where the path has lost bytes and names nothing.
   */
  async find(path: string, out: Attributes | null = null): Promise<NodeReference> {
    let [reference, start] = this.#longestKnown(path);
    let filled = false;
    try {
      while (start < path.length) {
        const slash = path.indexOf('/', start);
        const end = slash < 0 ? path.length : slash;
        const text = path.slice(start, end);
        const last = end === path.length;
        const changes = this.#changes;
        const node = await this.#fileSystem.lookup(
          reference.node,
          nameOf(text),
          last && out !== null ? out : new Attributes(),
        );
        if (node === NO_NODE) {
          assertWhole(text);
          throw new Errno(E.ENOENT);
        }
        const next = new NodeReference(node, this.#fileSystem);
        if (changes === this.#changes) this.#known.set(path.slice(0, end), next.hold());
        reference.release();
        reference = next;
        filled = last;
        start = end + 1;
      }
      if (out !== null && !filled) await this.#fileSystem.getattr(reference.node, out);
    } catch (error) {
      reference.release();
      throw error;
    }
    return reference;
  }

  /** Where `path` is, or is to be made. */
  async place(path: string): Promise<Place> {
    const slash = path.lastIndexOf('/');
    const name = nameOf(path.slice(slash + 1));
    return { parent: await this.find(slash === 0 ? '/' : path.slice(0, slash)), name };
  }

  /** Takes over the lookup count of a node that was made at `path`. */
  made(path: string, node: NodeId): void {
    this.changed(path);
    this.#known.set(path, new NodeReference(node, this.#fileSystem));
  }

  /** Call when a name has been made, removed or changed: what was known of it is forgotten. */
  changed(path: string): void {
    this.#changes++;
    this.#known.delete(path);
  }

  /** As `changed`, with what was known below it: for what may be a directory. */
  treeChanged(path: string): void {
    this.changed(path);
    const below = `${path}/`;
    for (const known of [...this.#known.keys()])
      if (known.startsWith(below)) this.#known.delete(known);
  }

  clear(): void {
    this.#changes++;
    this.#known.clear();
  }

  #longestKnown(path: string): [reference: NodeReference, rest: number] {
    for (let end = path.length; end > 1; end = path.lastIndexOf('/', end - 1)) {
      const reference = this.#known.get(path.slice(0, end));
      if (reference !== undefined) return [reference.hold(), end + 1];
    }
    return [this.#root.hold(), 1];
  }
}
