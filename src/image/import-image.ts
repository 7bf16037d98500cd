/**
 * `docker import`: a root file system's tar becomes an image of one layer (moby,
 * daemon/images/image_import.go).
 *
 * The configuration has the fields and their order that Docker 25 writes. Of what 20.10 writes it
 * lacks `container_config` and `docker_version`: the one is no longer written, and the other would
 * be untrue.
 */
import { decompress } from '../archive/compression.js';
import type { LostAttribute } from '../archive/lost-attributes.js';
import type { ByteSource } from '../base/byte-source.js';
import { PlyfsError } from '../base/error.js';
import type { DiffId, ImageId } from '../base/digest.js';
import { containerJson } from './container-json.js';
import { applyChanges, emptyContainerConfig, type ContainerConfig } from './dockerfile-changes.js';
import { goJson, goMap, goTimeOf, type RawJson } from './go-json.js';
import type { Platform } from './image-config.js';
import type { Image } from './image-store.js';
import { hostPlatform } from './platform.js';
import type { OnProgress } from './progress.js';
import { publishImage, type ImageStores } from './publish-image.js';
import type { Reference } from './reference.js';

export interface ImportOptions {
  /** Dockerfile instructions, as `CMD ["/bin/sh"]`. */
  readonly changes?: readonly string[];
  readonly message?: string;
  readonly platform?: Platform;
  /** What it is called. */
  readonly reference?: Reference;
  /** When the image was made: now, when absent. */
  readonly created?: Date;
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal;
}

export interface ImportedImage {
  readonly image: Image;
  /** What had the name before. */
  readonly replaced?: ImageId;
  /** What its files had to do without. */
  readonly lost: readonly LostAttribute[];
}

/**
 * Throws `usage` for a change that cannot be made, `platform-unsupported`, and what registering a
 * layer throws.
 */
export async function importImage(
  source: ByteSource,
  stores: ImageStores,
  options: ImportOptions = {},
): Promise<ImportedImage> {
  const {
    changes = [],
    message = 'Imported from -',
    platform = hostPlatform(),
    reference,
    created = new Date(),
    onProgress,
    signal,
  } = options;
  if (platform.os !== 'linux')
    throw new PlyfsError(
      'platform-unsupported',
      `An image for ${platform.os} cannot be imported: only linux can.`,
    );
  const config = emptyContainerConfig();
  applyChanges(config, changes);

  let done = 0;
  const counted = async function* (): ByteSource {
    for await (const piece of source) {
      done += piece.length;
      onProgress?.({ kind: 'layer', id: 'import', done });
      yield piece;
    }
  };
  const { image, replaced, lost } = await publishImage(stores, {
    make: async (held) => {
      const { diffId } = await held.register(decompress(counted()), { signal });
      return Buffer.from(
        configOf(config, diffId, { platform, message, created: goTimeOf(created) }),
      );
    },
    references: reference === undefined ? [] : [reference],
    made: true,
  });
  const [former] = replaced;
  return { image, lost, ...(former !== undefined && { replaced: former.former }) };
}

function configOf(
  config: ContainerConfig,
  diffId: DiffId,
  { platform, message, created }: { platform: Platform; message: string; created: string },
): RawJson {
  const fields = new Map<string, RawJson>([
    ['architecture', goJson(platform.architecture)],
    ['config', containerJson(config)],
    ['created', goJson(created)],
    ['history', goJson([{ created, ...(message !== '' && { comment: message }) }])],
    ['os', goJson(platform.os)],
    ['rootfs', goJson({ type: 'layers', diff_ids: [diffId] })],
  ]);
  if (platform.variant !== undefined) fields.set('variant', goJson(platform.variant));
  if (message !== '') fields.set('comment', goJson(message));
  return goMap(fields);
}
