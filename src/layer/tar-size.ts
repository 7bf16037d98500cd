/** How long a layer's tar is, without putting it together: what its tar-split says. */
import { join } from 'node:path';
import { readTarSplit } from '../archive/tar-split.js';
import type { Layer } from './layer.js';
import { TAR_SPLIT } from './metadata-store.js';
import type { StoreState } from './store-state.js';

/** Bytes. Throws `layer-damaged`. */
export async function layerTarSize(state: StoreState, { chainId }: Layer): Promise<number> {
  let size = 0;
  for await (const entry of readTarSplit(join(state.metadata.layerPath(chainId), TAR_SPLIT))) {
    size += entry.kind === 'segment' ? entry.bytes.length : entry.size;
  }
  return size;
}
