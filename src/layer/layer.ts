/** Read-only layers in memory: each with its parents, the base first in depth. */
import type { ChainId, DiffId } from '../base/digest.js';
import type { CacheId } from '../base/ids.js';
import { isDamaged, type Damaged, type StoredLayer } from './metadata-store.js';

/** Does not change; the same layer read again may be another object. */
export interface Layer {
  readonly chainId: ChainId;
  readonly diffId: DiffId;
  readonly parent: Layer | undefined;
  /** Bytes, as Docker counts them for the driver. */
  readonly size: number;
  readonly cacheId: CacheId;
  /** The registry's descriptor, where one is kept. */
  readonly descriptor?: unknown;
  /** How many layers it is, itself included. */
  readonly depth: number;
}

/** Docker's bound on `depth` (moby, layer/layer_store.go, maxLayerDepth). */
export const MAX_DEPTH = 125;

export function layerOf(stored: StoredLayer, parent: Layer | undefined): Layer {
  const { chainId, diffId, size, cacheId, descriptor } = stored;
  return {
    chainId,
    diffId,
    parent,
    size,
    cacheId,
    depth: (parent?.depth ?? 0) + 1,
    ...(descriptor !== undefined && { descriptor }),
  };
}

/** From the topmost to the base. */
export function* ancestry(layer: Layer | undefined): Iterable<Layer> {
  for (let at = layer; at !== undefined; at = at.parent) yield at;
}

/**
 * The layers that have all their ancestors, and for each other one why it has not. `known`: those
 * of before, used again where nothing changed. No recursion, for a hostile store may be deeper than
 * the stack; and no cycles, because a layer's name is the digest of its parent's.
 */
export function linkLayers(
  stored: ReadonlyMap<ChainId, StoredLayer | Damaged>,
  known: ReadonlyMap<ChainId, Layer>,
): { layers: Map<ChainId, Layer>; skipped: Map<ChainId, string> } {
  const layers = new Map<ChainId, Layer>();
  const skipped = new Map<ChainId, string>();
  for (const start of stored.keys()) {
    const path: StoredLayer[] = [];
    let at: ChainId | undefined = start;
    let broken: string | undefined;
    while (at !== undefined && !layers.has(at)) {
      const found = stored.get(at);
      if (found === undefined) broken = `needs the layer ${at}, which is not there`;
      else if (isDamaged(found)) {
        skipped.set(at, found.reason);
        broken = `needs the layer ${at}, which ${found.reason}`;
      } else if (skipped.has(at)) broken = skipped.get(at);
      if (broken !== undefined || found === undefined || isDamaged(found)) break;
      path.push(found);
      at = found.parent;
    }
    for (const each of path.reverse()) {
      if (broken !== undefined) skipped.set(each.chainId, broken);
      else
        layers.set(
          each.chainId,
          sameOrNew(
            each,
            each.parent === undefined ? undefined : layers.get(each.parent),
            known.get(each.chainId),
          ),
        );
    }
  }
  return { layers, skipped };
}

function sameOrNew(
  stored: StoredLayer,
  parent: Layer | undefined,
  known: Layer | undefined,
): Layer {
  return known?.cacheId === stored.cacheId && known.size === stored.size && known.parent === parent
    ? known
    : layerOf(stored, parent);
}
