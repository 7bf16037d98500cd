/** `ply tag`. */
import type { ImageId } from '../../base/digest.js';
import { UsageError } from '../../base/error.js';
import { findImage } from '../../image/find-image.js';
import { familiarString, parseReference, withDefaultTag } from '../../image/reference.js';
import type { DataRoot } from '../data-root.js';

/**
 * The tag may have meant another image before. Throws `reference-invalid`, and what `findImage`
 * throws.
 */
export function tagImage(
  root: DataRoot,
  name: string,
  target: string,
): { id: ImageId; tag: string } {
  const { image } = findImage(name, root);
  const reference = withDefaultTag(parseReference(target));
  if (reference.digest !== undefined)
    throw new UsageError('An image is given a tag, not a digest: that is made of its content');
  root.references.set(reference, image.id, { force: true });
  root.images.setLastUpdated(image.id, new Date());
  return { id: image.id, tag: familiarString(reference) };
}
