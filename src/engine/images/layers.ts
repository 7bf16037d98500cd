/** `ply layers`: the layers of an image, a layer or a mount, and where each lies. */
import type { ChainId, DiffId } from '../../base/digest.js';
import type { CacheId } from '../../base/ids.js';
import { ancestry, type Layer } from '../../layer/layer.js';
import type { DataRoot } from '../data-root.js';
import { findObject, type FoundObject } from '../find-object.js';

export interface LayerView {
  readonly chainId: ChainId;
  readonly diffId: DiffId;
  readonly cacheId: CacheId;
  readonly size: number;
  /** What the mount gets as a lower directory. */
  readonly directory: string;
}

/**
 * Topmost first: the order in which they are handed to the mount. Throws what `findObject` throws.
 */
export function listLayers(root: DataRoot, word: string): LayerView[] {
  const top = topOf(root, findObject(root, word, ['image', 'layer', 'mount']));
  return [...ancestry(top)].map(({ chainId, diffId, cacheId, size }) => ({
    chainId,
    diffId,
    cacheId,
    size,
    directory: root.driver.directories(cacheId).own,
  }));
}

/** Undefined: there are none. */
export function topOf(root: DataRoot, found: FoundObject): Layer | undefined {
  switch (found.kind) {
    case 'image':
      return found.image.chainId === undefined ? undefined : root.layers.get(found.image.chainId);
    case 'layer':
      return found.layer;
    case 'mount':
      return found.mounted.parent;
  }
}
