/**
 * Images into an archive, as `docker save` writes it since 25: an OCI layout that is a
 * docker-archive, too, so that old and new Docker, podman, skopeo and containerd read it (moby,
 * image/tarexport/save.go).
 *
 *     blobs/sha256/<hex>   configurations, manifests, layers (not compressed), each once
 *     index.json           a manifest for each name, `oci-layout` beside it
 *     manifest.json        what `docker load` goes by; `repositories` for those older than 1.10
 *
 * The same images give the same bytes. It is written as a stream: a layer's size is known from its
 * tar-split before it is put together.
 */
import type { ByteSource } from '../base/byte-source.js';
import {
  chainIdsOf,
  hexOf,
  sha256,
  type ChainId,
  type Digest,
  type DiffId,
  type ImageId,
} from '../base/digest.js';
import { PlyfsError } from '../base/error.js';
import type { LayerStore } from '../layer/layer-store.js';
import { DOCKER_MANIFEST } from './docker-archive.js';
import { findImage } from './find-image.js';
import { goJson, goMap, type RawJson } from './go-json.js';
import type { Image } from './image-store.js';
import { LEGACY_REPOSITORIES } from './legacy-archive.js';
import type { ImageStores } from './publish-image.js';
import { OCI_INDEX } from './oci-layout.js';
import type { OnProgress } from './progress.js';
import {
  canonicalString,
  familiarName,
  familiarString,
  tryParseReference,
  type Reference,
} from './reference.js';
import { packTar, type TarMember } from './tar-pack.js';

const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json';
const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json';
const CONFIG_TYPE = 'application/vnd.oci.image.config.v1+json';
const LAYER_TYPE = 'application/vnd.oci.image.layer.v1.tar';

export interface SaveOptions {
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal;
}

interface SavedImage {
  readonly image: Image;
  readonly tags: Reference[];
}

interface SavedLayer {
  readonly chainId: ChainId;
  readonly diffId: DiffId;
  /** Bytes of its tar. */
  readonly size: number;
}

/**
 * `names` as people write them: a repository without a tag means all its tags, an id an image
 * without a name. Throws what `findImage` throws before anything is written, and `layer-damaged` in
 * the middle, when a layer is not what it was.
 */
export async function* saveImages(
  names: readonly string[],
  stores: ImageStores,
  options: SaveOptions = {},
): ByteSource {
  const { layers } = stores;
  const saved = namedImages(names, stores);
  const held: ChainId[] = [];
  try {
    for (const { image } of saved) {
      if (image.chainId === undefined) continue;
      layers.lease(image.chainId);
      held.push(image.chainId);
    }
    const blobs = new Map<Digest, SavedLayer | Buffer>();
    const manifests = new Map<ImageId, Buffer>();
    for (const { image } of saved) {
      const own = await savedLayers(image, layers, blobs);
      const manifest = Buffer.from(manifestOf(image, own));
      manifests.set(image.id, manifest);
      blobs.set(image.id, Buffer.from(image.raw));
      blobs.set(sha256(manifest), manifest);
    }
    yield* packTar(members(saved, manifests, blobs, layers, options));
  } finally {
    for (const chainId of held) await layers.release(chainId);
  }
}

/** Each image once, with the tags that it was asked for by. */
function namedImages(names: readonly string[], stores: ImageStores): SavedImage[] {
  const { references } = stores;
  const saved = new Map<ImageId, SavedImage>();
  const add = (image: Image, reference?: Reference): void => {
    const known = saved.get(image.id) ?? { image, tags: [] };
    saved.set(image.id, known);
    if (reference?.tag === undefined || reference.digest !== undefined) return;
    if (!known.tags.some((tag) => canonicalString(tag) === canonicalString(reference)))
      known.tags.push(reference);
  };
  for (const name of names) {
    const repository = tryParseReference(name);
    const nameOnly =
      repository !== undefined && repository.tag === undefined && repository.digest === undefined;
    const tagged = nameOnly
      ? references
          .ofRepository(repository)
          .filter(({ reference }) => reference.digest === undefined)
      : [];
    for (const { reference } of tagged)
      add(findImage(familiarString(reference), stores).image, reference);
    if (tagged.length > 0) continue;
    const { image, reference } = findImage(name, stores);
    add(image, reference);
  }
  if (saved.size === 0)
    throw new PlyfsError('image-missing', 'No image was named: name at least one to save.');
  return [...saved.values()];
}

async function savedLayers(
  image: Image,
  layers: LayerStore,
  blobs: Map<Digest, SavedLayer | Buffer>,
): Promise<SavedLayer[]> {
  const saved: SavedLayer[] = [];
  for (const [index, chainId] of chainIdsOf(image.config.diffIds).entries()) {
    const diffId = image.config.diffIds[index]!;
    const known = blobs.get(diffId);
    const layer =
      known !== undefined && !Buffer.isBuffer(known)
        ? known
        : { chainId, diffId, size: await layers.tarSize(chainId) };
    blobs.set(diffId, layer);
    saved.push(layer);
  }
  return saved;
}

function manifestOf(image: Image, layers: readonly SavedLayer[]): RawJson {
  return goJson({
    schemaVersion: 2,
    mediaType: MANIFEST_TYPE,
    config: { mediaType: CONFIG_TYPE, digest: image.id, size: image.bytes },
    layers: layers.map(({ diffId, size }) => ({ mediaType: LAYER_TYPE, digest: diffId, size })),
  });
}

/** In the byte order of their names, as moby writes them. */
function* members(
  saved: readonly SavedImage[],
  manifests: ReadonlyMap<ImageId, Buffer>,
  blobs: ReadonlyMap<Digest, SavedLayer | Buffer>,
  layers: LayerStore,
  options: SaveOptions,
): Iterable<TarMember> {
  yield { name: 'blobs', kind: 'directory' };
  yield { name: 'blobs/sha256', kind: 'directory' };
  for (const digest of [...blobs.keys()].sort()) {
    const blob = blobs.get(digest)!;
    const name = blobPath(digest);
    if (Buffer.isBuffer(blob)) yield textMember(name, blob);
    else yield { name, kind: 'file', size: blob.size, body: layerBody(blob, layers, options) };
  }
  yield textMember(OCI_INDEX, indexOf(saved, manifests));
  yield textMember(DOCKER_MANIFEST, `${dockerManifestOf(saved, blobs)}\n`);
  yield textMember('oci-layout', '{"imageLayoutVersion": "1.0.0"}');
  const repositories = repositoriesOf(saved);
  if (repositories !== undefined) yield textMember(LEGACY_REPOSITORIES, `${repositories}\n`);
}

function blobPath(digest: Digest): string {
  return `blobs/sha256/${hexOf(digest)}`;
}

function textMember(name: string, text: string | Buffer): TarMember {
  const bytes = Buffer.from(text);
  const body = async function* (): ByteSource {
    yield bytes;
  };
  return { name, kind: 'file', size: bytes.length, body: body() };
}

async function* layerBody(
  { chainId, diffId, size }: SavedLayer,
  layers: LayerStore,
  { onProgress, signal }: SaveOptions,
): ByteSource {
  let done = 0;
  for await (const piece of layers.tar(chainId)) {
    signal?.throwIfAborted();
    done += piece.length;
    yield piece;
    onProgress?.({ kind: 'save', id: diffId, done, total: size });
  }
}

/** An entry for each name; for an image without one, an entry without. */
function indexOf(saved: readonly SavedImage[], manifests: ReadonlyMap<ImageId, Buffer>): RawJson {
  const entries = saved.flatMap(({ image, tags }) => {
    const manifest = manifests.get(image.id)!;
    const { architecture, os, variant } = image.config.platform;
    const descriptor = (annotations?: Readonly<Record<string, string>>): object => ({
      mediaType: MANIFEST_TYPE,
      digest: sha256(manifest),
      size: manifest.length,
      ...(annotations && { annotations }),
      ...(architecture !== '' && {
        platform: {
          architecture,
          os: os === '' ? 'linux' : os,
          ...(variant !== undefined && { variant }),
        },
      }),
    });
    if (tags.length === 0) return [descriptor()];
    return tags.map((tag) =>
      descriptor({
        'io.containerd.image.name': canonicalString(tag),
        'org.opencontainers.image.ref.name': tag.tag ?? '',
      }),
    );
  });
  return goJson({ schemaVersion: 2, mediaType: INDEX_TYPE, manifests: entries });
}

function dockerManifestOf(
  saved: readonly SavedImage[],
  blobs: ReadonlyMap<Digest, SavedLayer | Buffer>,
): RawJson {
  const ids = new Set(saved.map(({ image }) => image.id));
  return goJson(
    saved.map(({ image, tags }) => {
      const { diffIds } = image.config;
      const sources = [...new Set(diffIds)].sort().map((diffId) => {
        const { size } = blobs.get(diffId) as SavedLayer;
        return [diffId, { mediaType: LAYER_TYPE, size, digest: diffId }] as const;
      });
      return {
        Config: blobPath(image.id),
        RepoTags: tags.length === 0 ? null : tags.map(familiarString),
        Layers: diffIds.map(blobPath),
        ...(image.parent !== undefined && ids.has(image.parent) && { Parent: image.parent }),
        ...(sources.length > 0 && { LayerSources: Object.fromEntries(sources) }),
      };
    }),
  );
}

/** Undefined when no image has a name. */
function repositoriesOf(saved: readonly SavedImage[]): RawJson | undefined {
  const repositories = new Map<string, Map<string, RawJson>>();
  for (const { image, tags } of saved) {
    const top = image.config.diffIds.at(-1);
    if (top === undefined) continue;
    for (const tag of tags) {
      const name = familiarName(tag);
      const own = repositories.get(name) ?? new Map<string, RawJson>();
      own.set(tag.tag ?? '', goJson(hexOf(top)));
      repositories.set(name, own);
    }
  }
  if (repositories.size === 0) return undefined;
  return goMap(new Map([...repositories].map(([name, own]) => [name, goMap(own)])));
}
