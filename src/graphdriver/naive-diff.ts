/**
 * The difference of two layers taken by showing both and comparing them: right for every driver,
 * whatever its layout (moby, graphdriver/fsdiff.go).
 */
import { packChanges, packTree } from '../archive/pack-layer.js';
import { compareTrees, type Change } from '../archive/changes.js';
import type { ByteSource } from '../base/byte-source.js';
import { bytesOf, type ByteString } from '../base/bytes.js';
import { check } from '../base/errno.js';
import type { GraphDriver } from './driver.js';
import { ownership, type Ownership } from './home.js';
import type { MountedBy } from './mounter.js';
import {
  AT_FDCWD,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  RESOLVE_BENEATH,
  RESOLVE_NO_SYMLINKS,
  S_IFDIR,
  S_IFMT,
} from '../sys/constants.js';
import { CountedFiles } from '../overlay/file-identity.js';
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
    const root = check(
      sys.openat(AT_FDCWD, bytesOf(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0),
      path,
    );
    try {
      return sizeOf(root, changes);
    } finally {
      sys.close(root);
    }
  });
}

function sizeOf(root: number, changes: readonly Change[]): number {
  const stat = new Float64Array(STAT_FIELDS);
  const counted = new CountedFiles();
  let bytes = 0;
  for (const { kind, path } of changes) {
    if (kind === 'D') continue;
    const fd = check(
      sys.openat2(
        root,
        path.slice(1) as ByteString,
        O_PATH | O_NOFOLLOW | O_CLOEXEC,
        0,
        RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
      ),
      path,
    );
    try {
      check(sys.statx(fd, '' as ByteString, stat, 0), path);
      const isDirectory = (stat[StatField.Mode]! & S_IFMT) === S_IFDIR;
      if (!isDirectory && counted.isFirst(fd, '' as ByteString, stat))
        bytes += stat[StatField.Size]!;
    } finally {
      sys.close(fd);
    }
  }
  return bytes;
}
