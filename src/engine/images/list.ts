/** `ply images`: a row for each name, filtered as docker filters. */
import type { ImageId } from '../../base/digest.js';
import { UsageError } from '../../base/error.js';
import { findImage } from '../../image/find-image.js';
import { listImages as listStored, type ListedImage } from '../../image/list-images.js';
import { familiarName, familiarString, type Reference } from '../../image/reference.js';
import type { DataRoot } from '../data-root.js';
import { parseTime } from './image-times.js';

export interface ListedImageView {
  readonly id: ImageId;
  readonly parent?: ImageId;
  /** Familiar: `debian:12`. */
  readonly tags: readonly string[];
  /** `debian@sha256:…`. */
  readonly digests: readonly string[];
  readonly created?: Date;
  /** Bytes of all its layers. */
  readonly size: number;
  /** Read when they are asked for. */
  readonly labels: ReadonlyMap<string, string>;
  /** For a table: one for each name, at least one. */
  readonly rows: readonly ImageRow[];
}

/** Absent: `<none>`. */
export interface ImageRow {
  readonly repository?: string;
  readonly tag?: string;
  readonly digest?: string;
}

export interface ListImagesOptions {
  /** Also images without a name that others were made from. */
  readonly all?: boolean;
  /** `key=value`: dangling, label, before, since, reference. */
  readonly filters?: readonly string[];
}

/** The newest first. Throws UsageError for a filter that is none, and what `findImage` throws. */
export function listImages(
  root: DataRoot,
  { all = false, filters = [] }: ListImagesOptions = {},
): ListedImageView[] {
  const { references, others } = parseFilters(filters, root);
  return listStored(root, { all })
    .map((listed) => withTags(listed, references))
    .filter(
      (listed) =>
        (references.length === 0 || listed.tags.length + listed.digests.length > 0) &&
        others.every((fits) => fits(listed)),
    )
    .map(viewOf);
}

type Test = (listed: ListedImage) => boolean;

function parseFilters(
  filters: readonly string[],
  root: DataRoot,
): { references: RegExp[]; others: Test[] } {
  const references: RegExp[] = [];
  const others: Test[] = [];
  for (const filter of filters) {
    const [, key, value] = /^([^=]*)=([^]*)$/.exec(filter) ?? [];
    switch (key) {
      case 'reference':
        references.push(globPattern(value!));
        break;
      case 'dangling': {
        const wanted = /^(true|1)$/i.test(value!);
        if (!wanted && !/^(false|0)$/i.test(value!))
          throw new UsageError(`The filter dangling is true or false, not '${value!}'`);
        // What another image was made from hangs on that.
        others.push(({ image, tags, digests }) =>
          tags.length + digests.length > 0
            ? !wanted
            : wanted && root.images.children(image.id).length === 0,
        );
        break;
      }
      case 'label': {
        const [, name = '', text] = /^([^=]*)(?:=([^]*))?$/.exec(value!)!;
        others.push(({ image }) => {
          const label = image.config.run.labels.get(name);
          return label !== undefined && (text === undefined || label === text);
        });
        break;
      }
      case 'before':
      case 'since': {
        const limit = createdAt(findImage(value!, root).image);
        others.push(({ image }) =>
          key === 'before' ? createdAt(image) < limit : createdAt(image) > limit,
        );
        break;
      }
      default:
        throw new UsageError(
          `There is no filter '${filter}': write dangling=true, label=NAME[=TEXT], before=IMAGE, since=IMAGE or reference=PATTERN`,
        );
    }
  }
  return { references, others };
}

function createdAt(image: ListedImage['image']): number {
  return parseTime(image.created)?.getTime() ?? 0;
}

/**
 * With those names only that fit a pattern, as docker's filter `reference` has it: the whole name,
 * or that without the tag.
 */
function withTags(listed: ListedImage, patterns: readonly RegExp[]): ListedImage {
  if (patterns.length === 0) return listed;
  const fits = (reference: Reference): boolean =>
    patterns.some(
      (pattern) => pattern.test(familiarString(reference)) || pattern.test(familiarName(reference)),
    );
  return { ...listed, tags: listed.tags.filter(fits), digests: listed.digests.filter(fits) };
}

/** Go's path.Match: `*` and `?` stop at a slash. */
function globPattern(glob: string): RegExp {
  const source = glob.replace(
    /\\(.)|\[(\^?)([^\]]+)\]|[*?]|[^\w]/g,
    (found, escaped?: string, negated?: string, set?: string) => {
      if (escaped !== undefined) return `\\u{${escaped.codePointAt(0)!.toString(16)}}`;
      if (set !== undefined) return `[${negated ?? ''}${set.replace(/[\\[\]^&|~]/g, '\\$&')}]`;
      if (found === '*') return '[^/]*';
      if (found === '?') return '[^/]';
      return `\\u{${found.codePointAt(0)!.toString(16)}}`;
    },
  );
  try {
    return new RegExp(`^${source}$`, 'u');
  } catch {
    throw new UsageError(`The pattern '${glob}' cannot be used`);
  }
}

function viewOf({ image, tags, digests, size }: ListedImage): ListedImageView {
  const created = parseTime(image.created);
  return {
    id: image.id,
    ...(image.parent !== undefined && { parent: image.parent }),
    tags: tags.map(familiarString),
    digests: digests.map(familiarString),
    ...(created !== undefined && { created }),
    size,
    get labels() {
      return image.config.run.labels;
    },
    rows: rowsOf(tags, digests),
  };
}

/**
 * As docker/cli, formatter/image.go: each tag with each digest of its repository, and repositories
 * that have digests only.
 */
function rowsOf(tags: readonly Reference[], digests: readonly Reference[]): ImageRow[] {
  const digestsOf = (repository: string): string[] =>
    digests.flatMap((reference) =>
      familiarName(reference) === repository && reference.digest !== undefined
        ? [reference.digest]
        : [],
    );
  const rows: ImageRow[] = tags.flatMap((reference): ImageRow[] => {
    const row = {
      repository: familiarName(reference),
      ...(reference.tag !== undefined && { tag: reference.tag }),
    };
    const own = digestsOf(row.repository);
    return own.length === 0 ? [row] : own.map((digest) => ({ ...row, digest }));
  });
  const tagged = new Set(rows.map(({ repository }) => repository));
  for (const reference of digests) {
    const repository = familiarName(reference);
    if (!tagged.has(repository))
      rows.push({
        repository,
        ...(reference.digest !== undefined && { digest: reference.digest }),
      });
  }
  return rows.length === 0 ? [{}] : rows;
}
