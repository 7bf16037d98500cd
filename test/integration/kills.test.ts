/**
 * One operation of each kind, killed before and after each of its system calls. All of
 * test/faults/scenarios.ts: `make soak`.
 */
import t from 'tap';
import { choose } from '../faults/choice.js';
import { killSweep } from '../faults/kill-sweep.js';
import { kernel, unavailable } from '../suites/mounters.js';

const chosen = choose(
  'copy-up of a small file by a write, its parents missing',
  'copy-up of a file over 1 MiB by a write',
  'copy-up by link',
  'copy-up of a symbolic link',
  'copy-up of directories by chmod',
  'rename of a file of the lower over another',
  'rename of a file over a whiteout',
  'exchange of a new directory and a file of the lower',
  'rename of a new directory over one that was emptied',
  'rename of a directory of the lower onto a deleted name',
  'unlink of a name of the lower',
  'rmdir of a directory that holds whiteouts',
  'mkdir over a whiteout',
  'link over a whiteout',
  'copy-up of a file with several names to the index',
  'removal of the last name of a file in the index',
);

t.setTimeout(2_400_000);
const skip = (await unavailable(t, kernel)) ?? false;

await t.test(
  'killed before and after every system call',
  { skip, timeout: 2_100_000 },
  async (t) => {
    t.comment(`figure: ${await killSweep(t, chosen, ['before', 'after'])} kills survived`);
  },
);
