/**
 * Manifests that images came with, or left with: what Docker's own layout does not keep, and what
 * an image needs to leave again as it came, with the same digest.
 *
 *     plyfs/manifests/<image's id>/<manifest's digest>      the bytes
 *
 * Nothing depends on them: without one, a manifest is made anew. A file is whole and is what its
 * name says, else it is passed over; those of images that have gone are removed by `ply gc`.
 */
import { readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { digestOfHex, hexOf, sha256, type Digest, type ImageId } from '../base/digest.js';
import { TEMPORARY_PREFIX, writeFileDurably } from '../base/durable-file.js';
import { assertDirectories, makeDirectories, readStored } from '../sys/stored-file.js';

/** An image in both forms, and compressed by several programs, has a few. */
const KEPT_MAX = 8;

export interface StoredManifest {
  readonly digest: Digest;
  readonly bytes: Buffer;
}

function directoryOf(root: string): string {
  return join(root, 'plyfs/manifests');
}

/** Throws what node:fs throws, and `root-damaged`. */
export function recordManifest(root: string, id: ImageId, bytes: Uint8Array): void {
  const directory = join(directoryOf(root), hexOf(id));
  makeDirectories([directoryOf(root), directory], 0o700);
  writeFileDurably(join(directory, hexOf(sha256(bytes))), bytes, 0o600);
  for (const name of namesByAge(directory).slice(KEPT_MAX))
    rmSync(join(directory, name), { force: true });
}

/** The latest first. Throws `root-damaged`. */
export function manifestsOf(root: string, id: ImageId): StoredManifest[] {
  const directory = join(directoryOf(root), hexOf(id));
  assertDirectories([directoryOf(root), directory]);
  return namesByAge(directory).flatMap((name) => {
    const digest = digestOfHex(name);
    const bytes = digest && readStored(join(directory, name), 'manifest');
    return bytes !== undefined && sha256(bytes) === digest ? [{ digest, bytes }] : [];
  });
}

/** Those of images that are not there. Throws what node:fs throws. */
export function removeStrayManifests(root: string, isImage: (id: ImageId) => boolean): void {
  const directory = directoryOf(root);
  assertDirectories([directory]);
  for (const name of namesIn(directory)) {
    const id = digestOfHex(name) as ImageId | undefined;
    if (id === undefined || !isImage(id))
      rmSync(join(directory, name), { recursive: true, force: true });
  }
}

function namesByAge(directory: string): string[] {
  const age = (name: string): number =>
    statSync(join(directory, name), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  return namesIn(directory)
    .filter((name) => !name.startsWith(TEMPORARY_PREFIX))
    .map((name) => ({ name, age: age(name) }))
    .sort((one, other) => other.age - one.age || (one.name < other.name ? -1 : 1))
    .map(({ name }) => name);
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}
