/**
 * The difference of two layers taken by showing both and comparing them: right for every driver,
 * whatever its layout (moby, graphdriver/fsdiff.go).
 */
import { packChanges, packTree } from '../archive/pack-layer.js';
import { compareTrees, type Change } from '../archive/changes.js';
import type { ByteSource } from '../base/byte-source.js';
import type { ByteString } from '../base/bytes.js';
import { check } from '../base/errno.js';
import type { GraphDriver } from './driver.js';
import { ownership, type Ownership } from './home.js';
import type { MountedBy } from './mounter.js';
import { S_IFDIR, S_IFMT } from '../sys/constants.js';
import { CountedFiles } from '../overlay/file-identity.js';
import { LayerRoot, splitPath } from '../overlay/layer-root.js';
import { orUnreadable } from '../overlay/tree-reader.js';
import { sys } from '../sys/index.js';
import { StatField, STAT_FIELDS } from '../sys/syscalls.js';

export function naiveChanges(
  driver: GraphDriver,
  id: string,
  parent: string | undefined,
): Promise<Change[]> {
  return shown(driver, id, (tree) => compared(driver, tree, parent));
}

export async function* naiveDiff(
  driver: GraphDriver,
  id: string,
  parent: string | undefined,
): ByteSource {
  const tree = await driver.get(id, { readOnly: true });
  try {
    const ownership = ownershipIn(tree);
    if (parent === undefined) yield* packTree(tree.path, { form: 'none', ownership });
    else yield* packChanges(tree.path, await compared(driver, tree, parent), { ownership });
  } finally {
    await driver.put(id);
  }
}

async function compared(
  driver: GraphDriver,
  tree: MountedBy,
  parent: string | undefined,
): Promise<Change[]> {
  const options = { ownership: ownershipIn(tree) };
  if (parent === undefined) return compareTrees(tree.path, undefined, options);
  return shown(driver, parent, (below) => compareTrees(tree.path, below.path, options));
}

/** A union shows owners as they should be; a layer's own directory as they could be kept. */
export function ownershipIn({ by }: MountedBy): Ownership {
  return by === 'fuse' || by === 'kernel' ? 'real' : ownership;
}

async function shown<T>(
  driver: GraphDriver,
  id: string,
  use: (tree: MountedBy) => T | Promise<T>,
): Promise<T> {
  const tree = await driver.get(id, { readOnly: true });
  try {
    return await use(tree);
  } finally {
    await driver.put(id);
  }
}

/**
 * Bytes of the files that were added or changed, each counted once whatever its names (moby,
 * archive/changes.go, ChangesSize).
 */
export async function naiveSize(
  driver: GraphDriver,
  id: string,
  parent: string | undefined,
): Promise<number> {
  const changes = await naiveChanges(driver, id, parent);
  return shown(driver, id, ({ path }) => {
    const root = LayerRoot.open(path);
    try {
      return sizeOf(root, changes);
    } finally {
      root.close();
    }
  });
}

function sizeOf(root: LayerRoot, changes: readonly Change[]): number {
  const stat = new Float64Array(STAT_FIELDS);
  const counted = new CountedFiles();
  let bytes = 0;
  for (const { kind, path } of changes) {
    if (kind === 'D') continue;
    const relative = path.slice(1) as ByteString;
    const { parent, name } = splitPath(relative);
    bytes += orUnreadable(relative, () => {
      const dirfd = check(root.directory(parent));
      check(sys.statx(dirfd, name, stat, 0));
      const isDirectory = (stat[StatField.Mode]! & S_IFMT) === S_IFDIR;
      return !isDirectory && counted.isFirst(dirfd, name, stat) ? stat[StatField.Size]! : 0;
    });
  }
  return bytes;
}
