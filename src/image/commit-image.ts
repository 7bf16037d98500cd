/**
 * `docker commit`: what was changed in a container becomes a layer, and that with the container's
 * configuration an image (moby, daemon/commit.go; image/image.go, NewChildImage).
 *
 * The configuration has the fields that Docker 25 writes. A container in which nothing was changed
 * gives an image of the same layers, whose history has a step without one. The image is published
 * last, by one rename: before that there is at most a layer that nothing names, which goes again.
 */
import type { LostAttribute } from '../archive/lost-attributes.js';
import type { DiffId, ImageId } from '../base/digest.js';
import { ancestry, type Layer } from '../layer/layer.js';
import type { MountedLayer } from '../layer/mounted-layer.js';
import { containerJson, parseContainerConfig } from './container-json.js';
import { applyChanges, type ContainerConfig } from './dockerfile-changes.js';
import { goJson, goMap, goTimeOf, type RawJson } from './go-json.js';
import type { Image } from './image-store.js';
import { JsonDocument, type JsonObject } from './json.js';
import { hostPlatform } from './platform.js';
import type { OnProgress } from './progress.js';
import { publishImage, type ImageStores } from './publish-image.js';
import type { Reference } from './reference.js';

export interface CommittedContainer {
  readonly mounted: MountedLayer;
  /** What it was made of, if that is in the store. */
  readonly image?: Image | undefined;
  /** container.Config. */
  readonly config: JsonObject;
}

export interface CommitOptions {
  /** Dockerfile instructions. */
  readonly changes?: readonly string[];
  readonly author?: string;
  readonly message?: string;
  /** What it is called. */
  readonly reference?: Reference;
  /** When the image was made: now, when absent. */
  readonly created?: Date;
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal;
}

export interface CommittedImage {
  readonly image: Image;
  /** Of what was changed; absent when nothing was. */
  readonly layer?: Layer;
  /** What had the name before. */
  readonly replaced?: ImageId;
  /** What files of the layer had to do without. */
  readonly lost: readonly LostAttribute[];
}

/**
 * Throws `usage` for a change that cannot be made, and what committing and registering a layer
 * throws.
 */
export async function commitContainer(
  container: CommittedContainer,
  stores: ImageStores,
  options: CommitOptions,
): Promise<CommittedImage> {
  const { mounted, image: base } = container;
  const { changes = [], reference, onProgress, signal } = options;
  const config = changedConfig(container, changes);
  const parent = mounted.parent?.chainId;
  let layer: Layer | undefined;
  const { image, replaced, lost } = await publishImage(stores, {
    make: async (held) => {
      // An image without a new layer needs those that are there.
      if (parent !== undefined) held.lease(parent);
      layer = await stores.layers.commitMounted(mounted.name, {
        signal,
        onLost: held.addLost,
        onProgress: onProgress && ((done) => onProgress({ kind: 'layer', id: 'commit', done })),
      });
      if (layer !== undefined) held.hold(layer);
      signal?.throwIfAborted();
      return Buffer.from(configurationOf(container, config, layer, options));
    },
    references: reference === undefined ? [] : [reference],
    parent: base?.id,
    made: true,
  });
  const [former] = replaced;
  return {
    image,
    lost,
    ...(layer && { layer }),
    ...(former !== undefined && { replaced: former.former }),
  };
}

/**
 * As the Dockerfile's instructions leave it; what they leave without a command and entrypoint keeps
 * its own (moby, daemon/commit.go, merge).
 */
function changedConfig(
  { config: document }: CommittedContainer,
  changes: readonly string[],
): ContainerConfig {
  const json = new JsonDocument('record-damaged', "The container's configuration");
  const before = parseContainerConfig(json, document);
  const config = parseContainerConfig(json, document);
  applyChanges(config, changes);
  if ((config.entrypoint ?? []).length === 0) {
    if ((config.cmd ?? []).length === 0) config.cmd = before.cmd;
    config.entrypoint ??= before.entrypoint;
  }
  return config;
}

function configurationOf(
  container: CommittedContainer,
  config: ContainerConfig,
  layer: Layer | undefined,
  options: CommitOptions,
): RawJson {
  const { mounted, image, config: former } = container;
  const { author = '', message = '', created = new Date() } = options;
  const document = image?.config.document ?? {};
  const time = goTimeOf(created);
  const command =
    parseContainerConfig(
      new JsonDocument('record-damaged', "The container's configuration"),
      former,
    ).cmd ?? [];
  const step = {
    created: time,
    ...(author !== '' && { author }),
    ...(command.length > 0 && { created_by: command.join(' ') }),
    ...(message !== '' && { comment: message }),
    ...(layer === undefined && { empty_layer: true }),
  };
  const diffIds: DiffId[] = [...ancestry(mounted.parent)].map(({ diffId }) => diffId).reverse();
  if (layer !== undefined) diffIds.push(layer.diffId);
  const { platform } = image?.config ?? { platform: hostPlatform() };
  const fields = new Map<string, RawJson>([
    ['architecture', goJson(platform.architecture)],
    ['config', containerJson(config, former)],
    ['created', goJson(time)],
    ['history', goJson([...historyOf(container), step])],
    ['os', goJson(platform.os === '' ? 'linux' : platform.os)],
    ['rootfs', goJson({ type: 'layers', ...(diffIds.length > 0 && { diff_ids: diffIds }) })],
  ]);
  if (author !== '') fields.set('author', goJson(author));
  for (const name of ['variant', 'os.version', 'os.features']) {
    const value = document[name] ?? (name === 'variant' ? platform.variant : undefined);
    if (value !== undefined) fields.set(name, goJson(value));
  }
  return goMap(fields);
}

/** The image's, as far as it tells of the layers that are there. */
function historyOf({ mounted, image }: CommittedContainer): unknown[] {
  const history = image?.config.document['history'];
  return image?.chainId === mounted.parent?.chainId && Array.isArray(history) ? history : [];
}
