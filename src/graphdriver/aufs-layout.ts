/**
 * The layout of Docker's aufs driver (moby up to 23, daemon/graphdriver/aufs/aufs.go).
 *
 *     HOME/diff/ID     the layer's files, whiteouts as `.wh.` files
 *     HOME/layers/ID   a file: the ids of the layers below, nearest first, one a line
 *     HOME/mnt/ID      an empty directory, where the driver mounted the layer
 *     HOME/work/ID     ours: the workdir of a layer that is written to
 *
 * A layer is there when its file in `layers` is: it is written last and removed first.
 */
import { readdirSync, renameSync, unlinkSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { syncDirectory, TEMPORARY_PREFIX, writeFileDurably } from '../base/durable-file.js';
import { PlyfsError } from '../base/error.js';
import { parseCacheId } from '../base/ids.js';
import { assertDirectories, MAX_AUFS_PARENTS } from '../sys/stored-file.js';
import type { LayerDirectories } from './driver.js';
import {
  alreadyThere,
  checkId,
  damaged,
  exists,
  idsIn,
  isDirectory,
  makeDirectory,
  makeDirectoryIfMissing,
  makeLayerRoot,
  missing,
  readSmallFile,
  removingName,
} from './home.js';
import type { Layout } from './layout.js';
import { removeTree } from '../overlay/remove-tree.js';

const PARTS = ['mnt', 'diff', 'layers', 'work'];

export class AufsLayout implements Layout {
  readonly home: string;

  /** Throws `root-damaged` when there is no directory in its place. */
  constructor(home: string) {
    this.home = home;
    assertDirectories([home, ...PARTS.map((part) => join(home, part))]);
  }

  prepare(): void {
    makeDirectoryIfMissing(this.home, 0o710);
    for (const part of ['mnt', 'diff', 'layers'])
      makeDirectoryIfMissing(join(this.home, part), 0o710);
  }

  exists(id: string): boolean {
    checkId(id);
    return (
      typeof readSmallFile(this.#parentsFile(id), 'parents') === 'string' &&
      isDirectory(this.directoryOf(id))
    );
  }

  ids(): string[] {
    return [
      ...new Set(['diff', 'mnt', 'work'].flatMap((part) => idsIn(join(this.home, part)))),
    ].sort();
  }

  create(id: string, parent: string | undefined): void {
    if (this.exists(id)) throw alreadyThere(id, this.home);
    this.remove(id);
    const parents = parent === undefined ? [] : this.#parentsOver(parent);
    try {
      makeDirectory(join(this.home, 'mnt', id), 0o755);
      makeLayerRoot(this.directoryOf(id));
      for (const part of ['mnt', 'diff']) syncDirectory(join(this.home, part));
      writeFileDurably(this.#parentsFile(id), parents.map((line) => `${line}\n`).join(''), 0o644);
    } catch (error) {
      this.remove(id);
      throw error;
    }
  }

  remove(id: string): void {
    checkId(id);
    const files = readdirSync(join(this.home, 'layers')).filter(
      (name) => name === id || isTemporaryOf(name, id),
    );
    for (const name of files) unlinkSync(join(this.home, 'layers', name));
    if (files.length > 0) syncDirectory(join(this.home, 'layers'));
    for (const part of ['mnt', 'work', 'diff']) {
      const aside = join(this.home, part, removingName(id));
      removeTree(aside);
      const directory = join(this.home, part, id);
      if (!exists(directory)) continue;
      renameSync(directory, aside);
      removeTree(aside);
    }
  }

  written(id: string): string[] {
    return [this.directoryOf(id), join(this.home, 'work', id)];
  }

  directories(id: string): LayerDirectories {
    this.#check(id);
    const below = this.#parents(id).map((parent) => {
      const directory = this.directoryOf(parent);
      if (!isDirectory(directory))
        throw damaged(id, `${directory}, which lies below it, is not there, or no directory`);
      return directory;
    });
    return { own: this.directoryOf(id), below, work: join(this.home, 'work', id), form: 'aufs' };
  }

  parentOf(id: string): string | undefined {
    this.#check(id);
    return this.#parents(id)[0];
  }

  isCommitted(): boolean {
    return false;
  }

  directoryOf(id: string): string {
    return join(this.home, 'diff', id);
  }

  idOf(directory: string): string | undefined {
    return dirname(directory) === join(this.home, 'diff') ? basename(directory) : undefined;
  }

  #parentsFile(id: string): string {
    return join(this.home, 'layers', id);
  }

  #check(id: string): void {
    if (this.exists(id)) return;
    if (!exists(this.#parentsFile(id)) && !isDirectory(this.directoryOf(id)))
      throw missing(id, this.home);
    throw damaged(
      id,
      `${this.directoryOf(id)} or ${this.#parentsFile(id)} is not there, or not what it should be`,
    );
  }

  /** Nearest first. Throws `layer-damaged`. */
  #parents(id: string): string[] {
    const text = readSmallFile(this.#parentsFile(id), 'parents');
    if (typeof text !== 'string')
      throw damaged(id, `${this.#parentsFile(id)} ${text?.problem ?? 'is not there'}`);
    const parents = text === '' ? [] : text.split('\n');
    if (parents.some((line) => parseCacheId(line) === undefined))
      throw damaged(id, `${this.#parentsFile(id)} holds something else than ids`);
    if (new Set([id, ...parents]).size !== parents.length + 1)
      throw damaged(id, `${this.#parentsFile(id)} names a layer twice`);
    return parents;
  }

  #parentsOver(parent: string): string[] {
    this.#check(parent);
    const parents = [parent, ...this.#parents(parent)];
    if (parents.length <= MAX_AUFS_PARENTS) return parents;
    throw new PlyfsError(
      'too-many-layers',
      `a layer on ${parent} would have ${parents.length} layers below it: ${MAX_AUFS_PARENTS} are the most.`,
    );
  }
}

/** What a killed writer left: digits follow the name. */
function isTemporaryOf(name: string, id: string): boolean {
  return (
    name.startsWith(TEMPORARY_PREFIX + id) &&
    /^\d+$/.test(name.slice(TEMPORARY_PREFIX.length + id.length))
  );
}
