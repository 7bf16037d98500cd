/**
 * Images from one place to another as they are: no layer is unpacked, and but for what OCI layouts
 * cannot hold no byte of a manifest changes.
 *
 * What a manifest names is there before the manifest, and what an index names before the index. A
 * blob that the target has is not fetched. Each is checked against its digest by the target: a
 * registry does that itself, a directory on the way (oci-directory.ts).
 */
import pLimit from 'p-limit';
import { sha256, type Digest } from '../base/digest.js';
import { PlyfsError } from '../base/error.js';
import type { Platform } from '../image/image-config.js';
import { JsonDocument } from '../image/json.js';
import { IMAGES_MAX, INDEX_DEPTH_MAX } from '../image/limits.js';
import {
  descriptorOf,
  fieldsOf,
  isForeignLayer,
  kindOf,
  MediaType,
  type Descriptor,
} from '../image/manifest.js';
import { choosePlatform, hostPlatform, platformString } from '../image/platform.js';
import { compressionOf, layerTypeOf, writeManifest } from './image-forms.js';
import type { FetchedManifest } from './registry-client.js';
import type { Blob } from './upload.js';

/** Blobs under way at once. */
const BLOBS = 5;

export interface CopySource {
  /** For messages. */
  readonly name: string;
  /** What was named. Its digest is its bytes'. */
  top(): Promise<FetchedManifest>;
  /** Throws when there is none, or it is another. */
  manifest(descriptor: Descriptor): Promise<FetchedManifest>;
  blob(descriptor: Descriptor): Blob;
}

export interface CopyTarget {
  /** A manifest of schema 2 is written as one of OCI. */
  readonly ociOnly: boolean;
  has(blob: Descriptor): Promise<boolean>;
  /** Throws `blob-digest-mismatch` when it is not what its digest says. */
  put(blob: Blob, onProgress: (done: number) => void): Promise<void>;
  /** `named`: it is what the target's name means. */
  putManifest(manifest: FetchedManifest, named: boolean): Promise<void>;
}

export interface CopyProgress {
  readonly kind: 'copy' | 'exists';
  /** The blob's digest. */
  readonly id: string;
  readonly done: number;
  readonly total: number;
}

export interface CopyOptions {
  /** Every image of an index, and the index; else the one for a platform. */
  readonly all: boolean;
  /** This machine's when absent. */
  readonly platform?: Platform | undefined;
  readonly onProgress?: ((progress: CopyProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Returns what the target's name means now. Throws `image-missing` when there is none for the
 * platform, `manifest-invalid`, `archive-hostile`, and what source and target throw.
 */
export async function copyImage(
  source: CopySource,
  target: CopyTarget,
  options: CopyOptions,
): Promise<FetchedManifest> {
  const copy = new Copy(source, target, options);
  const top = await source.top();
  const chosen = options.all ? top : await copy.choose(top, 0);
  return copy.run(chosen, 0, true);
}

/**
 * An image's manifest of schema 2 as one of OCI, for what reads nothing else: the same blobs,
 * another digest. All else as it is.
 */
export function asOci(manifest: FetchedManifest): FetchedManifest {
  if (manifest.mediaType !== MediaType.dockerManifest) return manifest;
  const json = new JsonDocument('manifest-invalid', `The manifest ${manifest.digest}`);
  const document = fieldsOf(json, json.parse(manifest.bytes));
  const layers = json
    .array(document['layers'], 'layers', (item, field) => descriptorOf(json, item, field))
    .map((layer) => ({
      ...layer,
      mediaType: isForeignLayer(layer)
        ? layer.mediaType
        : layerTypeOf('oci', compressionOf(layer.mediaType))!,
    }));
  const config = descriptorOf(json, document['config'], 'config');
  const { mediaType, bytes } = writeManifest('oci', config, layers);
  return { digest: sha256(bytes), mediaType, bytes };
}

interface Parsed {
  readonly index: boolean;
  readonly entries: readonly Descriptor[];
}

class Copy {
  readonly #source: CopySource;
  readonly #target: CopyTarget;
  readonly #options: CopyOptions;
  readonly #limit = pLimit(BLOBS);
  /** An image for several platforms has blobs more than once. */
  readonly #done = new Map<Digest, Promise<void>>();
  #count = 0;

  constructor(source: CopySource, target: CopyTarget, options: CopyOptions) {
    this.#source = source;
    this.#target = target;
    this.#options = options;
  }

  async choose(manifest: FetchedManifest, depth: number): Promise<FetchedManifest> {
    const { index, entries } = this.#parse(manifest);
    if (!index) return manifest;
    if (depth > INDEX_DEPTH_MAX) throw this.#tooDeep();
    const images = entries.filter(({ platform }) => platform !== undefined);
    const platforms = images.map(({ platform }) => platform!);
    const wanted = this.#options.platform ?? hostPlatform();
    const best = choosePlatform(platforms, wanted);
    if (best === undefined)
      throw new PlyfsError(
        'image-missing',
        `${this.#source.name} has no image for ${platformString(wanted)}, but for ${platforms.map(platformString).join(', ') || 'no platform'}: use --all, or name one with --platform.`,
      );
    return this.choose(await this.#source.manifest(images[best]!), depth + 1);
  }

  /** Returns what is put for it. */
  async run(manifest: FetchedManifest, depth: number, named: boolean): Promise<FetchedManifest> {
    this.#options.signal?.throwIfAborted();
    if (depth > INDEX_DEPTH_MAX) throw this.#tooDeep();
    if (++this.#count > IMAGES_MAX)
      throw new PlyfsError(
        'archive-hostile',
        `${this.#source.name} has more than ${IMAGES_MAX} manifests.`,
      );
    const { index, entries } = this.#parse(manifest);
    if (index)
      for (const entry of entries)
        await this.run(await this.#source.manifest(entry), depth + 1, false);
    else await this.#blobs(entries);
    // What an index names has to keep its digest.
    const put = named && this.#target.ociOnly ? asOci(manifest) : manifest;
    await this.#target.putManifest(put, named);
    return put;
  }

  async #blobs(entries: readonly Descriptor[]): Promise<void> {
    const all = entries.map((entry) => {
      // What may not be copied stays where its addresses lead.
      if (isForeignLayer(entry) && entry.urls.length > 0) return Promise.resolve();
      const known = this.#done.get(entry.digest);
      if (known !== undefined) return known;
      const copied = this.#limit(() => this.#blob(entry));
      this.#done.set(entry.digest, copied);
      return copied;
    });
    const [failure] = (await Promise.allSettled(all)).filter(({ status }) => status === 'rejected');
    if (failure !== undefined) throw (failure as PromiseRejectedResult).reason;
  }

  async #blob(entry: Descriptor): Promise<void> {
    const { onProgress, signal } = this.#options;
    const { digest: id, size: total } = entry;
    signal?.throwIfAborted();
    if (await this.#target.has(entry)) {
      onProgress?.({ kind: 'exists', id, done: total, total });
      return;
    }
    await this.#target.put(this.#source.blob(entry), (done) =>
      onProgress?.({ kind: 'copy', id, done, total }),
    );
  }

  #parse({ bytes, mediaType, digest }: FetchedManifest): Parsed {
    const json = new JsonDocument('manifest-invalid', `${this.#source.name}@${digest}`);
    const document = fieldsOf(json, json.parse(bytes));
    const descriptors = (field: string): Descriptor[] =>
      json.array(document[field], field, (item, at) => descriptorOf(json, item, at));
    const kind = kindOf(json, document, mediaType, 'archive-hostile');
    if (kind === 'other') throw json.error('is neither a manifest nor an index');
    return kind === 'index'
      ? { index: true, entries: descriptors('manifests') }
      : {
          index: false,
          entries: [...descriptors('layers'), descriptorOf(json, document['config'], 'config')],
        };
  }

  #tooDeep(): PlyfsError {
    return new PlyfsError(
      'archive-hostile',
      `${this.#source.name} has indexes within more than ${INDEX_DEPTH_MAX} others.`,
    );
  }
}
