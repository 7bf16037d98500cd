/**
 * Read-write layers, Docker's mounted layers: a container's, with its init layer between it and the
 * image (moby, layer/mounted_layer.go).
 *
 * Made as a read-only layer is: a write-set that names the driver's directories, the directories,
 * and last the rename that shows it.
 */
import type { ChainId } from '../base/digest.js';
import { PlyfsError } from '../base/error.js';
import { randomId, type MountId } from '../base/ids.js';
import type { LayerDirectories } from '../graphdriver/driver.js';
import { fillInitLayer } from './init-layer.js';
import type { Layer } from './layer.js';
import { UnfitFile } from '../sys/stored-file.js';
import { isMountName } from './metadata-store.js';
import { finishAll, finishRemoving, takeUnneeded, unusedIds, type Removal } from './removal.js';
import { withoutDeadMounts } from './shown.js';
import type { Mount, StoreState } from './store-state.js';
import { trace } from './trace.js';
import { whileUnused } from './workdir-hold.js';

export interface MountedLayer {
  readonly name: string;
  readonly mountId: MountId;
  readonly initId: MountId | undefined;
  readonly parent: Layer | undefined;
  directories(): LayerDirectories;
  /**
   * As it was given to `createMounted` or `rewriteRecord`; undefined for one that was given none.
   * Throws `record-damaged`.
   */
  record(): Buffer | undefined;
}

export interface CreateMountedOptions {
  /**
   * With the mount points of a runtime in a layer of their own, as Docker does for every container.
   * Default: true.
   */
  readonly init?: boolean;
  /**
   * Most bytes that can be written. Throws `option-unsupported` where the driver cannot keep that.
   */
  readonly size?: number;
  /** Kept with the layer (mount-records.ts), and there from the moment in which the layer is. */
  readonly record?: string;
}

export function mountedLayerOf(
  state: StoreState,
  { name, mountId, initId, parent }: Mount,
): MountedLayer {
  return {
    name,
    mountId,
    initId,
    parent,
    directories: () => state.driver.directories(mountId),
    record: () => recordOf(state, mountId),
  };
}

function recordOf({ records }: StoreState, mountId: MountId): Buffer | undefined {
  try {
    return records.read(mountId);
  } catch (error) {
    if (!(error instanceof UnfitFile)) throw error;
    throw new PlyfsError('record-damaged', error.message, { cause: error });
  }
}

export async function createMounted(
  state: StoreState,
  name: string,
  parentId: ChainId | undefined,
  { init = true, size, record }: CreateMountedOptions,
): Promise<MountedLayer> {
  assertName(name);
  const mountId = randomId() as MountId;
  const initId = init ? (`${mountId}-init` as MountId) : undefined;
  const { parent, writeSet } = state.exclusively(() => {
    assertFree(state, name);
    return {
      parent: parentId === undefined ? undefined : state.lease(parentId),
      writeSet: state.metadata.createWriteSet(),
    };
  });
  trace('write-set made', writeSet.path);
  try {
    writeSet.write('mount-id', mountId);
    if (initId !== undefined) writeSet.write('init-id', initId);
    if (parent !== undefined) writeSet.write('parent', parent.chainId);
    trace('mount-id written', mountId);
    if (initId !== undefined) {
      await state.driver.createReadWrite(initId, parent?.cacheId);
      trace('init layer made', initId);
      fillInitLayer(state.driver.directories(initId));
      trace('init layer filled', initId);
    }
    await state.driver.createReadWrite(
      mountId,
      initId ?? parent?.cacheId,
      size === undefined ? undefined : { size },
    );
    trace('driver directory made', mountId);
    await state.flush();
    trace('flushed', mountId);
    const mounted = state.exclusively(() => {
      assertFree(state, name);
      if (record !== undefined) state.records.write(mountId, record);
      trace('record written', mountId);
      try {
        state.metadata.commitMount(writeSet, name);
      } catch (error) {
        state.records.remove(mountId);
        throw error;
      }
      state.refresh();
      return mountedLayerOf(state, state.mountNamed(name));
    });
    trace('mount published', name);
    return mounted;
  } catch (error) {
    if (writeSet.isOpen)
      await finishRemoving(state, { writeSet, ids: idsOf({ mountId, initId }) }).catch(
        (second: unknown) => {
          throw new AggregateError(
            [error, second],
            `A read-write layer could not be made, nor what was made of it taken away.`,
          );
        },
      );
    throw error;
  } finally {
    if (parent !== undefined) state.unhold(parent.chainId);
  }
}

/**
 * Deletes a read-write layer, and those below that nobody needs any more. Returns these, topmost
 * first. Throws `layer-in-use` while it is mounted.
 */
export async function releaseMounted(state: StoreState, name: string): Promise<Layer[]> {
  state.refresh();
  const known = state.mountNamed(name);
  await withoutDeadMounts(state, (mount) => mount.id === known.mountId);
  assertNotShown(state, known);
  return whileUnused(state, known, async () => {
    const { layers, removals } = state.exclusively(() => {
      const mount = state.mountNamed(name);
      assertNotShown(state, mount);
      const writeSet = state.metadata.beginRemovingMount(name);
      state.refresh();
      trace('mount taken out', name);
      state.records.remove(mount.mountId);
      const own: Removal = { writeSet, ids: unusedIds(state, idsOf(mount)) };
      const below =
        mount.parent === undefined
          ? { layers: [], removals: [] }
          : takeUnneeded(state, mount.parent.chainId);
      return { layers: below.layers, removals: [own, ...below.removals] };
    });
    await finishAll(state, removals);
    return layers;
  });
}

/** Throws `layer-in-use`. */
export function assertNotShown({ driver }: StoreState, { name, mountId }: Mount): void {
  const target = driver.mounts().find(({ id }) => id === mountId)?.target;
  if (target !== undefined)
    throw new PlyfsError('layer-in-use', `'${name}' is mounted at ${target}: unmount it first.`);
}

/**
 * Gives it another name; whatever else is known of it stays. Throws `mount-missing`,
 * `mount-exists`, `mount-name-invalid`.
 */
export function renameMounted(state: StoreState, name: string, newName: string): MountedLayer {
  assertName(newName);
  return state.exclusively<MountedLayer>(() => {
    state.mountNamed(name);
    assertFree(state, newName);
    state.metadata.renameMount(name, newName);
    state.refresh();
    return mountedLayerOf(state, state.mountNamed(newName));
  });
}

/** The upper one first, as a layer goes before its parent. */
function idsOf({ mountId, initId }: Pick<Mount, 'mountId' | 'initId'>): MountId[] {
  return initId === undefined ? [mountId] : [mountId, initId];
}

function assertName(name: string): void {
  if (isMountName(name)) return;
  throw new PlyfsError(
    'mount-name-invalid',
    `'${name}' cannot name a container: use letters, digits, '_', '.' and '-', a letter or digit first.`,
  );
}

function assertFree(state: StoreState, name: string): void {
  if (state.mounts.has(name) || state.metadata.hasMount(name))
    throw new PlyfsError(
      'mount-exists',
      `There is a container '${name}' in ${state.root} already: remove it, or take another name.`,
    );
}
