/** What every form of archive says of an image, before anything of it is in the store. */
import type { DiffId, ImageId } from '../base/digest.js';
import { PlyfsError } from '../base/error.js';
import { MAX_DEPTH } from '../layer/layer.js';
import type { ArchiveFile } from './archive-files.js';
import type { ImageConfig } from './image-config.js';
import type { Reference } from './reference.js';

export interface ArchivedLayer {
  /** What the configuration says the layer is. */
  readonly diffId: DiffId;
  /**
   * The layer's tar, compressed or not. Undefined when the archive lacks it: it is missed only when
   * the store has no such layer.
   */
  readonly file: ArchiveFile | undefined;
  /** Where it should be in the archive. */
  readonly path: string;
}

export interface ArchivedImage {
  /** The bytes whose digest is the image's id. */
  readonly raw: Buffer;
  readonly config: ImageConfig;
  /** One for each of the configuration's layers, the base first. */
  readonly layers: readonly ArchivedLayer[];
  /** Each with a tag. */
  readonly tags: readonly Reference[];
  /** The image that this one was made from, when the archive says so. */
  readonly parent?: ImageId;
}

/** Throws `too-many-layers`. */
export function checkLayerCount(count: number, what: string): void {
  if (count > MAX_DEPTH)
    throw new PlyfsError(
      'too-many-layers',
      `${what} has ${count} layers, but ${MAX_DEPTH} is the most an image can have: max depth exceeded.`,
    );
}
