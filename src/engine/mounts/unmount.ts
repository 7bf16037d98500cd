/**
 * `ply umount`: by a directory, whatever of plyfs is mounted there, or by the name of a read-write
 * layer.
 */
import { bytesOf, textOf, type ByteString } from '../../base/bytes.js';
import { PlyfsError } from '../../base/error.js';
import type { ShownLayer } from '../../layer/layer-store.js';
import { FUSE_TYPE } from '../../host/mount-server.js';
import { mountAt } from '../../host/mount-table.js';
import type { DataRoot } from '../data-root.js';
import { tryFindMounted } from '../containers/find.js';
import { resolvedMountpoint, unmountDirectory } from '../../mount/unmount-directory.js';

export interface Unmounted {
  readonly mountpoint: string;
  readonly name?: string;
}

/**
 * A directory where plyfs has mounted comes before a name. `openRoot` is asked where that is not
 * one: for a name, or for a layer that another mounter shows. Throws `not-mounted`, `mount-busy`,
 * `umount-failed`.
 */
export async function unmount(
  word: ByteString,
  options: { lazy: boolean },
  openRoot: () => Promise<DataRoot>,
): Promise<Unmounted[]> {
  const mountpoint = resolvedMountpoint(word);
  const entry = mountAt(mountpoint);
  if (entry?.type === FUSE_TYPE) {
    await unmountDirectory(mountpoint, options);
    return [{ mountpoint: textOf(mountpoint) }];
  }
  const root = await rootOf(openRoot, word);
  if (entry === undefined) {
    const mounted = tryFindMounted(root, textOf(word));
    if (mounted === undefined) throw notMounted(word);
    return unmountNamed(root, mounted.name, options);
  }
  const shown = (await root.layers.shown()).filter(({ target }) => target === textOf(mountpoint));
  if (shown.length === 0) throw notMounted(word);
  return unmountShown(root, shown, options);
}

/** Wherever a container is mounted. Throws `not-mounted`, `mount-busy`, `umount-failed`. */
export async function unmountNamed(
  root: DataRoot,
  name: string,
  options: { lazy: boolean },
): Promise<Unmounted[]> {
  const shown = (await root.layers.shown()).filter((layer) => layer.name === name);
  if (shown.length === 0)
    throw new PlyfsError('not-mounted', `'${name}' is not mounted: there is nothing to unmount.`);
  return unmountShown(root, shown, options);
}

async function unmountShown(
  root: DataRoot,
  shown: readonly ShownLayer[],
  options: { lazy: boolean },
): Promise<Unmounted[]> {
  for (const { target } of shown) {
    if (options.lazy && mountAt(target)?.type === FUSE_TYPE)
      await unmountDirectory(bytesOf(target), options);
    else await root.layers.unmountAt(target);
  }
  return shown.map(({ target, name }) => ({
    mountpoint: target,
    ...(name !== undefined && { name }),
  }));
}

function notMounted(word: ByteString): PlyfsError {
  return new PlyfsError(
    'not-mounted',
    `${textOf(word)} is not a mount point of plyfs: \`ply mounts\` lists them.`,
  );
}

/** Without a root there are no names. */
async function rootOf(openRoot: () => Promise<DataRoot>, word: ByteString): Promise<DataRoot> {
  try {
    return await openRoot();
  } catch (error) {
    if (error instanceof PlyfsError && error.code === 'root-missing') throw notMounted(word);
    throw error;
  }
}
