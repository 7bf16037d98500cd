/**
 * A layer's way out of the store, and a mount's.
 *
 * Under the store's lock its directory is renamed, and from then on nobody sees it; then the
 * driver's directories go, then the renamed one, which names them. Whoever finds it renamed and
 * nobody at work finishes it (garbage.ts).
 */
import type { ChainId } from '../base/digest.js';
import { messageOf, PlyfsError } from '../base/error.js';
import { ancestry, type Layer } from './layer.js';
import type { StoreState } from './store-state.js';
import { trace } from './trace.js';
import type { WriteSet } from './write-set.js';

/** What was taken out of the store, and the driver's directories that go with it. */
export interface Removal {
  readonly writeSet: WriteSet;
  readonly ids: readonly string[];
}

/** The driver's directories first: as long as one is there, what names it is. */
export async function finishRemoving(state: StoreState, { writeSet, ids }: Removal): Promise<void> {
  try {
    for (const id of ids) {
      await state.driver.remove(id);
      trace('driver directory removed', id);
    }
    writeSet.remove();
  } finally {
    writeSet.close();
  }
}

/**
 * Gives a reference back, and deletes what nobody needs any more: the layer, its parent, and so on.
 * Returns those, topmost first.
 */
export async function releaseLayer(state: StoreState, chainId: ChainId): Promise<Layer[]> {
  if (state.readOnly) {
    state.unhold(chainId);
    return [];
  }
  const { layers, removals } = state.exclusively(() => {
    state.unhold(chainId);
    return takeUnneeded(state, chainId);
  });
  await finishAll(state, removals);
  return layers;
}

/**
 * Under the store's lock: takes the layer and its ancestors out of the store, as far as nobody
 * needs them.
 */
export function takeUnneeded(
  state: StoreState,
  chainId: ChainId,
): { layers: Layer[]; removals: Removal[] } {
  const layers: Layer[] = [];
  const taken: { layer: Layer; writeSet: WriteSet }[] = [];
  const held = state.references(chainId) > 0 ? undefined : state.heldElsewhere();
  for (const layer of ancestry(state.layers.get(chainId))) {
    const child = layers.at(-1);
    const needed = state.references(layer.chainId) - (child === undefined ? 0 : 1) > 0;
    if (needed || held === undefined || held.has(layer.chainId)) break;
    taken.push({ layer, writeSet: state.metadata.beginRemovingLayer(layer.chainId) });
    layers.push(layer);
    trace('layer taken out', layer.chainId);
  }
  if (taken.length > 0) {
    state.metadata.syncLayers();
    state.refresh();
  }
  return {
    layers,
    removals: taken.map(({ layer, writeSet }) => ({
      writeSet,
      ids: unusedIds(state, [layer.cacheId]),
    })),
  };
}

/** A hostile root may name one directory twice: it stays as long as something names it. */
export function unusedIds(state: StoreState, ids: readonly string[]): string[] {
  return ids.filter((id) => !state.isIdUsed(id));
}

/**
 * All that can be; throws the first failure afterwards. What failed is left for the garbage
 * collection.
 */
export async function finishAll(state: StoreState, removals: readonly Removal[]): Promise<void> {
  const failures: unknown[] = [];
  for (const removal of removals)
    await finishRemoving(state, removal).catch((error: unknown) => failures.push(error));
  if (failures.length === 0) return;
  const reason = messageOf(failures[0]).replace(/\.$/, '');
  throw new PlyfsError(
    'removal-unfinished',
    `What was deleted is out of the store, but ${failures.length} directories of it could not be removed (${reason}): collect the garbage.`,
    { cause: failures[0] },
  );
}
