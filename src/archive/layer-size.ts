/** What Docker's `size` file says of a layer on overlay2. */
import type { ByteString } from '../base/bytes.js';
import { S_IFDIR, S_IFMT } from '../sys/constants.js';
import { CountedFiles } from '../overlay/file-identity.js';
import { STAT_FIELDS, StatField } from '../sys/syscalls.js';
import { LayerRoot } from '../overlay/layer-root.js';
import { join, list, openChild, orUnreadable } from '../overlay/tree-reader.js';
import { walkTrees, type TreeWalk, type Visit } from '../overlay/walk-trees.js';

const ROOT = '' as ByteString;

/**
 * The sizes of all that is no directory together, each inode once; of a symbolic link, its target's
 * length. Bytes. Throws `layer-missing`, `tree-unreadable`.
 */
export function treeSize(directory: string): number {
  const root = LayerRoot.open(directory);
  try {
    const counted = new CountedFiles();
    return orUnreadable(ROOT, () => walkTrees([root.fd], (walk) => sizeIn(walk, ROOT, counted)));
  } finally {
    root.close();
  }
}

function* sizeIn(walk: TreeWalk, path: ByteString, counted: CountedFiles): Visit<number> {
  let size = 0;
  const { names, stat } = list(walk.fd(), path, 'real');
  for (const [index, name] of names.entries()) {
    const at = index * STAT_FIELDS;
    if (((stat[at + StatField.Mode] as number) & S_IFMT) === S_IFDIR) {
      const fd = openChild(walk.fd(), name, join(path, name));
      if (fd === undefined) continue;
      size += yield { name, fds: [fd], visit: sizeIn(walk, join(path, name), counted) };
      continue;
    }
    if (orUnreadable(join(path, name), () => counted.isFirst(walk.fd(), name, stat, index)))
      size += stat[at + StatField.Size] as number;
  }
  return size;
}
