/**
 * Layers shown at mount points: what the mount table says of this driver's layers, whichever
 * process mounted them.
 *
 * Nothing else is remembered: a mount ends by umount(8), by its daemon's death or with the machine
 * as well, and no file would know.
 */
import type { ChainId } from '../base/digest.js';
import { PlyfsError } from '../base/error.js';
import type { LayerMount } from '../graphdriver/driver.js';
import type { MountedBy, MountTrust } from '../graphdriver/mounter.js';
import { isDead } from '../host/unmount.js';
import type { StoreState } from './store-state.js';
import { untilLetGo } from './workdir-hold.js';

export interface ShownLayer {
  readonly target: string;
  readonly readOnly: boolean;
  /** Of a read-write layer. */
  readonly name?: string;
  /** Of a read-only layer. */
  readonly chainId?: ChainId;
  /** False: its daemon has died, and every access to it fails. */
  readonly alive: boolean;
}

export interface MountOptions extends Partial<MountTrust> {
  /**
   * An existing directory, absolute, without symbolic links. Absent: one of the driver's choosing.
   */
  readonly target?: string;
  readonly readOnly?: boolean;
}

/**
 * In the order of the mount table. Layers that the store does not know have neither name nor
 * ChainID.
 */
export async function shownLayers(state: StoreState): Promise<ShownLayer[]> {
  const names = new Map(
    [...state.mounts.values()].map(({ mountId, name }) => [mountId as string, name]),
  );
  const chains = new Map(
    [...state.layers.values()].map(({ cacheId, chainId }) => [cacheId as string, chainId]),
  );
  const shown: ShownLayer[] = [];
  for (const { id, target, readOnly } of state.driver.mounts()) {
    const [name, chainId] = [names.get(id), chains.get(id)];
    const alive = !(await isDead(target));
    shown.push({
      target,
      readOnly,
      alive,
      ...(name !== undefined && { name }),
      ...(chainId !== undefined && { chainId }),
    });
  }
  return shown;
}

export async function mountMounted(
  state: StoreState,
  name: string,
  options: MountOptions,
): Promise<MountedBy> {
  const { target } = options;
  state.refresh();
  const mounted = state.mountNamed(name);
  const { mountId } = mounted;
  await withoutDeadMounts(state, (mount) => mount.id === mountId || mount.target === target);
  await untilLetGo(state, mounted);
  return state.driver.get(mountId, options);
}

/** Leased while it is being mounted; afterwards the mount itself keeps it from being deleted. */
export async function mountReadOnly(
  state: StoreState,
  chainId: ChainId,
  options: Omit<MountOptions, 'readOnly'>,
): Promise<MountedBy> {
  const { target } = options;
  await withoutDeadMounts(state, (mount) => mount.target === target);
  const layer = state.readOnly
    ? state.acquire(chainId)
    : state.exclusively(() => state.lease(chainId));
  try {
    return await state.driver.get(layer.cacheId, { ...options, readOnly: true });
  } finally {
    state.unhold(chainId);
  }
}

/** Wherever it is shown. Throws `not-mounted`, `mount-busy`. */
export async function unmountMounted(state: StoreState, name: string): Promise<void> {
  state.refresh();
  const { mountId } = state.mountNamed(name);
  const mounts = state.driver.mounts().filter(({ id }) => id === mountId);
  for (const { target } of mounts) await state.driver.put(mountId, target);
  // A driver whose directories are complete may have had nothing to mount; else this throws that it
  // is not mounted.
  if (mounts.length === 0) await state.driver.put(mountId);
}

/**
 * What is shown at `target`, absolute, without symbolic links. Throws `not-mounted`, `mount-busy`.
 */
export async function unmountAt(state: StoreState, target: string): Promise<void> {
  const mount = state.driver.mounts().findLast((each) => each.target === target);
  if (mount === undefined)
    throw new PlyfsError(
      'not-mounted',
      `No layer of ${state.root} is mounted at ${target}: there is nothing to unmount.`,
    );
  await state.driver.put(mount.id, target);
}

/** Takes away those of the chosen mounts whose daemon has died. */
export async function withoutDeadMounts(
  state: StoreState,
  chosen: (mount: LayerMount) => boolean,
): Promise<void> {
  for (const mount of state.driver.mounts().filter(chosen)) {
    if (await isDead(mount.target)) await state.driver.put(mount.id, mount.target);
  }
}
