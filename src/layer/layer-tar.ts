/**
 * A layer's tar as it was registered, byte for byte, put together from its tar-split and its files.
 */
import { createHash } from 'node:crypto';
import { lstatSync } from 'node:fs';
import { join } from 'node:path';
import { assembleTar, directoryFiles, readTarSplit } from '../archive/tar-split.js';
import type { ByteSource } from '../base/byte-source.js';
import { PlyfsError } from '../base/error.js';
import type { Layer } from './layer.js';
import { TAR_SPLIT } from './metadata-store.js';
import type { StoreState } from './store-state.js';

/**
 * Throws `layer-damaged` where the tar cannot be put together, and at its end when it is not the
 * one that was registered. A piece is valid until the next one is asked for.
 */
export async function* layerTar(state: StoreState, layer: Layer): ByteSource {
  const hash = createHash('sha256');
  const path = tarSplitOf(state, layer);
  const files = directoryFiles(state.driver.directories(layer.cacheId).own);
  try {
    for await (const piece of assembleTar(path, files)) {
      hash.update(piece);
      yield piece;
    }
  } finally {
    files.close();
  }
  const digest = `sha256:${hash.digest('hex')}`;
  if (digest !== layer.diffId)
    throw new PlyfsError(
      'layer-damaged',
      `The tar of the layer ${layer.chainId} has the digest ${digest}, and ${layer.diffId} when it was registered: remove the images that use it, then load them again.`,
    );
}

/** Reads it to its end. Throws `layer-damaged`. */
export async function checkTarSplit(state: StoreState, layer: Layer): Promise<void> {
  for await (const _ of readTarSplit(tarSplitOf(state, layer)));
}

function tarSplitOf({ metadata }: StoreState, { chainId }: Layer): string {
  const path = join(metadata.layerPath(chainId), TAR_SPLIT);
  if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) return path;
  throw new PlyfsError(
    'layer-damaged',
    `The layer ${chainId} has no ${TAR_SPLIT}, without which its tar cannot be had again: remove the images that use it, then load them again.`,
  );
}
