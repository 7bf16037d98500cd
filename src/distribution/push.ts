/**
 * An image from the store into a repository (moby, distribution/push_v2.go).
 *
 * The order is that of the references between them, so that a registry never has a manifest without
 * what it names: layers, five at once, then the configuration, then the manifest. What the
 * repository has is not sent; what another repository of the same registry has is mounted; only
 * what is left is compressed, and sent.
 *
 * An image leaves as it came, byte for byte, where the manifest that it came with is kept and all
 * its blobs are at hand; else in the same form, schema 2 or OCI, with layers compressed here. One
 * that was made here is of schema 2, as docker pushes it.
 */
import pLimit from 'p-limit';
import type { ByteSource } from '../base/byte-source.js';
import { chainIdsOf, sha256, type ChainId, type Digest, type DiffId } from '../base/digest.js';
import { PlyfsError } from '../base/error.js';
import { compressLayer } from '../image/compressed-layer.js';
import type { Image } from '../image/image-store.js';
import { JsonDocument } from '../image/json.js';
import {
  isForeignLayer,
  ManifestReader,
  type Descriptor,
  type ImageManifest,
} from '../image/manifest.js';
import { manifestsOf, recordManifest } from '../image/manifest-store.js';
import type { ImageStores } from '../image/publish-image.js';
import { canonicalName, type Reference } from '../image/reference.js';
import { Selection } from '../image/selection.js';
import {
  compressionOf,
  formOf,
  layerTypeOf,
  writeManifest,
  type BlobFacts,
  type ImageForm,
} from './image-forms.js';
import type { RegistryClient, Upload } from './registry-client.js';
import type { RegistryDatabases } from '../image/registry-databases.js';
import type { RetryOptions } from './retry.js';
import { uploadBlob } from './upload.js';

/** moby, distribution/xfer: maxUploadConcurrency. */
const UPLOADS = 5;
/** moby, distribution/push_v2.go, maxRepositoryMountAttempts. */
const MOUNTS_MAX = 4;
/** Digests that are asked for, of those that a layer is known by. */
const KNOWN_MAX = 3;

export interface PushProgress {
  /**
   * `compress`: bytes of the tar; `push`: bytes that have been sent; `exists`, `mounted`: nothing
   * is.
   */
  readonly kind: 'compress' | 'push' | 'exists' | 'mounted';
  /** The layer's DiffID. */
  readonly id: string;
  readonly done: number;
  readonly total?: number;
}

export interface PushOptions {
  readonly client: RegistryClient;
  readonly stores: ImageStores;
  readonly databases: RegistryDatabases;
  /** Where layers are compressed. */
  readonly directory: string;
  /** Whether what is learned is kept: not in a root that is open for reading. */
  readonly record: boolean;
  readonly onProgress?: ((progress: PushProgress) => void) | undefined;
  readonly retry?: RetryOptions;
  readonly signal?: AbortSignal | undefined;
}

export interface PushedImage {
  /** Of the manifest. */
  readonly digest: Digest;
  /** Bytes of the manifest. */
  readonly size: number;
  readonly mediaType: string;
}

interface PushedLayer extends BlobFacts {
  readonly mediaType: string;
  readonly urls?: readonly string[];
}

/**
 * Puts the image into the client's repository under `reference`, which has a tag. Throws what the
 * client throws, `layer-damaged`, `layer-missing`, `push-no-space`, `registry-invalid`.
 */
export async function pushImage(
  image: Image,
  reference: Reference & { readonly tag: string },
  options: PushOptions,
): Promise<PushedImage> {
  const { layers } = options.stores;
  if (image.chainId !== undefined) layers.lease(image.chainId);
  try {
    return await new Push(image, reference, options).run();
  } finally {
    if (image.chainId !== undefined) await layers.release(image.chainId);
  }
}

class Push {
  readonly #image: Image;
  readonly #reference: Reference & { readonly tag: string };
  readonly #options: PushOptions;
  readonly #diffIds: readonly DiffId[];
  readonly #chainIds: readonly ChainId[];
  readonly #limit = pLimit(UPLOADS);
  /** What the repository was asked for, and has been given meanwhile. */
  readonly #present = new Map<Digest, Promise<number | undefined>>();
  /** Of layers that could not be mounted. */
  readonly #sessions = new Map<DiffId, Upload>();

  constructor(image: Image, reference: Reference & { readonly tag: string }, options: PushOptions) {
    this.#image = image;
    this.#reference = reference;
    this.#options = options;
    this.#diffIds = image.config.diffIds;
    this.#chainIds = chainIdsOf(this.#diffIds);
  }

  async run(): Promise<PushedImage> {
    const { stores, record } = this.#options;
    const kept = await this.#keptManifests();
    for (const { manifest, bytes } of kept)
      if (await this.#hasLayersOf(manifest)) return this.#finish(manifest.mediaType, bytes);
    const form = kept[0] === undefined ? 'docker' : formOf(kept[0].manifest.mediaType);
    const layers = await this.#pushLayers(
      form,
      kept.map(({ manifest }) => manifest),
    );
    const config = { digest: this.#image.id, size: this.#image.bytes };
    const { mediaType, bytes } = writeManifest(form, config, layers);
    const pushed = await this.#finish(mediaType, bytes);
    if (record) recordManifest(stores.root, this.#image.id, bytes);
    return pushed;
  }

  /** Those that are this image's, the latest first. */
  async #keptManifests(): Promise<{ manifest: ImageManifest; bytes: Buffer }[]> {
    const kept: { manifest: ImageManifest; bytes: Buffer }[] = [];
    for (const { digest, bytes } of manifestsOf(this.#options.stores.root, this.#image.id)) {
      const manifest = await readKept(digest, bytes);
      if (
        manifest?.config.digest === this.#image.id &&
        manifest.layers.length === this.#diffIds.length
      )
        kept.push({ manifest, bytes });
    }
    return kept;
  }

  /** Whether the repository has, or can mount, all of them. */
  async #hasLayersOf({ layers }: ImageManifest): Promise<boolean> {
    const found = await Promise.all(
      layers.map((layer, index) =>
        this.#limit(async () => {
          if (isForeignLayer(layer)) return true;
          const size = await this.#obtain(layer.digest, this.#diffIds[index]!);
          return size === layer.size;
        }),
      ),
    );
    return found.every((one) => one);
  }

  async #pushLayers(form: ImageForm, kept: readonly ImageManifest[]): Promise<PushedLayer[]> {
    // A layer may be there twice.
    const pushed = new Map<DiffId, Promise<PushedLayer>>();
    const failed = new AbortController();
    const { signal } = this.#options;
    const both = AbortSignal.any([failed.signal, ...(signal === undefined ? [] : [signal])]);
    const all = this.#diffIds.map((diffId, index) => {
      const known = pushed.get(diffId);
      if (known !== undefined) return known;
      const descriptors = kept.map(({ layers }) => layers[index]!);
      const layer = this.#limit(async () => {
        both.throwIfAborted();
        return this.#pushLayer(form, index, descriptors, both);
      });
      pushed.set(diffId, layer);
      return layer;
    });
    try {
      return await Promise.all(all);
    } catch (error) {
      failed.abort(error);
      // What is under way holds the layers.
      await Promise.allSettled(all);
      throw error;
    }
  }

  /** By a blob that the repository has, or can mount, else by one that is made and sent. */
  async #pushLayer(
    form: ImageForm,
    index: number,
    descriptors: readonly Descriptor[],
    signal: AbortSignal,
  ): Promise<PushedLayer> {
    const diffId = this.#diffIds[index]!;
    for (const { digest, size, mediaType, urls } of descriptors) {
      const type = isForeignLayer({ mediaType } as Descriptor)
        ? mediaType
        : layerTypeOf(form, compressionOf(mediaType));
      if (type === undefined) continue;
      if (urls.length > 0 && type === mediaType) return { digest, size, mediaType, urls };
      if ((await this.#obtain(digest, diffId)) === size) return { digest, size, mediaType: type };
    }
    const gzip = layerTypeOf(form, 'gzip')!;
    for (const digest of this.#knownDigests(diffId, descriptors)) {
      const size = await this.#obtain(digest, diffId);
      if (size !== undefined) return { digest, size, mediaType: gzip };
    }
    return { ...(await this.#send(diffId, this.#chainIds[index]!, signal)), mediaType: gzip };
  }

  /** Those that only Docker's databases know; as there, they count as compressed by gzip. */
  #knownDigests(diffId: DiffId, descriptors: readonly Descriptor[]): Digest[] {
    const tried = new Set(descriptors.map(({ digest }) => digest));
    const known = this.#options.databases.originsOf(diffId).map(({ digest }) => digest);
    return [...new Set(known.reverse())].filter((one) => !tried.has(one)).slice(0, KNOWN_MAX);
  }

  /** How many bytes the blob has in the repository, once it has been mounted if need be. */
  #obtain(digest: Digest, diffId: DiffId): Promise<number | undefined> {
    const known = this.#present.get(digest);
    if (known !== undefined) return known;
    const asked = this.#find(digest, diffId);
    this.#present.set(digest, asked);
    return asked;
  }

  async #find(digest: Digest, diffId: DiffId): Promise<number | undefined> {
    const { client, onProgress } = this.#options;
    const size = await client.blobSize(digest);
    if (size !== undefined) {
      onProgress?.({ kind: 'exists', id: diffId, done: size });
      this.#record(diffId, digest);
      return size;
    }
    for (const from of this.#otherRepositories(digest, diffId)) {
      const started = await this.#mount(digest, from);
      if (started === 'mounted') {
        const mounted = await client.blobSize(digest);
        if (mounted === undefined) continue;
        onProgress?.({ kind: 'mounted', id: diffId, done: mounted });
        this.#record(diffId, digest);
        return mounted;
      }
      if (started !== undefined) this.#sessions.set(diffId, started);
    }
    return undefined;
  }

  /** Undefined where this user may not read the other repository. */
  async #mount(digest: Digest, from: string): Promise<Upload | 'mounted' | undefined> {
    try {
      return await this.#options.client.startUpload({ digest, from });
    } catch (error) {
      const refused = ['registry-unauthorized', 'registry-denied', 'registry-missing'];
      if (error instanceof PlyfsError && refused.includes(error.code)) return undefined;
      throw error;
    }
  }

  /** Those of the same registry that the blob came from or went to, the latest first. */
  #otherRepositories(digest: Digest, diffId: DiffId): string[] {
    const { domain, path } = this.#reference;
    const found = this.#options.databases
      .originsOf(diffId)
      .filter((source) => source.digest === digest)
      .filter(({ sourceRepository }) => sourceRepository.startsWith(`${domain}/`))
      .map(({ sourceRepository }) => sourceRepository.slice(domain.length + 1))
      .filter((other) => other !== path);
    return [...new Set(found.reverse())].slice(0, MOUNTS_MAX);
  }

  /** Compresses the layer, and sends it unless the repository has it. */
  async #send(diffId: DiffId, chainId: ChainId, signal: AbortSignal): Promise<BlobFacts> {
    const { client, stores, directory, onProgress } = this.#options;
    const total = await stores.layers.tarSize(chainId);
    const blob = await compressLayer(stores.layers, chainId, {
      directory,
      signal,
      onProgress: (done) => onProgress?.({ kind: 'compress', id: diffId, done, total }),
    });
    try {
      const { digest, size } = blob;
      if ((await this.#obtain(digest, diffId)) !== size) {
        await uploadBlob(client, blob, {
          session: this.#sessions.get(diffId),
          signal,
          retry: this.#options.retry,
          onProgress: (done) => onProgress?.({ kind: 'push', id: diffId, done, total: size }),
        });
        this.#present.set(digest, Promise.resolve(size));
        this.#record(diffId, digest);
      }
      return { digest, size };
    } finally {
      blob.close();
    }
  }

  /** The configuration, then the manifest under its tag. */
  async #finish(mediaType: string, bytes: Buffer): Promise<PushedImage> {
    const { client, signal, retry } = this.#options;
    const { id } = this.#image;
    if ((await client.blobSize(id)) === undefined) {
      const raw = Buffer.from(this.#image.raw);
      const read = async function* (from: number): ByteSource {
        yield raw.subarray(from);
      };
      await uploadBlob(client, { digest: id, size: raw.length, read }, { signal, retry });
    }
    await client.putManifest(this.#reference.tag, mediaType, bytes);
    return { digest: sha256(bytes), size: bytes.length, mediaType };
  }

  #record(diffId: DiffId, digest: Digest): void {
    const { databases, record } = this.#options;
    if (record) databases.record(diffId, digest, canonicalName(this.#reference));
  }
}

/** Undefined for what is no manifest of an image (any more). */
async function readKept(digest: Digest, bytes: Buffer): Promise<ImageManifest | undefined> {
  const what = `The manifest ${digest}`;
  const json = new JsonDocument('manifest-invalid', what);
  const reader = new ManifestReader(
    {
      name: what,
      codes: { invalid: 'manifest-invalid', hostile: 'manifest-invalid' },
      whatOf: (one) => `the blob ${one}`,
      read: () => Promise.reject(new PlyfsError('manifest-invalid', `${what} is an index.`)),
    },
    new Selection(undefined),
  );
  try {
    const [manifest] = await reader.read(json, json.parse(bytes), { what, depth: 0 });
    return manifest;
  } catch (error) {
    if (error instanceof PlyfsError) return undefined;
    throw error;
  }
}
