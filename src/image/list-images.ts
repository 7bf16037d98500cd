/** What `docker images` lists. */
import type { Image, ImageStore } from './image-store.js';
import type { ReferenceStore } from './reference-store.js';
import type { Reference } from './reference.js';

export interface ListedImage {
  readonly image: Image;
  /** References with a tag, sorted. */
  readonly tags: readonly Reference[];
  /** References with a digest, sorted. */
  readonly digests: readonly Reference[];
  /** Bytes of all its layers. */
  readonly size: number;
}

/**
 * The newest first. Images without a name that others were made from are only steps on the way to
 * those: they are listed with `all` (moby, daemon/images/images.go).
 */
export function listImages(
  stores: Readonly<{ images: ImageStore; references: ReferenceStore }>,
  options: { all?: boolean } = {},
): ListedImage[] {
  const { images, references } = stores;
  const associations = references.list();
  const parents = new Set(images.list().map((image) => image.parent));
  const listed: ListedImage[] = [];
  for (const image of images.list()) {
    const own = associations.filter(({ id }) => id === image.id).map(({ reference }) => reference);
    if (own.length === 0 && parents.has(image.id) && options.all !== true) continue;
    listed.push({
      image,
      tags: own.filter(({ digest }) => digest === undefined),
      digests: own.filter(({ digest }) => digest !== undefined),
      size: images.size(image),
    });
  }
  return listed.sort(
    (a, b) => timeOf(b.image) - timeOf(a.image) || (a.image.id < b.image.id ? -1 : 1),
  );
}

function timeOf({ created }: Image): number {
  return created === undefined ? 0 : Date.parse(created);
}
