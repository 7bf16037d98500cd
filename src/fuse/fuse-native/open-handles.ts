/**
 * Open files: the number that the kernel knows, and the node it stands for, which is held until the
 * file is released.
 */
import { E, Errno } from '../../base/errno.js';
import type { NodeId } from '../../vfs/filesystem.js';
import type { NodeReference } from './node-paths.js';

/** fuse-native hands a handle over as int32, and takes 0 for none. */
const LAST_HANDLE = 0x7fff_ffff;

export class OpenHandles {
  readonly #open = new Map<number, NodeReference>();
  #last = 0;

  get size(): number {
    return this.#open.size;
  }

  /** Takes over the caller's hold on `reference`. */
  add(reference: NodeReference): number {
    do this.#last = this.#last === LAST_HANDLE ? 1 : this.#last + 1;
    while (this.#open.has(this.#last));
    this.#open.set(this.#last, reference);
    return this.#last;
  }

  /** Throws EBADF. */
  node(handle: number): NodeId {
    const reference = this.#open.get(handle);
    if (reference === undefined) throw new Errno(E.EBADF);
    return reference.node;
  }

  release(handle: number): void {
    const reference = this.#open.get(handle);
    this.#open.delete(handle);
    reference?.release();
  }

  clear(): void {
    for (const handle of [...this.#open.keys()]) this.release(handle);
  }
}
