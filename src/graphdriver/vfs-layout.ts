/**
 * The layout of Docker's vfs driver (moby, daemon/graphdriver/vfs): HOME/dir/ID, each a complete
 * copy of the layer below with its own changes made. Nothing on disk says what a layer's parent
 * was.
 *
 * A layer is there when its directory is: the copy is made aside and renamed into place.
 */
import { renameSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { syncDirectory } from '../base/durable-file.js';
import { Errno } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import { assertDirectories } from '../sys/stored-file.js';
import { copyTree } from './copy-tree.js';
import type { LayerDirectories } from './driver.js';
import {
  alreadyThere,
  checkId,
  exists,
  idsIn,
  isDirectory,
  makeDirectory,
  makeDirectoryIfMissing,
  makeLayerRoot,
  missing,
  removingName,
} from './home.js';
import type { Layout } from './layout.js';
import { removeTree } from '../overlay/remove-tree.js';

export class VfsLayout implements Layout {
  readonly home: string;

  /** Throws `root-damaged` when there is no directory in its place. */
  constructor(home: string) {
    this.home = home;
    assertDirectories([home, join(home, 'dir')]);
  }

  prepare(): void {
    makeDirectoryIfMissing(this.home, 0o710);
    makeDirectoryIfMissing(join(this.home, 'dir'), 0o710);
  }

  exists(id: string): boolean {
    checkId(id);
    return isDirectory(this.directoryOf(id));
  }

  ids(): string[] {
    return idsIn(join(this.home, 'dir'));
  }

  create(id: string, parent: string | undefined): void {
    if (this.exists(id)) throw alreadyThere(id, this.home);
    if (parent !== undefined && !this.exists(parent)) throw missing(parent, this.home);
    try {
      this.#make(id, parent);
    } catch (error) {
      if (!(error instanceof Errno)) throw error;
      const what = parent === undefined ? id : `${id}, a copy of ${parent},`;
      throw new PlyfsError(
        'layer-copy-failed',
        `The layer ${what} cannot be made in ${this.home} (${error.message}): look at the disk.`,
        {
          cause: error,
        },
      );
    }
  }

  /** Throws `Errno`. */
  #make(id: string, parent: string | undefined): void {
    // A copy half made is removed as a layer half removed is.
    const aside = this.#aside(id);
    removeTree(aside);
    try {
      makeDirectory(aside, 0o700);
      const copy = join(aside, 'copy');
      if (parent === undefined) makeLayerRoot(copy);
      else copyTree(this.directoryOf(parent), copy, join(aside, 'links'));
      renameSync(copy, this.directoryOf(id));
      syncDirectory(join(this.home, 'dir'));
    } finally {
      removeTree(aside);
    }
  }

  remove(id: string): void {
    checkId(id);
    const aside = this.#aside(id);
    removeTree(aside);
    if (!exists(this.directoryOf(id))) return;
    renameSync(this.directoryOf(id), aside);
    removeTree(aside);
  }

  written(id: string): string[] {
    return [this.directoryOf(id)];
  }

  directories(id: string): LayerDirectories {
    if (!this.exists(id)) throw missing(id, this.home);
    return { own: this.directoryOf(id), below: [], form: 'none' };
  }

  parentOf(): undefined {
    return undefined;
  }

  isCommitted(): boolean {
    return false;
  }

  directoryOf(id: string): string {
    return join(this.home, 'dir', id);
  }

  idOf(directory: string): string | undefined {
    return dirname(directory) === join(this.home, 'dir') ? basename(directory) : undefined;
  }

  #aside(id: string): string {
    return join(this.home, 'dir', removingName(id));
  }
}
