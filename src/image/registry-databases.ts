/**
 * What is known of layers' blobs: `image/<driver>/distribution/`, as Docker keeps it (moby,
 * distribution/metadata/v2_metadata_service.go).
 *
 *     diffid-by-digest/sha256/<blob's digest>      the DiffID of the layer that it is
 *     v2metadata-by-diffid/sha256/<DiffID>         [{"Digest","SourceRepository","HMAC"}]: which
 *                                                  blobs are that layer, and where they are
 *
 * Nothing depends on them: what cannot be read is not known. A DiffID is recorded for a digest only
 * by who has seen the one come out of the other.
 */
import { join } from 'node:path';
import { hexOf, parseDigest, type Digest, type DiffId } from '../base/digest.js';
import { writeFileDurably } from '../base/durable-file.js';
import { PlyfsError } from '../base/error.js';
import { JsonDocument } from './json.js';
import { makeDirectories, readStored } from '../sys/stored-file.js';

/** moby's maxMetadata: what it keeps of one layer. */
const SOURCES_MAX = 50;

export interface BlobOrigin {
  readonly digest: Digest;
  /** `docker.io/library/debian`. */
  readonly sourceRepository: string;
}

interface StoredOrigin extends BlobOrigin {
  /** moby's proof that who wrote it had these credentials; empty from a pull. */
  readonly hmac: string;
}

export interface RegistryDatabasesOptions {
  /** The data root. */
  readonly root: string;
  readonly driverName: string;
  /** Runs a change under the root's lock. */
  readonly exclusively: (change: () => void) => void;
}

export class RegistryDatabases {
  readonly #diffIds: string;
  readonly #origins: string;
  readonly #parents: readonly string[];
  readonly #exclusively: (change: () => void) => void;

  constructor({ root, driverName, exclusively }: RegistryDatabasesOptions) {
    const distribution = join(root, 'image', driverName, 'distribution');
    this.#diffIds = join(distribution, 'diffid-by-digest/sha256');
    this.#origins = join(distribution, 'v2metadata-by-diffid/sha256');
    this.#parents = [distribution];
    this.#exclusively = exclusively;
  }

  /** The layer that a blob is, as far as that is known. */
  diffIdOf(digest: Digest): DiffId | undefined {
    const text = read(join(this.#diffIds, hexOf(digest)))?.toString('latin1');
    return parseDigest(text?.trim() ?? '') as DiffId | undefined;
  }

  /** Blobs that are this layer, and where they came from or went to; the oldest first. */
  originsOf(diffId: DiffId): readonly BlobOrigin[] {
    return this.#stored(diffId);
  }

  /** That a blob is this layer, and that a repository has it. */
  record(diffId: DiffId, digest: Digest, sourceRepository: string): void {
    this.#exclusively(() => {
      makeDirectories(this.#parents, 0o700);
      makeDirectories([this.#diffIds, this.#origins], 0o755);
      if (this.diffIdOf(digest) !== diffId)
        writeFileDurably(join(this.#diffIds, hexOf(digest)), diffId, 0o644);
      const before = this.#stored(diffId);
      const last = before.at(-1);
      if (last?.digest === digest && last.sourceRepository === sourceRepository) return;
      const origins = [
        ...before.filter(
          (one) => one.digest !== digest || one.sourceRepository !== sourceRepository,
        ),
        { digest, sourceRepository, hmac: '' },
      ].slice(-SOURCES_MAX);
      const text = JSON.stringify(
        origins.map((one) => ({
          Digest: one.digest,
          SourceRepository: one.sourceRepository,
          HMAC: one.hmac,
        })),
      );
      writeFileDurably(join(this.#origins, hexOf(diffId)), text, 0o644);
    });
  }

  #stored(diffId: DiffId): StoredOrigin[] {
    const path = join(this.#origins, hexOf(diffId));
    const bytes = read(path);
    if (bytes === undefined) return [];
    const json = new JsonDocument('root-damaged', path);
    try {
      return json
        .array(json.parse(bytes), '', (item, field) => {
          const fields = json.object(item, field);
          return {
            digest: parseDigest(json.text(fields['Digest'], 'Digest')),
            sourceRepository: json.text(fields['SourceRepository'], 'SourceRepository'),
            hmac: json.text(fields['HMAC'], 'HMAC'),
          };
        })
        .filter((origin): origin is StoredOrigin => origin.digest !== undefined);
    } catch (error) {
      if (error instanceof PlyfsError) return [];
      throw error;
    }
  }
}

/** Undefined also for what is no such file. */
function read(path: string): Buffer | undefined {
  try {
    return readStored(path, 'origins');
  } catch (error) {
    if (error instanceof PlyfsError) return undefined;
    throw error;
  }
}
