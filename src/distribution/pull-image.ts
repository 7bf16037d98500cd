/**
 * An image from a registry into the store.
 *
 * 1. The manifest of the name, checked against its digest, and of an index the one for the
 *    platform.
 * 2. The configuration and the layers' blobs, some at once, into files below the data root
 *    (layer/blob-part.ts). A layer is not fetched when the store has it, with all below it: before
 *    the configuration is there, by what is remembered of blobs; after, by its DiffIDs, which is
 *    what counts.
 * 3. Layers are unpacked from the bottom, each while it still comes, so that the last is unpacked
 *    soon after its last byte.
 * 4. The image is published as by `load`: with its layers leased, by one rename, and named last.
 *
 * A failure aborts what is under way and leaves nothing but parts of blobs that are not known to be
 * wrong, from which the next pull goes on.
 */
import { statfsSync } from 'node:fs';
import pLimit from 'p-limit';
import type { ByteSource } from '../base/byte-source.js';
import { readAll } from '../base/byte-source.js';
import {
  chainIdOf,
  chainIdsOf,
  type ChainId,
  type Digest,
  type DiffId,
  type ImageId,
} from '../base/digest.js';
import { errorOf, PlyfsError } from '../base/error.js';
import type { Platform } from '../image/image-config.js';
import {
  ManifestReader,
  type BlobSource,
  type Descriptor,
  type ImageManifest,
} from '../image/manifest.js';
import type { Image } from '../image/image-store.js';
import { recordManifest } from '../image/manifest-store.js';
import type { OnProgress } from '../image/progress.js';
import {
  publishImage,
  type HeldLayers,
  type ImageStores,
  type PublishedImage,
} from '../image/publish-image.js';
import { familiarString, repositoryOf, type Reference } from '../image/reference.js';
import type { RegistryDatabases } from '../image/registry-databases.js';
import { Selection } from '../image/selection.js';
import { BlobPart } from '../layer/blob-part.js';
import { BlobDownload, BlobRestarted } from './blob-download.js';
import type { FetchedManifest, OpenedBlob, RegistryClient } from './registry-client.js';
import { defaultRetry, retrying, type RetryOptions } from './retry.js';

/** Blobs that are fetched at once: podman has six, docker three. */
const AT_ONCE = 6;
/** How often a layer is begun anew whose blob turned out to be another, or which was removed. */
const ATTEMPTS = 2;
/** Bytes of a layer's tar: beyond any layer. */
const LAYER_BYTES_MAX = 2 ** 38;

export interface PullOptions {
  /** Images for this one only; when absent, of several the one for this machine. */
  readonly platform?: Platform | undefined;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly retry?: RetryOptions;
}

export interface PulledImage extends PublishedImage {
  /** Of the manifest or index that the name means. */
  readonly digest: Digest;
  /** It was there, with this name. */
  readonly upToDate: boolean;
  /** Bytes of layers that came over the network. */
  readonly fetched: number;
}

/**
 * `reference`: with a tag or a digest, and then what it is called. `clients`: where its repository
 * is, in the order in which they are asked.
 *
 * Throws what the client throws, of the last of them; `manifest-…`, `blob-digest-mismatch`,
 * `blob-size-mismatch`, `layer-digest-mismatch`, `platform-unsupported`, `disk-full`, and what
 * registering a layer throws.
 */
export async function pullImage(
  reference: Reference,
  clients: readonly RegistryClient[],
  stores: ImageStores,
  databases: RegistryDatabases,
  options: PullOptions = {},
): Promise<PulledImage> {
  const { found, digest } = await resolve(reference, clients, options);
  const names = namesOf(reference, digest);
  stores.images.refresh();
  const known = stores.images.get(found.config.digest as ImageId);
  const upToDate = names.every((name) => stores.references.get(name) === known?.id);
  const pull = new Pull(reference, found, clients, stores, databases, options);
  const published = await pull.run(names, known);
  if (found.raw !== undefined) recordManifest(stores.root, published.image.id, found.raw);
  return { ...published, digest, upToDate: known !== undefined && upToDate, fetched: pull.fetched };
}

/** As dockerd keeps them: the digest always, and the tag where it was asked for by one. */
function namesOf(reference: Reference, digest: Digest): Reference[] {
  const byDigest = { ...repositoryOf(reference), digest };
  return reference.digest === undefined ? [reference, byDigest] : [byDigest];
}

/** The first of the clients that has the manifest says what the name means. */
async function resolve(
  reference: Reference,
  clients: readonly RegistryClient[],
  options: PullOptions,
): Promise<{ found: ImageManifest; digest: Digest }> {
  let failure = new Error('There is no registry to ask.');
  for (const client of clients) {
    let top: FetchedManifest;
    try {
      top = await topManifest(reference, client);
    } catch (error) {
      options.signal?.throwIfAborted();
      failure = errorOf(error);
      continue;
    }
    return { found: await imageIn(top, reference, client, options), digest: top.digest };
  }
  throw failure;
}

/**
 * By HEAD first: registries count what is fetched by GET, and the digest pins what is fetched after
 * it.
 */
async function topManifest(
  { tag, digest }: Reference,
  client: RegistryClient,
): Promise<FetchedManifest> {
  const asked = digest ?? tag!;
  if (digest !== undefined) return client.manifest(asked);
  const head = await client.headManifest(asked);
  return client.manifest(head?.digest ?? asked);
}

async function imageIn(
  top: FetchedManifest,
  reference: Reference,
  client: RegistryClient,
  { platform, signal, retry = defaultRetry }: PullOptions,
): Promise<ImageManifest> {
  const selection = new Selection(platform);
  const reader = new ManifestReader(new RegistryBlobs(client, retry, signal), selection);
  const what = familiarString(reference);
  const json = reader.document(what);
  // Some registries give all documents one type.
  const declared = top.mediaType.startsWith('application/vnd.') ? top.mediaType : '';
  const leading = { what, depth: 0, declared, raw: top.bytes, alone: {} };
  const [found] = await reader.read(json, json.parse(top.bytes), leading);
  if (found === undefined) throw selection.nothingLeft(what, 'manifest-unsupported');
  return found;
}

/** Small blobs of a repository, for the reader of manifests, which checks them. */
class RegistryBlobs implements BlobSource {
  readonly codes = { invalid: 'manifest-invalid', hostile: 'manifest-hostile' };
  readonly #client: RegistryClient;
  readonly #retry: RetryOptions;
  readonly #signal: AbortSignal | undefined;

  constructor(client: RegistryClient, retry: RetryOptions, signal: AbortSignal | undefined) {
    this.#client = client;
    this.#retry = retry;
    this.#signal = signal;
  }

  get name(): string {
    return this.#client.name;
  }

  whatOf(digest: Digest): string {
    return `${this.name}@${digest}`;
  }

  async read(descriptor: Descriptor, limit: number, kind: 'manifest' | 'config'): Promise<Buffer> {
    if (kind === 'manifest') return (await this.#client.manifest(descriptor.digest)).bytes;
    const read = async (): Promise<Buffer> => {
      const { body } = await this.#client.openBlob(descriptor, 0);
      const bytes = await readAll(body, Math.min(limit, descriptor.size));
      if (bytes !== undefined) return bytes;
      throw new PlyfsError(
        'blob-size-mismatch',
        `More than the ${descriptor.size} bytes come of ${this.whatOf(descriptor.digest)} that belong to it.`,
      );
    };
    return retrying(read, this.#retry, this.#signal);
  }
}

/** A blob that is being fetched. */
interface Fetch {
  /**
   * Undefined when the layer was in the store when its turn came. It can be read while it comes.
   */
  readonly begun: Promise<BlobDownload | undefined>;
  /** Never rejects: why it failed, if it did. */
  readonly ended: Promise<Error | undefined>;
  readonly abort: AbortController;
  part?: BlobPart;
  /** Layers that it is, which are not unpacked yet. */
  users: number;
}

class Pull {
  readonly #reference: Reference;
  readonly #manifest: ImageManifest;
  readonly #clients: readonly RegistryClient[];
  readonly #stores: ImageStores;
  readonly #databases: RegistryDatabases;
  readonly #options: PullOptions;
  readonly #limit = pLimit(AT_ONCE);
  readonly #abort = new AbortController();
  readonly #fetches = new Map<Digest, Fetch>();
  /** Blobs that are not what somebody says: nothing of them is kept. */
  readonly #wrong = new Set<Digest>();
  /** Of the layers, once the configuration is there. */
  #chains: readonly ChainId[] | undefined;
  /** Bytes that came over the network. */
  fetched = 0;

  constructor(
    reference: Reference,
    manifest: ImageManifest,
    clients: readonly RegistryClient[],
    stores: ImageStores,
    databases: RegistryDatabases,
    options: PullOptions,
  ) {
    this.#reference = reference;
    this.#manifest = manifest;
    this.#clients = clients;
    this.#stores = stores;
    this.#databases = databases;
    this.#options = options;
  }

  /** `known`: the image, where the store has it. */
  async run(references: readonly Reference[], known: Image | undefined): Promise<PublishedImage> {
    const { signal } = this.#options;
    const abort = (): void => this.#abort.abort(signal?.reason);
    signal?.throwIfAborted();
    signal?.addEventListener('abort', abort, { once: true });
    try {
      return await publishImage(this.#stores, {
        make: (held) => (known === undefined ? this.#make(held) : this.#again(held, known)),
        references,
      });
    } finally {
      signal?.removeEventListener('abort', abort);
      await this.#end();
    }
  }

  /** An image that is there needs a name only. */
  async #again(held: HeldLayers, { chainId, raw }: Image): Promise<Uint8Array> {
    if (chainId !== undefined) held.lease(chainId);
    const { onProgress } = this.#options;
    for (const { digest, size } of this.#manifest.layers)
      onProgress?.({ kind: 'exists', id: digest, done: size, total: size });
    return raw;
  }

  async #make(held: HeldLayers): Promise<Uint8Array> {
    const { layers } = this.#manifest;
    const remembered = this.#remembered();
    this.#assertRoom(layers.slice(remembered));
    for (const layer of layers.slice(remembered)) this.#fetch(layer);
    const image = await this.#manifest.image();
    const { diffIds } = image.config;
    this.#chains = chainIdsOf(diffIds);
    for (const [index, layer] of layers.entries())
      await this.#layer(held, layer, index, diffIds[index]!);
    return image.raw;
  }

  /** How many layers from the bottom the store has, as far as their blobs are remembered. */
  #remembered(): number {
    let chain: ChainId | undefined;
    for (const [index, { digest }] of this.#manifest.layers.entries()) {
      const diffId = this.#databases.diffIdOf(digest);
      if (diffId === undefined) return index;
      chain = chainIdOf(chain, diffId);
      if (this.#stores.layers.get(chain) === undefined) return index;
    }
    return this.#manifest.layers.length;
  }

  /**
   * Throws `disk-full` when what is to come cannot fit: each layer is at least as large unpacked.
   */
  #assertRoom(layers: readonly Descriptor[]): void {
    const sizes = layers.map(({ size }) => size);
    const needed = sizes.reduce((sum, size) => sum + size, 0) + Math.max(0, ...sizes);
    const free = freeBytes(this.#stores.root);
    if (needed > free)
      throw new PlyfsError(
        'disk-full',
        `${familiarString(this.#reference)} needs ${needed} bytes or more in ${this.#stores.root}, where ${free} are free: free some space (\`ply prune\` and \`ply rmi\` remove what is not needed).`,
      );
  }

  /** Whether the store has the layer now, whoever put it there. */
  #isThere(index: number): boolean {
    const chain = this.#chains?.[index];
    if (chain === undefined) return false;
    if (this.#stores.layers.get(chain) !== undefined) return true;
    this.#stores.layers.refresh();
    return this.#stores.layers.get(chain) !== undefined;
  }

  async #layer(held: HeldLayers, layer: Descriptor, index: number, diffId: DiffId): Promise<void> {
    const { onProgress } = this.#options;
    const repository = `${this.#reference.domain}/${this.#reference.path}`;
    this.#abort.signal.throwIfAborted();
    const report = (kind: 'exists' | 'extract' | 'done', done = layer.size): void =>
      onProgress?.({ kind, id: layer.digest, done, total: layer.size });
    const seen = { unpacked: false };
    const source = async function* (this: Pull): ByteSource {
      const download = await this.#fetch(layer, index).begun;
      if (download === undefined) throw new Vanished();
      seen.unpacked = true;
      let read = 0;
      for await (const piece of download.read()) {
        report('extract', (read += piece.length));
        yield piece;
      }
    };
    for (let attempt = 0; ; attempt++) {
      try {
        await held.register(source.call(this), {
          expect: diffId,
          signal: this.#abort.signal,
          limits: { bytes: Math.min(LAYER_BYTES_MAX, freeBytes(this.#stores.root)) },
        });
        break;
      } catch (error) {
        if (attempt >= ATTEMPTS) throw error;
        if (error instanceof Vanished) await this.#drop(layer);
        else if (!(error instanceof BlobRestarted)) throw this.#told(error, layer, index);
      }
    }
    if (seen.unpacked) {
      // What follows compressed data was not read for the tar, and is a part of the blob all the
      // same.
      const failure = await this.#fetch(layer, index).ended;
      if (failure !== undefined) throw failure;
    }
    report(seen.unpacked ? 'done' : 'exists');
    this.#databases.record(diffId, layer.digest, repository);
    const fetch = this.#fetches.get(layer.digest);
    if (fetch !== undefined && --fetch.users === 0) await this.#drop(layer);
  }

  #told(error: unknown, layer: Descriptor, index: number): unknown {
    if (!(error instanceof PlyfsError)) return error;
    const what = `The layer ${layer.digest} of ${familiarString(this.#reference)}`;
    if (error.code === 'diff-id-mismatch') {
      this.#wrong.add(layer.digest);
      return new PlyfsError(
        'layer-digest-mismatch',
        `${what} is not what its image says: invalid diffID for layer ${index}: ${error.message}`,
        { cause: error },
      );
    }
    if (error.code === 'archive-too-large')
      return new PlyfsError(
        'disk-full',
        `${what} is larger unpacked than the space that is free in ${this.#stores.root}, or than any layer is: ${error.message}`,
        { cause: error },
      );
    return error;
  }

  /** Begins to fetch the layer's blob, once. */
  #fetch(layer: Descriptor, index = this.#manifest.layers.indexOf(layer)): Fetch {
    const known = this.#fetches.get(layer.digest);
    if (known !== undefined) return known;
    const abort = new AbortController();
    const signal = AbortSignal.any([this.#abort.signal, abort.signal]);
    const { onProgress } = this.#options;
    onProgress?.({ kind: 'wait', id: layer.digest, done: 0, total: layer.size });
    const start = async (): Promise<BlobDownload | undefined> => {
      if (this.#isThere(index)) return undefined;
      const part = await BlobPart.take(this.#stores.root, layer.digest, layer.size, signal);
      fetch.part = part;
      // Another process had it, and is through with it.
      if (this.#isThere(index)) return undefined;
      return new BlobDownload(layer, part, {
        open: (from) => this.#open(layer, from, signal),
        retry: this.#options.retry ?? defaultRetry,
        signal,
        what: `${this.#clients[0]!.name}@${layer.digest}`,
        onProgress: (done) =>
          onProgress?.({ kind: 'download', id: layer.digest, done, total: layer.size }),
      });
    };
    // It can be read as soon as it has begun; its place among those under way is free when it has
    // ended.
    let begin: (download: BlobDownload | undefined) => void;
    let fail: (reason: unknown) => void;
    const begun = new Promise<BlobDownload | undefined>((resolve, reject) => {
      begin = resolve;
      fail = reject;
    });
    begun.catch(() => undefined);
    const ended = this.#limit(async () => {
      try {
        signal.throwIfAborted();
        const download = await start();
        begin(download);
        await download?.run().finally(() => (this.fetched += download.fetched));
        return undefined;
      } catch (failure) {
        fail(errorOf(failure));
        if (failure instanceof PlyfsError && /^blob-.*-mismatch$/.test(failure.code))
          this.#wrong.add(layer.digest);
        return errorOf(failure);
      }
    });
    const users = this.#manifest.layers.filter(({ digest }) => digest === layer.digest).length;
    const fetch: Fetch = { begun, ended, abort, users };
    this.#fetches.set(layer.digest, fetch);
    return fetch;
  }

  /** From the first of the registries that has it. */
  async #open(layer: Descriptor, from: number, signal: AbortSignal): Promise<OpenedBlob> {
    let failure = new Error('There is no registry to ask.');
    for (const client of this.#clients) {
      try {
        return await client.openBlob(layer, from, signal);
      } catch (error) {
        signal.throwIfAborted();
        failure = errorOf(error);
      }
    }
    throw failure;
  }

  /** What was fetched is not needed any more. */
  async #drop({ digest }: Descriptor): Promise<void> {
    const fetch = this.#fetches.get(digest);
    if (fetch === undefined) return;
    this.#fetches.delete(digest);
    fetch.abort.abort();
    await fetch.ended;
    fetch.part?.close({ remove: true });
  }

  /** However it ended: nothing goes on, and what was fetched stays for the next attempt. */
  async #end(): Promise<void> {
    this.#abort.abort();
    for (const [digest, { ended, part }] of this.#fetches) {
      await ended;
      part?.close({ remove: this.#wrong.has(digest) });
    }
    this.#fetches.clear();
  }
}

/** The store had the layer when its blob's turn came, and has it no more. */
class Vanished extends Error {}

function freeBytes(root: string): number {
  const { bavail, bsize } = statfsSync(root);
  return bavail * bsize;
}
