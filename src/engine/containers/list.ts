/** `ply ps`. */
import type { ImageId } from '../../base/digest.js';
import { PlyfsError } from '../../base/error.js';
import type { MountedLayer } from '../../layer/mounted-layer.js';
import { containerOf, type Container } from './container.js';
import type { DataRoot } from '../data-root.js';

/**
 * `idle`: nobody uses it; `mounted`; `dead`: the daemon of its mount has died, and `ply umount`
 * takes that away; `in-use`: where the mount is not seen, as in the namespace of a running
 * container.
 */
export type ContainerState = 'idle' | 'mounted' | 'dead' | 'in-use';

export interface ContainerView {
  readonly id: string;
  readonly name: string;
  readonly image?: string;
  readonly imageId?: ImageId;
  /** Entrypoint and command. */
  readonly command: readonly string[];
  readonly created?: Date;
  readonly state: ContainerState;
  readonly mountpoints: readonly string[];
  readonly labels: ReadonlyMap<string, string>;
  /** Bytes that were written, where they were asked for. */
  readonly size?: number;
  /** Why less is known of it: one sentence. */
  readonly problem?: string;
}

/** The newest first, those of unknown age last, by name. */
export async function listContainers(
  root: DataRoot,
  { size = false } = {},
): Promise<ContainerView[]> {
  const shown = await root.layers.shown();
  const views: ContainerView[] = [];
  for (const mounted of root.layers.mountedLayers()) {
    const mounts = shown.filter(({ name }) => name === mounted.name);
    const state = mounts.some(({ alive }) => !alive)
      ? 'dead'
      : mounts.length > 0
        ? 'mounted'
        : stateOf(root, mounted);
    views.push({
      ...known(root, mounted),
      state,
      mountpoints: mounts.map(({ target }) => target),
      ...(size && { size: await root.layers.writtenSize(mounted.name) }),
    });
  }
  return views.sort(
    (a, b) =>
      (b.created?.getTime() ?? 0) - (a.created?.getTime() ?? 0) || (a.name < b.name ? -1 : 1),
  );
}

function stateOf(root: DataRoot, { name }: MountedLayer): ContainerState {
  return root.layers.isWrittenTo(name) ? 'in-use' : 'idle';
}

function known(
  root: DataRoot,
  mounted: MountedLayer,
): Omit<ContainerView, 'state' | 'mountpoints'> {
  let container: Container;
  try {
    container = containerOf(root, mounted);
  } catch (error) {
    if (!(error instanceof PlyfsError)) throw error;
    return {
      id: mounted.mountId,
      name: mounted.name,
      command: [],
      labels: new Map(),
      problem: error.message,
    };
  }
  const { id, name, image, imageId, created, config } = container;
  return {
    id,
    name,
    ...(image !== undefined && { image }),
    ...(imageId !== undefined && { imageId }),
    command: [...config.entrypoint, ...config.cmd],
    ...(created !== undefined && { created: new Date(created) }),
    labels: config.labels,
  };
}
