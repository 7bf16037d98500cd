/** `ply import`. */
import type { LostAttribute } from '../../archive/lost-attributes.js';
import type { ByteSource } from '../../base/byte-source.js';
import type { ImageId } from '../../base/digest.js';
import { UsageError } from '../../base/error.js';
import { importImage as importInto } from '../../image/import-image.js';
import type { OnProgress } from '../../image/progress.js';
import { familiarString, parseReference, withDefaultTag } from '../../image/reference.js';
import type { DataRoot } from '../data-root.js';
import { platformOf } from './load.js';

export interface ImportImageOptions {
  /** What it is called: `REPOSITORY[:TAG]`. */
  readonly name?: string;
  /** Dockerfile instructions. */
  readonly changes?: readonly string[];
  readonly message?: string;
  readonly platform?: string;
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal;
}

export interface ImportedView {
  readonly id: ImageId;
  readonly tag?: string;
  /** What files of the image had to do without; absent when nothing. */
  readonly lost?: readonly LostAttribute[];
}

/** Throws `reference-invalid`, and what `importInto` throws. */
export async function importImage(
  root: DataRoot,
  source: ByteSource,
  { name, platform, ...options }: ImportImageOptions = {},
): Promise<ImportedView> {
  const reference = name === undefined ? undefined : withDefaultTag(parseReference(name));
  if (reference?.digest !== undefined)
    throw new UsageError('An image is imported under a tag, not under a digest');
  const { image, lost } = await importInto(source, root, {
    ...options,
    ...(reference !== undefined && { reference }),
    ...(platform !== undefined && { platform: platformOf(platform) }),
  });
  return {
    id: image.id,
    ...(reference !== undefined && { tag: familiarString(reference) }),
    ...(lost.length > 0 && { lost }),
  };
}
