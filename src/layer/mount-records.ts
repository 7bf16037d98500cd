/**
 * `<root>/plyfs/containers/<driver>/<mount-id>.json`: what only ply knows of a read-write layer.
 * The store keeps the bytes, and does not look into them.
 *
 * Written and removed under the store's lock: written before the layer is published, removed after
 * it was taken out. So a published layer that was given a record has it, and one whose layer is not
 * in the store was left by a process that was killed between the two.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { syncDirectory, writeFileDurably } from '../base/durable-file.js';
import type { MountId } from '../base/ids.js';
import { assertDirectories, readStored } from '../sys/stored-file.js';
import { namesIn } from './metadata-files.js';

const SUFFIX = '.json';

export class MountRecords {
  readonly path: string;

  /** Throws `root-damaged` when there is no directory in its place. */
  constructor(root: string, driverName: string) {
    this.path = join(root, 'plyfs/containers', driverName);
    assertDirectories([this.path]);
  }

  pathOf(id: MountId): string {
    return join(this.path, id + SUFFIX);
  }

  /** Undefined: it has none. Throws `root-damaged`. */
  read(id: MountId): Buffer | undefined {
    return readStored(this.pathOf(id), 'record');
  }

  write(id: MountId, record: string): void {
    const made = mkdirSync(this.path, { recursive: true, mode: 0o700 });
    if (made !== undefined) syncDirectory(dirname(made));
    writeFileDurably(this.pathOf(id), record, 0o600);
  }

  remove(id: MountId): void {
    rmSync(this.pathOf(id), { force: true });
  }

  /**
   * Files that are the record of nothing that `isUsed`, what a killed writer left aside included.
   */
  strays(isUsed: (id: string) => boolean): string[] {
    return namesIn(this.path)
      .filter((name) => !name.endsWith(SUFFIX) || !isUsed(name.slice(0, -SUFFIX.length)))
      .map((name) => join(this.path, name));
  }
}
