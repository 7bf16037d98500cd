/** Every operation of test/faults/scenarios.ts, killed before and after each of its system calls. Failing calls and full disks: `make soak`. */
import t from 'tap';
import { choose } from '../faults/choice.js';
import { killSweep } from '../faults/kill-sweep.js';
import { kernel, unavailable } from '../suites/mounters.js';

t.setTimeout(2_400_000);
const skip = (await unavailable(t, kernel)) ?? false;

await t.test('killed before and after every system call', { skip, timeout: 2_100_000 }, async (t) => {
  t.comment(`figure: ${await killSweep(t, choose(), ['before', 'after'])} kills survived`);
});
