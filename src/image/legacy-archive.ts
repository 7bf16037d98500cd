/**
 * Archives that Docker wrote before 1.10: a directory for each image, with its JSON and its layer,
 * and `repositories` for the names (moby 20.10, image/tarexport/load.go, legacyLoad; Docker reads
 * them until 24).
 *
 *     repositories              {"small":{"latest":"<64 hex>"}}
 *     <64 hex>/json             {"id":…,"parent":"<64 hex>",…}
 *     <64 hex>/layer.tar
 *
 * Their ids were random: what an image is now called follows from its layers and its JSON. So each
 * layer is read once for its DiffID before it is known whether the store has it.
 */
import { MANY_THINGS } from '../base/bounded-json.js';
import { createHash } from 'node:crypto';
import { decompress } from '../archive/compression.js';
import { digestOfHex, sha256, type DiffId, type ImageId } from '../base/digest.js';
import { PlyfsError } from '../base/error.js';
import { readSmallFile, type ArchiveFile, type ArchiveFiles } from './archive-files.js';
import { checkLayerCount, type ArchivedImage, type ArchivedLayer } from './archived-image.js';
import type { RawJson } from './go-json.js';
import { checkOperatingSystem, parseImageConfig } from './image-config.js';
import { JsonDocument } from './json.js';
import { ARCHIVE_BYTES_MAX, CONFIG_BYTES_MAX, IMAGES_MAX, MANIFEST_BYTES_MAX } from './limits.js';
import { familiarName, parseReference, withTag, type Reference } from './reference.js';
import type { Selection } from './selection.js';
import { configFromV1, parseV1Image } from './v1-config.js';

export const LEGACY_REPOSITORIES = 'repositories';

interface Loaded extends ArchivedImage {
  readonly id: ImageId;
  readonly history: readonly RawJson[];
}

/**
 * Parents before their children. Throws `archive-invalid`, `platform-unsupported`, and what
 * `ArchiveFiles` and `decompress` throw.
 */
export async function readLegacyArchive(
  files: ArchiveFiles,
  selection: Selection,
  signal?: AbortSignal,
): Promise<ArchivedImage[]> {
  const tags = await readRepositories(files);
  const oldIds = files.directories();
  if (oldIds.length > IMAGES_MAX)
    throw new PlyfsError('archive-hostile', `${files.name} has more than ${IMAGES_MAX} images.`);
  const loaded = new Map<string, Loaded>();
  for (const oldId of oldIds) await load(files, oldId, loaded, signal);
  for (const [oldId, references] of tags) {
    if (!loaded.has(oldId)) {
      const named = references
        .map((reference) => `${familiarName(reference)}:${reference.tag ?? ''}`)
        .join(', ');
      throw new PlyfsError(
        'archive-invalid',
        `${LEGACY_REPOSITORIES} in ${files.name} says that ${named} is ${oldId}, which the archive lacks.`,
      );
    }
  }
  // Two old images may be the same one now.
  const images = new Map<ImageId, ArchivedImage>();
  for (const [oldId, { id, history: _, ...image }] of loaded) {
    const former = images.get(id);
    images.set(id, { ...image, tags: [...(former?.tags ?? []), ...(tags.get(oldId) ?? [])] });
  }
  return [...images.values()].filter(({ config }) => selection.takes(config.platform));
}

/** Old id → what it is called. */
async function readRepositories(files: ArchiveFiles): Promise<Map<string, Reference[]>> {
  const what = `${LEGACY_REPOSITORIES} in ${files.name}`;
  const file = files.file(LEGACY_REPOSITORIES);
  if (file === undefined)
    throw new PlyfsError('archive-invalid', `${files.name} has no ${LEGACY_REPOSITORIES}.`);
  const json = new JsonDocument('archive-invalid', what);
  const document = json.parse(await readSmallFile(file, MANIFEST_BYTES_MAX, what), MANY_THINGS);
  const tags = new Map<string, Reference[]>();
  for (const [name, entries] of json.entries(document, 'repositories', (value, field) =>
    json.entries(value, field, (id, at) => json.string(id, at)),
  )) {
    for (const [tag, oldId] of entries) {
      const references = tags.get(oldId) ?? [];
      references.push(withTag(parseReference(name), tag));
      tags.set(oldId, references);
    }
  }
  return tags;
}

/** The image and, before it, those it was made from. */
async function load(
  files: ArchiveFiles,
  oldId: string,
  loaded: Map<string, Loaded>,
  signal: AbortSignal | undefined,
): Promise<void> {
  const chain: { oldId: string; image: ReturnType<typeof parseV1Image> }[] = [];
  let parent: Loaded | undefined;
  for (let next = oldId; next !== '';) {
    parent = loaded.get(next);
    if (parent !== undefined) break;
    if (chain.some((link) => link.oldId === next))
      throw new PlyfsError(
        'archive-hostile',
        `${files.name} has an image that was made from itself: ${next}.`,
      );
    checkLayerCount(chain.length + 1, `The image ${oldId} in ${files.name}`);
    const what = `${next}/json in ${files.name}`;
    const file = files.file(`${next}/json`);
    if (file === undefined)
      throw new PlyfsError(
        'archive-invalid',
        `${files.name} lacks ${next}/json: is it an archive of images?`,
      );
    const image = parseV1Image(await readSmallFile(file, CONFIG_BYTES_MAX, what), what);
    chain.push({ oldId: next, image });
    next = image.parent;
  }
  for (const { oldId: id, image } of chain.reverse()) {
    const what = `${id}/json in ${files.name}`;
    const path = `${id}/layer.tar`;
    const file = files.file(path);
    if (file === undefined) throw new PlyfsError('archive-invalid', `${files.name} lacks ${path}.`);
    const layer: ArchivedLayer = { diffId: await diffIdOf(file, signal), path, file };
    const layers = [...(parent?.layers ?? []), layer];
    checkLayerCount(layers.length, `The image ${id} in ${files.name}`);
    const history = [...(parent?.history ?? []), image.history];
    const raw = configFromV1(
      image,
      layers.map((one) => one.diffId),
      history,
      what,
    );
    const config = parseImageConfig(raw, what);
    checkOperatingSystem(config, `The image ${id} in ${files.name}`);
    const current: Loaded = {
      id: sha256(raw) as ImageId,
      raw,
      config,
      layers,
      history,
      tags: [],
      ...(parent !== undefined && { parent: parent.id }),
    };
    loaded.set(id, current);
    parent = current;
  }
}

async function diffIdOf(file: ArchiveFile, signal: AbortSignal | undefined): Promise<DiffId> {
  const hash = createHash('sha256');
  for await (const piece of decompress(file.open(), { limit: ARCHIVE_BYTES_MAX })) {
    signal?.throwIfAborted();
    hash.update(piece);
  }
  return digestOfHex(hash.digest('hex')) as DiffId;
}
