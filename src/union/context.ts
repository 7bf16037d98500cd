/**
 * What the parts of one union share.
 *
 * There is one context a mount. Its parts are used from one thread; an operation that waits must
 * look everything up again afterwards that another operation may have changed meanwhile:
 * descriptors, a node's place, its dentries.
 */
import type { Belief } from '../overlay/belief.js';
import type { Devices } from '../overlay/devices.js';
import type { DirectoryDescriptors } from '../overlay/disk-directory.js';
import type { UnionEvents } from './events.js';
import type { LinkTable } from './hard-links.js';
import type { InodeIndex } from './inode-index.js';
import type { InodeNumbers } from './inode-numbers.js';
import type { LayerDirectory } from '../overlay/layer.js';
import type { ListingHabit } from './listing-habit.js';
import type { NodeTable } from './node-table.js';
import type { OpenFiles } from './open-files.js';
import type { UnionOptions } from './options.js';
import type { Origins } from './origin.js';
import type { Traps } from './layers-on-disk.js';
import type { Ownership } from './ownership.js';
import type { Reclaimer } from './reclaim.js';
import type { UpperLayer } from './upper-layer.js';

export interface UnionContext {
  readonly options: UnionOptions;
  readonly belief: Belief;
  /** Root directories by layer index; index 0 is undefined in a read-only union. */
  readonly roots: readonly (LayerDirectory | undefined)[];
  readonly upper: UpperLayer | null;
  /** Null unless a lower layer has the upper or the workdir in it. */
  readonly traps: Traps | null;
  readonly nodes: NodeTable;
  readonly links: LinkTable;
  /** Null without `index=on`. */
  readonly index: InodeIndex | null;
  readonly devices: Devices;
  readonly inodes: InodeNumbers;
  readonly origins: Origins;
  readonly ownership: Ownership;
  readonly directories: DirectoryDescriptors;
  readonly files: OpenFiles;
  readonly habit: ListingHabit;
  readonly events: UnionEvents;
  readonly reclaimer: Reclaimer;
  /** One file's statx(2) result, valid until the next call that fills it. */
  readonly stat: Float64Array;
  /**
   * Descriptors that keep unlinked files alive, and how many there may be before such files are
   * kept in the workdir.
   */
  orphans: number;
  readonly maxOrphans: number;
  /**
   * Others wait for what this thread does: what takes long is done in pieces, and operations may
   * throw `WouldWait` (would-wait.ts).
   */
  serving: boolean;
}
