/** Names that can be completed: whatever fails, there are none then. */
import { familiarString } from '../image/reference.js';
import { openDataRoot, type DataRootOptions } from './data-root.js';

export interface RootNames {
  /** `debian:12`. */
  readonly images: readonly string[];
  /** Of read-write layers. */
  readonly mounts: readonly string[];
}

export async function namesIn(options: Omit<DataRootOptions, 'write'>): Promise<RootNames> {
  try {
    const root = await openDataRoot({ ...options, write: false });
    try {
      const images = root.references
        .list()
        .flatMap(({ reference }) =>
          reference.tag === undefined ? [] : [familiarString(reference)],
        );
      return { images, mounts: root.layers.mountedLayers().map(({ name }) => name) };
    } finally {
      root.close();
    }
  } catch {
    return { images: [], mounts: [] };
  }
}
