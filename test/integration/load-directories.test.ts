/** Directories of many entries, and many directories. */
import { existsSync } from 'node:fs';
import t from 'tap';
import { largeDirectory, manyDirectories, removedWhileListed } from '../suites/load/directories.js';
import { WatchedPlyfs } from '../suites/load/watched.js';
import { kernel, plyfs, unavailable } from '../suites/mounters.js';

// In memory: the journal of a disk takes some minutes for it, and is not what is tested.
if (existsSync('/dev/shm')) process.env['TMPDIR'] ??= '/dev/shm';

t.setTimeout(1_800_000);
const skip = (await unavailable(t, plyfs)) ?? false;
await t.test(
  '130,000 entries in one directory: listed, looked at, removed; memory falls back',
  { skip },
  (t) => largeDirectory(t, new WatchedPlyfs(t), 130_000),
);
await t.test(
  '262,144 mkdir and rmdir: descriptors do not run out; memory falls back',
  { skip },
  (t) => manyDirectories(t, new WatchedPlyfs(t), 262_144),
);
await t.test('rm -rf while others list', { skip }, (t) =>
  removedWhileListed(t, new WatchedPlyfs(t), 24_000),
);
await t.test(
  'the same on the kernel overlay: rm -rf while others list',
  { skip: (await unavailable(t, kernel)) ?? false },
  (t) => removedWhileListed(t, kernel, 6000),
);
