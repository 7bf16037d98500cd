/**
 * What all drivers have in common: a layout, mounts that are counted, and differences taken by
 * comparing whole trees.
 */
import { dirname, join } from 'node:path';
import { applyLayer, type ApplyOptions } from '../archive/apply-layer.js';
import type { Change } from '../archive/changes.js';
import type { LayerReader } from '../archive/layer-reader.js';
import type { ByteSource } from '../base/byte-source.js';
import { PlyfsError } from '../base/error.js';
import type {
  AppliedDiff,
  DriverName,
  DriverOptions,
  GetOptions,
  GraphDriver,
  LayerDirectories,
  LayerMount,
} from './driver.js';
import { ownership, removingName } from './home.js';
import { exchangeDirectories } from './exchange-directories.js';
import type { Layout } from './layout.js';
import { LayerMounts, type ShowOptions } from './layer-mounts.js';
import type { MountedBy, MountIds } from './mounter.js';
import type { MountRecipe } from '../sys/mount-recipe.js';
import { naiveChanges, naiveDiff } from './naive-diff.js';

export abstract class LayerDriver implements GraphDriver {
  abstract readonly name: DriverName;
  readonly home: string;
  protected readonly layout: Layout;
  protected readonly readOnly: boolean;
  readonly #mounts: LayerMounts;

  protected constructor(layout: Layout, options: DriverOptions) {
    this.home = layout.home;
    this.layout = layout;
    this.readOnly = options.readOnly;
    this.#mounts = new LayerMounts({
      show: (id, target, as) => this.show(id, target, as),
      hide: (target) => this.hide(target),
      mounts: () => [...this.mounts()],
    });
    if (!options.readOnly) layout.prepare();
  }

  abstract status(): readonly (readonly [name: string, value: string])[];
  abstract mounts(): readonly LayerMount[];
  abstract diffSize(id: string, parent: string | undefined): Promise<number>;
  protected abstract show(id: string, target: string, as: ShowOptions): Promise<MountedBy['by']>;
  protected abstract hide(target: string): Promise<void>;

  exists(id: string): boolean {
    return this.layout.exists(id);
  }

  ids(): readonly string[] {
    return this.layout.ids();
  }

  async create(id: string, parent: string | undefined): Promise<void> {
    this.#mayWrite();
    this.layout.create(id, parent, 'read-only');
  }

  async createReadWrite(
    id: string,
    parent: string | undefined,
    { size }: { size?: number } = {},
  ): Promise<void> {
    this.#mayWrite();
    this.layout.create(
      id,
      parent,
      'read-write',
      size === undefined ? undefined : this.limiter(size),
    );
  }

  /** What limits a layer whose directory is there and empty to `size` bytes. */
  protected limiter(_size: number): (directory: string) => void {
    throw new PlyfsError(
      'option-unsupported',
      `the storage driver ${this.name} cannot limit the size of a layer: leave the size out, or use overlay2 on XFS with project quotas.`,
    );
  }

  exchange(one: string, other: string): void {
    this.#mayWrite();
    // Says what is wrong with one, if anything is.
    for (const id of [one, other]) if (!this.layout.exists(id)) this.layout.directories(id);
    const others = this.layout.written(other);
    for (const [index, path] of this.layout.written(one).entries())
      exchangeDirectories(path, others[index]!);
  }

  async remove(id: string): Promise<void> {
    this.#mayWrite();
    if (this.#mounts.isMounted(id))
      throw new PlyfsError('layer-in-use', `layer ${id} is mounted: unmount it first.`);
    this.layout.remove(id);
  }

  directories(id: string): LayerDirectories {
    return this.layout.directories(id);
  }

  async applyDiff(
    id: string,
    _parent: string | undefined,
    layer: LayerReader,
  ): Promise<AppliedDiff> {
    this.#mayWrite();
    // Goes with the layer, if its registering is cut off.
    const replacedInto = join(dirname(this.layout.directoryOf(id)), removingName(id));
    const { size, lost, replaced } = await applyLayer(layer, this.directories(id).own, {
      ...this.applying(),
      ownership,
      replacedInto,
    });
    return { size: this.appliedSize(id, size), lost, ...(replaced && { replaced: replacedInto }) };
  }

  /** What becomes of a tar's whiteouts. */
  protected abstract applying(): Omit<ApplyOptions, 'ownership'>;

  /**
   * What Docker's driver of this name says of a layer applied; `headers`: the sizes in its tar's
   * headers together.
   */
  protected appliedSize(_id: string, headers: number): number {
    return headers;
  }

  parentOf(id: string): string | undefined {
    return this.layout.parentOf(id);
  }

  async get(id: string, options: GetOptions = {}): Promise<MountedBy> {
    // Says what is wrong with it, if anything is.
    if (!this.layout.exists(id)) this.layout.directories(id);
    const readOnly = options.readOnly === true || this.readOnly || this.layout.isCommitted(id);
    return this.#mounts.get(id, readOnly, options);
  }

  abstract recipe(
    id: string,
    options: { readonly readOnly: boolean; readonly ids: MountIds },
  ): MountRecipe;

  put(id: string, target?: string): Promise<void> {
    return this.#mounts.put(id, target);
  }

  metadata(_id: string): Readonly<Record<string, string>> {
    return {};
  }

  diff(id: string, parent: string | undefined): ByteSource {
    return naiveDiff(this, id, parent);
  }

  changes(id: string, parent: string | undefined): Promise<Change[]> {
    return naiveChanges(this, id, parent);
  }

  /** Whether what lies on disk for the layer is its difference to `parent`. */
  protected isParent(id: string, parent: string | undefined): boolean {
    return this.layout.parentOf(id) === parent;
  }

  #mayWrite(): void {
    if (this.readOnly)
      throw new PlyfsError(
        'read-only',
        `${this.home} was opened for reading only: open it for writing first.`,
      );
  }
}
