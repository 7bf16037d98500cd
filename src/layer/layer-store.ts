/**
 * Docker's layer store (moby, layer/layer_store.go): read-only layers known by ChainID, read-write
 * layers known by name, over one graph driver.
 *
 * What holds:
 * - a layer's ChainID is made of its parent's and its own DiffID, and its DiffID is the digest of
 *   the tar that was registered; neither is believed from disk where it can be computed;
 * - a layer or mount is in the store or not: it enters and leaves by one rename
 *   (metadata-store.ts), after all that it needs is on disk, and before anything of it goes. A
 *   killed process leaves garbage that can be told from what is needed (garbage.ts);
 * - what somebody needs is not deleted: layers and mounts on top of it on disk, images
 *   (`addHolder`), whoever acquired it here, whoever leased it in another process (leases.ts), and
 *   whoever mounted it, by the mount table.
 *
 * Several processes may use a root at once; several stores in one process count as such. What one
 * did, another sees after `refresh`, which every change begins with.
 *
 * Locks, in their order:
 * 1. the store's lock (root-lock.ts): every change of what the store shows. Nothing is awaited
 *    under it.
 * 2. flock on a write-set, a `-removing` directory, a lease: says that its process lives. Never
 *    waited for but by the lock's holder, for as long as another looks.
 * So nobody who waits holds what another waits for. Neither is held while a layer is filled or a
 * directory deleted, but for the write-set's own.
 *
 * A store opened for reading takes no lock, writes nothing, and can be had of any root, that of a
 * running dockerd too.
 */
import type { Change } from '../archive/changes.js';
import type { LayerLimits } from '../archive/layer-reader.js';
import type { ByteSource } from '../base/byte-source.js';
import type { ChainId } from '../base/digest.js';
import type { GraphDriver } from '../graphdriver/driver.js';
import type { Ownership } from '../graphdriver/home.js';
import type { MountedBy, MountIds } from '../graphdriver/mounter.js';
import type { MountRecipe } from '../sys/mount-recipe.js';
import {
  checkStore,
  repairStore,
  type CheckOptions,
  type Finding,
  type Repaired,
} from './check-store.js';
import { collectGarbage, listGarbage, type Collected, type Garbage } from './garbage.js';
import type { Layer } from './layer.js';
import { layerTar } from './layer-tar.js';
import { layerTarSize } from './tar-size.js';
import {
  createMounted,
  mountedLayerOf,
  releaseMounted,
  renameMounted,
  type CreateMountedOptions,
  type MountedLayer,
} from './mounted-layer.js';
import {
  commitMounted,
  mountedChanges,
  mountedTree,
  resetMounted,
  whileShown,
  writtenSize,
  type CommitMountedOptions,
} from './mounted-changes.js';
import { registerLayer, type RegisterOptions } from './register.js';
import { releaseLayer } from './removal.js';
import {
  mountMounted,
  mountReadOnly,
  shownLayers,
  unmountAt,
  unmountMounted,
  type MountOptions,
  type ShownLayer,
} from './shown.js';
import { isWrittenTo, untilLetGo } from './workdir-hold.js';
import { StoreState, type Holder, type Skipped } from './store-state.js';

export type {
  CheckOptions,
  Collected,
  CreateMountedOptions,
  Finding,
  Garbage,
  Holder,
  Layer,
  LayerLimits,
  MountedLayer,
  MountOptions,
};
export type { RegisterOptions, Repaired, ShownLayer, Skipped };

export interface LayerStoreOptions {
  /** The data root, an existing directory. */
  readonly root: string;
  readonly driver: GraphDriver;
  readonly readOnly: boolean;
}

export class LayerStore {
  readonly #state: StoreState;

  private constructor(state: StoreState) {
    this.#state = state;
  }

  /** Throws `root-in-use` where dockerd runs, unless `readOnly`; `root-damaged`. */
  static async open({ root, driver, readOnly }: LayerStoreOptions): Promise<LayerStore> {
    return new LayerStore(new StoreState(root, driver, readOnly));
  }

  get readOnly(): boolean {
    return this.#state.readOnly;
  }

  /** What is in layerdb and could not be loaded, with what depends on it; sorted by path. */
  get skipped(): readonly Skipped[] {
    return this.#state.skipped;
  }

  /** Parents before their children. */
  layers(): Layer[] {
    return [...this.#state.layers.values()].sort(
      (a, b) => a.depth - b.depth || (a.chainId < b.chainId ? -1 : 1),
    );
  }

  get(chainId: ChainId): Layer | undefined {
    return this.#state.layers.get(chainId);
  }

  /** Looks again at what is on disk. */
  refresh(): void {
    this.#state.refresh();
  }

  /**
   * Does `work` while no other process changes the root, and after a refresh: for changes of what
   * else lies in the root, as images and their names. It must not take long. Throws
   * `root-read-only`, `root-in-use`.
   */
  exclusively<T>(work: () => T extends Promise<unknown> ? never : T): T {
    return this.#state.exclusively<T>(work);
  }

  /**
   * `holder` tells which layers images need, read from disk at that moment; it is asked under the
   * store's lock before layers are deleted.
   */
  addHolder(holder: Holder): void {
    this.#state.holders.push(holder);
  }

  /**
   * Makes a layer of a tar, compressed or not, on top of `parent`. One that is there already is
   * returned as it is. The caller holds a reference to it, and it is leased, so that no process
   * deletes it before `release`.
   *
   * Throws `layer-missing` for the parent, `max-depth-exceeded`, `diff-id-mismatch`, what the tar's
   * reader throws (`archive-…`), and the signal's reason. The store is as it was then.
   */
  register(
    source: ByteSource,
    parent: ChainId | undefined,
    options: RegisterOptions = {},
  ): Promise<Layer> {
    return registerLayer(this.#state, source, parent, options);
  }

  /**
   * A reference that only this store knows: for what can be seen on disk, too, as an image. Throws
   * `layer-missing`.
   */
  acquire(chainId: ChainId): Layer {
    return this.#state.acquire(chainId);
  }

  /**
   * A reference that other processes respect: for a layer that is needed before anything on disk
   * says so, or while it is read. Throws `layer-missing`.
   */
  lease(chainId: ChainId): Layer {
    return this.#state.readOnly
      ? this.#state.acquire(chainId)
      : this.#state.exclusively(() => this.#state.lease(chainId));
  }

  /**
   * Gives back what `register`, `acquire` or `lease` gave, and deletes the layer, its parent and so
   * on, as far as nobody needs them (a store for reading deletes nothing). Returns the deleted,
   * topmost first. Throws `layer-not-held`; `removal-unfinished` when they are out of the store and
   * their directories not removed.
   */
  release(chainId: ChainId): Promise<Layer[]> {
    return releaseLayer(this.#state, chainId);
  }

  /** Layers and mounts on top of it, and references that this store gave. */
  references(chainId: ChainId): number {
    return this.#state.references(chainId);
  }

  /**
   * The tar as it was registered. Throws `layer-missing` at once; `layer-damaged` while it is read,
   * at its end at the latest.
   */
  tar(chainId: ChainId): ByteSource {
    const layer = this.#state.acquire(chainId);
    this.#state.unhold(chainId);
    return layerTar(this.#state, layer);
  }

  /** Bytes of that tar. Throws `layer-missing`, `layer-damaged`. */
  async tarSize(chainId: ChainId): Promise<number> {
    const layer = this.#state.acquire(chainId);
    this.#state.unhold(chainId);
    return layerTarSize(this.#state, layer);
  }

  /** Throws `mount-name-invalid`, `mount-exists`, `layer-missing`, `option-unsupported`. */
  createMounted(
    name: string,
    parent: ChainId | undefined,
    options: CreateMountedOptions = {},
  ): Promise<MountedLayer> {
    return createMounted(this.#state, name, parent, options);
  }

  mounted(name: string): MountedLayer | undefined {
    const mount = this.#state.mounts.get(name);
    return mount === undefined ? undefined : mountedLayerOf(this.#state, mount);
  }

  /** Sorted by name. */
  mountedLayers(): MountedLayer[] {
    return [...this.#state.mounts.values()]
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .map((mount) => mountedLayerOf(this.#state, mount));
  }

  /**
   * Gives a read-write layer another name, mounted or not. Throws `mount-missing`, `mount-exists`,
   * `mount-name-invalid`.
   */
  renameMounted(name: string, newName: string): MountedLayer {
    return renameMounted(this.#state, name, newName);
  }

  /**
   * Deletes a read-write layer and what nobody needs after it. Returns the read-only layers
   * deleted, topmost first. Throws `mount-missing`, `layer-in-use`.
   */
  releaseMounted(name: string): Promise<Layer[]> {
    return releaseMounted(this.#state, name);
  }

  /**
   * What was changed in a read-write layer, sorted by path. Throws `mount-missing`, and what
   * reading its directory throws.
   */
  changes(name: string): Promise<Change[]> {
    return mountedChanges(this.#state, name);
  }

  /** Bytes of the files that were written to a read-write layer. Throws `mount-missing`. */
  writtenSize(name: string): Promise<number> {
    return writtenSize(this.#state, name);
  }

  /**
   * Whether somebody has a read-write layer mounted to write, seen from here or not. The kernel's
   * mounts are known only where they are seen.
   */
  isWrittenTo(name: string): boolean {
    return isWrittenTo(this.#state, this.#state.mountNamed(name));
  }

  /**
   * The tar of all that a read-write layer shows. Throws `mount-missing`, and what mounting and
   * reading it throws.
   */
  tree(name: string): ByteSource {
    return mountedTree(this.#state, name);
  }

  /**
   * Shows a read-write layer while `use` works. Throws `mount-missing`, `mount-dead`,
   * `layer-in-use`.
   */
  whileShown<T>(
    name: string,
    options: { write: boolean },
    use: (path: string, ownership: Ownership) => Promise<T>,
  ): Promise<T> {
    return whileShown(this.#state, name, options, use);
  }

  /**
   * Makes a read-only layer of what was changed in a read-write one; undefined when nothing was. It
   * goes on as it is. Of one that is being written to, each file comes as it is when it is read:
   * whoever wants all of one moment stops the writers. The caller holds a reference, as of
   * `register`, whose errors it throws; `mount-missing`, and `file-changed` for a file that became
   * shorter meanwhile.
   */
  commitMounted(name: string, options: CommitMountedOptions = {}): Promise<Layer | undefined> {
    return commitMounted(this.#state, name, options);
  }

  /**
   * Throws away what was changed in a read-write layer, all or nothing of it. Throws
   * `mount-missing`, `layer-in-use`.
   */
  resetMounted(name: string): Promise<void> {
    return resetMounted(this.#state, name);
  }

  /**
   * Shows a read-write layer. The mount outlives this process; one whose daemon has died is taken
   * away first. Throws `mount-missing`, `layer-in-use`.
   */
  mount(name: string, options: MountOptions = {}): Promise<MountedBy> {
    return mountMounted(this.#state, name, options);
  }

  /**
   * Shows a read-only layer with all below it. While it is shown, it is not deleted. Throws
   * `layer-missing`.
   */
  mountReadOnly(
    chainId: ChainId,
    options: Omit<MountOptions, 'readOnly'> = {},
  ): Promise<MountedBy> {
    return mountReadOnly(this.#state, chainId, options);
  }

  /**
   * How another process shows a read-write layer where it is not seen from here. While it does, the
   * layer is in use. Throws `mount-missing`.
   */
  async recipe(
    name: string,
    options: { readonly readOnly: boolean; readonly ids: MountIds },
  ): Promise<MountRecipe> {
    const mount = this.#state.mountNamed(name);
    await untilLetGo(this.#state, mount);
    return this.#state.driver.recipe(mount.mountId, options);
  }

  /**
   * Wherever the read-write layer is shown, and whoever mounted it. Throws `mount-missing`,
   * `not-mounted`, `mount-busy`.
   */
  unmount(name: string): Promise<void> {
    return unmountMounted(this.#state, name);
  }

  /**
   * Whatever layer is shown at `target`, absolute and without symbolic links. Throws `not-mounted`,
   * `mount-busy`.
   */
  unmountAt(target: string): Promise<void> {
    return unmountAt(this.#state, target);
  }

  /** What is shown now in this mount namespace, by whatever process. */
  shown(): Promise<ShownLayer[]> {
    return shownLayers(this.#state);
  }

  /** What nobody needs. Layers without references are only among it where a holder was added. */
  garbage(): Garbage[] {
    return listGarbage(this.#state);
  }

  /** Takes that away. */
  collectGarbage(): Promise<Collected> {
    return collectGarbage(this.#state);
  }

  /** fsck. */
  check(options: CheckOptions = {}): Promise<Finding[]> {
    return checkStore(this.#state, options);
  }

  /** Collects garbage, and checks what is left. */
  repair(options: CheckOptions = {}): Promise<Repaired> {
    return repairStore(this.#state, options);
  }

  /**
   * Drops the leases. Layers stay. Nothing can be changed through it afterwards; closing twice does
   * nothing.
   */
  close(): void {
    this.#state.close();
  }
}
