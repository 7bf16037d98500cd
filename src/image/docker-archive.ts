/**
 * Archives that `docker save` writes since 1.10, and that skopeo, podman, buildah and others write
 * as `docker-archive`: `manifest.json` says where each image's configuration and layers are (moby,
 * image/tarexport/load.go).
 *
 *     [{"Config":"<path>","RepoTags":["small:1"],"Layers":["<path>",…],"Parent":"sha256:…"}]
 *
 * Until Docker 24 a layer is `<id>/layer.tar`, possibly a symbolic link to another one; since 25
 * everything is under `blobs/sha256`.
 */
import { MANY_THINGS } from '../base/bounded-json.js';
import { parseDigest, type ImageId } from '../base/digest.js';
import { readSmallFile, type ArchiveFiles } from './archive-files.js';
import { checkLayerCount, type ArchivedImage } from './archived-image.js';
import { checkOperatingSystem, parseImageConfig } from './image-config.js';
import { JsonDocument } from './json.js';
import { CONFIG_BYTES_MAX, IMAGES_MAX, MANIFEST_BYTES_MAX } from './limits.js';
import { familiarString, parseReference } from './reference.js';
import type { Selection } from './selection.js';

export const DOCKER_MANIFEST = 'manifest.json';

/**
 * Throws `archive-invalid`, `image-invalid`, `platform-unsupported`, and what `ArchiveFiles`
 * throws.
 */
export async function readDockerArchive(
  files: ArchiveFiles,
  document: unknown,
  selection: Selection,
): Promise<ArchivedImage[]> {
  const json = new JsonDocument('archive-invalid', `${DOCKER_MANIFEST} in ${files.name}`);
  if (!Array.isArray(document)) throw json.error('is not a list of images');
  if (document.length > IMAGES_MAX) throw json.error(`lists more than ${IMAGES_MAX} images`);
  const images: ArchivedImage[] = [];
  for (const [index, value] of document.entries())
    images.push(await readImage(files, json, value, `[${index}]`));
  return images.filter(({ config }) => selection.takes(config.platform));
}

async function readImage(
  files: ArchiveFiles,
  json: JsonDocument,
  value: unknown,
  at: string,
): Promise<ArchivedImage> {
  const item = json.struct(value, at, ['Config', 'RepoTags', 'Layers', 'Parent']);
  const configPath = json.string(item['Config'], `${at}.Config`);
  const paths = json.strings(item['Layers'], `${at}.Layers`);
  const tags = json.strings(item['RepoTags'], `${at}.RepoTags`).map((tag) => {
    const reference = parseReference(tag);
    if (reference.tag === undefined || reference.digest !== undefined)
      throw json.error(`has "${tag}" as a tag, which is none`);
    return reference;
  });
  const parent = json.text(item['Parent'], `${at}.Parent`);
  const parentId = parent === '' ? undefined : parseDigest(parent);
  if (parent !== '' && parentId === undefined)
    throw json.error(`has something that is no digest as ${at}.Parent`);

  const file = files.file(configPath);
  if (file === undefined)
    throw json.error(`names the configuration ${configPath}, which is not in the archive`);
  const what = `The configuration ${configPath} in ${files.name}`;
  const raw = await readSmallFile(file, CONFIG_BYTES_MAX, what);
  const config = parseImageConfig(raw, what);
  checkOperatingSystem(
    config,
    `The image ${tags[0] === undefined ? configPath : familiarString(tags[0])} in ${files.name}`,
  );
  checkLayerCount(config.diffIds.length, what);
  if (paths.length !== config.diffIds.length) {
    throw json.error(
      `has ${paths.length} layers for ${configPath}, which has ${config.diffIds.length}: layers length mismatch`,
    );
  }
  return {
    raw,
    config,
    layers: config.diffIds.map((diffId, index) => ({
      diffId,
      path: paths[index]!,
      file: files.file(paths[index]!),
    })),
    tags,
    ...(parentId !== undefined && { parent: parentId as ImageId }),
  };
}

/** The bytes of `manifest.json` as JSON; undefined when the archive has none. */
export async function readDockerManifest(files: ArchiveFiles): Promise<unknown> {
  const file = files.file(DOCKER_MANIFEST);
  if (file === undefined) return undefined;
  const what = `${DOCKER_MANIFEST} in ${files.name}`;
  return new JsonDocument('archive-invalid', what).parse(
    await readSmallFile(file, MANIFEST_BYTES_MAX, what),
    MANY_THINGS,
  );
}
