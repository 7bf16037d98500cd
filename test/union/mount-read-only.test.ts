/** The read-only suite on mounts by the built program. */
import t from 'tap';
import { plyfs, plyfsFuseNative, unavailable } from '../suites/mounters.js';
import { readOnlyOnUnion } from '../suites/read-only-targets.js';

t.setTimeout(120_000);
for (const mounter of [plyfs, plyfsFuseNative]) {
  const skip = await unavailable(t, mounter);
  for (const how of ['no upper', 'ro'] as const) {
    await t.test(`${mounter.name}: ${how}`, { skip: skip ?? false }, (t) =>
      readOnlyOnUnion(t, mounter, how),
    );
  }
}
