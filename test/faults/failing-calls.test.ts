/**
 * Every system call of some operations fails, one at a time; test/soak/faults.test.ts has all of
 * them.
 */
import t from 'tap';
import { kernel, unavailable } from '../suites/mounters.js';
import { choose } from './choice.js';
import { failureSweep } from './failure-sweep.js';

const chosen = choose(
  'copy-up by truncate to less',
  'a write to a metadata-only copy',
  'exchange of a new directory and a file of the lower',
  'rmdir of a directory that holds whiteouts',
  'symlink over a whiteout',
);

t.setTimeout(240_000);
const skip = await unavailable(t, kernel);
await t.test('EIO, ENOSPC and EDQUOT at every system call', { skip: skip ?? false }, async (t) => {
  t.comment(`figure: ${await failureSweep(t, chosen)} faults injected`);
});
