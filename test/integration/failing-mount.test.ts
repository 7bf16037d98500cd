/**
 * Every system call that mounting makes on the layers fails once: either nothing is mounted, or
 * what is shows and writes what it must.
 */
import { readdirSync } from 'node:fs';
import t from 'tap';
import { E } from '../../src/base/errno.js';
import { mountAt } from '../support/mounts.js';
import { Actor } from '../suites/actor.js';
import { isRoot } from '../support/users.js';
import { plyfs, unavailable, Union } from '../suites/mounters.js';
import { CHANGES, FaultPlan, LOOKS } from '../faults/fault-plan.js';
import { leftovers, unmountWholly } from '../faults/trials.js';

/** More calls than mounting makes. */
const MOST = 200;

t.setTimeout(600_000);
const skip = (isRoot ? await unavailable(t, plyfs) : 'needs root') ?? false;
await t.test('a call that mounting makes fails', { skip }, async (t) => {
  const union = await Union.create(t, plyfs, 1);
  const plan = new FaultPlan(`${union.base}/plan`);
  t.teardown(() => plan.close());
  const disk = await Actor.start({ cwd: union.base });
  let injected = 0;
  let refused = 0;
  for (const [error, kinds] of [
    [E.EIO, CHANGES | LOOKS],
    [E.ENOSPC, CHANGES],
  ] as const) {
    for (let at = 1; at < MOST; at++) {
      await disk.put('lower1/deleted', 'x');
      plan.arm({ action: 'fail', at, error, kinds });
      const failed: unknown = await union.mount(plan.mounter).then(
        () => undefined,
        (reason: unknown) => reason,
      );
      plan.disarm();
      const what = `errno ${error} of call ${at}, ${plan.log[at - 1]?.name ?? ''}`;
      const reached = plan.calls >= at;
      if (failed !== undefined) {
        refused++;
        if (mountAt(union.mnt)) t.fail(`${what}: nothing is mounted`);
        if (!(failed instanceof Error && /: plyfs: /.test(failed.message)))
          t.fail(`${what}: a sentence says why`, { failed });
      } else {
        const mnt = await Actor.start({ cwd: union.mnt });
        await mnt.unlink('deleted');
        await mnt.end();
        await unmountWholly(union.mnt);
        const whiteout = await disk.lstat('upper/deleted').catch(() => undefined);
        if (whiteout?.rdev !== '0:0')
          t.fail(`${what}: a deletion is a whiteout device, as ever`, {
            upper: readdirSync(union.upper),
          });
        const left = leftovers(union);
        if (left.length > 0) t.fail(`${what}: nothing is left in the workdir`, { left });
        await disk.unlink('upper/deleted').catch(() => disk.unlink('upper/.wh.deleted'));
      }
      if (!reached) break;
      injected++;
    }
  }
  await disk.end();
  t.ok(refused > 0 && refused < injected, `${refused} mounts were refused`);
  t.comment(`figure: ${injected} faults injected while mounting`);
});
