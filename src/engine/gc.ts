/** `ply gc`. */
import type { Collected } from '../layer/layer-store.js';
import type { DataRoot } from './data-root.js';

export type { Collected };

/** `dryRun`: what would be removed. */
export async function collectGarbage(root: DataRoot, { dryRun = false } = {}): Promise<Collected> {
  return dryRun ? { removed: root.layers.garbage(), failed: [] } : root.layers.collectGarbage();
}
