/** `ply save`. */
import type { ByteSource } from '../../base/byte-source.js';
import type { OnProgress } from '../../image/progress.js';
import { saveImages } from '../../image/save-image.js';
import type { DataRoot } from '../data-root.js';

export interface SaveImageOptions {
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal;
}

/** A tar that docker, podman and skopeo load. Throws what `saveImages` throws, while it is read. */
export function saveImage(
  root: DataRoot,
  names: readonly string[],
  options: SaveImageOptions = {},
): ByteSource {
  return saveImages(names, root, options);
}
