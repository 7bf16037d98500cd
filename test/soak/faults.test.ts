/**
 * Every operation of test/faults/scenarios.ts: killed at, and failing at, each of its system calls,
 * and on disks that are full.
 */
import { mkdir } from 'node:fs/promises';
import t from 'tap';
import { choose } from '../faults/choice.js';
import { failureSweep } from '../faults/failure-sweep.js';
import { fullDiskSweep } from '../faults/full-disk.js';
import { killSweep, type Grounds } from '../faults/kill-sweep.js';
import { ext4WithoutInodes, fullExt4, fullTmpfs } from '../faults/small-disks.js';
import { kernel, plyfs, unavailable, unmount } from '../suites/mounters.js';
import { workspace } from '../suites/workspace.js';

t.setTimeout(3_000_000);
const skip = (await unavailable(t, kernel)) ?? false;

await t.test(
  'killed before and after every system call',
  { skip, timeout: 2_400_000 },
  async (t) => {
    t.comment(`figure: ${await killSweep(t, choose(), ['before', 'after'])} kills survived`);
  },
);

/**
 * A union mount makes no device 0:0, and with `noxattrs` takes no xattrs: the upper is kept in
 * marker files.
 */
const markers: Grounds = {
  make: async (t, options) => {
    const base = await workspace(
      t,
      'lower',
      'inner/lower',
      'inner/upper',
      'inner/work',
      'limited',
      'mnt',
    );
    const inner = {
      lowers: [`${base}/inner/lower`],
      upper: `${base}/inner/upper`,
      work: `${base}/inner/work`,
      options: ['noxattrs'],
    };
    await plyfs.mount(inner, `${base}/limited`);
    for (const name of ['upper', 'work']) await mkdir(`${base}/limited/${name}`);
    const place = { base: `${base}/limited`, lower: `${base}/lower`, mnt: `${base}/mnt` };
    const spec = {
      lowers: [place.lower],
      upper: `${place.base}/upper`,
      work: `${place.base}/work`,
      options,
    };
    return {
      ...place,
      mount: (by) => by.mount(spec, place.mnt),
      unmount: () => unmount(place.mnt),
    };
  },
  asTheKernels: false,
};
await t.test(
  'an upper of marker files, killed before and after every system call',
  { skip, timeout: 1_200_000 },
  async (t) => {
    const marking = choose(
      'rename of a file of the upper over nothing',
      'rename of a file over a whiteout',
      'rename of a new directory onto a deleted name of the lower',
      'unlink of a name of the lower',
      'unlink of a name of the upper',
      'rmdir of a directory that holds whiteouts',
      'mkdir over a whiteout',
      'symlink over a whiteout',
      'link over a whiteout',
    );
    t.comment(
      `figure: ${await killSweep(t, marking, ['before', 'after'], markers)} kills survived with marker files`,
    );
  },
);

await t.test(
  'EIO, ENOSPC and EDQUOT at every system call',
  { skip, timeout: 1_200_000 },
  async (t) => {
    t.comment(`figure: ${await failureSweep(t, choose())} faults injected`);
  },
);

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
  const greedy = choose(
    'copy-up of a small file by a write, its parents missing',
    'copy-up of a file over 1 MiB by a write',
  );
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
  t.comment(
    `figure: ${await fullDiskSweep(t, ext4WithoutInodes, making)} times the disk had no inodes`,
  );
});
