/**
 * Manifests and indexes of images, in OCI's form and in Docker's schema 2 (image-spec, manifest.md,
 * image-index.md, descriptor.md; distribution, manifest-v2-2.md), from wherever their blobs come:
 * an archive or a registry.
 *
 * An index's entry is a manifest or another index, which is one image for several platforms. Of
 * those the one for the wanted platform is taken; entries that are no images are passed over.
 *
 * Invariant: nothing is parsed before its size and its digest are those of the descriptor that led
 * to it, and nothing is larger, deeper or more than limits.ts says.
 */
import { parseDigest, sha256, type Digest } from '../base/digest.js';
import { PlyfsError } from '../base/error.js';
import { checkLayerCount } from './archived-image.js';
import {
  checkOperatingSystem,
  parseImageConfig,
  type ImageConfig,
  type Platform,
} from './image-config.js';
import { JsonDocument, type JsonObject } from './json.js';
import { CONFIG_BYTES_MAX, IMAGES_MAX, INDEX_DEPTH_MAX, MANIFEST_BYTES_MAX } from './limits.js';
import { choosePlatform, platformString } from './platform.js';
import type { Selection } from './selection.js';

export const MediaType = {
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  ociConfig: 'application/vnd.oci.image.config.v1+json',
  dockerIndex: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
} as const;

const indexTypes = new Set<string>([MediaType.ociIndex, MediaType.dockerIndex]);
const manifestTypes = new Set<string>([MediaType.ociManifest, MediaType.dockerManifest]);
const configTypes = new Set<string>([MediaType.ociConfig, MediaType.dockerConfig]);

/** What a client that wants an image asks a registry for. */
export const MANIFEST_TYPES: readonly string[] = [...manifestTypes, ...indexTypes];

/** Docker's schema 1, signed or not. */
const schema1Types = /^application\/vnd\.docker\.distribution\.manifest\.v1\+(?:prettyjws|json)$/;

/** An image's layers; some programs name none, or only that it is a tar. */
const layerTypes =
  /^$|^application\/(?:vnd\.oci\.image\.layer\.|vnd\.docker\.(?:image|container\.image)\.rootfs\.|(?:x-)?g?tar\b|octet-stream$)/;
/** Layers that may not be copied: they are fetched from the addresses that the descriptor has. */
const foreignLayerTypes =
  /^application\/vnd\.(?:docker\.image\.rootfs\.foreign\.|oci\.image\.layer\.nondistributable\.)/;

const REFERENCE_TYPE = 'vnd.docker.reference.type';

export interface Descriptor {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  /** Empty where there is none. */
  readonly mediaType: string;
  readonly platform: Platform | undefined;
  readonly annotations: ReadonlyMap<string, string>;
  /** Where the content is as well; as they came. */
  readonly urls: readonly string[];
}

export function isForeignLayer({ mediaType }: Descriptor): boolean {
  return foreignLayerTypes.test(mediaType);
}

/** Where manifests, indexes and configurations come from. */
export interface BlobSource {
  /** For messages: the archive, the repository. */
  readonly name: string;
  /** Codes of errors: for a document that is not what it should be, and for one that misleads. */
  readonly codes: { readonly invalid: string; readonly hostile: string };
  /** What a blob is called in messages. */
  whatOf(digest: Digest): string;
  /**
   * All of a blob that has `descriptor.size` bytes, at most `limit`. Its digest need not have been
   * checked. `manifest`: whether it is a manifest or an index.
   */
  read(descriptor: Descriptor, limit: number, kind: 'manifest' | 'config'): Promise<Buffer>;
}

/** A manifest of an image, its configuration not read yet. */
export interface ImageManifest {
  /** What it is called in messages. */
  readonly what: string;
  readonly mediaType: string;
  /** Its bytes, where they were read by their digest. */
  readonly raw: Buffer | undefined;
  readonly config: Descriptor;
  /** The base first. */
  readonly layers: readonly Descriptor[];
  /** Reads the configuration, once, and checks that it goes with the layers. */
  image(): Promise<ManifestImage>;
}

export interface ManifestImage {
  /** The bytes whose digest is the image's id. */
  readonly raw: Buffer;
  /** Has as many DiffIDs as the manifest has layers. */
  readonly config: ImageConfig;
  readonly manifest: ImageManifest;
}

type Kind = 'index' | 'manifest' | 'other';

/**
 * Fields that the one has and the other must not have; `fsLayers` and `history` are of manifests
 * before both (distribution-spec, schema 1).
 */
const foreignFields = {
  index: ['config', 'layers', 'fsLayers', 'history'],
  manifest: ['manifests', 'fsLayers', 'history'],
} as const;

/**
 * What a document is by its media type, `declared` where it names it, and without both by its
 * fields. One that could be taken for two things is refused, for programs would not agree which of
 * them it is (CVE-2021-41190; containers/image, manifest, ValidateUnambiguousManifestFormat).
 * Throws `hostile`, and `manifest-unsupported` for one of schema 1.
 */
export function kindOf(
  json: JsonDocument,
  document: JsonObject,
  declared: string,
  hostile: string,
): Kind {
  const ambiguous = (why: string): PlyfsError =>
    json.errorOf(
      hostile,
      `${why}: it could be taken for two things, so programs would not agree what it is`,
    );
  const own = json.text(document['mediaType'], 'mediaType');
  if (own !== '' && declared !== '' && kindOfType(own) !== kindOfType(declared))
    throw ambiguous(`calls itself "${own}" where "${declared}" is expected`);
  const type = own || declared;
  if (schema1Types.test(type) || (type === '' && document['schemaVersion'] === 1))
    throw json.errorOf(
      'manifest-unsupported',
      'is a manifest of schema 1, which has no configuration and is no longer used: push the image again with a program of today',
    );
  const has = (field: string): boolean => document[field] !== undefined && document[field] !== null;
  const kind = type !== '' ? kindOfType(type) : has('manifests') ? 'index' : 'manifest';
  if (kind === 'other') return kind;
  const foreign = foreignFields[kind].find(has);
  if (foreign !== undefined)
    throw ambiguous(
      `is ${kind === 'index' ? 'an index' : 'a manifest'} and has the field ${foreign}`,
    );
  return kind;
}

function kindOfType(type: string): Kind {
  return indexTypes.has(type) ? 'index' : manifestTypes.has(type) ? 'manifest' : 'other';
}

/** How a manifest or an index was come to. */
export interface Leading {
  /** What it is called in messages. */
  readonly what: string;
  /** Indexes that it is in. */
  readonly depth: number;
  /** Its bytes. */
  readonly raw?: Buffer;
  /** The media type that what leads to it has for it. */
  readonly declared?: string;
  /**
   * Present where no choice between platforms led to it: then the caller's wish counts, if there is
   * one, and what is known of its platform.
   */
  readonly alone?: { readonly platform?: Platform | undefined };
}

/** Finds images of one source; errors have the codes that the source says. */
export class ManifestReader {
  readonly #source: BlobSource;
  readonly #selection: Selection;
  #count = 0;

  constructor(source: BlobSource, selection: Selection) {
    this.#source = source;
    this.#selection = selection;
  }

  /** Those of an index that can be images: what BuildKit attests about them is passed over. */
  descriptors(json: JsonDocument, index: JsonObject): Descriptor[] {
    const found = json.array(index['manifests'], 'manifests', (item, field) =>
      descriptorOf(json, item, field),
    );
    if (found.length > IMAGES_MAX) throw json.error(`lists more than ${IMAGES_MAX} manifests`);
    return found.filter(({ annotations, mediaType }) => {
      const type =
        annotations.get(REFERENCE_TYPE) ??
        (mediaType !== '' && kindOfType(mediaType) === 'other' ? mediaType : undefined);
      if (type !== undefined) this.#selection.passOver(type);
      return type === undefined;
    });
  }

  /**
   * Of one image for several platforms, what is for the wanted one: several, where two are for the
   * same. `what` the index is called in messages.
   */
  async choose(
    group: readonly Descriptor[],
    what: string,
    depth: number,
  ): Promise<ImageManifest[]> {
    if (depth > INDEX_DEPTH_MAX)
      throw new PlyfsError(
        this.#source.codes.hostile,
        `${what} is within more than ${INDEX_DEPTH_MAX} other indexes.`,
      );
    const candidates: {
      readonly platform: Platform;
      readonly images: () => Promise<ImageManifest[]>;
    }[] = [];
    const digests = new Set<Digest>();
    for (const entry of group) {
      if (digests.has(entry.digest)) continue;
      digests.add(entry.digest);
      if (entry.platform !== undefined)
        candidates.push({
          platform: entry.platform,
          images: () => this.image(entry, depth, false),
        });
      // Its configuration says what the index does not.
      else
        for (const image of await this.image(entry, depth, false))
          candidates.push({
            platform: (await image.image()).config.platform,
            images: async () => [image],
          });
    }
    const platforms = candidates.map(({ platform }) => platform);
    const best = choosePlatform(platforms, this.#selection.wanted);
    if (best === undefined) {
      if (platforms.length > 0) this.#selection.passOverForeign(platforms);
      return [];
    }
    const chosen = candidates.filter(
      ({ platform }) => platformString(platform) === platformString(platforms[best]!),
    );
    const images: ImageManifest[] = [];
    for (const candidate of chosen) images.push(...(await candidate.images()));
    return images;
  }

  /**
   * What the entry leads to: nothing, when it is no image or for another platform. `alone`: it is
   * no choice among several.
   */
  async image(entry: Descriptor, depth: number, alone: boolean): Promise<ImageManifest[]> {
    if (++this.#count > IMAGES_MAX)
      throw new PlyfsError(
        this.#source.codes.hostile,
        `${this.#source.name} has more than ${IMAGES_MAX} manifests and indexes.`,
      );
    const what = this.#source.whatOf(entry.digest);
    const json = this.document(what);
    const raw = await this.#blob(entry, MANIFEST_BYTES_MAX, 'manifest');
    const document = json.parse(raw);
    return this.read(json, document, {
      what,
      depth,
      raw,
      declared: entry.mediaType,
      ...(alone && { alone: entry }),
    });
  }

  /** A manifest or an index, which is always a choice. */
  async read(
    json: JsonDocument,
    value: unknown,
    { what, depth, declared = '', alone, raw }: Leading,
  ): Promise<ImageManifest[]> {
    const document = fieldsOf(json, value);
    switch (kindOf(json, document, declared, this.#source.codes.hostile)) {
      case 'index':
        return this.#one(
          json,
          await this.choose(this.descriptors(json, document), what, depth + 1),
        );
      case 'manifest': {
        const config = descriptorOf(json, document['config'], 'config');
        if (!configTypes.has(config.mediaType)) {
          this.#selection.passOver(
            json.text(document['artifactType'], 'artifactType') || config.mediaType,
          );
          return [];
        }
        const layers = json.array(document['layers'], 'layers', (item, field) =>
          descriptorOf(json, item, field),
        );
        const other = layers.find(({ mediaType }) => !layerTypes.test(mediaType));
        if (other !== undefined) {
          this.#selection.passOver(other.mediaType);
          return [];
        }
        const mediaType = json.text(document['mediaType'], 'mediaType') || declared;
        const manifest = this.#manifest(json, { what, mediaType, raw, config, layers });
        if (alone === undefined || !this.#selection.asked) return [manifest];
        const platform = alone.platform ?? (await manifest.image()).config.platform;
        return this.#selection.takes(platform) ? [manifest] : [];
      }
      case 'other':
        this.#selection.passOver(json.text(document['mediaType'], 'mediaType') || declared);
        return [];
    }
  }

  /** An index within another is one image. */
  #one(json: JsonDocument, images: ImageManifest[]): ImageManifest[] {
    if (images.length > 1)
      throw json.error(
        'has several images for one platform: programs would not agree which of them is meant',
      );
    return images;
  }

  #manifest(
    json: JsonDocument,
    { what, mediaType, raw, config, layers }: Omit<ImageManifest, 'image'>,
  ): ImageManifest {
    checkLayerCount(layers.length, what);
    if (layers.some((layer) => layer.mediaType.endsWith('+encrypted')))
      throw json.error('has encrypted layers, which cannot be read');
    let read: Promise<ManifestImage> | undefined;
    const manifest: ImageManifest = {
      what,
      mediaType,
      raw,
      config,
      layers,
      image: () => (read ??= this.#configured(json, manifest)),
    };
    return manifest;
  }

  async #configured(json: JsonDocument, manifest: ImageManifest): Promise<ManifestImage> {
    const { config: descriptor, layers, what } = manifest;
    const configWhat = `The configuration ${this.#source.whatOf(descriptor.digest)}`;
    const raw = await this.#blob(descriptor, CONFIG_BYTES_MAX, 'config');
    const config = parseImageConfig(raw, configWhat);
    checkOperatingSystem(config, `The image of ${what}`);
    checkLayerCount(config.diffIds.length, configWhat);
    if (layers.length !== config.diffIds.length) {
      throw json.error(
        `has ${layers.length} layers, but its configuration ${config.diffIds.length}: layers length mismatch`,
      );
    }
    return { raw, config, manifest };
  }

  /** Checked. Throws `blob-digest-mismatch`, `blob-size-mismatch`, and what the source throws. */
  async #blob(descriptor: Descriptor, limit: number, kind: 'manifest' | 'config'): Promise<Buffer> {
    const what = this.#source.whatOf(descriptor.digest);
    if (descriptor.size > limit)
      throw new PlyfsError(
        'archive-too-large',
        `${what} is said to have ${descriptor.size} bytes, where ${limit} are the most that any image needs.`,
      );
    const bytes = await this.#source.read(descriptor, limit, kind);
    if (bytes.length !== descriptor.size)
      throw new PlyfsError(
        'blob-size-mismatch',
        `${what} has ${bytes.length} bytes, where ${descriptor.size} belong.`,
      );
    const digest = sha256(bytes);
    if (digest !== descriptor.digest)
      throw new PlyfsError(
        'blob-digest-mismatch',
        `${what} is not what its name says: expected ${descriptor.digest}, got ${digest}.`,
      );
    return bytes;
  }

  /** For what is called `what`. */
  document(what: string): JsonDocument {
    return new JsonDocument(this.#source.codes.invalid, what);
  }
}

/** Of a manifest or an index. */
const documentFields = [
  'schemaVersion',
  'mediaType',
  'artifactType',
  'config',
  'layers',
  'manifests',
  'fsLayers',
  'history',
  'annotations',
];
const descriptorFields = ['mediaType', 'digest', 'size', 'platform', 'annotations', 'urls'];
const platformFields = ['os', 'architecture', 'variant'];

/** The fields of a manifest or an index. */
export function fieldsOf(json: JsonDocument, document: unknown): JsonObject {
  return json.struct(document, '', documentFields);
}

/** Throws the document's error. */
export function descriptorOf(json: JsonDocument, value: unknown, field: string): Descriptor {
  const item = json.struct(value, field, descriptorFields);
  const text = json.string(item['digest'], `${field}.digest`);
  const digest = parseDigest(text);
  if (digest === undefined)
    throw json.error(
      `has "${text.slice(0, 200)}" as ${field}.digest, where \`sha256:\` and 64 hexadecimal digits are all that is known`,
    );
  const platform = json.optionalStruct(item['platform'], `${field}.platform`, platformFields);
  const variant = json.text(platform?.['variant'], `${field}.platform.variant`);
  return {
    digest,
    size: json.count(item['size'], `${field}.size`),
    mediaType: json.text(item['mediaType'], `${field}.mediaType`),
    platform: platform && {
      os: json.text(platform['os'], `${field}.platform.os`),
      architecture: json.text(platform['architecture'], `${field}.platform.architecture`),
      ...(variant !== '' && { variant }),
    },
    annotations: new Map(
      json.entries(item['annotations'], `${field}.annotations`, (value, at) =>
        json.text(value, at),
      ),
    ),
    urls: json.strings(item['urls'], `${field}.urls`),
  };
}
