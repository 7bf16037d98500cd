/**
 * What a graph driver is: a layout of layers on disk, and a way to show a layer with all below it
 * as one directory.
 *
 * Ids are the caller's: a cache-id for a read-only layer, a mount-id (or `…-init`) for a read-write
 * one; a driver keeps one directory for each under its home (`<data root>/<driver name>`) and knows
 * nothing of ChainIDs, images or containers.
 *
 * Rules that hold for every driver, and that test/suites/driver-suite.ts checks:
 * - `create`, `createReadWrite` and `remove` are all or nothing: a killed process leaves either the
 *   layer, or garbage that `exists` does not call a layer and that a later `remove` of the same id
 *   takes away;
 * - a parent must exist; a layer with children is not protected by the driver: who counts
 *   references is the layer store; a layer that is mounted is, by whatever process it was;
 * - `get` and `put` are counted: the first `get` mounts, the last `put` unmounts, a `put` too many
 *   throws `not-mounted`;
 * - a layer is mounted writable in one place only, and by one process: another `get` throws
 *   `layer-in-use`;
 * - nothing is ever followed out of a layer's directory, whatever its content, nor out of the home,
 *   whatever its links say;
 * - a driver opened `readOnly` changes nothing in its home: what would throws `read-only`;
 * - what was written is in the page cache when a call returns: who publishes a layer flushes it
 *   (src/layer);
 * - the driver's own lock is none: the layer store serialises who writes (src/layer).
 *
 * The field's model is moby's daemon/graphdriver (driver.go).
 */
import type { Change } from '../archive/changes.js';
import type { LayerReader } from '../archive/layer-reader.js';
import type { LostAttribute } from '../archive/lost-attributes.js';
import type { ByteSource } from '../base/byte-source.js';
import type { MountedBy, MountIds, MountTrust } from './mounter.js';
import type { MountRecipe } from '../sys/mount-recipe.js';
import type { LayerForm } from '../overlay/form.js';

export type DriverName = 'overlay2' | 'fuse-overlayfs' | 'aufs' | 'vfs';

/** The directories of one layer and those below it. Absolute. */
export interface LayerDirectories {
  /** This layer's own: for a read-only layer the topmost lower, for a read-write one the upper. */
  readonly own: string;
  /** Those below, topmost first. Empty where `own` is complete by itself. */
  readonly below: readonly string[];
  /** Present for layers made to be written to. */
  readonly work?: string;
  readonly form: LayerForm;
}

export interface GetOptions extends Partial<MountTrust> {
  /**
   * Where to show it: an existing directory, absolute, without symbolic links. Absent: one of the
   * driver's choosing, outside its home, made and removed by it.
   */
  readonly target?: string;
  readonly readOnly?: boolean;
}

export interface LayerMount {
  readonly id: string;
  readonly target: string;
  readonly readOnly: boolean;
  readonly by: MountedBy['by'];
}

export interface GraphDriver {
  readonly name: DriverName;
  readonly home: string;
  /** Rows for `ply info`, as `Backing Filesystem`, `Supports d_type`, `Native Overlay Diff`. */
  status(): readonly (readonly [name: string, value: string])[];
  exists(id: string): boolean;
  /** Every id that has a directory in the home, complete or not. */
  ids(): readonly string[];
  /**
   * Makes a read-only layer's empty directory. Throws `layer-exists`, `layer-missing` for the
   * parent, `too-many-layers`.
   */
  create(id: string, parent: string | undefined): Promise<void>;
  /**
   * Makes a layer to be written to, as `create` does. `size` in bytes limits what can be written;
   * throws `option-unsupported` where that cannot be kept.
   */
  createReadWrite(
    id: string,
    parent: string | undefined,
    options?: { size?: number },
  ): Promise<void>;
  /**
   * Swaps the files of two read-write layers on one parent, neither of them mounted, at once.
   * Throws `layer-missing`, `exchange-failed`.
   */
  exchange(one: string, other: string): void;
  /**
   * Renames first, then deletes. Also takes away what a killed `create` or `remove` left. Absent
   * already: nothing. Throws `layer-in-use` while it is mounted.
   */
  remove(id: string): Promise<void>;
  /**
   * Throws `layer-missing`, `layer-damaged` when a link or a parent on disk is not what it should
   * be.
   */
  directories(id: string): LayerDirectories;
  /**
   * The layer next below, as the layer's own directory names it; undefined where that needs none.
   * Throws `layer-missing`, `layer-damaged`.
   */
  parentOf(id: string): string | undefined;
  /**
   * Shows the layer with all below it, and returns where. A read-write layer is writable unless
   * `readOnly`; a layer that `create` made or that has children never is, in the layouts that tell
   * them apart (overlay2 and fuse-overlayfs, by `committed`): for a read-only layer of another
   * layout, or one that Docker made, say `readOnly`. The mount outlives this process: `put` by any
   * process takes it away.
   */
  get(id: string, options?: GetOptions): Promise<MountedBy>;
  /**
   * How another process shows the layer where no other user reaches it: set-id programs work there,
   * devices do not. Writable unless `readOnly`. Throws `layer-missing`, and what `get` throws.
   */
  recipe(id: string, options: { readonly readOnly: boolean; readonly ids: MountIds }): MountRecipe;
  /**
   * Takes back one `get` of this process; where it has none, the layer's mount that another process
   * made: at `target`, if there are several. Throws `not-mounted`, `mount-busy`.
   */
  put(id: string, target?: string): Promise<void>;
  /** The layers mounted now, by whatever process: the mount table's view. */
  mounts(): readonly LayerMount[];
  /**
   * `LowerDir`, `UpperDir`, `WorkDir`, `MergedDir`, as `docker inspect` shows under
   * GraphDriver.Data; empty for aufs and vfs.
   */
  metadata(id: string): Readonly<Record<string, string>>;
  /**
   * The tar of what the layer changes over `parent` (undefined: over nothing), in byte order of
   * names.
   */
  diff(id: string, parent: string | undefined): ByteSource;
  /** As `docker diff` shows them, sorted by path in byte order. */
  changes(id: string, parent: string | undefined): Promise<Change[]>;
  /**
   * Bytes the layer's change takes, as Docker counts them for this driver (docker-layout: `size`).
   */
  diffSize(id: string, parent: string | undefined): Promise<number>;
  /** Fills a layer made by `create` from its tar, in one pass. Does not call `finish`. */
  applyDiff(id: string, parent: string | undefined, layer: LayerReader): Promise<AppliedDiff>;
}

export interface AppliedDiff {
  /** As Docker's `size` file has it. Bytes. */
  readonly size: number;
  /** What files of the layer had to do without. */
  readonly lost: readonly LostAttribute[];
  /**
   * The directory of files that the layer replaced itself, whose bytes its tar-split needs: the
   * caller's to remove.
   */
  readonly replaced?: string;
}

export interface DriverOptions {
  /**
   * `<data root>/<driver name>`, absolute, without symbolic links; made by `open` unless
   * `readOnly`.
   */
  readonly home: string;
  readonly readOnly: boolean;
  /**
   * false: nothing is tried in `home`, whose file system may be full; it is believed to do what it
   * did when the home was made.
   */
  readonly probe: boolean;
  /** `key=value`, as after `--storage-opt`. */
  readonly options: readonly string[];
  /**
   * How unions are mounted; the kernel's overlay only where the driver's layout is that of
   * overlayfs.
   */
  readonly mounter: 'fuse' | 'kernel';
}

/** One row of the registry (drivers/index.ts). */
export interface DriverDefinition {
  readonly name: DriverName;
  /**
   * Undefined when the driver can work with this home on this machine, else one sentence that says
   * why not.
   */
  unsupported(options: DriverOptions): Promise<string | undefined>;
  /** Throws PlyfsError. */
  open(options: DriverOptions): Promise<GraphDriver>;
}
