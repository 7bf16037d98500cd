/** `ply copy`. */
import { UsageError } from '../../base/error.js';
import type { Digest } from '../../base/digest.js';
import type { Environment } from '../../distribution/config-file.js';
import {
  copyImage,
  type CopyProgress,
  type CopySource,
  type CopyTarget,
} from '../../distribution/copy.js';
import { registrySource, registryTarget } from '../../distribution/copy-registry.js';
import { Registries } from '../../distribution/registries.js';
import { OciDirectory, OciDirectoryWriter } from '../../image/oci-directory.js';
import { parseReference } from '../../image/reference.js';
import { platformOf } from '../images/load.js';

export interface CopyOptions {
  readonly environment: Environment;
  readonly all?: boolean;
  readonly platform?: string;
  readonly tlsVerify?: boolean | undefined;
  readonly onProgress?: (progress: CopyProgress) => void;
  readonly signal?: AbortSignal;
}

export interface CopiedView {
  /** Of the manifest or index that the new name means. */
  readonly digest: Digest;
  readonly mediaType: string;
}

/** A place as skopeo names it (containers-transports(5)). */
type Place =
  | { readonly transport: 'docker'; readonly name: string }
  | { readonly transport: 'oci'; readonly path: string; readonly tag: string | undefined };

/** Throws UsageError, and what `copyImage` throws. */
export async function copy(from: string, to: string, options: CopyOptions): Promise<CopiedView> {
  const { all = false, platform, onProgress, signal } = options;
  if (all && platform !== undefined) throw new UsageError('Say --all or --platform, not both');
  const wanted = platform === undefined ? undefined : platformOf(platform);
  const [source, target] = [placeOf(from), placeOf(to)];
  const registries = new Registries(options);
  const work = async (one: CopySource): Promise<CopiedView> => {
    const { digest, mediaType } = await copyImage(one, targetAt(target, registries, signal), {
      all,
      platform: wanted,
      onProgress,
      signal,
    });
    return { digest, mediaType };
  };
  try {
    if (source.transport === 'docker')
      return await registries.read(source.name, (client, reference) =>
        work(registrySource(client, reference)),
      );
    const directory = new OciDirectory(source.path);
    try {
      return await work({
        name: source.path,
        top: () => directory.named(source.tag),
        manifest: (descriptor) => directory.manifest(descriptor),
        blob: ({ digest, size }) => ({
          digest,
          size,
          read: (at) => directory.blob(digest, at),
        }),
      });
    } finally {
      directory.close();
    }
  } finally {
    await registries.close();
  }
}

function targetAt(
  place: Place,
  registries: Registries,
  signal: AbortSignal | undefined,
): CopyTarget {
  if (place.transport === 'docker') {
    const reference = parseReference(place.name);
    if (reference.digest !== undefined)
      throw new UsageError('A digest cannot be copied to: name a tag');
    return registryTarget(registries.toPush(reference), reference, signal);
  }
  const writer = new OciDirectoryWriter(place.path);
  return {
    ociOnly: true,
    has: (blob) => Promise.resolve(writer.has(blob)),
    put: (blob, onProgress) => writer.put(blob.digest, blob.read(0), onProgress),
    putManifest: async (manifest, named) => {
      const body = async function* (): AsyncIterable<Uint8Array> {
        yield manifest.bytes;
      };
      await writer.put(manifest.digest, body());
      if (named) writer.name(manifest, place.tag);
    },
  };
}

function placeOf(text: string): Place {
  if (text.startsWith('docker://'))
    return { transport: 'docker', name: text.slice('docker://'.length) };
  if (!text.startsWith('oci:'))
    throw new UsageError(
      `'${text}' is no place to copy from or to: write docker://NAME or oci:DIRECTORY[:TAG]`,
    );
  const [path = '', ...tag] = text.slice('oci:'.length).split(':');
  if (path === '') throw new UsageError(`'${text}' names no directory`);
  return { transport: 'oci', path, tag: tag.length === 0 ? undefined : tag.join(':') };
}
