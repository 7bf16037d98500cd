/** Every operation of test/faults/scenarios.ts: killed at, and failing at, each of its system calls, and on disks that are full. */
import t from 'tap';
import { choose } from '../faults/choice.js';
import { failureSweep } from '../faults/failure-sweep.js';
import { fullDiskSweep } from '../faults/full-disk.js';
import { killSweep } from '../faults/kill-sweep.js';
import { ext4WithoutInodes, fullExt4, fullTmpfs } from '../faults/small-disks.js';
import { kernel, unavailable } from '../suites/mounters.js';

t.setTimeout(3_000_000);
const skip = (await unavailable(t, kernel)) ?? false;

await t.test('killed before and after every system call', { skip, timeout: 2_400_000 }, async (t) => {
  t.comment(`figure: ${await killSweep(t, choose(), ['before', 'after'])} kills survived`);
});

await t.test('EIO, ENOSPC and EDQUOT at every system call', { skip, timeout: 1_200_000 }, async (t) => {
  t.comment(`figure: ${await failureSweep(t, choose())} faults injected`);
});

// Renames and deletions may find enough in the blocks that their directories have.
await t.test('an ext4 that is full', { skip, timeout: 600_000 }, async (t) => {
  const greedy = choose(
    'copy-up of a file over 1 MiB by a write',
    'copy-up by chmod',
    'copy-up by setxattr',
    'copy-up by truncate to less',
    'copy-up of directories by chmod',
    'mkdir over a whiteout',
  );
  t.comment(`figure: ${await fullDiskSweep(t, fullExt4, greedy)} times the disk was full`);
});

await t.test('a tmpfs that is full', { skip, timeout: 600_000 }, async (t) => {
  const greedy = choose('copy-up of a small file by a write, its parents missing', 'copy-up of a file over 1 MiB by a write');
  t.comment(`figure: ${await fullDiskSweep(t, fullTmpfs, greedy)} times the tmpfs was full`);
});

await t.test('an ext4 without inodes', { skip, timeout: 600_000 }, async (t) => {
  const making = choose(
    'copy-up of a small file by a write, its parents missing',
    'copy-up of a symbolic link',
    'rename of a file of the lower',
    'rename of a new directory over one that was emptied',
    'unlink of a copied-up name',
    'mkdir over a whiteout',
  );
  t.comment(`figure: ${await fullDiskSweep(t, ext4WithoutInodes, making)} times the disk had no inodes`);
});
