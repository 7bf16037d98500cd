/**
 * How the union of a layer's directories is shown: by plyfs over FUSE, or by the kernel's
 * overlayfs.
 */
import type { MountRecipe } from '../sys/mount-recipe.js';
import type { LayerForm } from '../overlay/form.js';

/**
 * What files of a layer may do where it is shown. An image is a stranger's: on a mount that other
 * users reach, a set-id program or a device of its would make them root.
 */
export interface MountTrust {
  /** Programs run with the rights of their owner, where their mode says so. */
  readonly suid: boolean;
  /** Devices can be opened. */
  readonly dev: boolean;
}

export interface UnionMount extends MountTrust {
  /** Topmost first, at least one; absolute. */
  readonly lowers: readonly string[];
  readonly upper?: { readonly path: string; readonly work: string };
  /** Of the lowers and of the upper. */
  readonly form: Exclude<LayerForm, 'none'>;
  /**
   * `override`: owner, mode and type are in `user.containers.override_stat`, because whoever wrote
   * the layers could not give them to the files.
   */
  readonly ownership: 'real' | 'override';
  /** An existing directory. */
  readonly target: string;
  readonly readOnly: boolean;
  /**
   * The mount's source as the mount table shows it: the layer's directory, by which the layer's
   * mounts are found again.
   */
  readonly source: string;
  /**
   * Shorter names of the same directories, relative to `from`, for mount options that would not fit
   * a page otherwise.
   */
  readonly relative?: {
    readonly from: string;
    readonly lowers: readonly string[];
    readonly upper?: { readonly path: string; readonly work: string };
  };
}

/** Where a layer is shown, and by what. */
export interface MountedBy {
  readonly path: string;
  /**
   * `bind` and `none` where the layer's directory is complete by itself; `none`: `path` is that
   * directory, and nothing is mounted.
   */
  readonly by: 'fuse' | 'kernel' | 'bind' | 'none';
}

/**
 * Whose ids a mount's users have. `host`: those of this process. `ranges`: in a user namespace with
 * many. `emulated`, `single`: in one that has room for one id, where another process answers for
 * the others, or nobody does. `squashed`: in one like that, made elsewhere, of a mount made here.
 */
export type MountIds = 'host' | 'ranges' | 'emulated' | 'single' | 'squashed';

export interface Mounter {
  readonly name: 'fuse' | 'kernel';
  /** What `mount` would do. Throws as it does. */
  recipe(mount: Omit<UnionMount, 'target'>, ids: MountIds): MountRecipe;
  /** Undefined, or one sentence that says why it cannot mount here. */
  unsupported(): string | undefined;
  /** The mount outlives this process. Throws PlyfsError, and then nothing is mounted. */
  mount(mount: UnionMount): Promise<void>;
  /** Throws `mount-busy`, `not-mounted`, `umount-failed`. */
  unmount(target: string, options?: { lazy?: boolean }): Promise<void>;
}
