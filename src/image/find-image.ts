/**
 * Which image a person means: by its id, by a name, by the beginning of its id (moby,
 * daemon/images/image.go, GetImage).
 */
import { digestOfHex, hexOf, parseDigest, type ImageId } from '../base/digest.js';
import { PlyfsError } from '../base/error.js';
import type { Image, ImageStore } from './image-store.js';
import type { ReferenceStore } from './reference-store.js';
import { familiarString, parseReference, tryParseReference, type Reference } from './reference.js';

/** Docker's short form of an id. */
export function shortId(id: ImageId): string {
  return hexOf(id).slice(0, 12);
}

export interface FoundImage {
  readonly image: Image;
  /** What it was found by, with a tag or a digest; absent when it was found by its id. */
  readonly reference?: Reference;
}

type Stores = Readonly<{ images: ImageStore; references: ReferenceStore }>;

/**
 * A whole id first, then a name, whose tag is `latest` where it has none, then the beginning of an
 * id, with `sha256:` or without. Throws `image-missing`, `image-ambiguous` (which names the
 * images), `reference-invalid`.
 */
export function findImage(name: string, { images, references }: Stores): FoundImage {
  const id = (parseDigest(name) ?? digestOfHex(name)) as ImageId | undefined;
  if (id !== undefined) {
    const image = images.get(id);
    if (image === undefined) throw missing(name);
    return { image };
  }
  const reference = tryParseReference(name);
  const named = reference && references.get(reference);
  if (reference !== undefined && named !== undefined) {
    const image = images.get(named);
    if (image === undefined)
      throw new PlyfsError(
        'image-missing',
        `${familiarString(reference)} is the name of image ${named}, which is not in the store: load it again.`,
      );
    return { image, reference };
  }
  const [first, ...others] = images.withPrefix(name);
  if (first === undefined) {
    // Says what is wrong with it, if that is why nothing was found.
    parseReference(name);
    throw missing(name);
  }
  if (others.length > 0) {
    const candidates = [first, ...others].map((image) => {
      const names = references.of(image.id).map(familiarString);
      return hexOf(image.id) + (names.length > 0 ? ` (${names.join(', ')})` : '');
    });
    throw new PlyfsError(
      'image-ambiguous',
      `"${name}" is the beginning of the ids of ${candidates.length} images: ${candidates.sort().join(', ')}. Write more of it.`,
    );
  }
  return { image: first };
}

function missing(name: string): PlyfsError {
  return new PlyfsError(
    'image-missing',
    `There is no image "${name}": \`ply images\` lists what there is.`,
  );
}
