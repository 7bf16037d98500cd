/** `ply load`. */
import type { LostAttribute } from '../../archive/lost-attributes.js';
import type { ImageId } from '../../base/digest.js';
import { loadImages } from '../../image/load-image.js';
import type { ArchiveSource } from '../../image/open-archive.js';
import { parsePlatform } from '../../image/platform.js';
import type { OnProgress } from '../../image/progress.js';
import { familiarString } from '../../image/reference.js';
import { UsageError } from '../../base/error.js';
import type { Platform } from '../../image/image-config.js';
import { abortable } from '../../layer/abortable.js';
import type { DataRoot } from '../data-root.js';

export interface LoadImageOptions {
  /**
   * `linux/arm64`: images for it only; when absent, of an image for several platforms the one for
   * this machine.
   */
  readonly platform?: string;
  /** Sentences about what is passed over. */
  readonly onWarning?: (sentence: string) => void;
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal;
}

export interface LoadedImageView {
  readonly id: ImageId;
  readonly tags: readonly string[];
  /** Names that meant another image before. */
  readonly replaced: readonly { readonly tag: string; readonly former: ImageId }[];
  /** What files of its layers had to do without; absent when nothing. */
  readonly lost?: readonly LostAttribute[];
}

/** Throws what `loadImages` throws. */
export async function loadImage(
  root: DataRoot,
  source: ArchiveSource,
  { platform, ...options }: LoadImageOptions = {},
): Promise<LoadedImageView[]> {
  const { signal } = options;
  // A pipe may be silent for long.
  const stoppable =
    Symbol.asyncIterator in source && signal !== undefined ? abortable(source, signal) : source;
  const loaded = await loadImages(stoppable, root, {
    ...options,
    ...(platform !== undefined && { platform: platformOf(platform) }),
  });
  return loaded.map(({ image, tags, replaced, lost }) => ({
    id: image.id,
    tags: tags.map(familiarString),
    replaced: replaced.map(({ reference, former }) => ({ tag: familiarString(reference), former })),
    ...(lost.length > 0 && { lost }),
  }));
}

/** Throws UsageError. */
export function platformOf(text: string): Platform {
  const platform = parsePlatform(text);
  if (platform === undefined)
    throw new UsageError(`'${text}' is no platform: write it as linux/amd64 or linux/arm/v7`);
  return platform;
}
