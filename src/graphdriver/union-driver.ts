/** Drivers whose layers are differences, shown by a union mount. */
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Change } from '../archive/changes.js';
import { upperChanges } from '../archive/upper-changes.js';
import { textOf } from '../base/bytes.js';
import { readMountTable } from '../host/mount-table.js';
import type { DriverOptions, LayerMount } from './driver.js';
import { ownership } from './home.js';
import { LayerDriver } from './layer-driver.js';
import type { ShowOptions } from './layer-mounts.js';
import type { Layout } from './layout.js';
import type { MountedBy, Mounter, MountIds, MountTrust, UnionMount } from './mounter.js';
import type { MountRecipe } from '../sys/mount-recipe.js';
import { mounters } from './mounters/index.js';
import { emptyDirectory } from '../host/runtime-directory.js';

/** What is shown, wherever and to whomever. */
export type Union = Omit<UnionMount, 'target' | 'source' | keyof MountTrust>;

export abstract class UnionDriver extends LayerDriver {
  protected readonly mounter: Mounter;

  protected constructor(layout: Layout, options: DriverOptions) {
    super(layout, options);
    this.mounter = mounters[options.mounter];
  }

  mounts(): readonly LayerMount[] {
    const found: LayerMount[] = [];
    for (const { type, source, mountpoint, options } of readMountTable()) {
      const by = type === 'fuse.plyfs' ? 'fuse' : type === 'overlay' ? 'kernel' : undefined;
      const id = by === undefined ? undefined : this.layout.idOf(textOf(source));
      if (by !== undefined && id !== undefined)
        found.push({ id, target: textOf(mountpoint), readOnly: options.includes('ro'), by });
    }
    return found;
  }

  /** Read from the layer's own directory where that has them all. */
  override async changes(id: string, parent: string | undefined): Promise<Change[]> {
    const { own, below, form } = this.layout.directories(id);
    const native =
      form !== 'none' && this.isParent(id, parent)
        ? upperChanges({ own, below, form }, { ownership })
        : undefined;
    return native ?? super.changes(id, parent);
  }

  protected async show(
    id: string,
    target: string,
    { readOnly, suid, dev }: ShowOptions,
  ): Promise<MountedBy['by']> {
    await this.mounter.mount({
      ...this.unionOf(id, readOnly),
      suid,
      dev,
      target,
      source: this.layout.directoryOf(id),
    });
    return this.mounter.name;
  }

  recipe(
    id: string,
    { readOnly, ids }: { readonly readOnly: boolean; readonly ids: MountIds },
  ): MountRecipe {
    return this.mounter.recipe(
      {
        ...this.unionOf(id, readOnly),
        suid: true,
        dev: false,
        source: this.layout.directoryOf(id),
      },
      ids,
    );
  }

  protected hide(target: string): Promise<void> {
    return this.mounter.unmount(target);
  }

  protected unionOf(id: string, readOnly: boolean): Union {
    const { own, below, work, form } = this.layout.directories(id);
    if (form === 'none') throw new TypeError('a layer that is complete by itself needs no union');
    if (readOnly) return { lowers: [own, ...below], form, ownership, readOnly };
    // A layer without a parent gets its workdir with its first mount.
    const workdir = work ?? `${dirname(own)}/work`;
    mkdirSync(workdir, { recursive: true, mode: 0o700 });
    return {
      lowers: below.length > 0 ? below : [emptyDirectory()],
      upper: { path: own, work: workdir },
      form,
      ownership,
      readOnly,
    };
  }
}
