/** Repositories of registries, to copy from and to. */
import type { ByteSource } from '../base/byte-source.js';
import { DEFAULT_TAG, type Reference } from '../image/reference.js';
import type { Descriptor } from '../image/manifest.js';
import type { CopySource, CopyTarget } from './copy.js';
import type { RegistryClient } from './registry-client.js';
import { uploadBlob } from './upload.js';

export function registrySource(client: RegistryClient, reference: Reference): CopySource {
  const { tag = DEFAULT_TAG, digest } = reference;
  return {
    name: client.name,
    top: () => client.manifest(digest ?? tag),
    manifest: (descriptor) => client.manifest(descriptor.digest),
    blob: (descriptor) => ({ ...descriptor, read: (from) => bodyFrom(client, descriptor, from) }),
  };
}

/** Where the registry cannot begin at that byte, those before it are passed over. */
async function* bodyFrom(client: RegistryClient, descriptor: Descriptor, from: number): ByteSource {
  const { body, start } = await client.openBlob(descriptor, from);
  let skip = from - start;
  for await (const piece of body) {
    if (skip < piece.length) yield piece.subarray(skip);
    skip = Math.max(skip - piece.length, 0);
  }
}

export function registryTarget(
  client: RegistryClient,
  reference: Reference,
  signal: AbortSignal | undefined,
): CopyTarget {
  const { tag = DEFAULT_TAG } = reference;
  return {
    ociOnly: false,
    has: async ({ digest, size }) => (await client.blobSize(digest)) === size,
    put: (blob, onProgress) => uploadBlob(client, blob, { onProgress, signal }),
    putManifest: async ({ digest, mediaType, bytes }, named) => {
      await client.putManifest(named ? tag : digest, mediaType, bytes);
    },
  };
}
