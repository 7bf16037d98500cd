/** `ply pull`, and what `run`, `create` and `mount` do for an image that is not there. */
import type { LostAttribute } from '../../archive/lost-attributes.js';
import type { Digest, ImageId } from '../../base/digest.js';
import { errorOf, PlyfsError, UsageError } from '../../base/error.js';
import type { Environment } from '../../distribution/config-file.js';
import { pullImage, type PulledImage } from '../../distribution/pull-image.js';
import { Registries } from '../../distribution/registries.js';
import type { Platform } from '../../image/image-config.js';
import type { OnProgress } from '../../image/progress.js';
import {
  canonicalString,
  familiarName,
  familiarString,
  parseReference,
  repositoryOf,
  withDefaultTag,
  withTag,
  type Reference,
} from '../../image/reference.js';
import { RegistryDatabases } from '../../image/registry-databases.js';
import type { DataRoot } from '../data-root.js';
import { platformOf } from './load.js';

export interface PullOptions {
  readonly environment: Environment;
  /** `linux/arm64`; when absent, of an image for several platforms the one for this machine. */
  readonly platform?: string | undefined;
  /** Every tag of the repository. */
  readonly allTags?: boolean;
  readonly tlsVerify?: boolean | undefined;
  readonly onProgress?: OnProgress | undefined;
  /** A name is about to be pulled. */
  readonly onBegin?: (begun: {
    /** Its tag or digest. */
    readonly version: string;
    readonly repository: string;
  }) => Promise<void>;
  /** An image is in the store. */
  readonly onPulled?: (pulled: PulledView) => Promise<void>;
  readonly onWarning?: (sentence: string) => void;
  readonly signal?: AbortSignal | undefined;
}

export interface PulledView {
  readonly id: ImageId;
  /** With its registry: `docker.io/library/debian:12`. */
  readonly name: string;
  /** As people see it: `debian:12`. */
  readonly familiar: string;
  /** Of the manifest or index that the name means. */
  readonly digest: Digest;
  /** `current`: it was there, with this name. */
  readonly status: 'pulled' | 'current';
  /** Bytes of layers that came over the network. */
  readonly fetched: number;
  /** The image that had the name before. */
  readonly replaced?: ImageId;
  /** What files of its layers had to do without; absent when nothing. */
  readonly lost?: readonly LostAttribute[];
}

/**
 * `word`: a name, with a tag or a digest or, for all tags, without. At least one image. Throws
 * UsageError, `reference-invalid`, `short-name-ambiguous`, what reading the configuration throws,
 * and what `pullImage` throws.
 */
export async function pull(
  root: DataRoot,
  word: string,
  options: PullOptions,
): Promise<PulledView[]> {
  const { allTags = false, environment, tlsVerify, signal } = options;
  const platform = options.platform === undefined ? undefined : platformOf(options.platform);
  const { tag, digest } = parseReference(word);
  if (allTags && (tag !== undefined || digest !== undefined))
    throw new UsageError('With --all-tags a name has neither a tag nor a digest');
  const registries = new Registries({ environment, tlsVerify, signal });
  try {
    const candidates = registries.candidates(word);
    for (const [index, candidate] of candidates.entries()) {
      try {
        return allTags
          ? await pullTags(root, candidate, registries, platform, options)
          : [await pullOne(root, withDefaultTag(candidate), registries, platform, options)];
      } catch (error) {
        // What a short name means is where it is found.
        if (index === candidates.length - 1 || !mayBeElsewhere(error)) throw error;
        options.onWarning?.(errorOf(error).message);
      }
    }
    throw new Error(`${word} leads nowhere.`);
  } finally {
    await registries.close();
  }
}

const elsewhere = new Set([
  'registry-missing',
  'registry-denied',
  'registry-unauthorized',
  'registry-unreachable',
  'registry-failed',
]);

function mayBeElsewhere(error: unknown): boolean {
  return error instanceof PlyfsError && elsewhere.has(error.code);
}

async function pullTags(
  root: DataRoot,
  repository: Reference,
  registries: Registries,
  platform: Platform | undefined,
  options: PullOptions,
): Promise<PulledView[]> {
  // Mirrors need not have all of them.
  const client = registries.toPull(repository).at(-1)!;
  const pulled: PulledView[] = [];
  for await (const tag of client.tags()) {
    try {
      pulled.push(await pullOne(root, withTag(repository, tag), registries, platform, options));
    } catch (error) {
      // A repository may hold other things than images.
      if (!(error instanceof PlyfsError) || error.code !== 'manifest-unsupported') throw error;
      options.onWarning?.(error.message);
    }
  }
  if (pulled.length > 0) return pulled;
  throw new PlyfsError(
    'registry-missing',
    `${familiarString(repositoryOf(repository))} has no tags that are images.`,
  );
}

async function pullOne(
  root: DataRoot,
  reference: Reference,
  registries: Registries,
  platform: Platform | undefined,
  { onProgress, onBegin, onPulled, signal }: PullOptions,
): Promise<PulledView> {
  const { tag, digest } = reference;
  await onBegin?.({ version: digest ?? tag ?? '', repository: familiarName(reference) });
  const databases = new RegistryDatabases({
    root: root.root,
    driverName: root.driver.name,
    exclusively: (change) => root.layers.exclusively(change),
  });
  const clients = registries.toPull(reference);
  const options = { platform, onProgress, signal };
  const view = viewOf(reference, await pullImage(reference, clients, root, databases, options));
  await onPulled?.(view);
  return view;
}

function viewOf(reference: Reference, pulled: PulledImage): PulledView {
  const { image, digest, upToDate, fetched, replaced, lost } = pulled;
  const [former] = replaced;
  return {
    id: image.id,
    name: canonicalString(reference),
    familiar: familiarString(reference),
    digest,
    status: upToDate ? 'current' : 'pulled',
    fetched,
    ...(former !== undefined && { replaced: former.former }),
    ...(lost.length > 0 && { lost }),
  };
}
