/**
 * Layers that are looked at without being mounted, or beside the process that has them mounted:
 * nothing is written, locked or swept.
 *
 * What a union shows can be asked of them at any time, because an upper is at each moment one that
 * could be mounted.
 */
import { PlyfsError } from '../base/error.js';
import { sys } from '../sys/index.js';
import { beliefOf, Unbelieved, type Belief } from '../overlay/belief.js';
import type { UnionContext } from './context.js';
import { Devices } from '../overlay/devices.js';
import { DirectoryDescriptors, onDisk } from '../overlay/disk-directory.js';
import { UnionEvents } from './events.js';
import { LinkTable } from './hard-links.js';
import { InodeNumbers } from './inode-numbers.js';
import { UPPER, type LayerDirectory } from '../overlay/layer.js';
import { describeLayer, openLayer, rootOf, type OpenedDirectory } from './layers-on-disk.js';
import { ListingHabit } from './listing-habit.js';
import { NodeTable } from './node-table.js';
import { OpenFiles } from './open-files.js';
import { defaultOwnership, defaultUnionOptions, type LayerInUse } from './options.js';
import { Origins } from './origin.js';
import { Ownership } from './ownership.js';
import { Reclaimer } from './reclaim.js';
import { newStatBuffer } from '../overlay/stat-buffer.js';
import { mergeRoots } from './union.js';

/**
 * `index` as in `LayerInUse`; absent `form`: found out. Absent `marks`: both these and
 * `overrideStat` as a mount by this process would have them.
 */
export type LayerAtRest = Pick<LayerInUse, 'index' | 'path'> &
  Partial<Pick<LayerInUse, 'form' | 'marks' | 'overrideStat'>>;

const DESCRIPTORS = 64;

/**
 * Calls `look` with a union of the layers, topmost first, that is gone when it returns. Throws
 * `PlyfsError` for one that cannot be opened.
 */
export function lookingAt<T>(
  layers: readonly LayerAtRest[],
  look: (context: UnionContext) => T,
): T {
  const directories = new DirectoryDescriptors(DESCRIPTORS);
  const opened: OpenedDirectory[] = [];
  try {
    const roots: (LayerDirectory | undefined)[] = [undefined];
    for (const { index, path } of layers)
      opened.push(openLayer(index === UPPER ? 'upperdir' : 'lowerdir', path));
    const devices = new Devices(opened.map(({ fd }) => fd));
    const belief = beliefOf({});
    const unbelieved = new Unbelieved(() => undefined);
    for (const [i, { index, form, marks, overrideStat }] of layers.entries()) {
      const directory = opened[i] as OpenedDirectory;
      const described = describeLayer(
        directory,
        { index, bottom: i === layers.length - 1, form },
        devices,
        belief,
        unbelieved,
      );
      roots[index] = rootOf(
        directory,
        marks === undefined ? described : { ...described, marks, overrideStat },
        directories,
      );
    }
    if (opened.length === 0) throw new PlyfsError('no-lowerdir', 'there is no layer to look at.');
    return look(contextOf(roots, devices, directories, belief));
  } finally {
    directories.closeAll();
    for (const directory of opened) sys.close(directory.fd);
  }
}

function contextOf(
  roots: readonly (LayerDirectory | undefined)[],
  devices: Devices,
  directories: DirectoryDescriptors,
  belief: Belief,
): UnionContext {
  const inodes = new InodeNumbers(devices);
  return {
    options: { ...defaultUnionOptions, lowers: [] },
    belief,
    roots,
    upper: null,
    nodes: new NodeTable(mergeRoots(roots, inodes), (node) => {
      if (node.isDirectory())
        for (const directory of node.stack)
          if (onDisk(directory).parent !== null) directory.release();
    }),
    links: new LinkTable(devices),
    index: null,
    devices,
    inodes,
    origins: new Origins([], devices),
    ownership: new Ownership(defaultOwnership, undefined),
    directories,
    files: new OpenFiles(DESCRIPTORS, { noatime: true }),
    events: new UnionEvents(),
    traps: null,
    reclaimer: new Reclaimer(),
    habit: new ListingHabit(),
    stat: newStatBuffer(),
    orphans: 0,
    maxOrphans: 0,
    serving: false,
  };
}
