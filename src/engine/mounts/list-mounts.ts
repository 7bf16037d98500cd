/** What plyfs has mounted, with or without a data root, and which read-write layers there are. */
import { textOf } from '../../base/bytes.js';
import type { ChainId, ImageId } from '../../base/digest.js';
import { FUSE_TYPE } from '../../host/mount-server.js';
import { familiarString } from '../../image/reference.js';
import { readMountTable, userOf } from '../../host/mount-table.js';
import type { DataRoot } from '../data-root.js';

export interface MountView {
  /** Absent: a read-write layer that is not mounted. */
  readonly mountpoint?: string;
  /** Of a read-write layer. */
  readonly name?: string;
  /** What it shows, by a name where there is one. Absent where that is not an image of the root. */
  readonly image?: string;
  readonly imageId?: ImageId;
  readonly chainId?: ChainId;
  /** As the mount table has it. */
  readonly source?: string;
  readonly readOnly?: boolean;
  /** Who mounted it. */
  readonly uid?: number;
}

/** Whether the mount table may have layers of the root. */
export function anyLayersMounted(root: string): boolean {
  // The vfs driver's are bind mounts, which have no source of their own.
  return readMountTable().some(
    (entry) => textOf(entry.source).startsWith(`${root}/`) || entry.root.includes('/vfs/dir/'),
  );
}

/**
 * Mounts of plyfs that the caller may unmount (as root all), and others of the root's layers, in
 * the order they were mounted; with `all` then the root's other read-write layers.
 */
export async function listMounts(
  root: DataRoot | undefined,
  { all = false } = {},
): Promise<MountView[]> {
  const shown = new Map((await root?.layers.shown())?.map((layer) => [layer.target, layer]));
  const me = process.getuid?.();
  const mounts: MountView[] = [];
  for (const entry of readMountTable()) {
    const mountpoint = textOf(entry.mountpoint);
    const uid = userOf(entry);
    const layer = shown.get(mountpoint);
    if (layer === undefined && (entry.type !== FUSE_TYPE || (me !== 0 && uid !== me))) continue;
    const name = layer?.name;
    const chainId =
      layer?.chainId ??
      (name === undefined ? undefined : root?.layers.mounted(name)?.parent?.chainId);
    mounts.push({
      mountpoint,
      ...(name !== undefined && { name }),
      ...imageOf(root, chainId),
      source: textOf(entry.source),
      readOnly: layer?.readOnly ?? entry.options.includes('ro'),
      ...(uid !== undefined && { uid }),
    });
  }
  const mounted = new Set(mounts.map(({ name }) => name));
  const others =
    all && root !== undefined
      ? root.layers.mountedLayers().filter(({ name }) => !mounted.has(name))
      : [];
  return [
    ...mounts,
    ...others.map(({ name, parent }) => ({ name, ...imageOf(root, parent?.chainId) })),
  ];
}

/** The image, or one of the images, whose topmost layer it is. */
function imageOf(
  root: DataRoot | undefined,
  chainId: ChainId | undefined,
): Pick<MountView, 'image' | 'imageId' | 'chainId'> {
  if (root === undefined || chainId === undefined) return {};
  const images = root.images.list().filter((image) => image.chainId === chainId);
  const named = images
    .map(({ id }) => ({ id, reference: root.references.of(id)[0] }))
    .sort((a, b) => Number(a.reference === undefined) - Number(b.reference === undefined));
  const [first] = named;
  if (first === undefined) return { chainId };
  return {
    chainId,
    imageId: first.id,
    image: first.reference === undefined ? first.id : familiarString(first.reference),
  };
}
