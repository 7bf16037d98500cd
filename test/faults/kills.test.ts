/**
 * The daemon is killed before every system call of some operations; test/integration/kills.test.ts
 * has more, test/soak/faults.test.ts all of them.
 */
import t from 'tap';
import { kernel, unavailable } from '../suites/mounters.js';
import { choose } from './choice.js';
import { killSweep } from './kill-sweep.js';

const chosen = choose(
  'copy-up by chmod',
  'rename of a file of the lower',
  'rename of a new directory onto a deleted name of the lower',
  'unlink of a copied-up name',
  'mkdir over a whiteout',
  'creation by a user',
  'removal of an unused name of a file in the index',
);

t.setTimeout(240_000);
const skip = await unavailable(t, kernel);
await t.test('killed before every system call', { skip: skip ?? false }, async (t) => {
  t.comment(`figure: ${await killSweep(t, chosen, ['before'])} kills survived`);
});
