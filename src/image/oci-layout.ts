/**
 * OCI image layouts, as a directory or a tar (image-spec, image-layout.md, image-index.md,
 * manifest.md): `index.json` lists manifests by digest, which list a configuration and layers by
 * digest, all under `blobs/sha256/`.
 *
 * Entries of `index.json` that have the same name are one image for several platforms, as an index
 * is one (manifest.ts). Of layers, which may be large, the size is checked, and then their DiffID,
 * which is the digest of what counts.
 *
 * `skopeo copy … dir:` and `podman save --format docker-dir` write the manifest as `manifest.json`
 * and the blobs beside it.
 */
import { MANY_THINGS } from '../base/bounded-json.js';
import { hexOf, type Digest } from '../base/digest.js';
import { PlyfsError } from '../base/error.js';
import { readSmallFile, type ArchiveFile, type ArchiveFiles } from './archive-files.js';
import type { ArchivedImage } from './archived-image.js';
import { MANIFEST_BYTES_MAX } from './limits.js';
import {
  fieldsOf,
  kindOf,
  ManifestReader,
  type BlobSource,
  type Descriptor,
  type ImageManifest,
} from './manifest.js';
import type { Selection } from './selection.js';
import { tryParseReference, withDefaultTag, type Reference } from './reference.js';

export const OCI_INDEX = 'index.json';

/** A whole reference, as containerd, Docker and BuildKit write it. */
const IMAGE_NAME = 'io.containerd.image.name';
/** A reference or only a tag: the specification leaves it open. */
const REF_NAME = 'org.opencontainers.image.ref.name';

/**
 * Throws `archive-invalid`, `archive-damaged`, `archive-hostile`, `image-invalid`,
 * `platform-unsupported`, and what `ArchiveFiles` throws.
 */
export async function readOciLayout(
  files: ArchiveFiles,
  selection: Selection,
): Promise<ArchivedImage[]> {
  const layout = new Layout(files, (digest) => `blobs/sha256/${hexOf(digest)}`);
  const reader = new ManifestReader(layout, selection);
  const file = files.file(OCI_INDEX);
  if (file === undefined)
    throw new PlyfsError('archive-invalid', `${files.name} has no ${OCI_INDEX}.`);
  const what = `${OCI_INDEX} in ${files.name}`;
  const json = reader.document(what);
  const index = fieldsOf(
    json,
    json.parse(await readSmallFile(file, MANIFEST_BYTES_MAX, what), MANY_THINGS),
  );
  if (kindOf(json, index, '', layout.codes.hostile) !== 'index')
    throw json.error('is no index: it lists no manifests');
  const images: ArchivedImage[] = [];
  for (const group of groupsOf(reader.descriptors(json, index))) {
    const [first, ...others] = group as [Descriptor, ...Descriptor[]];
    // One that is alone is no choice between platforms.
    const found =
      others.length === 0
        ? await reader.image(first, 0, true)
        : await reader.choose(group, what, 0);
    const tags = tagsOf(group);
    if (found.length > 1 && nameOf(first) !== undefined)
      throw json.error(
        `has several images for one platform under the name ${nameOf(first) ?? ''}: programs would not agree which of them is meant`,
      );
    for (const manifest of found) images.push(await layout.archived(manifest, tags));
  }
  return images;
}

/** `document` is what `manifest.json` holds. */
export async function readImageDirectory(
  files: ArchiveFiles,
  document: unknown,
  selection: Selection,
): Promise<ArchivedImage[]> {
  const layout = new Layout(files, (digest) =>
    files.file(hexOf(digest)) === undefined ? `${hexOf(digest)}.manifest.json` : hexOf(digest),
  );
  const what = `manifest.json in ${files.name}`;
  const reader = new ManifestReader(layout, selection);
  const found = await reader.read(reader.document(what), document, { what, depth: 0, alone: {} });
  return Promise.all(found.map((manifest) => layout.archived(manifest, [])));
}

/** The blobs of an archive. */
class Layout implements BlobSource {
  readonly codes = { invalid: 'archive-invalid', hostile: 'archive-hostile' };
  readonly #files: ArchiveFiles;
  readonly #pathOf: (digest: Digest) => string;

  constructor(files: ArchiveFiles, pathOf: (digest: Digest) => string) {
    this.#files = files;
    this.#pathOf = pathOf;
  }

  get name(): string {
    return this.#files.name;
  }

  whatOf(digest: Digest): string {
    return `${this.#pathOf(digest)} in ${this.name}`;
  }

  read(descriptor: Descriptor, limit: number): Promise<Buffer> {
    const file = this.#file(descriptor);
    if (file === undefined)
      throw new PlyfsError(
        'archive-invalid',
        `${this.name} lacks ${this.#pathOf(descriptor.digest)}, which its ${OCI_INDEX} leads to.`,
      );
    return readSmallFile(file, limit, this.whatOf(descriptor.digest));
  }

  async archived(manifest: ImageManifest, tags: readonly Reference[]): Promise<ArchivedImage> {
    const { raw, config } = await manifest.image();
    return {
      raw,
      config,
      layers: config.diffIds.map((diffId, index) => {
        const layer = manifest.layers[index]!;
        return { diffId, path: this.#pathOf(layer.digest), file: this.#file(layer) };
      }),
      tags,
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
        `${path} in ${this.name} has ${file.size} bytes, where ${descriptor.size} belong.`,
      );
    }
    return file;
  }
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
