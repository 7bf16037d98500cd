/** `ply gc`. */
import { removeStrayManifests } from '../image/manifest-store.js';
import type { Collected } from '../layer/layer-store.js';
import { removeLeftContainerGroups } from '../runtime/control-groups.js';
import type { DataRoot } from './data-root.js';

export type { Collected };

/**
 * `dryRun`: what would be removed. Control groups that containers left go as well; they hold
 * nothing, and are not told of.
 */
export async function collectGarbage(root: DataRoot, { dryRun = false } = {}): Promise<Collected> {
  if (dryRun) return { removed: root.layers.garbage(), failed: [] };
  removeLeftContainerGroups();
  removeStrayManifests(root.root, (id) => root.images.get(id) !== undefined);
  return root.layers.collectGarbage();
}
