/** `ply export`: all that a container shows, as a tar. */
import type { ByteSource } from '../../base/byte-source.js';
import type { DataRoot } from '../data-root.js';
import { findMounted } from './find.js';

/**
 * Throws `container-missing`, `container-ambiguous`, what mounting and reading throws, and the
 * signal's reason, while it is read; what it mounted is unmounted then.
 */
export async function* exportContainer(
  root: DataRoot,
  word: string,
  { signal }: { signal?: AbortSignal } = {},
): ByteSource {
  for await (const piece of root.layers.tree(findMounted(root, word).name)) {
    signal?.throwIfAborted();
    yield piece;
  }
}
