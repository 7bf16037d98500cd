/**
 * The mount that words mean: a mount point, anything below one, or the name of a read-write layer.
 */
import { realpathSync } from 'node:fs';
import { bytesOf, textOf, type ByteString } from '../../base/bytes.js';
import { PlyfsError } from '../../base/error.js';
import { readMountTable, type MountEntry } from '../../host/mount-table.js';
import type { DataRoot } from '../data-root.js';
import { resolvedMountpoint } from '../../mount/unmount-directory.js';

/** fuse.plyfs, or what plyfs is called when it stands in for that program. */
export function isUnion({ type }: MountEntry): boolean {
  return type === 'fuse.plyfs' || type === 'fuse.fuse-overlayfs';
}

export interface PlaceInMount {
  readonly mount: MountEntry;
  /** From the union's root, with a leading slash; its symbolic links are not followed. */
  readonly path: ByteString;
}

/**
 * Where a path of this machine lies in a union: the way to the mount point is followed, what is
 * below is not, for it may be hidden there. Undefined: in none. Throws `path-on-other-mount`.
 */
export function placeInMount(word: ByteString): PlaceInMount | undefined {
  const table = readMountTable();
  const unions = table.filter(isUnion);
  if (unions.length === 0) return undefined;
  const components = (word.startsWith('/') ? word : `${bytesOf(process.cwd())}/${word}`).split('/');
  let real = '/';
  for (let i = 0; i <= components.length; i++) {
    const mount = table.findLast(({ mountpoint }) => mountpoint === real) ?? enclosing(table, real);
    const rest = components.slice(i);
    if (mount !== undefined && isUnion(mount) && !leaves(rest))
      return within(table, mount, real, rest);
    const component = components[i];
    if (component === undefined) return undefined;
    if (component === '' || component === '.') continue;
    real = realPath(`${real === '/' ? '' : real}/${component}`);
  }
  return undefined;
}

/** Whether a path goes up further than it went down. */
function leaves(components: readonly string[]): boolean {
  let depth = 0;
  return components.some((component) => {
    if (component === '..') depth--;
    else if (component !== '' && component !== '.') depth++;
    return depth < 0;
  });
}

/** The mount that a path without symbolic links lies on. */
function enclosing(table: readonly MountEntry[], path: string): MountEntry | undefined {
  const above = table.filter(
    ({ mountpoint }) =>
      mountpoint === '/' || path === mountpoint || path.startsWith(`${mountpoint}/`),
  );
  const deepest = Math.max(...above.map(({ mountpoint }) => mountpoint.length));
  return above.findLast(({ mountpoint }) => mountpoint.length === deepest);
}

function within(
  table: readonly MountEntry[],
  mount: MountEntry,
  real: string,
  rest: readonly string[],
): PlaceInMount {
  const base = mount.mountpoint === '/' ? '' : mount.mountpoint;
  const inside = `${real.slice(base.length)}/${rest.join('/')}`;
  const full = `${base}${inside}/`;
  const other = table.findLast(
    ({ mountpoint }) =>
      mountpoint !== '/' && mountpoint.startsWith(`${base}/`) && full.startsWith(`${mountpoint}/`),
  );
  if (other !== undefined) {
    throw new PlyfsError(
      'path-on-other-mount',
      `${textOf(full.slice(0, -1) as ByteString)} is of what is mounted at ${textOf(other.mountpoint)} (${other.type}), not of the union below it.`,
    );
  }
  // A bind mount shows a part of the union.
  return { mount, path: `${mount.root === '/' ? '' : mount.root}${inside}` as ByteString };
}

/** What cannot be followed stays as it is. */
function realPath(path: string): string {
  try {
    return realpathSync.native(Buffer.from(path, 'latin1'), 'buffer').toString('latin1');
  } catch {
    return path;
  }
}

/** Throws `not-mounted`, `mount-not-ours`. `openRoot` is asked where the word is a name. */
export async function findMount(
  word: ByteString,
  openRoot: () => Promise<DataRoot>,
): Promise<MountEntry> {
  const place = placeInMount(word);
  if (place !== undefined) return place.mount;
  const name = textOf(word);
  const mountpoint = resolvedMountpoint(word);
  const shown = await (await openRoot()).layers.shown();
  const layer = shown.find((each) => each.name === name || each.target === textOf(mountpoint));
  if (layer === undefined)
    throw new PlyfsError(
      'not-mounted',
      `${name} is not mounted by plyfs: \`ply mounts\` lists what is.`,
    );
  const mount = readMountTable().findLast((entry) => textOf(entry.mountpoint) === layer.target);
  if (mount === undefined || !isUnion(mount)) {
    throw new PlyfsError(
      'mount-not-ours',
      `${name} is shown at ${layer.target} without plyfs (${mount?.type ?? 'nothing mounted'}): mount it without --mounter kernel, by a storage driver other than vfs.`,
    );
  }
  return mount;
}
