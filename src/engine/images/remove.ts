/** `ply rmi`. */
import type { ChainId, ImageId } from '../../base/digest.js';
import { familiarString } from '../../image/reference.js';
import { removeImage as removeFrom, type RemoveOptions } from '../../image/remove-image.js';
import type { DataRoot } from '../data-root.js';

export type RemovedView = { readonly untagged: string } | { readonly deleted: ImageId | ChainId };

/** What was done, in its order. Throws `image-conflict`, and what `findImage` throws. */
export async function removeImage(
  root: DataRoot,
  name: string,
  options: RemoveOptions = {},
): Promise<RemovedView[]> {
  const removed = await removeFrom(name, root, options);
  return removed.map((step) =>
    'untagged' in step ? { untagged: familiarString(step.untagged) } : step,
  );
}
