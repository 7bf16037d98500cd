/** `ply prune`: the containers that nobody uses go. */
import { PlyfsError } from '../../base/error.js';
import { hasRecord } from './container.js';
import type { DataRoot } from '../data-root.js';

export interface Pruned {
  readonly removed: readonly { readonly id: string; readonly name: string }[];
  /** Bytes that were written to them. */
  readonly reclaimed: number;
}

/**
 * Those that `ply create` or `ply run` made: what `ply mount IMAGE` left, and dockerd's, are
 * somebody's to keep.
 */
export async function prunable(root: DataRoot): Promise<string[]> {
  const shown = new Set((await root.layers.shown()).map(({ name }) => name));
  return root.layers
    .mountedLayers()
    .filter(
      (mounted) =>
        !shown.has(mounted.name) && hasRecord(mounted) && !root.layers.isWrittenTo(mounted.name),
    )
    .map(({ name }) => name);
}

/** Throws `removal-unfinished`. */
export async function pruneContainers(root: DataRoot, names: readonly string[]): Promise<Pruned> {
  const removed: { id: string; name: string }[] = [];
  let reclaimed = 0;
  for (const name of names) {
    const mounted = root.layers.mounted(name);
    if (mounted === undefined) continue;
    try {
      const size = await root.layers.writtenSize(name);
      await root.layers.releaseMounted(name);
      removed.push({ id: mounted.mountId, name });
      reclaimed += size;
    } catch (error) {
      // Somebody came to use it, or removed it, meanwhile.
      if (
        !(error instanceof PlyfsError) ||
        !['layer-in-use', 'mount-missing', 'layer-missing'].includes(error.code)
      )
        throw error;
    }
  }
  return { removed, reclaimed };
}
