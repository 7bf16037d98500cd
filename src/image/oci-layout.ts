/**
 * OCI image layouts, as a directory or a tar (image-spec, image-layout.md, image-index.md, manifest.md): `index.json` lists
 * manifests by digest, which list a configuration and layers by digest, all under `blobs/sha256/`.
 *
 * An entry of an index is a manifest or another index, which is one image for several platforms. Of those, and of entries of
 * `index.json` that have the same name, the one for the wanted platform is loaded. What is read by its digest is checked against it;
 * of layers, which may be large, the size, and then their DiffID, which is the digest of what counts.
 *
 * `skopeo copy … dir:` and `podman save --format docker-dir` write the manifest as `manifest.json` and the blobs beside it.
 */
import { hexOf, parseDigest, sha256, type Digest } from '../base/digest.js';
import { PlyfsError } from '../base/error.js';
import { readSmallFile, type ArchiveFile, type ArchiveFiles } from './archive-files.js';
import { checkLayerCount, type ArchivedImage } from './archived-image.js';
import { checkOperatingSystem, parseImageConfig, type Platform } from './image-config.js';
import { JsonDocument, type JsonObject } from './json.js';
import { CONFIG_BYTES_MAX, IMAGES_MAX, INDEX_DEPTH_MAX, MANIFEST_BYTES_MAX } from './limits.js';
import { choosePlatform, platformString } from './platform.js';
import { tryParseReference, withDefaultTag, type Reference } from './reference.js';

export const OCI_INDEX = 'index.json';

const indexTypes = new Set(['application/vnd.oci.image.index.v1+json', 'application/vnd.docker.distribution.manifest.list.v2+json']);
const manifestTypes = new Set(['application/vnd.oci.image.manifest.v1+json', 'application/vnd.docker.distribution.manifest.v2+json']);
const configTypes = new Set(['application/vnd.oci.image.config.v1+json', 'application/vnd.docker.container.image.v1+json']);

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

/** Throws `archive-invalid`, `archive-damaged`, `image-invalid`, `platform-unsupported`, and what `ArchiveFiles` throws. */
export async function readOciLayout(files: ArchiveFiles, wanted: Platform): Promise<ArchivedImage[]> {
  const layout = new Layout(files, wanted, (digest) => `blobs/sha256/${hexOf(digest)}`);
  const file = files.file(OCI_INDEX);
  if (file === undefined) throw new PlyfsError('archive-invalid', `${files.name} has no ${OCI_INDEX}.`);
  const what = `${OCI_INDEX} in ${files.name}`;
  const json = new JsonDocument('archive-invalid', what);
  const entries = layout.descriptors(json, json.object(json.parse(await readSmallFile(file, MANIFEST_BYTES_MAX, what)), ''));
  const images: ArchivedImage[] = [];
  for (const group of groupsOf(entries)) {
    const image = await layout.image(group, what, 0);
    if (image !== undefined) images.push({ ...image, tags: tagsOf(group) });
  }
  return images;
}

/** `document` is what `manifest.json` holds. */
export async function readImageDirectory(files: ArchiveFiles, document: unknown, wanted: Platform): Promise<ArchivedImage[]> {
  const layout = new Layout(files, wanted, (digest) =>
    files.file(hexOf(digest)) === undefined ? `${hexOf(digest)}.manifest.json` : hexOf(digest),
  );
  const what = `manifest.json in ${files.name}`;
  const json = new JsonDocument('archive-invalid', what);
  const manifest = json.object(document, '');
  if (manifest['manifests'] === undefined) return [await layout.manifest(json, manifest, what)];
  const image = await layout.image(layout.descriptors(json, manifest), what, 0);
  return image === undefined ? [] : [image];
}

/** Entries of one name are one image; so are those without a name, if they say what platforms they are for. */
function groupsOf(entries: readonly Descriptor[]): Descriptor[][] {
  const groups = new Map<string, Descriptor[]>();
  for (const [index, entry] of entries.entries()) {
    const name = entry.annotations.get(IMAGE_NAME) ?? entry.annotations.get(REF_NAME);
    const key = name !== undefined ? `name ${name}` : entry.platform !== undefined ? 'platforms' : `entry ${index}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [entry]);
    else group.push(entry);
  }
  return [...groups.values()];
}

function tagsOf(group: readonly Descriptor[]): Reference[] {
  const { annotations } = group[0]!;
  const name = annotations.get(IMAGE_NAME) ?? annotations.get(REF_NAME);
  // A single word is a tag without a name: of what, the archive does not say.
  const reference = name === undefined || !/[:/]/.test(name) ? undefined : tryParseReference(name);
  return reference === undefined || reference.digest !== undefined ? [] : [withDefaultTag(reference)];
}

class Layout {
  readonly #files: ArchiveFiles;
  readonly #wanted: Platform;
  readonly #pathOf: (digest: Digest) => string;
  #count = 0;

  constructor(files: ArchiveFiles, wanted: Platform, pathOf: (digest: Digest) => string) {
    this.#files = files;
    this.#wanted = wanted;
    this.#pathOf = pathOf;
  }

  /** Those of an index that can be images: what BuildKit attests about them is passed over. */
  descriptors(json: JsonDocument, index: JsonObject): Descriptor[] {
    const found = json.array(index['manifests'], 'manifests', (item, field) => descriptorOf(json, json.object(item, field), field));
    if (found.length > IMAGES_MAX) throw json.error(`lists more than ${IMAGES_MAX} manifests`);
    return found.filter((entry) => !entry.annotations.has(REFERENCE_TYPE));
  }

  /** Undefined when there is nothing to choose from. `what` the index is called in messages. */
  async image(group: readonly Descriptor[], what: string, depth: number): Promise<ArchivedImage | undefined> {
    if (group.length === 0) return undefined;
    if (depth > INDEX_DEPTH_MAX) throw new PlyfsError('archive-hostile', `${what} is within more than ${INDEX_DEPTH_MAX} other indexes.`);
    if (++this.#count > IMAGES_MAX)
      throw new PlyfsError('archive-hostile', `${this.#files.name} has more than ${IMAGES_MAX} manifests and indexes.`);
    const chosen =
      group.length === 1
        ? 0
        : choosePlatform(
            group.map((entry) => entry.platform),
            this.#wanted,
          );
    if (chosen === undefined) {
      const there = group.map((entry) => (entry.platform === undefined ? 'unknown' : platformString(entry.platform)));
      throw new PlyfsError(
        'platform-unsupported',
        `${what} has no image for ${platformString(this.#wanted)}, but for ${there.join(', ')}.`,
      );
    }
    const entry = group[chosen]!;
    const path = `${this.#pathOf(entry.digest)} in ${this.#files.name}`;
    const json = new JsonDocument('archive-invalid', path);
    const document = json.object(json.parse(await this.#blob(entry, MANIFEST_BYTES_MAX)), '');
    const mediaType = json.text(document['mediaType'], 'mediaType') || entry.mediaType;
    if (indexTypes.has(mediaType) || (mediaType === '' && document['manifests'] !== undefined)) {
      return this.image(this.descriptors(json, document), path, depth + 1);
    }
    if (mediaType !== '' && !manifestTypes.has(mediaType)) throw json.error(`is of the type "${mediaType}", which is not that of an image`);
    return this.manifest(json, document, path);
  }

  async manifest(json: JsonDocument, manifest: JsonObject, what: string): Promise<ArchivedImage> {
    const config = descriptorOf(json, json.object(manifest['config'], 'config'), 'config');
    if (!configTypes.has(config.mediaType))
      throw json.error(`is not that of an image: its configuration is of the type "${config.mediaType}"`);
    const layers = json.array(manifest['layers'], 'layers', (item, field) => descriptorOf(json, json.object(item, field), field));
    const configWhat = `The configuration ${this.#pathOf(config.digest)} in ${this.#files.name}`;
    const raw = await this.#blob(config, CONFIG_BYTES_MAX);
    const parsed = parseImageConfig(raw, configWhat);
    checkOperatingSystem(parsed, `The image of ${what}`);
    checkLayerCount(parsed.diffIds.length, configWhat);
    if (layers.length !== parsed.diffIds.length) {
      throw json.error(`has ${layers.length} layers, but its configuration ${parsed.diffIds.length}: layers length mismatch`);
    }
    return {
      raw,
      config: parsed,
      layers: parsed.diffIds.map((diffId, index) => {
        const layer = layers[index]!;
        if (layer.mediaType.endsWith('+encrypted')) throw json.error('has encrypted layers, which cannot be read');
        return { diffId, path: this.#pathOf(layer.digest), file: this.#file(layer) };
      }),
      tags: [],
    };
  }

  /** Undefined when the archive has no such blob. Throws `archive-damaged` when its size is another one. */
  #file(descriptor: Descriptor): ArchiveFile | undefined {
    const path = this.#pathOf(descriptor.digest);
    const file = this.#files.file(path);
    if (file !== undefined && file.size !== descriptor.size) {
      throw new PlyfsError('archive-damaged', `${path} in ${this.#files.name} has ${file.size} bytes, where ${descriptor.size} belong.`);
    }
    return file;
  }

  async #blob(descriptor: Descriptor, limit: number): Promise<Buffer> {
    const path = this.#pathOf(descriptor.digest);
    const file = this.#file(descriptor);
    if (file === undefined) throw new PlyfsError('archive-invalid', `${this.#files.name} lacks ${path}, which its ${OCI_INDEX} leads to.`);
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

function descriptorOf(json: JsonDocument, item: JsonObject, field: string): Descriptor {
  const text = json.string(item['digest'], `${field}.digest`);
  const digest = parseDigest(text);
  if (digest === undefined)
    throw json.error(`has "${text.slice(0, 200)}" as ${field}.digest, where \`sha256:\` and 64 hexadecimal digits are all that is known`);
  const platform = json.optionalObject(item['platform'], `${field}.platform`);
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
    annotations: new Map(json.entries(item['annotations'], `${field}.annotations`, (value, at) => json.text(value, at))),
  };
}
