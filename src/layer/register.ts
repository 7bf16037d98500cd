/**
 * A layer's way into the store (moby, layer/layer_store.go, registerWithDescriptor):
 *
 * 1. a write-set, in which the cache-id is written down;
 * 2. the driver's directory of that name;
 * 3. the tar, in one pass: unpacked, hashed, its tar-split recorded;
 * 4. what the write-set says of it, and everything flushed;
 * 5. under the store's lock, the write-set is renamed to the chain's name, unless another was
 *    faster.
 *
 * Before the last step nothing of it can be seen, and a failure takes all away again. The parent is
 * leased meanwhile, so that nobody deletes it.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { hostile } from '../archive/entry-path.js';
import { LayerReader, type LayerLimits } from '../archive/layer-reader.js';
import type { LostAttribute } from '../archive/lost-attributes.js';
import { inlineReplaced } from '../archive/replaced-files.js';
import { assembleTar, directoryFiles, TarSplitWriter } from '../archive/tar-split.js';
import type { ByteSource } from '../base/byte-source.js';
import { chainIdOf, type ChainId, type DiffId } from '../base/digest.js';
import { PlyfsError } from '../base/error.js';
import { newCacheId, type CacheId } from '../base/ids.js';
import type { AppliedDiff } from '../graphdriver/driver.js';
import { removeTree } from '../overlay/remove-tree.js';
import { abortable } from './abortable.js';
import { MAX_DEPTH, type Layer } from './layer.js';
import { TAR_SPLIT } from './metadata-store.js';
import { finishRemoving, type Removal } from './removal.js';
import type { StoreState } from './store-state.js';
import { trace } from './trace.js';
import type { WriteSet } from './write-set.js';

export interface RegisterOptions {
  /**
   * The tar's DiffID, where it is known: a layer that is there is not read again, and another tar
   * is refused (`diff-id-mismatch`).
   */
  readonly expect?: DiffId | undefined;
  /** The registry's descriptor, kept as it is. */
  readonly descriptor?: unknown;
  readonly limits?: LayerLimits | undefined;
  readonly signal?: AbortSignal | undefined;
  /**
   * Told once, when the layer is in the store: what its files had to do without. Not told of a
   * layer that was there already.
   */
  readonly onLost?: ((lost: readonly LostAttribute[]) => void) | undefined;
}

interface Filled {
  readonly diffId: DiffId;
  readonly size: number;
  readonly lost: readonly LostAttribute[];
}

/** Where a layer goes that is being registered. */
interface Place {
  readonly parent: Layer | undefined;
  readonly cacheId: CacheId;
  readonly writeSet: WriteSet;
}

export async function registerLayer(
  state: StoreState,
  source: ByteSource,
  parentId: ChainId | undefined,
  options: RegisterOptions,
): Promise<Layer> {
  const { expect } = options;
  const begun = state.exclusively((): Layer | Place => {
    const known = expect && chainIdOf(parentId, expect);
    if (known !== undefined && state.layers.has(known)) return state.lease(known);
    const parent = parentId === undefined ? undefined : leaseParent(state, parentId);
    return { parent, cacheId: newCacheId(), writeSet: state.metadata.createWriteSet() };
  });
  if (!('writeSet' in begun)) return begun;
  trace('write-set made', begun.writeSet.path);
  try {
    const filled = await fill(state, begun, source, options);
    const layer = await publish(state, begun, filled);
    if (filled.lost.length > 0) options.onLost?.(filled.lost);
    return layer;
  } catch (error) {
    if (begun.writeSet.isOpen)
      await finishRemoving(state, { writeSet: begun.writeSet, ids: [begun.cacheId] }).catch(
        (second: unknown) => {
          throw new AggregateError(
            [error, second],
            `A layer could not be registered, nor what was made of it taken away.`,
          );
        },
      );
    throw error;
  } finally {
    const { parent } = begun;
    if (parent !== undefined) state.unhold(parent.chainId);
  }
}

function leaseParent(state: StoreState, parentId: ChainId): Layer {
  const parent = state.layers.get(parentId);
  if (parent !== undefined && parent.depth >= MAX_DEPTH)
    throw new PlyfsError(
      'max-depth-exceeded',
      `The layer ${parentId} has ${parent.depth} layers and can have no other on top (max depth exceeded): squash the image.`,
    );
  return state.lease(parentId);
}

async function fill(
  state: StoreState,
  { parent, cacheId, writeSet }: Place,
  source: ByteSource,
  options: RegisterOptions,
): Promise<Filled> {
  const { expect, descriptor, limits, signal } = options;
  signal?.throwIfAborted();
  writeSet.write('cache-id', cacheId);
  trace('cache-id written', cacheId);
  await state.driver.create(cacheId, parent?.cacheId);
  trace('driver directory made', cacheId);

  const tarSplit = TarSplitWriter.create(join(writeSet.path, TAR_SPLIT));
  let applied: AppliedDiff;
  let diffId: DiffId;
  try {
    const layer = new LayerReader(signal === undefined ? source : abortable(source, signal), {
      tarSplit,
      limits,
    });
    applied = await state.driver.applyDiff(cacheId, parent?.cacheId, layer);
    ({ diffId } = await layer.finish());
    await tarSplit.close();
    if (applied.replaced !== undefined)
      await keepReplaced(state, cacheId, join(writeSet.path, TAR_SPLIT), diffId, applied.replaced);
  } finally {
    await tarSplit.abort();
  }
  trace('tar unpacked', cacheId);
  if (expect !== undefined && diffId !== expect)
    throw new PlyfsError(
      'diff-id-mismatch',
      `A layer's tar has the digest ${diffId} where its image says ${expect}: the image is damaged or was tampered with.`,
    );

  writeSet.write('diff', diffId);
  writeSet.write('size', String(applied.size));
  if (parent !== undefined) writeSet.write('parent', parent.chainId);
  if (descriptor !== undefined) writeSet.write('descriptor.json', JSON.stringify(descriptor));
  trace('write-set complete', writeSet.path);
  await state.flush();
  trace('flushed', cacheId);
  return { diffId, ...applied };
}

/**
 * What the layer has replaced itself goes into its tar-split; a layer whose tar cannot be had again
 * all the same is refused. Throws `archive-hostile`.
 */
async function keepReplaced(
  state: StoreState,
  cacheId: CacheId,
  tarSplit: string,
  diffId: DiffId,
  replaced: string,
): Promise<void> {
  const { own } = state.driver.directories(cacheId);
  await inlineReplaced(tarSplit, own, replaced);
  removeTree(replaced);
  const files = directoryFiles(own);
  try {
    const hash = createHash('sha256');
    for await (const piece of assembleTar(tarSplit, files)) hash.update(piece);
    if (`sha256:${hash.digest('hex')}` === diffId) return;
  } finally {
    files.close();
  }
  throw hostile('replaces its own files, and its tar could not be had again from what is left');
}

async function publish(state: StoreState, place: Place, { diffId }: Filled): Promise<Layer> {
  const chainId = chainIdOf(place.parent?.chainId, diffId);
  const { layer, leftover } = state.exclusively(
    (): { layer: Layer; leftover: Removal | undefined } => {
      if (state.layers.has(chainId))
        return {
          layer: state.lease(chainId),
          leftover: { writeSet: place.writeSet, ids: [place.cacheId] },
        };
      const damaged = takeDamaged(state, chainId);
      state.metadata.commitLayer(place.writeSet, chainId);
      state.refresh();
      const leftover = damaged && {
        writeSet: damaged.writeSet,
        ids: damaged.ids.filter((id) => !state.isIdUsed(id)),
      };
      return { layer: state.lease(chainId), leftover };
    },
  );
  trace('layer published', chainId);
  // The layer is there: what cannot be removed beside it is for the garbage collection.
  if (leftover !== undefined) await finishRemoving(state, leftover).catch(() => undefined);
  return layer;
}

/**
 * What lies where the layer goes and cannot be loaded makes room, unless others are on top of it.
 */
function takeDamaged(state: StoreState, chainId: ChainId): Removal | undefined {
  const damaged = state.damagedLayers.get(chainId);
  if (damaged === undefined) return undefined;
  const path = state.metadata.layerPath(chainId);
  if (state.hasDependants(chainId))
    throw new PlyfsError(
      'layer-damaged',
      `${path} ${damaged.reason}, and other layers need it: remove the images on top of it, then load again.`,
    );
  return { writeSet: state.metadata.beginRemovingLayer(chainId), ids: damaged.ids };
}
