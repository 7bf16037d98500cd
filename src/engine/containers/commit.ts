/** `ply commit`. */
import type { LostAttribute } from '../../archive/lost-attributes.js';
import type { ChainId, ImageId } from '../../base/digest.js';
import { UsageError } from '../../base/error.js';
import { commitContainer as commitInto } from '../../image/commit-image.js';
import type { OnProgress } from '../../image/progress.js';
import { familiarString, parseReference, withDefaultTag } from '../../image/reference.js';
import type { DataRoot } from '../data-root.js';
import { findContainer } from './find.js';

export interface CommitContainerOptions {
  /** What the image is called: `REPOSITORY[:TAG]`. */
  readonly name?: string;
  readonly author?: string;
  readonly message?: string;
  /** Dockerfile instructions. */
  readonly changes?: readonly string[];
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal;
}

export interface CommittedView {
  readonly id: ImageId;
  readonly tag?: string;
  /** The layer that was made; absent when nothing was changed. */
  readonly chainId?: ChainId;
  /** The image that had the name before. */
  readonly replaced?: ImageId;
  /** What files of the layer had to do without; absent when nothing. */
  readonly lost?: readonly LostAttribute[];
}

/**
 * Throws `container-missing`, `container-ambiguous`, `record-damaged`, `reference-invalid`, and
 * what `commitInto` throws.
 */
export async function commitContainer(
  root: DataRoot,
  word: string,
  options: CommitContainerOptions = {},
): Promise<CommittedView> {
  const { name, ...others } = options;
  const reference = name === undefined ? undefined : withDefaultTag(parseReference(name));
  if (reference?.digest !== undefined)
    throw new UsageError('An image is committed under a tag, not under a digest');
  const { mounted, imageId, config } = findContainer(root, word);
  const committed = await commitInto(
    { mounted, image: imageId && root.images.get(imageId), config: config.document },
    root,
    {
      ...others,
      ...(reference !== undefined && { reference }),
    },
  );
  const { image, layer, replaced, lost } = committed;
  return {
    id: image.id,
    ...(reference !== undefined && { tag: familiarString(reference) }),
    ...(layer !== undefined && { chainId: layer.chainId }),
    ...(replaced !== undefined && { replaced }),
    ...(lost.length > 0 && { lost }),
  };
}
