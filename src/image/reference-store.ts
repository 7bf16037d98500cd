/**
 * Which names mean which images: `image/<driver>/repositories.json` (moby, reference/store.go).
 *
 *     {"Repositories":{"small":{"small:1":"sha256:…","small@sha256:…":"sha256:…"}}}
 *
 * Outer keys are familiar names, inner keys familiar references with a tag or a digest, never both.
 * Invariants: the file is always whole (written aside, renamed), since dockerd does not start with
 * an empty or damaged one; what it held and this program does not understand is kept; each change
 * is made to the file as it is at that moment, under the root's lock, so that programs that change
 * other names at the same time lose nothing.
 */
import { lstatSync } from 'node:fs';
import { join } from 'node:path';
import { MANY_THINGS } from '../base/bounded-json.js';
import { parseDigest, type ImageId } from '../base/digest.js';
import { writeFileDurably } from '../base/durable-file.js';
import { PlyfsError } from '../base/error.js';
import { readStored } from '../sys/stored-file.js';
import { JsonDocument } from './json.js';
import {
  canonicalString,
  familiarName,
  familiarString,
  tryParseReference,
  withDefaultTag,
  type Reference,
} from './reference.js';

export interface Association {
  /** With a tag or a digest. */
  readonly reference: Reference;
  readonly id: ImageId;
}

/**
 * Runs a change under the root's lock (src/layer/root-lock.ts). What it does is done when it
 * returns.
 */
export type Exclusively = <T>(change: () => T extends Promise<unknown> ? never : T) => T;

/** Familiar repository name → familiar reference → image id, as in the file. */
type Repositories = Map<string, Map<string, string>>;

export class ReferenceStore {
  readonly #path: string;
  readonly #readOnly: boolean;
  readonly #exclusively: Exclusively;
  #repositories: Repositories = new Map();
  /** Of the file when it was read last. */
  #stamp = '';

  private constructor(path: string, readOnly: boolean, exclusively: Exclusively) {
    this.#path = path;
    this.#readOnly = readOnly;
    this.#exclusively = exclusively;
  }

  /**
   * Creates the file where it is missing, unless `readOnly`. Throws `references-damaged`,
   * `root-damaged`.
   */
  static open(options: {
    root: string;
    driverName: string;
    readOnly: boolean;
    exclusively: Exclusively;
  }): ReferenceStore {
    const path = join(options.root, 'image', options.driverName, 'repositories.json');
    const store = new ReferenceStore(path, options.readOnly, options.exclusively);
    if (!store.refresh() && !options.readOnly) store.#save();
    return store;
  }

  /** Reads the file if it changed since. False when there is none. */
  refresh(): boolean {
    const stat = lstatSync(this.#path, { throwIfNoEntry: false, bigint: true });
    if (stat === undefined) {
      this.#repositories = new Map();
      this.#stamp = '';
      return false;
    }
    const stamp = `${stat.ino} ${stat.size} ${stat.mtimeNs}`;
    if (stamp !== this.#stamp) {
      const bytes = readStored(this.#path, 'repositories');
      this.#repositories =
        bytes === undefined
          ? new Map<string, Map<string, string>>()
          : parseRepositories(bytes, this.#path);
      this.#stamp = stamp;
    }
    return true;
  }

  /** By a tag (`latest` where it has none) or a digest; a digest counts more than a tag. */
  get(reference: Reference): ImageId | undefined {
    const key = keyOf(reference);
    const id = this.#repositories.get(familiarName(reference))?.get(familiarString(key));
    return id === undefined ? undefined : (parseDigest(id) as ImageId | undefined);
  }

  /** Sorted by name. */
  list(): Association[] {
    return [...this.#repositories.keys()]
      .flatMap((name) => this.#associations(name))
      .sort(byReference);
  }

  /** All references to an image, sorted by name. */
  of(id: ImageId): Reference[] {
    return this.list()
      .filter((association) => association.id === id)
      .map((association) => association.reference);
  }

  /** All tags and digests of a repository, sorted by name. */
  ofRepository(repository: Reference): Association[] {
    return this.#associations(familiarName(repository)).sort(byReference);
  }

  #associations(name: string): Association[] {
    const found: Association[] = [];
    for (const [key, value] of this.#repositories.get(name) ?? []) {
      const reference = tryParseReference(key);
      const id = parseDigest(value);
      if (reference !== undefined && id !== undefined) found.push({ reference, id: id as ImageId });
    }
    return found;
  }

  /**
   * Makes the reference mean `id`, and returns what it meant before. A digest reference cannot
   * change its meaning: throws `reference-conflict`; so does a tag, unless `force`. Throws what
   * `assertStorable` throws.
   */
  set(reference: Reference, id: ImageId, options: { force: boolean }): ImageId | undefined {
    const key = keyOf(reference);
    const name = familiarName(key);
    const text = familiarString(key);
    assertStorable(reference);
    this.#writable();
    return this.#exclusively<ImageId | undefined>(() => {
      this.refresh();
      const former = this.get(key);
      if (former === id) return former;
      if (former !== undefined && key.digest !== undefined) {
        throw new PlyfsError(
          'reference-conflict',
          `${text} is already set to image ${former}, and what a digest means does not change.`,
        );
      }
      if (former !== undefined && !options.force) {
        throw new PlyfsError(
          'reference-conflict',
          `${text} is already set to image ${former}: remove it first, or use force to replace it.`,
        );
      }
      const repository = this.#repositories.get(name) ?? new Map<string, string>();
      repository.set(text, id);
      this.#repositories.set(name, repository);
      this.#save();
      return former;
    });
  }

  /** False when there was no such reference. */
  delete(reference: Reference): boolean {
    const key = keyOf(reference);
    const name = familiarName(key);
    this.#writable();
    return this.#exclusively(() => {
      this.refresh();
      const repository = this.#repositories.get(name);
      if (repository?.delete(familiarString(key)) !== true) return false;
      if (repository.size === 0) this.#repositories.delete(name);
      this.#save();
      return true;
    });
  }

  #writable(): void {
    if (this.#readOnly)
      throw new PlyfsError(
        'root-read-only',
        `${this.#path} belongs to a data root that was opened to read only.`,
      );
  }

  /** Keys sorted, as Go marshals maps. */
  #save(): void {
    const sorted = <T>(map: ReadonlyMap<string, T>): [string, T][] =>
      [...map].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    const quote = (text: string): string => JSON.stringify(text);
    const repositories = sorted(this.#repositories).map(([name, tags]) => {
      const entries = sorted(tags).map(([key, id]) => `${quote(key)}:${quote(id)}`);
      return `${quote(name)}:{${entries.join(',')}}`;
    });
    writeFileDurably(this.#path, `{"Repositories":{${repositories.join(',')}}}`, 0o600);
    this.#stamp = '';
    this.refresh();
  }
}

/** Throws `reference-invalid` for the repository `sha256`, whose tags would look like ids. */
export function assertStorable(reference: Reference): void {
  if (familiarName(reference) !== 'sha256') return;
  throw new PlyfsError(
    'reference-invalid',
    'No repository can be called "sha256": its tags would look like ids of images.',
  );
}

/** What the file is indexed by: the tag goes when there is a digest. */
function keyOf(reference: Reference): Reference {
  const { domain, path, digest } = reference;
  return digest === undefined ? withDefaultTag(reference) : { domain, path, digest };
}

function byReference(a: Association, b: Association): number {
  const [left, right] = [canonicalString(a.reference), canonicalString(b.reference)];
  return left < right ? -1 : left > right ? 1 : 0;
}

function parseRepositories(bytes: Uint8Array, path: string): Repositories {
  const json = new JsonDocument('references-damaged', path);
  const document = json.object(json.parse(bytes, MANY_THINGS), '');
  return new Map(
    json.entries(
      document['Repositories'],
      'Repositories',
      (tags, field) => new Map(json.entries(tags, field, (id, at) => json.string(id, at))),
    ),
  );
}
