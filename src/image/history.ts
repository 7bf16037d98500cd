/**
 * How an image came to be, step by step, as `docker history` shows it (moby,
 * daemon/images/image_history.go).
 */
import { chainIdOf, type ChainId, type ImageId } from '../base/digest.js';
import type { LayerStore } from '../layer/layer-store.js';
import type { Image, ImageStore } from './image-store.js';
import type { ReferenceStore } from './reference-store.js';
import type { Reference } from './reference.js';

export interface HistoryRow {
  /** Of the image that there was after this step; absent (`<missing>`) when it is not here. */
  readonly id?: ImageId;
  /** RFC 3339. */
  readonly created?: string;
  readonly createdBy: string;
  readonly comment: string;
  /** Bytes of the layer that the step made; 0 when it made none. */
  readonly size: number;
  /** The layer that the step made. */
  readonly chainId?: ChainId;
  readonly tags: readonly Reference[];
}

type Stores = Readonly<{ images: ImageStore; references: ReferenceStore; layers: LayerStore }>;

/** The newest step first. */
export function historyOf(image: Image, { images, references, layers }: Stores): HistoryRow[] {
  const rows: HistoryRow[] = [];
  let chainId: ChainId | undefined;
  let used = 0;
  for (const { created, createdBy = '', comment = '', emptyLayer } of image.config.history) {
    const diffId = emptyLayer ? undefined : image.config.diffIds[used++];
    if (diffId !== undefined) chainId = chainIdOf(chainId, diffId);
    const size =
      diffId === undefined || chainId === undefined ? 0 : (layers.get(chainId)?.size ?? 0);
    rows.push({
      ...(created !== undefined && { created }),
      createdBy,
      comment,
      size,
      ...(diffId !== undefined && chainId !== undefined && { chainId }),
      tags: [],
    });
  }
  rows.reverse();
  // The newest step is the image itself, the ones before are its ancestors, as far as they are
  // known.
  let at: Image | undefined = image;
  for (const [index, row] of rows.entries()) {
    if (at === undefined) break;
    const { id }: Image = at;
    rows[index] = {
      ...row,
      id,
      tags: references.of(id).filter(({ digest }) => digest === undefined),
    };
    at = at.parent === undefined ? undefined : images.get(at.parent);
  }
  return rows;
}
