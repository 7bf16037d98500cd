/** `ply push`. */
import { join } from 'node:path';
import { UsageError, PlyfsError } from '../../base/error.js';
import type { Digest } from '../../base/digest.js';
import type { Environment } from '../../distribution/config-file.js';
import { pushImage, type PushProgress } from '../../distribution/push.js';
import { Registries } from '../../distribution/registries.js';
import type { Image } from '../../image/image-store.js';
import { RegistryDatabases } from '../../image/registry-databases.js';
import {
  canonicalName,
  DEFAULT_TAG,
  familiarString,
  parseReference,
  type Reference,
} from '../../image/reference.js';
import type { DataRoot } from '../data-root.js';

export interface PushOptions {
  readonly environment: Environment;
  /** Every tag of the repository. */
  readonly allTags?: boolean;
  readonly tlsVerify?: boolean | undefined;
  /** A repository is about to be sent to: `docker.io/library/x`. */
  readonly onRepository?: (name: string) => Promise<void>;
  readonly onProgress?: (progress: PushProgress) => void;
  /** An image is in the registry. */
  readonly onPushed?: (pushed: PushedView) => Promise<void>;
  readonly signal?: AbortSignal;
}

export interface PushedView {
  readonly tag: string;
  /** Of the manifest. */
  readonly digest: Digest;
  /** Bytes of the manifest. */
  readonly size: number;
}

type Tagged = Reference & { readonly tag: string };

/** Throws UsageError, `image-missing`, `reference-invalid`, and what `pushImage` throws. */
export async function push(
  root: DataRoot,
  name: string,
  options: PushOptions,
): Promise<PushedView[]> {
  const { environment, allTags = false, tlsVerify, onProgress, signal } = options;
  const wanted = imagesNamed(root, name, allTags);
  const [{ reference: first }] = wanted;
  const registries = new Registries({ environment, tlsVerify, signal });
  const pushed: PushedView[] = [];
  try {
    const client = registries.toPush(first);
    await options.onRepository?.(canonicalName(first));
    const databases = new RegistryDatabases({
      root: root.root,
      driverName: root.driver.name,
      exclusively: (change) => root.layers.exclusively(change),
    });
    for (const { image, reference } of wanted) {
      const { digest, size } = await pushImage(image, reference, {
        client,
        stores: root,
        databases,
        directory: join(root.root, 'plyfs/tmp'),
        record: true,
        onProgress,
        signal,
      });
      const { domain, path, tag } = reference;
      root.references.set({ domain, path, digest }, image.id, { force: true });
      const view = { tag: familiarString({ domain, path, tag }), digest, size };
      pushed.push(view);
      await options.onPushed?.(view);
    }
    return pushed;
  } finally {
    await registries.close();
  }
}

function imagesNamed(
  { images, references }: DataRoot,
  name: string,
  allTags: boolean,
): [{ image: Image; reference: Tagged }, ...{ image: Image; reference: Tagged }[]] {
  const reference = parseReference(name);
  const { domain, path } = reference;
  if (reference.digest !== undefined)
    throw new UsageError('A digest cannot be pushed to: name the repository, with a tag');
  if (allTags && reference.tag !== undefined)
    throw new UsageError('With --all-tags, name the repository without a tag');
  const tags = allTags
    ? references
        .ofRepository(reference)
        .flatMap(({ reference: { tag, digest } }) =>
          tag !== undefined && digest === undefined ? [tag] : [],
        )
    : [reference.tag ?? DEFAULT_TAG];
  const found = tags.map((tag) => {
    const tagged = { domain, path, tag };
    const id = references.get(tagged);
    const image = id && images.get(id);
    if (image === undefined) throw missing(familiarString(tagged));
    return { image, reference: tagged };
  });
  const [first, ...others] = found;
  if (first === undefined) throw missing(familiarString(reference));
  return [first, ...others];
}

function missing(name: string): PlyfsError {
  return new PlyfsError(
    'image-missing',
    `There is no image ${name} to push: give one that name with \`ply tag\`.`,
  );
}
