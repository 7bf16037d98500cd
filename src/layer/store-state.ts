/** What a store knows of its root, and who needs which layer. */
import { closeSync, constants, openSync, realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { ChainId } from '../base/digest.js';
import { check } from '../base/errno.js';
import { PlyfsError } from '../base/error.js';
import type { MountId } from '../base/ids.js';
import type { GraphDriver } from '../graphdriver/driver.js';
import { sys } from '../sys/index.js';
import { Leases } from './leases.js';
import { linkLayers, type Layer } from './layer.js';
import {
  isDamaged,
  MetadataStore,
  type Damaged,
  type StoredLayer,
  type StoredMount,
} from './metadata-store.js';
import { MountRecords } from './mount-records.js';
import { RootLock } from './root-lock.js';

/** A read-write layer in memory. */
export interface Mount {
  readonly name: string;
  readonly mountId: MountId;
  readonly initId: MountId | undefined;
  readonly parent: Layer | undefined;
}

export interface Skipped {
  readonly path: string;
  /** The rest of a sentence that begins with the path. */
  readonly reason: string;
}

/**
 * Who needs layers for reasons that the layer store does not know: the image store, for its images
 * on disk.
 */
export type Holder = () => Iterable<ChainId>;

/** How often a root is read that others change all the while. */
const READ_ATTEMPTS = 100;

export class StoreState {
  readonly root: string;
  readonly driver: GraphDriver;
  readonly metadata: MetadataStore;
  readonly records: MountRecords;
  readonly holders: Holder[] = [];
  layers: ReadonlyMap<ChainId, Layer> = new Map();
  mounts: ReadonlyMap<string, Mount> = new Map();
  skipped: readonly Skipped[] = [];
  /**
   * Directories of layers that are not as they should be; not those whose ancestors are missing.
   */
  damagedLayers: ReadonlyMap<ChainId, Damaged> = new Map();
  /** How many layers and mounts on disk, damaged ones included, are on top of each. */
  #dependants = new Map<ChainId, number>();
  /**
   * The driver's directories that layers and mounts on disk name, and whether one may name others.
   */
  #ids = new Map<string, number>();
  #idsUnknown = false;
  readonly #acquired = new Map<ChainId, number>();
  readonly #leases: Leases;
  /** Absent where the root is open for reading. */
  readonly #lock: RootLock | undefined;

  constructor(root: string, driver: GraphDriver, readOnly: boolean) {
    this.root = realpathSync(root);
    this.driver = driver;
    this.#lock = readOnly ? undefined : new RootLock(this.root);
    this.#leases = new Leases(this.root);
    this.metadata = new MetadataStore(join(this.root, 'image', driver.name, 'layerdb'), {
      readOnly,
    });
    this.records = new MountRecords(this.root, driver.name);
    this.refresh();
  }

  get readOnly(): boolean {
    return this.#lock === undefined;
  }

  /**
   * Under the store's lock, after looking again at what others did meanwhile. Throws
   * `root-read-only`, `root-in-use`.
   */
  exclusively<T>(work: () => T extends Promise<unknown> ? never : T): T {
    if (this.#lock === undefined)
      throw new PlyfsError(
        'root-read-only',
        `The data root ${this.root} is open for reading only: nothing can be changed there.`,
      );
    return this.#lock.exclusively<T>(() => {
      this.refresh();
      return work();
    });
  }

  refresh(): void {
    const { storedLayers, storedMounts } = this.#read();
    const { layers, skipped } = linkLayers(storedLayers, this.layers);
    const mounts = new Map<string, Mount>();
    const notLoaded: Skipped[] = [];
    for (const [chainId, reason] of skipped)
      notLoaded.push({ path: this.metadata.layerPath(chainId), reason });
    for (const [name, stored] of storedMounts) {
      const path = this.metadata.mountPath(name);
      if (isDamaged(stored)) notLoaded.push({ path, reason: stored.reason });
      else if (stored.parent !== undefined && !layers.has(stored.parent))
        notLoaded.push({
          path,
          reason: `needs the layer ${stored.parent}, which is not there or was skipped`,
        });
      else
        mounts.set(name, {
          ...stored,
          parent: stored.parent === undefined ? undefined : layers.get(stored.parent),
        });
    }
    this.layers = layers;
    this.mounts = mounts;
    this.skipped = notLoaded.sort((a, b) => (a.path < b.path ? -1 : 1));
    this.damagedLayers = new Map(
      [...storedLayers].flatMap(([chainId, found]) =>
        isDamaged(found) ? [[chainId, found] as const] : [],
      ),
    );
    this.#count([...storedLayers.values(), ...storedMounts.values()]);
  }

  /**
   * One state of what is on disk. A reader has no lock, and a directory is not listed at one
   * moment: a layer may be seen and its parent not, because that came or went meanwhile. So what
   * has a parent that is not there is believed only when nothing has changed since.
   */
  #read(): {
    storedLayers: ReadonlyMap<ChainId, StoredLayer | Damaged>;
    storedMounts: ReadonlyMap<string, StoredMount | Damaged>;
  } {
    let storedLayers = this.metadata.layers();
    let storedMounts = this.metadata.mounts();
    for (let attempt = 0; attempt < READ_ATTEMPTS; attempt++) {
      const stored = [...storedLayers.values(), ...storedMounts.values()];
      if (stored.every(({ parent }) => parent === undefined || storedLayers.has(parent))) break;
      const [layers, mounts] = [this.metadata.layers(), this.metadata.mounts()];
      const same = sameEntries(layers, storedLayers) && sameEntries(mounts, storedMounts);
      [storedLayers, storedMounts] = [layers, mounts];
      if (same) break;
    }
    return { storedLayers, storedMounts };
  }

  /** Throws `mount-missing`. */
  mountNamed(name: string): Mount {
    const mount = this.mounts.get(name);
    if (mount === undefined)
      throw new PlyfsError(
        'mount-missing',
        `There is no read-write layer '${name}' in ${this.root}: create it first.`,
      );
    return mount;
  }

  /** Throws `layer-missing`. */
  acquire(chainId: ChainId): Layer {
    const layer = this.layers.get(chainId);
    if (layer === undefined)
      throw new PlyfsError(
        'layer-missing',
        `The layer ${chainId} is not in ${this.root}: load its image again.`,
      );
    this.#acquired.set(chainId, (this.#acquired.get(chainId) ?? 0) + 1);
    return layer;
  }

  /** As `acquire`, so that no other process deletes the layer either. Under the store's lock. */
  lease(chainId: ChainId): Layer {
    const layer = this.acquire(chainId);
    this.#leases.add(chainId);
    return layer;
  }

  /** Gives back what `acquire` or `lease` gave, a lease first. Throws `layer-not-held`. */
  unhold(chainId: ChainId): void {
    const count = this.#acquired.get(chainId) ?? 0;
    if (count === 0)
      throw new PlyfsError(
        'layer-not-held',
        `The layer ${chainId} was released more often than it was acquired.`,
      );
    if (count === 1) this.#acquired.delete(chainId);
    else this.#acquired.set(chainId, count - 1);
    this.#leases.drop(chainId);
  }

  /** Layers or mounts on disk are on top of it. */
  hasDependants(chainId: ChainId): boolean {
    return this.#dependants.has(chainId);
  }

  /** As Docker counts: layers and mounts on top of it, and who acquired it here. */
  references(chainId: ChainId): number {
    return (this.#dependants.get(chainId) ?? 0) + (this.#acquired.get(chainId) ?? 0);
  }

  /**
   * What others than layers and mounts on disk and this store's callers need now: other processes,
   * images, and whoever mounted a layer. Under the store's lock.
   */
  heldElsewhere(): Set<ChainId> {
    const held = this.#leases.others({ sweep: !this.readOnly });
    for (const holder of this.holders) for (const chainId of holder()) held.add(chainId);
    const mounted = this.mountedIds();
    if (mounted.size > 0)
      for (const { chainId, cacheId } of this.layers.values())
        if (mounted.has(cacheId)) held.add(chainId);
    return held;
  }

  /**
   * The driver's directories that are mounted, with all below them: whether layerdb knows what is
   * mounted or not.
   */
  mountedIds(): Set<string> {
    const mounted = new Set(this.driver.mounts().map(({ id }) => id));
    // A Set is walked in the order of insertion, to what is added on the way.
    for (const id of mounted) {
      const parent = this.#parentOf(id);
      if (parent !== undefined) mounted.add(parent);
    }
    return mounted;
  }

  #parentOf(id: string): string | undefined {
    try {
      return this.driver.parentOf(id);
    } catch (error) {
      // What its directory names is not there: nothing to keep.
      if (error instanceof PlyfsError) return undefined;
      throw error;
    }
  }

  /** Whether a layer or mount on disk names the driver's directory `id`. */
  isIdUsed(id: string): boolean {
    return this.#ids.has(id);
  }

  /** How many do. */
  idUsers(id: string): number {
    return this.#ids.get(id) ?? 0;
  }

  /** Some directory of layerdb cannot be read so far that all it names is known. */
  get idsUnknown(): boolean {
    return this.#idsUnknown;
  }

  /**
   * What was written is on disk afterwards: the driver's directories and layerdb's. One call for
   * all of it, because a call for each file costs a commit of the file system's journal each.
   */
  async flush(): Promise<void> {
    const [home, layerdb] = [this.driver.home, this.metadata.temporaryPath];
    await syncFileSystem(home);
    if (statSync(home).dev !== statSync(layerdb).dev) await syncFileSystem(layerdb);
  }

  close(): void {
    this.#leases.close();
    this.#lock?.close();
  }

  #count(
    stored: readonly (
      | Damaged
      | {
          parent: ChainId | undefined;
          cacheId?: string;
          mountId?: string;
          initId?: string | undefined;
        }
    )[],
  ): void {
    this.#dependants = new Map();
    this.#ids = new Map();
    this.#idsUnknown = false;
    for (const each of stored) {
      if (each.parent !== undefined) increment(this.#dependants, each.parent);
      if ('reason' in each) {
        for (const id of each.ids) increment(this.#ids, id);
        if (each.idsUnknown) this.#idsUnknown = true;
      } else
        for (const id of [each.cacheId, each.mountId, each.initId])
          if (id !== undefined) increment(this.#ids, id);
    }
  }
}

/** What was not read anew is the same object. */
function sameEntries<Key, Value>(
  one: ReadonlyMap<Key, Value>,
  other: ReadonlyMap<Key, Value>,
): boolean {
  return one.size === other.size && [...one].every(([key, value]) => other.get(key) === value);
}

async function syncFileSystem(path: string): Promise<void> {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    check(await sys.syncfsAsync(fd), `syncfs ${path}`);
  } finally {
    closeSync(fd);
  }
}

function increment<Key>(counts: Map<Key, number>, key: Key): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
