/** Docker's vfs: each layer a complete copy. Slow and large, and needs nothing but a directory. */
import { statSync } from 'node:fs';
import type { ApplyOptions } from '../../archive/apply-layer.js';
import { bytesOf, textOf } from '../../base/bytes.js';
import { E } from '../../base/errno.js';
import { PlyfsError } from '../../base/error.js';
import { reasonOf } from '../../base/system-error.js';
import { MS_BIND, MS_NODEV, MS_NOSUID, MS_RDONLY, MS_REMOUNT } from '../../sys/constants.js';
import { sys } from '../../sys/index.js';
import { readMountTable } from '../../host/mount-table.js';
import type { DriverDefinition, DriverOptions, GetOptions, LayerMount } from '../driver.js';
import { backingFileSystem } from '../feature-detection.js';
import { LayerDriver } from '../layer-driver.js';
import type { ShowOptions } from '../layer-mounts.js';
import { refuseOptions } from '../marker-driver.js';
import type { MountedBy } from '../mounter.js';
import type { MountRecipe } from '../../sys/mount-recipe.js';
import { unmount } from '../../host/unmount.js';
import { naiveSize } from '../naive-diff.js';
import { VfsLayout } from '../vfs-layout.js';

const NAME = 'vfs';

class VfsDriver extends LayerDriver {
  readonly name = NAME;
  /** How often a layer that is shown where it lies was asked for. */
  readonly #inPlace = new Map<string, number>();

  constructor(options: DriverOptions) {
    super(new VfsLayout(options.home), options);
  }

  status(): readonly (readonly [name: string, value: string])[] {
    return [['Backing Filesystem', backingFileSystem(this.home)]];
  }

  /** Without a target the layer is shown where it lies. */
  override async get(id: string, options: GetOptions = {}): Promise<MountedBy> {
    if (options.target !== undefined) return super.get(id, options);
    const { own } = this.directories(id);
    this.#inPlace.set(id, (this.#inPlace.get(id) ?? 0) + 1);
    return { path: own, by: 'none' };
  }

  recipe(id: string): MountRecipe {
    return { by: 'bind', path: this.directories(id).own };
  }

  override async put(id: string, target?: string): Promise<void> {
    const count = this.#inPlace.get(id) ?? 0;
    if (target !== undefined || count === 0) return super.put(id, target);
    if (count > 1) this.#inPlace.set(id, count - 1);
    else this.#inPlace.delete(id);
  }

  /** Bind mounts show in the mount table as the directory they are of, on whatever file system. */
  mounts(): readonly LayerMount[] {
    const found: LayerMount[] = [];
    for (const { root, mountpoint, options } of readMountTable()) {
      const id = /\/dir\/([^/]+)$/.exec(textOf(root))?.[1];
      const target = textOf(mountpoint);
      if (id !== undefined && isSameDirectory(this.layout.directoryOf(id), target))
        found.push({ id, target, readOnly: options.includes('ro'), by: 'bind' });
    }
    return found;
  }

  async diffSize(id: string, parent: string | undefined): Promise<number> {
    return naiveSize(this, id, parent);
  }

  protected applying(): Omit<ApplyOptions, 'ownership'> {
    return { whiteouts: 'apply' };
  }

  protected async show(
    id: string,
    target: string,
    { readOnly, suid, dev }: ShowOptions,
  ): Promise<MountedBy['by']> {
    const { own } = this.directories(id);
    const none = bytesOf('');
    const result = sys.mount(bytesOf(own), bytesOf(target), none, MS_BIND, none);
    if (result === -E.EPERM) {
      throw new PlyfsError(
        'mount-denied',
        `an ordinary user cannot have a layer of vfs at ${target}: use it where it lies, at ${own}, or use overlay2.`,
      );
    }
    if (result < 0)
      throw new PlyfsError(
        'mount-failed',
        `cannot bind ${own} to ${target} (${reasonOf(-result)}): check that ${target} is a directory.`,
      );
    const flags = (readOnly ? MS_RDONLY : 0) | (suid ? 0 : MS_NOSUID) | (dev ? 0 : MS_NODEV);
    const changed = sys.mount(none, bytesOf(target), none, MS_REMOUNT | MS_BIND | flags, none);
    if (changed < 0) {
      await unmount(target, true);
      throw new PlyfsError(
        'mount-failed',
        `cannot restrict what is shown at ${target} (${reasonOf(-changed)}).`,
      );
    }
    return 'bind';
  }

  protected hide(target: string): Promise<void> {
    return unmount(target, false);
  }
}

function isSameDirectory(one: string, other: string): boolean {
  try {
    const [a, b] = [statSync(one, { bigint: true }), statSync(other, { bigint: true })];
    return a.dev === b.dev && a.ino === b.ino;
  } catch {
    return false;
  }
}

export const vfs: DriverDefinition = {
  name: NAME,
  unsupported: async () => undefined,
  async open(options) {
    refuseOptions(NAME, options);
    return new VfsDriver(options);
  },
};
