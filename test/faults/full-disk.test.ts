/**
 * Upper and workdir on a small file system that is full, or has no inodes left;
 * test/soak/faults.test.ts has more.
 */
import t from 'tap';
import { isRoot } from '../support/users.js';
import { plyfs, unavailable } from '../suites/mounters.js';
import { choose } from './choice.js';
import { fullDiskSweep } from './full-disk.js';
import { ext4WithoutInodes, fullExt4 } from './small-disks.js';

t.setTimeout(240_000);
const skip = isRoot ? await unavailable(t, plyfs) : 'needs root';
await t.test('an ext4 that is full', { skip: skip ?? false }, async (t) => {
  const found = await fullDiskSweep(
    t,
    fullExt4,
    choose('copy-up of a small file by a write, its parents missing'),
  );
  t.comment(`figure: ${found} times the disk was full`);
});
await t.test('an ext4 without inodes', { skip: skip ?? false }, async (t) => {
  const found = await fullDiskSweep(
    t,
    ext4WithoutInodes,
    choose('unlink of a name of the lower', 'creation by a user'),
  );
  t.comment(`figure: ${found} times the disk had no inodes`);
});
