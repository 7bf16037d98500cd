/** `ply tags` and `ply manifest inspect`: what a registry says, and nothing of it kept. */
import type { Digest } from '../../base/digest.js';
import type { Environment } from '../../distribution/config-file.js';
import { Registries } from '../../distribution/registries.js';
import { canonicalName, DEFAULT_TAG } from '../../image/reference.js';

export interface ReadOptions {
  readonly environment: Environment;
  readonly tlsVerify?: boolean | undefined;
  readonly signal?: AbortSignal;
}

export interface TagsView {
  readonly repository: string;
  /** In the registry's order. */
  readonly tags: readonly string[];
}

/** Throws what `Registries` and its clients throw. */
export async function tags(name: string, options: ReadOptions): Promise<TagsView> {
  const registries = new Registries(options);
  try {
    return await registries.read(name, async (client, reference) => {
      const found: string[] = [];
      for await (const tag of client.tags()) found.push(tag);
      return { repository: canonicalName(reference), tags: found };
    });
  } finally {
    await registries.close();
  }
}

export interface ManifestView {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly bytes: Buffer;
}

/** A manifest or an index, as it is; its digest is checked. Throws as `tags`. */
export async function inspectManifest(name: string, options: ReadOptions): Promise<ManifestView> {
  const registries = new Registries(options);
  try {
    return await registries.read(name, (client, { tag = DEFAULT_TAG, digest = tag }) =>
      client.manifest(digest),
    );
  } finally {
    await registries.close();
  }
}
