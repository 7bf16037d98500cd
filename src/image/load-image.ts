/**
 * Images out of an archive into the store.
 *
 * First the whole archive is asked what images it holds, and whether all that they need is there or
 * in the store already; only then the first layer is read. Layers that the store has are not read.
 * An image is published when its last layer is in; until then each layer is held by this process,
 * and what was registered for an image that failed goes again.
 */
import type { ByteSource } from '../base/byte-source.js';
import { chainIdOf, type ChainId } from '../base/digest.js';
import { PlyfsError } from '../base/error.js';
import type { LayerStore } from '../layer/layer-store.js';
import type { ArchiveFiles } from './archive-files.js';
import type { ArchivedImage, ArchivedLayer } from './archived-image.js';
import { readDockerArchive, readDockerManifest } from './docker-archive.js';
import type { HistoryEntry, Platform } from './image-config.js';
import type { ImageStore } from './image-store.js';
import { LEGACY_REPOSITORIES, readLegacyArchive } from './legacy-archive.js';
import { OCI_INDEX, readImageDirectory, readOciLayout } from './oci-layout.js';
import { openArchive, type ArchiveSource } from './open-archive.js';
import type { OnProgress } from './progress.js';
import {
  publishImage,
  type HeldLayers,
  type ImageStores,
  type PublishedImage,
} from './publish-image.js';
import { assertStorable } from './reference-store.js';
import type { Reference } from './reference.js';
import { Selection } from './selection.js';

export interface LoadOptions {
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal;
  /**
   * Images for this one only; when absent, of an image for several platforms the one for this
   * machine.
   */
  readonly platform?: Platform;
  /** Told in sentences, while the load goes on: what of the archive was passed over. */
  readonly onWarning?: (sentence: string) => void;
}

export interface LoadedImage extends PublishedImage {
  /** In the order of the archive. */
  readonly tags: readonly Reference[];
}

/**
 * At least one. Throws what `openArchive` and the readers of archives throw, and `layer-missing`,
 * `layer-digest-mismatch`.
 */
export async function loadImages(
  source: ArchiveSource,
  stores: ImageStores,
  options: LoadOptions = {},
): Promise<LoadedImage[]> {
  const { onProgress, signal } = options;
  const files = await openArchive(source, {
    root: stores.root,
    ...(onProgress && { onProgress }),
    ...(signal && { signal }),
  });
  try {
    const selection = new Selection(options.platform);
    const archived = await readArchive(files, selection, signal);
    if (archived.length === 0) throw selection.nothingLeft(files.name);
    for (const sentence of selection.sentences(files.name)) options.onWarning?.(sentence);
    for (const image of archived) {
      checkComplete(image, files, stores.layers);
      image.tags.forEach(assertStorable);
    }
    const loaded: LoadedImage[] = [];
    for (const image of archived) loaded.push(await loadImage(image, files, stores, options));
    linkParents(archived, loaded, stores.images);
    return loaded;
  } finally {
    files.close();
  }
}

async function readArchive(
  files: ArchiveFiles,
  selection: Selection,
  signal: AbortSignal | undefined,
): Promise<ArchivedImage[]> {
  const manifest = await readDockerManifest(files);
  // A registry's manifest, which is an object, has the same name in a directory that skopeo wrote.
  if (manifest !== undefined && (Array.isArray(manifest) || files.file('version') === undefined))
    return readDockerArchive(files, manifest, selection);
  if (manifest !== undefined) return readImageDirectory(files, manifest, selection);
  if (files.file(OCI_INDEX) !== undefined) return readOciLayout(files, selection);
  if (files.file(LEGACY_REPOSITORIES) !== undefined)
    return readLegacyArchive(files, selection, signal);
  throw new PlyfsError(
    'archive-invalid',
    `${files.name} is no archive of images: it has neither manifest.json nor ${OCI_INDEX} nor ${LEGACY_REPOSITORIES}. If it holds a root file system, import it.`,
  );
}

/**
 * Throws `layer-missing` for a layer that is neither in the archive nor, with all below it, in the
 * store.
 */
function checkComplete(image: ArchivedImage, files: ArchiveFiles, layers: LayerStore): void {
  let chainId: ChainId | undefined;
  for (const [index, layer] of image.layers.entries()) {
    chainId = chainIdOf(chainId, layer.diffId);
    if (layer.file === undefined && layers.get(chainId) === undefined) {
      throw new PlyfsError(
        'layer-missing',
        `${files.name} lacks the layer ${layer.path}, number ${index} of an image, and the store does not have it.`,
      );
    }
  }
}

async function loadImage(
  archived: ArchivedImage,
  files: ArchiveFiles,
  stores: ImageStores,
  options: LoadOptions,
): Promise<LoadedImage> {
  const published = await publishImage(stores, {
    make: async (held) => {
      for (const [index, layer] of archived.layers.entries()) {
        options.signal?.throwIfAborted();
        await loadLayer(layer, index, files, held, options);
      }
      return archived.raw;
    },
    references: archived.tags,
  });
  return { ...published, tags: archived.tags };
}

async function loadLayer(
  { diffId, file, path }: ArchivedLayer,
  index: number,
  files: ArchiveFiles,
  held: HeldLayers,
  { onProgress, signal }: LoadOptions,
): Promise<void> {
  let read = 0;
  const source = async function* (): ByteSource {
    if (file === undefined)
      throw new PlyfsError(
        'layer-missing',
        `${files.name} lacks the layer ${path}, and the store does not have it any more.`,
      );
    for await (const piece of file.open()) {
      read += piece.length;
      onProgress?.({ kind: 'layer', id: diffId, done: read, total: file.size });
      yield piece;
    }
  };
  try {
    await held.register(source(), { expect: diffId, signal });
    if (read === 0) onProgress?.({ kind: 'exists', id: diffId, done: 0 });
  } catch (error) {
    if (!(error instanceof PlyfsError) || error.code !== 'diff-id-mismatch') throw error;
    throw new PlyfsError(
      'layer-digest-mismatch',
      `${path} in ${files.name} is not what its image says: invalid diffID for layer ${index}: ${error.message}`,
      { cause: error },
    );
  }
}

/**
 * Each image of the archive whose parent is in it, too, and can be: its history is that of the
 * parent and one step more (moby, tarexport/load.go).
 */
function linkParents(
  archived: readonly ArchivedImage[],
  loaded: readonly LoadedImage[],
  images: ImageStore,
): void {
  const byId = new Map(loaded.map(({ image }) => [image.id, image]));
  for (const [index, { parent }] of archived.entries()) {
    const image = loaded[index]!.image;
    const parentImage = parent === undefined || parent === image.id ? undefined : byId.get(parent);
    if (parentImage !== undefined && isStepAfter(image.config.history, parentImage.config.history))
      images.setParent(image.id, parentImage.id);
  }
}

function isStepAfter(history: readonly HistoryEntry[], before: readonly HistoryEntry[]): boolean {
  if (history.length === 0 && before.length === 0) return true;
  return (
    history.length === before.length + 1 &&
    before.every((entry, index) => JSON.stringify(entry) === JSON.stringify(history[index]))
  );
}
