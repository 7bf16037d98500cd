/**
 * `<root>/plyfs/containers/<driver>/<mount-id>.json`: what only ply knows of a read-write layer. The store keeps the bytes, and does not look into them.
 *
 * Written and removed under the store's lock: written before the layer is published, removed after it was taken out. So a published layer that was given a record
 * has it, and one whose layer is not in the store was left by a process that was killed between the two.
 */
import { closeSync, mkdirSync, openSync, constants, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { syncDirectory, writeFileDurably } from '../base/durable-file.js';
import type { MountId } from '../base/ids.js';
import { namesIn, readRegularFile } from './metadata-files.js';

/** Bytes. An image's configuration may have 8 MiB; a record has the part of it that says how it is run. */
export const RECORD_LIMIT = 16 << 20;
const SUFFIX = '.json';

export class MountRecords {
  readonly path: string;

  constructor(root: string, driverName: string) {
    this.path = join(root, 'plyfs/containers', driverName);
  }

  pathOf(id: MountId): string {
    return join(this.path, id + SUFFIX);
  }

  /** Undefined: it has none. Throws `Unusable`. */
  read(id: MountId): Buffer | undefined {
    let directory: number;
    try {
      directory = openSync(this.path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    } catch {
      return undefined;
    }
    try {
      return readRegularFile(directory, id + SUFFIX, RECORD_LIMIT);
    } finally {
      closeSync(directory);
    }
  }

  write(id: MountId, record: string): void {
    const made = mkdirSync(this.path, { recursive: true, mode: 0o700 });
    if (made !== undefined) syncDirectory(dirname(made));
    writeFileDurably(this.pathOf(id), record, 0o600);
  }

  remove(id: MountId): void {
    rmSync(this.pathOf(id), { force: true });
  }

  /** Files that are the record of nothing that `isUsed`, what a killed writer left aside included. */
  strays(isUsed: (id: string) => boolean): string[] {
    return namesIn(this.path)
      .filter((name) => !name.endsWith(SUFFIX) || !isUsed(name.slice(0, -SUFFIX.length)))
      .map((name) => join(this.path, name));
  }
}
