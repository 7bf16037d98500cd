/**
 * OCI image layouts, as a directory or a tar (image-spec, image-layout.md, image-index.md,
 * manifest.md): `index.json` lists manifests by digest, which list a configuration and layers by
 * digest, all under `blobs/sha256/`.
 *
 * An entry of an index is a manifest or another index, which is one image for several platforms. Of
 * those, and of entries of `index.json` that have the same name, the one for the wanted platform is
 * loaded; entries that are no images are passed over. What is read by its digest is checked against
 * it; of layers, which may be large, the size, and then their DiffID, which is the digest of what
 * counts.
 *
 * `skopeo copy … dir:` and `podman save --format docker-dir` write the manifest as `manifest.json`
 * and the blobs beside it.
 */
import { MANY_THINGS } from '../base/bounded-json.js';
import { hexOf, parseDigest, sha256, type Digest } from '../base/digest.js';
import { PlyfsError } from '../base/error.js';
import { readSmallFile, type ArchiveFile, type ArchiveFiles } from './archive-files.js';
import { checkLayerCount, type ArchivedImage } from './archived-image.js';
import { checkOperatingSystem, parseImageConfig, type Platform } from './image-config.js';
import { JsonDocument, type JsonObject } from './json.js';
import { CONFIG_BYTES_MAX, IMAGES_MAX, INDEX_DEPTH_MAX, MANIFEST_BYTES_MAX } from './limits.js';
import { choosePlatform, platformString } from './platform.js';
import type { Selection } from './selection.js';
import { tryParseReference, withDefaultTag, type Reference } from './reference.js';

export const OCI_INDEX = 'index.json';

const indexTypes = new Set([
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
]);
const manifestTypes = new Set([
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
]);
const configTypes = new Set([
  'application/vnd.oci.image.config.v1+json',
  'application/vnd.docker.container.image.v1+json',
]);

/** A whole reference, as containerd, Docker and BuildKit write it. */
const IMAGE_NAME = 'io.containerd.image.name';
/** A reference or only a tag: the specification leaves it open. */
const REF_NAME = 'org.opencontainers.image.ref.name';
const REFERENCE_TYPE = 'vnd.docker.reference.type';

interface Descriptor {
  readonly digest: Digest;
  readonly size: number;
  readonly mediaType: string;
  readonly platform: Platform | undefined;
  readonly annotations: ReadonlyMap<string, string>;
}

/**
 * Throws `archive-invalid`, `archive-damaged`, `archive-hostile`, `image-invalid`,
 * `platform-unsupported`, and what `ArchiveFiles` throws.
 */
export async function readOciLayout(
  files: ArchiveFiles,
  selection: Selection,
): Promise<ArchivedImage[]> {
  const layout = new Layout(files, selection, (digest) => `blobs/sha256/${hexOf(digest)}`);
  const file = files.file(OCI_INDEX);
  if (file === undefined)
    throw new PlyfsError('archive-invalid', `${files.name} has no ${OCI_INDEX}.`);
  const what = `${OCI_INDEX} in ${files.name}`;
  const json = new JsonDocument('archive-invalid', what);
  const index = fieldsOf(
    json,
    json.parse(await readSmallFile(file, MANIFEST_BYTES_MAX, what), MANY_THINGS),
  );
  if (kindOf(json, index, '') !== 'index') throw json.error('is no index: it lists no manifests');
  const images: ArchivedImage[] = [];
  for (const group of groupsOf(layout.descriptors(json, index))) {
    const [first, ...others] = group as [Descriptor, ...Descriptor[]];
    // One that is alone is no choice between platforms.
    const found =
      others.length === 0
        ? await layout.image(first, 0, true)
        : await layout.choose(group, what, 0);
    const tags = tagsOf(group);
    if (found.length > 1 && nameOf(first) !== undefined)
      throw json.error(
        `has several images for one platform under the name ${nameOf(first) ?? ''}: programs would not agree which of them is meant`,
      );
    images.push(...found.map((image) => ({ ...image, tags })));
  }
  return images;
}

/** `document` is what `manifest.json` holds. */
export async function readImageDirectory(
  files: ArchiveFiles,
  document: unknown,
  selection: Selection,
): Promise<ArchivedImage[]> {
  const layout = new Layout(files, selection, (digest) =>
    files.file(hexOf(digest)) === undefined ? `${hexOf(digest)}.manifest.json` : hexOf(digest),
  );
  const what = `manifest.json in ${files.name}`;
  return layout.read(new JsonDocument('archive-invalid', what), document, {
    what,
    depth: 0,
    alone: {},
  });
}

/**
 * Entries of one name are one image; so are those without a name, if they say what platforms they
 * are for.
 */
function groupsOf(entries: readonly Descriptor[]): Descriptor[][] {
  const groups = new Map<string, Descriptor[]>();
  for (const [index, entry] of entries.entries()) {
    const name = nameOf(entry);
    const key =
      name !== undefined
        ? `name ${name}`
        : entry.platform !== undefined
          ? 'platforms'
          : `entry ${index}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [entry]);
    else group.push(entry);
  }
  return [...groups.values()];
}

function nameOf({ annotations }: Descriptor): string | undefined {
  return annotations.get(IMAGE_NAME) ?? annotations.get(REF_NAME);
}

function tagsOf(group: readonly Descriptor[]): Reference[] {
  const name = nameOf(group[0]!);
  // A single word is a tag without a name: of what, the archive does not say.
  const reference = name === undefined || !/[:/]/.test(name) ? undefined : tryParseReference(name);
  return reference === undefined || reference.digest !== undefined
    ? []
    : [withDefaultTag(reference)];
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
 * Throws `archive-hostile`.
 */
function kindOf(json: JsonDocument, document: JsonObject, declared: string): Kind {
  const ambiguous = (why: string): PlyfsError =>
    json.errorOf(
      'archive-hostile',
      `${why}: it could be taken for two things, so programs would not agree what it is`,
    );
  const own = json.text(document['mediaType'], 'mediaType');
  if (own !== '' && declared !== '' && kindOfType(own) !== kindOfType(declared))
    throw ambiguous(`calls itself "${own}" where "${declared}" is expected`);
  const type = own || declared;
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
interface Leading {
  /** What it is called in messages. */
  readonly what: string;
  /** Indexes that it is in. */
  readonly depth: number;
  /** The media type that what leads to it has for it. */
  readonly declared?: string;
  /**
   * Present where no choice between platforms led to it: then the caller's wish counts, if there is
   * one, and what is known of its platform.
   */
  readonly alone?: { readonly platform?: Platform | undefined };
}

class Layout {
  readonly #files: ArchiveFiles;
  readonly #selection: Selection;
  readonly #pathOf: (digest: Digest) => string;
  #count = 0;

  constructor(files: ArchiveFiles, selection: Selection, pathOf: (digest: Digest) => string) {
    this.#files = files;
    this.#selection = selection;
    this.#pathOf = pathOf;
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
  ): Promise<ArchivedImage[]> {
    if (depth > INDEX_DEPTH_MAX)
      throw new PlyfsError(
        'archive-hostile',
        `${what} is within more than ${INDEX_DEPTH_MAX} other indexes.`,
      );
    const candidates: {
      readonly platform: Platform;
      readonly images: () => Promise<ArchivedImage[]>;
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
          candidates.push({ platform: image.config.platform, images: async () => [image] });
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
    const images: ArchivedImage[] = [];
    for (const candidate of chosen) images.push(...(await candidate.images()));
    return images;
  }

  /**
   * What the entry leads to: nothing, when it is no image or for another platform. `alone`: it is
   * no choice among several.
   */
  async image(entry: Descriptor, depth: number, alone: boolean): Promise<ArchivedImage[]> {
    if (++this.#count > IMAGES_MAX)
      throw new PlyfsError(
        'archive-hostile',
        `${this.#files.name} has more than ${IMAGES_MAX} manifests and indexes.`,
      );
    const what = `${this.#pathOf(entry.digest)} in ${this.#files.name}`;
    const json = new JsonDocument('archive-invalid', what);
    const document = json.parse(await this.#blob(entry, MANIFEST_BYTES_MAX));
    return this.read(json, document, {
      what,
      depth,
      declared: entry.mediaType,
      ...(alone && { alone: entry }),
    });
  }

  /** A manifest or an index, which is always a choice. */
  async read(
    json: JsonDocument,
    value: unknown,
    { what, depth, declared = '', alone }: Leading,
  ): Promise<ArchivedImage[]> {
    const document = fieldsOf(json, value);
    switch (kindOf(json, document, declared)) {
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
        const image = await this.#manifest(json, document, config, what);
        return alone === undefined || this.#selection.takes(alone.platform ?? image.config.platform)
          ? [image]
          : [];
      }
      case 'other':
        this.#selection.passOver(json.text(document['mediaType'], 'mediaType') || declared);
        return [];
    }
  }

  /** An index within another is one image. */
  #one(json: JsonDocument, images: ArchivedImage[]): ArchivedImage[] {
    if (images.length > 1)
      throw json.error(
        'has several images for one platform: programs would not agree which of them is meant',
      );
    return images;
  }

  async #manifest(
    json: JsonDocument,
    manifest: JsonObject,
    config: Descriptor,
    what: string,
  ): Promise<ArchivedImage> {
    const layers = json.array(manifest['layers'], 'layers', (item, field) =>
      descriptorOf(json, item, field),
    );
    const configWhat = `The configuration ${this.#pathOf(config.digest)} in ${this.#files.name}`;
    const raw = await this.#blob(config, CONFIG_BYTES_MAX);
    const parsed = parseImageConfig(raw, configWhat);
    checkOperatingSystem(parsed, `The image of ${what}`);
    checkLayerCount(parsed.diffIds.length, configWhat);
    if (layers.length !== parsed.diffIds.length) {
      throw json.error(
        `has ${layers.length} layers, but its configuration ${parsed.diffIds.length}: layers length mismatch`,
      );
    }
    return {
      raw,
      config: parsed,
      layers: parsed.diffIds.map((diffId, index) => {
        const layer = layers[index]!;
        if (layer.mediaType.endsWith('+encrypted'))
          throw json.error('has encrypted layers, which cannot be read');
        return { diffId, path: this.#pathOf(layer.digest), file: this.#file(layer) };
      }),
      tags: [],
    };
  }

  /**
   * Undefined when the archive has no such blob. Throws `archive-damaged` when its size is another
   * one.
   */
  #file(descriptor: Descriptor): ArchiveFile | undefined {
    const path = this.#pathOf(descriptor.digest);
    const file = this.#files.file(path);
    if (file !== undefined && file.size !== descriptor.size) {
      throw new PlyfsError(
        'archive-damaged',
        `${path} in ${this.#files.name} has ${file.size} bytes, where ${descriptor.size} belong.`,
      );
    }
    return file;
  }

  async #blob(descriptor: Descriptor, limit: number): Promise<Buffer> {
    const path = this.#pathOf(descriptor.digest);
    const file = this.#file(descriptor);
    if (file === undefined)
      throw new PlyfsError(
        'archive-invalid',
        `${this.#files.name} lacks ${path}, which its ${OCI_INDEX} leads to.`,
      );
    const bytes = await readSmallFile(file, limit, `${path} in ${this.#files.name}`);
    const digest = sha256(bytes);
    if (digest !== descriptor.digest) {
      throw new PlyfsError(
        'blob-digest-mismatch',
        `${path} in ${this.#files.name} is not what its name says: expected ${descriptor.digest}, got ${digest}.`,
      );
    }
    return bytes;
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
const descriptorFields = ['mediaType', 'digest', 'size', 'platform', 'annotations'];
const platformFields = ['os', 'architecture', 'variant'];

function fieldsOf(json: JsonDocument, document: unknown): JsonObject {
  return json.struct(document, '', documentFields);
}

function descriptorOf(json: JsonDocument, value: unknown, field: string): Descriptor {
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
  };
}
