/**
 * An OCI image layout as a directory that is written to (image-spec, image-layout.md), and read
 * from blob by blob. A blob is whole and checked before it has its name; `index.json`, which makes
 * an image of blobs, is written last.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import type { ByteSource } from '../base/byte-source.js';
import { readAll } from '../base/byte-source.js';
import { hexOf, sha256, type Digest } from '../base/digest.js';
import { writeFileDurably } from '../base/durable-file.js';
import { messageOf, PlyfsError } from '../base/error.js';
import { randomId } from '../base/ids.js';
import { DirectoryArchive } from './directory-archive.js';
import { JsonDocument, type JsonObject } from './json.js';
import { MANIFEST_BYTES_MAX } from './limits.js';
import { descriptorOf, MediaType, type Descriptor } from './manifest.js';

const LAYOUT = '{"imageLayoutVersion": "1.0.0"}';
const REF_NAME = 'org.opencontainers.image.ref.name';

export interface NamedManifest {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly bytes: Buffer;
}

function blobName(digest: Digest): string {
  return `blobs/sha256/${hexOf(digest)}`;
}

/** Reads; `close` ends it. */
export class OciDirectory {
  readonly path: string;
  readonly #files: DirectoryArchive;

  /** Throws `archive-unreadable`. */
  constructor(path: string) {
    this.path = path;
    this.#files = new DirectoryArchive(path);
  }

  /** The one of that tag; without, the only one. Throws `archive-invalid`, `image-missing`. */
  async named(tag: string | undefined): Promise<NamedManifest> {
    const { json, entries } = indexIn(await this.#read('index.json'), this.path);
    const found = entries
      .map((entry, at) => descriptorOf(json, entry, `manifests[${at}]`))
      .filter(({ annotations }) => tag === undefined || annotations.get(REF_NAME) === tag);
    const [first, ...others] = found;
    if (first === undefined || others.length > 0)
      throw new PlyfsError(
        'image-missing',
        `${this.path} has ${found.length} images${tag === undefined ? '' : ` called ${tag}`}, and one is wanted: name it as oci:${this.path}:TAG.`,
      );
    return this.manifest(first);
  }

  /** Throws `blob-digest-mismatch`, `archive-invalid`. */
  async manifest({ digest, mediaType }: Descriptor): Promise<NamedManifest> {
    const bytes = await this.#read(blobName(digest));
    if (sha256(bytes) !== digest) throw mismatch(this.path, digest, sha256(bytes));
    return { digest, mediaType, bytes };
  }

  async *blob(digest: Digest, from: number): ByteSource {
    const file = this.#files.file(blobName(digest));
    if (file === undefined) throw missing(this.path, blobName(digest));
    let skip = from;
    for await (const piece of file.open()) {
      if (skip < piece.length) yield Buffer.from(piece.subarray(skip));
      skip = Math.max(skip - piece.length, 0);
    }
  }

  close(): void {
    this.#files.close();
  }

  async #read(name: string): Promise<Buffer> {
    const file = this.#files.file(name);
    const bytes = file && (await readAll(file.open(), MANIFEST_BYTES_MAX));
    if (bytes === undefined) throw missing(this.path, name);
    return bytes;
  }
}

/** Made where it is not there. Throws `layout-unwritable`. */
export class OciDirectoryWriter {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
    this.#trying(() => {
      mkdirSync(join(path, 'blobs/sha256'), { recursive: true });
      writeFileDurably(join(path, 'oci-layout'), LAYOUT, 0o644);
    });
  }

  has({ digest, size }: { readonly digest: Digest; readonly size: number }): boolean {
    const stat = statSync(join(this.path, blobName(digest)), { throwIfNoEntry: false });
    return stat?.isFile() === true && stat.size === size;
  }

  /** Throws `blob-digest-mismatch`. */
  async put(
    digest: Digest,
    source: ByteSource,
    onProgress: (done: number) => void = () => undefined,
  ): Promise<void> {
    const path = join(this.path, blobName(digest));
    const aside = `${path}.${randomId()}`;
    const file = await open(aside, 'wx', 0o644);
    try {
      const hash = createHash('sha256');
      let done = 0;
      for await (const piece of source) {
        hash.update(piece);
        await file.writeFile(piece);
        done += piece.length;
        onProgress(done);
      }
      const got = `sha256:${hash.digest('hex')}`;
      if (got !== digest) throw mismatch(this.path, digest, got);
      await file.sync();
      renameSync(aside, path);
    } catch (error) {
      rmSync(aside, { force: true });
      throw error;
    } finally {
      await file.close();
    }
  }

  /** Makes the manifest, whose blob is there, what `tag` means; without one it has no name. */
  name({ digest, mediaType, bytes }: NamedManifest, tag: string | undefined): void {
    const path = join(this.path, 'index.json');
    const before = this.#index(path);
    const entry = {
      mediaType: mediaType === '' ? MediaType.ociManifest : mediaType,
      digest,
      size: bytes.length,
      ...(tag !== undefined && { annotations: { [REF_NAME]: tag } }),
    };
    const others = before.filter((one) => {
      const annotations = one['annotations'] as JsonObject | undefined;
      const name = annotations?.[REF_NAME];
      return tag === undefined ? one['digest'] !== digest || name !== undefined : name !== tag;
    });
    const index = {
      schemaVersion: 2,
      mediaType: MediaType.ociIndex,
      manifests: [...others, entry],
    };
    this.#trying(() => writeFileDurably(path, JSON.stringify(index), 0o644));
  }

  #index(path: string): readonly JsonObject[] {
    if (statSync(path, { throwIfNoEntry: false }) === undefined) return [];
    return indexIn(readFileSync(path), this.path).entries;
  }

  #trying(work: () => void): void {
    try {
      work();
    } catch (error) {
      throw new PlyfsError(
        'layout-unwritable',
        `${this.path} cannot be written to: ${messageOf(error)}.`,
        { cause: error },
      );
    }
  }
}

function indexIn(bytes: Buffer, path: string): { json: JsonDocument; entries: JsonObject[] } {
  const json = new JsonDocument('archive-invalid', `index.json in ${path}`);
  const document = json.object(json.parse(bytes), '');
  return {
    json,
    entries: json.array(document['manifests'], 'manifests', (item, field) =>
      json.object(item, field),
    ),
  };
}

function missing(path: string, name: string): PlyfsError {
  return new PlyfsError('archive-invalid', `${path} has no ${name} of a size that is read.`);
}

function mismatch(path: string, expected: Digest, got: string): PlyfsError {
  return new PlyfsError(
    'blob-digest-mismatch',
    `A blob of ${path} is not what its name says: expected ${expected}, got ${got}.`,
  );
}
